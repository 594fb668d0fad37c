//! Which answer webhooks get the results of which players. Looked up by the player's number, so that with a million
//! webhooks an event costs no more than with one. Each webhook has a lane of its own, which does not belong to a
//! rule.

use super::lane::{Arrival, Lane, LaneId};
use crate::event_reader::Events;
use crate::lane::subscriber::Subscriber;
use fakemon_model::envelope::{COMMAND_REFUSED, EventKey, Facet, SOURCE_CAPTURE};
use fakemon_model::event::{Event, PlayerName, Put};
use fakemon_model::ids::{PlayerId, Position, Timestamp};
use fakemon_resource::inbound::AnswerWebhook;
use hashbrown::HashMap;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lanes of each player, and what they get in this turn.
#[derive(Default)]
pub(crate) struct Answers {
    by_player: HashMap<PlayerId, Vec<Arc<Lane>>>,
    /// Lanes of players who have no number yet.
    by_name: HashMap<String, Vec<Arc<Lane>>>,
    /// The players of each webhook, by name.
    players: HashMap<String, Vec<String>>,
    gathered: BTreeMap<LaneId, (Arc<Lane>, Vec<Arrival>)>,
}

impl Answers {
    /// Makes a webhook get the results of its players, and of no others.
    pub(crate) fn list(&mut self, webhook: &AnswerWebhook, lane: &Arc<Lane>, events: &Events) {
        self.forget(&webhook.name, events);
        for name in &webhook.players {
            let lanes = match number(name, events) {
                Some(player) => self.by_player.entry(player).or_default(),
                None => self.by_name.entry(name.clone()).or_default(),
            };
            lanes.push(lane.clone());
        }
        self.players.insert(webhook.name.clone(), webhook.players.clone());
    }

    /// Stops results for a webhook.
    pub(crate) fn forget(&mut self, webhook: &str, events: &Events) {
        let id = LaneId::live(Subscriber::Answers(webhook.to_owned()));
        self.gathered.remove(&id);
        for name in self.players.remove(webhook).unwrap_or_default() {
            if let Some(player) = number(&name, events) {
                remove(&mut self.by_player, &player, &id);
            }
            remove(&mut self.by_name, &name, &id);
        }
    }

    /// Gathers an event for the webhooks of its player.
    #[inline]
    pub(crate) fn event(&mut self, position: Position, at: Timestamp, event: &Event, events: &Events) {
        if self.players.is_empty() {
            return;
        }
        match event {
            Event::Attempt(attempt) => {
                if let Some(lanes) = self.by_player.get(&attempt.player) {
                    gather(&mut self.gathered, lanes, position, at);
                }
            }
            Event::PlayerNamed { player, name } => {
                if let Some(lanes) = self.by_name.remove(name.as_str()) {
                    self.by_player.entry(*player).or_default().extend(lanes);
                }
            }
            Event::Put(put) if is_refusal(put) => {
                let Some(name) = refused_player(put) else { return };
                let lanes = number(&name, events).and_then(|player| self.by_player.get(&player));
                if let Some(lanes) = lanes.or_else(|| self.by_name.get(&name)) {
                    gather(&mut self.gathered, lanes, position, at);
                }
            }
            _ => {}
        }
    }

    /// Takes what was gathered since the last call.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Arc<Lane>, Vec<Arrival>)> + use<> {
        std::mem::take(&mut self.gathered).into_values()
    }
}

fn gather(
    gathered: &mut BTreeMap<LaneId, (Arc<Lane>, Vec<Arrival>)>,
    lanes: &[Arc<Lane>],
    position: Position,
    at: Timestamp,
) {
    for lane in lanes {
        let arrival = Arrival { key: EventKey::new(position, Facet::Happened), json: None, at };
        match gathered.get_mut(lane.id()) {
            Some((_, arrivals)) => arrivals.push(arrival),
            None => drop(gathered.insert(lane.id().clone(), (lane.clone(), vec![arrival]))),
        }
    }
}

fn remove<K: Eq + std::hash::Hash>(lanes: &mut HashMap<K, Vec<Arc<Lane>>>, key: &K, gone: &LaneId) {
    let Some(held) = lanes.get_mut(key) else { return };
    held.retain(|lane| lane.id() != gone);
    if held.is_empty() {
        lanes.remove(key);
    }
}

fn number(name: &str, events: &Events) -> Option<PlayerId> {
    events.players.get(&PlayerName::new(name).ok()?).map(|player| player.id())
}

fn is_refusal(put: &Put) -> bool {
    put.detail_type == COMMAND_REFUSED && put.source == SOURCE_CAPTURE
}

fn refused_player(put: &Put) -> Option<String> {
    #[derive(Deserialize)]
    struct Refused {
        player: Option<String>,
    }
    serde_json::from_str::<Refused>(&put.detail).ok()?.player
}
