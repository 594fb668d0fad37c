//! The redrive policy of a queue: the dead-letter queue of messages that were received too often.

use super::message::Redrive;
use fakemon_resource::{Destination, Registry, resource};

impl Redrive {
    /// Parses a policy; none if it is not valid.
    pub fn read(policy: &str) -> Option<Redrive> {
        let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
        let Destination::Queue(queue) = Destination::of(policy["deadLetterTargetArn"].as_str()?) else { return None };
        let max = &policy["maxReceiveCount"];
        let receives_max = max.as_u64().or_else(|| max.as_str()?.parse().ok())?;
        Some(Redrive { queue, receives_max: u32::try_from(receives_max).ok()? })
    }

    /// The policy of a queue.
    pub fn of(queue: &resource::Queue) -> Option<Redrive> {
        Redrive::read(queue.attributes.get("RedrivePolicy")?)
    }

    /// The policy, if its dead-letter queue exists: otherwise messages stay in the queue, and are received again.
    pub fn within(registry: &Registry, queue: &resource::Queue) -> Option<Redrive> {
        Redrive::of(queue).filter(|redrive| registry.queues.contains_key(&redrive.queue))
    }
}
