//! Who came and who went, as events on the bus of the game: `fakemon.connected` and `fakemon.disconnected`. Each thread
//! writes its own, once per tick. A server that was killed says nothing of those who were connected: its next start
//! (`fakemon.engine_opened`) does.

use super::figures::CloseReason;

use fakemon_engine::Client;
use fakemon_engine::bus::{GAME_BUS, NewEvent};
use fakemon_engine::command::SubmitError;
use fakemon_engine::envelope::{REGION, SOURCE_CONNECTION};
use fakemon_engine::ids::Token;
use fakemon_engine::model::PlayerName;
use serde_json::json;
use std::collections::VecDeque;

/// Events that wait for the journal; who comes beyond them is not told of.
const WAITING_MAX: usize = 65_536;
/// Events that are put at once.
const PUT_MAX: usize = 500;
/// No connection has this token.
const NOBODY: Token = Token(u64::MAX);

/// What is to be told.
#[derive(Default)]
pub(crate) struct Presence {
    waiting: VecDeque<NewEvent>,
    untold: u64,
}

impl Presence {
    pub(crate) fn connected(&mut self, connection_id: &str, player: &PlayerName) {
        let detail = json!({ "connection_id": connection_id, "player": player.as_str() });
        self.tell("fakemon.connected", detail.to_string());
    }

    pub(crate) fn disconnected(&mut self, connection_id: &str, player: &PlayerName, reason: CloseReason) {
        let detail = json!({ "connection_id": connection_id, "player": player.as_str(), "reason": reason.name() });
        self.tell("fakemon.disconnected", detail.to_string());
    }

    fn tell(&mut self, detail_type: &str, detail: String) {
        if self.waiting.len() >= WAITING_MAX {
            self.untold += 1;
            return;
        }
        self.waiting.push_back(NewEvent {
            bus: GAME_BUS.into(),
            source: SOURCE_CONNECTION.into(),
            detail_type: detail_type.into(),
            detail,
            resources: Vec::new(),
            time: None,
            region: REGION.into(),
            cause: None,
            hops: 0,
        });
    }

    /// Hands over what waits; what the journal cannot take now stays.
    pub(crate) fn write(&mut self, client: &mut Client) {
        while !self.waiting.is_empty() {
            let events: Vec<NewEvent> = self.waiting.iter().take(PUT_MAX).cloned().collect();
            let count = events.len();
            match client.put(NOBODY, events) {
                Ok(()) | Err(SubmitError::TooLarge | SubmitError::Spawn(_)) => drop(self.waiting.drain(..count)),
                Err(SubmitError::Throttled(_) | SubmitError::Stopped) => return,
            }
        }
        if self.untold > 0 {
            tracing::warn!(events = self.untold, "the journal was full: not all who came and went are in it");
            self.untold = 0;
        }
    }
}
