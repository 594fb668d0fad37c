//! The redrive policy of a queue: where messages go that were received too often.

use super::message::Redrive;
use fakemon_resource::{Destination, Registry, resource};

impl Redrive {
    /// What a policy says, if it says it well.
    pub fn read(policy: &str) -> Option<Redrive> {
        let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
        let Destination::Queue(queue) = Destination::of(policy["deadLetterTargetArn"].as_str()?) else { return None };
        let max = &policy["maxReceiveCount"];
        let receives_max = max.as_u64().or_else(|| max.as_str()?.parse().ok())?;
        Some(Redrive { queue, receives_max: u32::try_from(receives_max).ok()? })
    }

    /// What a queue's policy says.
    pub fn of(queue: &resource::Queue) -> Option<Redrive> {
        Redrive::read(queue.attributes.get("RedrivePolicy")?)
    }

    /// The same while there is such a dead-letter queue: without it messages stay where they are, and come again.
    pub fn within(registry: &Registry, queue: &resource::Queue) -> Option<Redrive> {
        Redrive::of(queue).filter(|redrive| registry.queues.contains_key(&redrive.queue))
    }
}
