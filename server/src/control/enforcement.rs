//! Events are checked against their schemas where they come in: `PutEvents` and `POST /events`. See
//! [`Enforcement`](fakemon_engine::schema::Enforcement) for the tags of a bus that ask for it. What the game itself says is
//! right by construction, and what rules carry from bus to bus was checked where it came in.

use super::Shared;
use fakemon_engine::bus::{NewEvent, Registry};
use fakemon_engine::schema::{Enforcement, EventParts, Verdict, Violation};
use serde_json::Value;

/// Lets an event in, or says where it is not what its schema says, and why.
pub(super) fn enforce(shared: &Shared, registry: &Registry, event: &NewEvent) -> Result<(), Violation> {
    let asked = registry.buses.get(&event.bus).is_some_and(|bus| bus.tags.contains_key(Enforcement::TAG));
    if !asked {
        return Ok(());
    }
    let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
    let NewEvent { bus, source, detail_type, resources, .. } = event;
    match shared.enforcer.check(registry, bus, &EventParts { source, detail_type, detail: &detail, resources }) {
        Verdict::Fine => Ok(()),
        Verdict::Refused(violation) => Err(violation),
        Verdict::Warned(what) => {
            tracing::warn!(bus, source, detail_type, "an event is not what its schema says: {what}");
            Ok(())
        }
    }
}
