//! The journal as events, for followers in this process: durable events, in order, from any position on.

use crate::Events;
use fakemon_capture::decision::record;
use fakemon_fbs::journal::Event as Record;
use fakemon_journal::{Progress, ReadError};
use fakemon_model::envelope::{EventKey, Facet, Told, bus, kind};
use fakemon_model::event::{CaptureAttempt, Decision, Event, Outcome, PlayerName};
use fakemon_model::ids::{PlayerId, Position, ShardId, Timestamp};
use serde::Deserialize;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Reads the journal of an open engine. Cheap to clone.
#[derive(Clone)]
pub struct Tail {
    pub events: Events,
    pub progress: Arc<Progress>,
}

/// An event that was read. Of an attempt it is its outcome.
pub struct Seen<'a> {
    told: Told<'a>,
    events: &'a Events,
}

impl Tail {
    /// The first position that is not durable yet.
    pub fn end(&self) -> Position {
        self.progress.committed()
    }

    /// The oldest position in the journal.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn begin(&self) -> Result<Position, ReadError> {
        Ok(self.events.journal.store()?.first_position()?.unwrap_or(self.end()))
    }

    /// The number of players; their numbers are 1 to this.
    pub fn players(&self) -> u32 {
        self.events.players.len() as u32
    }

    /// The name of a player's number.
    pub fn player_name(&self, player: PlayerId) -> Option<PlayerName> {
        self.events.player(player)
    }

    /// The number of a player; none if the player never made an attempt.
    pub fn player_id(&self, name: &PlayerName) -> Option<PlayerId> {
        self.events.players.get(name).map(|player| player.id())
    }

    /// Visits durable records from a position on, at most `most`; returns the position to continue from.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read(&self, from: Position, most: u64, visit: &mut dyn FnMut(&Seen<'_>)) -> Result<Position, ReadError> {
        self.read_wanted(from, most, &mut |_, _| true, visit)
    }

    /// As [`read`](Self::read), but of attempts only those that `wanted` accepts by player and outcome: there are
    /// many, and skipping one costs less than visiting it.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read_wanted(
        &self,
        from: Position,
        most: u64,
        is_wanted: &mut dyn FnMut(PlayerId, Outcome) -> bool,
        visit: &mut dyn FnMut(&Seen<'_>),
    ) -> Result<Position, ReadError> {
        let end = Position(self.end().0.min(from.0.saturating_add(most)));
        let mut next = from;
        if from >= end {
            return Ok(from);
        }
        self.events.journal.store()?.follow(from, &mut |block| {
            let (committed_at, ahead) = (record::committed_at(&block.head()), record::ahead(&block.head()));
            block.for_each(|position, shard, record| {
                let position = Position(position);
                if position < next || position >= end {
                    return;
                }
                next = Position(position.0 + 1);
                if let Record::Attempt(attempt) = &record
                    && !is_wanted(PlayerId(attempt.player()), record::outcome(attempt.outcome()))
                {
                    return;
                }
                let event = record::event(record, ahead);
                let told = Told {
                    position,
                    facet: Facet::Happened,
                    shard: ShardId(shard),
                    committed_at,
                    event: &event,
                    replay: None,
                };
                visit(&Seen { told, events: &self.events });
            });
            if next < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(next)
    }
}

impl Seen<'_> {
    /// Its place in the journal.
    pub fn position(&self) -> Position {
        self.told.position
    }

    pub fn id(&self) -> String {
        EventKey::new(self.told.position, self.told.facet).id()
    }

    pub fn detail_type(&self) -> &str {
        kind(self.told.event, self.told.facet).1
    }

    /// The bus it is on.
    pub fn bus(&self) -> &str {
        bus(self.told.event)
    }

    pub fn source(&self) -> &str {
        kind(self.told.event, self.told.facet).0
    }

    /// When its group was handed to the disk.
    pub fn committed_at(&self) -> Timestamp {
        self.told.committed_at
    }

    /// For an attempt, the event that it was made: its envelope as JSON.
    pub fn attempt_json(&self) -> Option<String> {
        let attempt = Told { facet: Facet::Attempt, ..self.told };
        matches!(self.told.event, Event::Attempt(_)).then(|| self.events.json(&attempt))
    }

    /// The envelope as JSON.
    pub fn json(&self) -> String {
        self.events.json(&self.told)
    }

    /// For an attempt, the player and the decision.
    #[inline]
    pub fn attempt(&self) -> Option<(PlayerId, Decision)> {
        let Event::Attempt(decided) = self.told.event else { return None };
        let CaptureAttempt { player, attempt_id, fakemon_id, .. } = decided.attempt;
        Some((player, Decision { attempt_id, fakemon_id, outcome: decided.outcome, position: self.told.position }))
    }

    /// The player that it is about.
    pub fn player(&self) -> Option<PlayerName> {
        #[derive(Deserialize)]
        struct Detail {
            player: String,
        }
        match self.told.event {
            Event::Attempt(attempt) => self.events.player(attempt.player),
            Event::PlayerNamed { name, .. } => PlayerName::new(name).ok(),
            Event::Put(put) if put.detail.contains("\"player\"") => {
                let detail = serde_json::from_str::<Detail>(&put.detail).ok()?;
                PlayerName::new(&detail.player).ok()
            }
            _ => None,
        }
    }
}
