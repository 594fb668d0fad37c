//! Counts of a journal: all of its events, and which of them the present rules match.

use super::Progress;
use crate::archive::{Archive, Recorded};
use fakemon_delivery::{BusTraffic, Filter, Patterns, Tally, keys_of, lane_of_firing, told};
use fakemon_journal::ReadError;
use fakemon_model::envelope::bus;
use fakemon_model::event::Event;
use fakemon_model::ids::Timestamp;
use fakemon_resource::Registry;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Events between two calls of `progress`.
const TELL_EVERY: u64 = 1 << 16;

/// What was counted.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) traffic: BTreeMap<String, BusTraffic>,
    /// Events of schedules, by group and kind of destination.
    pub(super) fired: BTreeMap<(String, String), u64>,
    /// When the first event happened.
    pub(super) since: Timestamp,
    /// When the last event happened.
    pub(super) until: Timestamp,
}

struct OfBus {
    filter: Filter,
    tally: Tally,
}

/// Reads the whole journal. Events of buses that no longer exist are left out.
pub(super) fn count(archive: &Archive, registry: &Registry, progress: Progress<'_>) -> Result<Counted, ReadError> {
    let mut patterns = Patterns::default();
    let of_bus = |name: &String| {
        let filter = Filter::new(registry.rules_of(name), &mut patterns);
        (name.clone(), OfBus { filter, tally: Tally::default() })
    };
    let mut buses: HashMap<String, OfBus> = registry.buses.keys().map(of_bus).collect();
    let mut counted = Counted::default();
    archive.for_each(archive.first_position(), &mut |recorded| {
        if counted.since == Timestamp(0) {
            counted.since = recorded.committed_at;
        }
        counted.until = recorded.committed_at;
        if let Event::Put(put) = &recorded.event
            && put.bus.is_empty()
            && let Some(lane) = put.schedule.as_deref().and_then(|key| lane_of_firing(key, &put.detail))
        {
            *counted.fired.entry(lane).or_default() += 1;
        }
        if let Some(of_bus) = buses.get_mut(bus(&recorded.event)) {
            of_bus.count(archive, recorded);
        }
        if recorded.position.0 % TELL_EVERY == 0 {
            progress(recorded.position, archive.end_position());
            hand_over(&mut buses, &mut counted);
        }
        ControlFlow::Continue(())
    })?;
    hand_over(&mut buses, &mut counted);
    Ok(counted)
}

fn hand_over(buses: &mut HashMap<String, OfBus>, counted: &mut Counted) {
    for (name, of_bus) in buses {
        let traffic = counted.traffic.entry(name.clone()).or_default();
        of_bus.tally.hand_over(&of_bus.filter.rules, traffic, counted.until);
    }
}

impl OfBus {
    fn count(&mut self, archive: &Archive, recorded: &Recorded) {
        let Recorded { position, shard, committed_at, event } = recorded;
        for key in keys_of(*position, event) {
            if self.filter.is_empty() {
                self.tally.count(event, key.facet(), &[], *committed_at);
                continue;
            }
            let told = told(key, *shard, *committed_at, event, None);
            let matched = self.filter.matches(&told, archive, &mut None);
            self.tally.count(event, key.facet(), matched, *committed_at);
        }
    }
}
