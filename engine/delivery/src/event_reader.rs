//! Events with names: turns records into JSON.

use super::filter::{Names, Text};
use fakemon_capture::decision::record;
use fakemon_capture::player::Registry;
use fakemon_capture::world::World;
use fakemon_journal::{ReadError, Store};
use fakemon_model::envelope::{EventKey, Facet, SOURCE_ENGINE, Told, bus, kind};
use fakemon_model::event::{Event, PlayerName};
use fakemon_model::ids::{PlayerId, Position, ShardId, SpeciesId, Timestamp};
use fakemon_resource::DEFAULT_BUS;
use fakemon_resource::descent::Descent;
use parking_lot::RwLock;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Up to this distance between two wanted positions it reads on instead of seeking.
const READ_ON: u64 = 50_000;

/// The journal, as long as the engine is open.
pub struct Journal(RwLock<Option<Arc<Store>>>);

impl Journal {
    pub fn new(store: Arc<Store>) -> Arc<Journal> {
        Arc::new(Journal(RwLock::new(Some(store))))
    }

    pub fn store(&self) -> Result<Arc<Store>, ReadError> {
        let held = self.0.read().clone();
        held.ok_or_else(|| ReadError::Store("the engine is closed".into()))
    }

    /// Closes the journal.
    pub fn close(&self) {
        *self.0.write() = None;
    }
}

/// Reads events of the journal by their keys.
#[derive(Clone)]
pub struct Events {
    pub journal: Arc<Journal>,
    pub players: Arc<Registry>,
    pub world: Arc<World>,
    /// Whether the engine's own notices are shown on the bus `default`.
    pub notices: bool,
    /// What came of commands of rules and pipes.
    pub descent: Arc<Descent>,
}

impl Events {
    pub fn player(&self, player: PlayerId) -> Option<PlayerName> {
        self.players.name(player)
    }

    /// Whether all rules, pipes and archives see an event. If notices are not shown, only those see them that ask for
    /// them.
    pub fn shows(&self, event: &Event) -> bool {
        self.notices || bus(event) != DEFAULT_BUS || kind(event, Facet::Happened).0 != SOURCE_ENGINE
    }

    /// How often rules and pipes handed on what an event came of.
    pub fn hops(&self, event: &Event) -> u8 {
        self.descent.hops(event)
    }

    /// The envelope of an event as JSON.
    pub fn json(&self, told: &Told<'_>) -> String {
        let player = |id| self.players.name(id).map(PlayerText);
        told.envelope(player, |id| Some(self.world.species_name(id)).filter(|name| !name.is_empty()))
    }

    /// Visits the events of ascending keys. Events that retention deleted are left out.
    pub fn read(
        &self,
        keys: &[EventKey],
        visit: &mut dyn FnMut(EventKey, ShardId, Timestamp, &Event),
    ) -> Result<(), ReadError> {
        let store = self.journal.store()?;
        let mut left = keys;
        while let Some(first) = left.first() {
            let before = left.len();
            store.blocks(first.position(), &mut |stored| {
                let block = stored.read()?;
                let head = block.head();
                let end = head.first_position + u64::from(head.count);
                if left.first().is_some_and(|key| key.position().0 < end) {
                    block.for_each(|position, shard, event| {
                        while left.first().is_some_and(|key| key.position().0 < position) {
                            left = &left[1..];
                        }
                        if left.first().is_some_and(|key| key.position().0 == position) {
                            let event = record::event(event, record::ahead(&head));
                            while let Some(key) = left.first().filter(|key| key.position().0 == position) {
                                visit(*key, ShardId(shard), record::committed_at(&head), &event);
                                left = &left[1..];
                            }
                        }
                    });
                }
                let near = left.first().is_some_and(|key| key.position().0 < end + READ_ON);
                Ok(if near { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            if left.len() == before {
                left = &left[1..]; // retention deleted it
            }
        }
        Ok(())
    }

    /// The first position whose group was not written before a moment of the wall clock.
    pub fn first_since(&self, from: Timestamp, end: Position) -> Result<Position, ReadError> {
        self.journal.store()?.first_since(from, end)
    }

    /// The JSON of one event; none if retention deleted it.
    pub fn json_of(&self, key: EventKey, replay: Option<&str>) -> Result<Option<Arc<str>>, ReadError> {
        let mut json = None;
        self.read(&[key], &mut |key, shard, committed_at, event| {
            json = Some(self.json(&told(key, shard, committed_at, event, replay)).into());
        })?;
        Ok(json)
    }
}

impl Names for Events {
    fn player(&self, player: PlayerId) -> Option<Text<'_>> {
        self.players.name(player).map(Text::Player)
    }

    fn species(&self, species: SpeciesId) -> Option<Text<'_>> {
        Some(self.world.species_name(species)).filter(|name| !name.is_empty()).map(Text::Shared)
    }

    fn json(&self, told: &Told<'_>) -> String {
        self.json(told)
    }
}

/// An event as a bus shows it.
pub fn told<'a>(
    key: EventKey,
    shard: ShardId,
    committed_at: Timestamp,
    event: &'a Event,
    replay: Option<&'a str>,
) -> Told<'a> {
    Told { position: key.position(), facet: key.facet(), shard, committed_at, event, replay }
}

/// The keys of a record: two for an attempt, one for every other event.
pub fn keys_of(position: Position, event: &Event) -> impl Iterator<Item = EventKey> + use<> {
    let attempt = matches!(event, Event::Attempt(_)).then_some(Facet::Attempt);
    attempt.into_iter().chain([Facet::Happened]).map(move |facet| EventKey::new(position, facet))
}

struct PlayerText(PlayerName);

impl AsRef<str> for PlayerText {
    fn as_ref(&self) -> &str {
        self.0.as_str()
    }
}
