//! Groups of schedules and their destinations: one node for each destination of a group, however many schedules lead
//! there.

use super::{Graph, label, missing};
use crate::topology::{Node, NodeKind, NodeState, Seen};
use fakemon_delivery::schedule_lane_kind;
use fakemon_resource::Destination;
use fakemon_schedule::destinations;
use serde_json::{Map, json};
use std::collections::BTreeMap;

/// Destinations of one group with a node of their own.
const DESTINATIONS_MAX: usize = 100;

#[derive(Default)]
struct Group {
    schedules: usize,
    disabled: usize,
    /// By the name shown to people: the destination, and how many schedules lead there.
    ends: BTreeMap<String, (Destination, usize)>,
    left_out: usize,
}

impl Graph {
    pub(super) fn schedule_groups(&mut self, seen: &Seen<'_>) {
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        for schedule in seen.registry.schedules.values() {
            let group = groups.entry(&schedule.group).or_default();
            group.schedules += 1;
            group.disabled += usize::from(!schedule.enabled);
            for (destination, arn) in destinations(&schedule.target) {
                let name = label(&destination, &arn);
                if group.ends.len() >= DESTINATIONS_MAX && !group.ends.contains_key(&name) {
                    group.left_out += 1;
                    continue;
                }
                group.ends.entry(name).or_insert((destination, 0)).1 += 1;
            }
        }
        groups.iter().for_each(|(name, group)| self.schedule_group(seen, name, group));
    }

    fn schedule_group(&mut self, seen: &Seen<'_>, name: &str, group: &Group) {
        let id = format!("schedule-group/{name}");
        let of_group = seen.schedules.iter().filter(|((of, _), _)| of == name);
        let events = of_group.map(|(_, taken)| taken).sum();
        let mut note = counted(group.schedules);
        for (count, what) in [(group.disabled, "disabled"), (group.left_out, "with other destinations")] {
            if count > 0 {
                note += &format!(", {count} {what}");
            }
        }
        let all_off = group.disabled == group.schedules;
        let mut has_missing = false;
        for (of, (destination, schedules)) in &group.ends {
            // A lane counts all destinations of its kind together.
            let kind = schedule_lane_kind(destination);
            let alone = group.ends.values().filter(|(other, _)| schedule_lane_kind(other) == kind).count() == 1;
            let taken = seen.schedules.get(&(name.to_owned(), kind)).copied().filter(|_| alone);
            let events = taken.unwrap_or_default();
            let to = match destination {
                Destination::Bus(bus) if seen.registry.buses.contains_key(bus) => format!("bus/{bus}"),
                _ => {
                    let gone = missing(seen.registry, destination);
                    has_missing |= gone.is_some();
                    let to = format!("target/{id}/{of}");
                    self.nodes.push(Node {
                        id: to.clone(),
                        kind: NodeKind::Target,
                        name: of.clone(),
                        state: if gone.is_some() { NodeState::Missing } else { NodeState::Ok },
                        events,
                        per_second: None,
                        note: [counted(*schedules)].into_iter().chain(gone).collect::<Vec<_>>().join(", "),
                        detail: Map::from_iter([("schedules".to_owned(), json!(schedules))]),
                    });
                    to
                }
            };
            self.edge(&id, to, events, None);
        }
        let detail = [("schedules", group.schedules), ("disabled", group.disabled)];
        self.nodes.push(Node {
            id,
            kind: NodeKind::ScheduleGroup,
            name: name.to_owned(),
            state: match () {
                () if has_missing => NodeState::Missing,
                () if all_off => NodeState::Disabled,
                () => NodeState::Ok,
            },
            events,
            per_second: None,
            note,
            detail: detail.map(|(name, count)| (name.to_owned(), json!(count))).into_iter().collect(),
        });
    }
}

fn counted(schedules: usize) -> String {
    format!("{schedules} {}", if schedules == 1 { "schedule" } else { "schedules" })
}
