//! Blocks of the journal: written from drafts, read back as events in their order.

use crate::Malformed;
use crate::generated::journal::fakemon::journal as wire;
pub use crate::generated::journal::fakemon::journal::{Appeared, Attempt, Kind, Outcome, Vanished};
use flatbuffers::{FlatBufferBuilder, WIPOffset};

/// A player's name gets its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayerNamed {
    /// The number.
    pub player: u32,
    /// The name, 1 to 64 bytes.
    pub name: String,
}

/// A species' name gets its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeciesNamed {
    /// The number.
    pub species: u16,
    /// The name.
    pub name: String,
}

/// The engine opened the journal, with these settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Decides dodge rolls.
    pub world_seed: u64,
    /// How far an attempt reaches, in millimetres.
    pub reach_mm: u32,
    /// How many shards decided.
    pub cores: u16,
    /// False: answers were given before the sync.
    pub durable: bool,
}

/// Somebody put an event on a bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// When it was accepted, in nanoseconds since 1970.
    pub at_ns: u64,
    /// When it happened, as the sender says.
    pub time_ns: u64,
    /// Name of the bus.
    pub bus: String,
    /// Who says it.
    pub source: String,
    /// What kind of event it is.
    pub detail_type: String,
    /// A JSON object.
    pub detail: String,
    /// ARNs of what it is about.
    pub resources: Vec<String>,
    /// The region of the request.
    pub region: String,
    /// The position of the event that a rule made this one from; 0: none.
    pub cause: u64,
    /// How often rules handed it from bus to bus.
    pub hops: u8,
    /// The key of the schedule whose due time `time_ns` is.
    pub schedule: Option<String>,
    /// The delivery of `cause` that this is.
    pub by: Option<String>,
    /// The key of the event that rules handed on to here; 0: it is none of those.
    pub origin: u64,
    /// The header of the trace that it belongs to.
    pub trace: Option<String>,
}

/// A resource of the bus changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Which.
    pub key: String,
    /// How it is from now on, as JSON; none: it is gone.
    pub value: Option<String>,
}

/// One event, borrowed from a block where it is of fixed size.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// An attempt and its outcome.
    Attempt(&'a Attempt),
    /// A fakémon appeared.
    Appeared(&'a Appeared),
    /// A fakémon vanished.
    Vanished(&'a Vanished),
    /// A player got a number.
    PlayerNamed(PlayerNamed),
    /// A species got a number.
    SpeciesNamed(SpeciesNamed),
    /// The engine opened the journal.
    Opened(Opened),
    /// Somebody put an event on a bus.
    Put(Put),
    /// A resource of the bus changed.
    Changed(Changed),
}

/// Events of one shard's turn, in order, ready to be written.
#[derive(Default)]
pub struct SectionDraft {
    /// Who decided them.
    pub shard: u16,
    kinds: Vec<Kind>,
    attempts: Vec<Attempt>,
    appeared: Vec<Appeared>,
    vanished: Vec<Vanished>,
    players_named: Vec<PlayerNamed>,
    species_named: Vec<SpeciesNamed>,
    opened: Vec<Opened>,
    put: Vec<Put>,
    changed: Vec<Changed>,
    text_bytes: usize,
}

impl SectionDraft {
    /// An empty section with room for `attempts`.
    pub fn new(shard: u16, attempts: usize) -> Self {
        SectionDraft { shard, attempts: Vec::with_capacity(attempts), ..Default::default() }
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        if self.kinds.is_empty() { self.attempts.len() } else { self.kinds.len() }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends an attempt.
    #[inline]
    pub fn push_attempt(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        if !self.kinds.is_empty() {
            self.kinds.push(Kind::Attempt);
        }
    }

    /// Appends an appearance.
    pub fn push_appeared(&mut self, appeared: Appeared) {
        self.push_kind(Kind::Appeared);
        self.appeared.push(appeared);
    }

    /// Appends a vanishing.
    pub fn push_vanished(&mut self, vanished: Vanished) {
        self.push_kind(Kind::Vanished);
        self.vanished.push(vanished);
    }

    /// Appends a player's name.
    pub fn push_player_named(&mut self, named: PlayerNamed) {
        self.push_kind(Kind::PlayerNamed);
        self.players_named.push(named);
    }

    /// Appends a species' name.
    pub fn push_species_named(&mut self, named: SpeciesNamed) {
        self.push_kind(Kind::SpeciesNamed);
        self.species_named.push(named);
    }

    /// Appends an opening.
    pub fn push_opened(&mut self, opened: Opened) {
        self.push_kind(Kind::Opened);
        self.opened.push(opened);
    }

    /// Appends an event that somebody put on a bus.
    pub fn push_put(&mut self, put: Put) {
        self.push_kind(Kind::Put);
        self.text_bytes += put.detail.len() + put.resources.iter().map(String::len).sum::<usize>();
        self.put.push(put);
    }

    /// Appends a change of a resource.
    pub fn push_changed(&mut self, changed: Changed) {
        self.push_kind(Kind::Changed);
        self.text_bytes += changed.value.as_ref().map_or(0, String::len);
        self.changed.push(changed);
    }

    /// Bytes of events that have no fixed size, about.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// The first event that is not an attempt makes the order explicit.
    fn push_kind(&mut self, kind: Kind) {
        if self.kinds.is_empty() {
            self.kinds.resize(self.attempts.len(), Kind::Attempt);
        }
        self.kinds.push(kind);
    }
}

/// What stands at the head of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHead {
    /// Position of the first event.
    pub first_position: u64,
    /// Events in the block.
    pub count: u32,
    /// When the group was handed to the disk, by the engine's time.
    pub committed_ns: u64,
    /// How long the group before took to become durable.
    pub previous_sync_ns: u32,
    /// Hash of the whole world after this block.
    pub state_hash: u64,
    /// How far the times of this block are ahead of the wall clock, in nanoseconds; negative: behind.
    pub ahead_ns: i64,
    /// First position of the first block that is as far ahead, without another between; 0: the first of all.
    pub ahead_since: u64,
}

/// Writes blocks, one after the other, into one buffer that is kept.
#[derive(Default)]
pub struct BlockWriter {
    builder: FlatBufferBuilder<'static>,
}

impl BlockWriter {
    /// The bytes of a block of these sections.
    pub fn write(&mut self, head: BlockHead, sections: &[SectionDraft]) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let sections: Vec<_> = sections.iter().map(|section| write_section(fbb, section)).collect();
        let sections = fbb.create_vector(&sections);
        let block = wire::Block::create(
            fbb,
            &wire::BlockArgs {
                first_position: head.first_position,
                count: head.count,
                committed_ns: head.committed_ns,
                previous_sync_ns: head.previous_sync_ns,
                state_hash: head.state_hash,
                sections: Some(sections),
                ahead_ns: head.ahead_ns,
                ahead_since: head.ahead_since,
            },
        );
        fbb.finish_minimal(block);
        fbb.finished_data()
    }
}

fn write_section(fbb: &mut FlatBufferBuilder<'static>, section: &SectionDraft) -> WIPOffset<wire::Section<'static>> {
    let players_named = (!section.players_named.is_empty()).then(|| {
        let rows: Vec<_> = section
            .players_named
            .iter()
            .map(|named| {
                let name = fbb.create_string(&named.name);
                wire::PlayerNamed::create(fbb, &wire::PlayerNamedArgs { player: named.player, name: Some(name) })
            })
            .collect();
        fbb.create_vector(&rows)
    });
    let species_named = (!section.species_named.is_empty()).then(|| {
        let rows: Vec<_> = section
            .species_named
            .iter()
            .map(|named| {
                let name = fbb.create_string(&named.name);
                wire::SpeciesNamed::create(fbb, &wire::SpeciesNamedArgs { species: named.species, name: Some(name) })
            })
            .collect();
        fbb.create_vector(&rows)
    });
    let opened = (!section.opened.is_empty()).then(|| {
        let rows: Vec<_> = section
            .opened
            .iter()
            .map(|opened| {
                let Opened { at_ns, world_seed, reach_mm, cores, durable } = *opened;
                wire::Opened::create(fbb, &wire::OpenedArgs { at_ns, world_seed, reach_mm, cores, durable })
            })
            .collect();
        fbb.create_vector(&rows)
    });
    let put = (!section.put.is_empty()).then(|| {
        let rows: Vec<_> = section.put.iter().map(|put| write_put(fbb, put)).collect();
        fbb.create_vector(&rows)
    });
    let changed = (!section.changed.is_empty()).then(|| {
        let rows: Vec<_> = section
            .changed
            .iter()
            .map(|changed| {
                let key = fbb.create_string(&changed.key);
                let value = changed.value.as_ref().map(|value| fbb.create_string(value));
                let at_ns = changed.at_ns;
                wire::Changed::create(fbb, &wire::ChangedArgs { at_ns, key: Some(key), value })
            })
            .collect();
        fbb.create_vector(&rows)
    });
    let vanished = (!section.vanished.is_empty()).then(|| fbb.create_vector(&section.vanished));
    let appeared = (!section.appeared.is_empty()).then(|| fbb.create_vector(&section.appeared));
    let attempts = (!section.attempts.is_empty()).then(|| fbb.create_vector(&section.attempts));
    let kinds = (!section.kinds.is_empty()).then(|| fbb.create_vector(&section.kinds));
    wire::Section::create(
        fbb,
        &wire::SectionArgs {
            shard: section.shard,
            kinds,
            attempts,
            appeared,
            vanished,
            players_named,
            species_named,
            opened,
            put,
            changed,
        },
    )
}

fn write_put(fbb: &mut FlatBufferBuilder<'static>, put: &Put) -> WIPOffset<wire::Put<'static>> {
    let resources = (!put.resources.is_empty()).then(|| {
        let resources: Vec<_> = put.resources.iter().map(|resource| fbb.create_string(resource)).collect();
        fbb.create_vector(&resources)
    });
    let args = wire::PutArgs {
        at_ns: put.at_ns,
        time_ns: put.time_ns,
        bus: Some(fbb.create_string(&put.bus)),
        source: Some(fbb.create_string(&put.source)),
        detail_type: Some(fbb.create_string(&put.detail_type)),
        detail: Some(fbb.create_string(&put.detail)),
        resources,
        region: Some(fbb.create_string(&put.region)),
        cause: put.cause,
        hops: put.hops,
        schedule: put.schedule.as_ref().map(|schedule| fbb.create_string(schedule)),
        by: put.by.as_ref().map(|by| fbb.create_string(by)),
        origin: put.origin,
        trace: put.trace.as_ref().map(|trace| fbb.create_string(trace)),
    };
    wire::Put::create(fbb, &args)
}

/// A verified block.
#[derive(Clone, Copy)]
pub struct BlockReader<'a> {
    block: wire::Block<'a>,
    head: BlockHead,
}

impl<'a> BlockReader<'a> {
    /// Verifies the bytes: structure, order, counts.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let options = flatbuffers::VerifierOptions { max_tables: 4_000_000, ..Default::default() };
        let block = wire::root_as_block_with_opts(&options, bytes)?;
        let head = BlockHead {
            first_position: block.first_position(),
            count: block.count(),
            committed_ns: block.committed_ns(),
            previous_sync_ns: block.previous_sync_ns(),
            state_hash: block.state_hash(),
            ahead_ns: block.ahead_ns(),
            ahead_since: block.ahead_since(),
        };
        let mut count = 0;
        for section in block.sections() {
            count += verify_section(&section)?;
        }
        if count != head.count as usize {
            return Err(Malformed::Value("the block does not hold as many events as its head says"));
        }
        if head.first_position.checked_add(u64::from(head.count)).is_none() {
            return Err(Malformed::Value("the positions of the block overflow"));
        }
        Ok(BlockReader { block, head })
    }

    /// What stands at its head.
    pub fn head(&self) -> BlockHead {
        self.head
    }

    /// The shard of each section, and how many events it holds, in order.
    pub fn sections(&self) -> impl Iterator<Item = (u16, usize)> + use<'a> {
        self.block.sections().into_iter().map(|section| {
            let attempts = section.attempts().map_or(0, |attempts| attempts.len());
            (section.shard(), section.kinds().map_or(attempts, |kinds| kinds.len()))
        })
    }

    /// Calls `visit` with the position, the shard and each event, in order.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(u64, u16, Event<'a>)) {
        let mut position = self.head.first_position;
        for section in self.block.sections() {
            let shard = section.shard();
            let Some(kinds) = section.kinds() else {
                for attempt in structs(section.attempts()) {
                    visit(position, shard, Event::Attempt(attempt));
                    position += 1;
                }
                continue;
            };
            let mut events = SectionEvents::new(&section);
            for kind in kinds.bytes() {
                visit(position, shard, events.next(Kind(*kind)));
                position += 1;
            }
        }
    }
}

/// The vectors of a section, each with a place of its own.
struct SectionEvents<'a> {
    attempts: std::slice::Iter<'a, Attempt>,
    appeared: std::slice::Iter<'a, Appeared>,
    vanished: std::slice::Iter<'a, Vanished>,
    players_named: Box<dyn Iterator<Item = wire::PlayerNamed<'a>> + 'a>,
    species_named: Box<dyn Iterator<Item = wire::SpeciesNamed<'a>> + 'a>,
    opened: Box<dyn Iterator<Item = wire::Opened<'a>> + 'a>,
    put: Box<dyn Iterator<Item = wire::Put<'a>> + 'a>,
    changed: Box<dyn Iterator<Item = wire::Changed<'a>> + 'a>,
}

impl<'a> SectionEvents<'a> {
    fn new(section: &wire::Section<'a>) -> Self {
        SectionEvents {
            attempts: structs(section.attempts()).iter(),
            appeared: structs(section.appeared()).iter(),
            vanished: structs(section.vanished()).iter(),
            players_named: Box::new(section.players_named().into_iter().flatten()),
            species_named: Box::new(section.species_named().into_iter().flatten()),
            opened: Box::new(section.opened().into_iter().flatten()),
            put: Box::new(section.put().into_iter().flatten()),
            changed: Box::new(section.changed().into_iter().flatten()),
        }
    }

    fn next(&mut self, kind: Kind) -> Event<'a> {
        let held = "the block was verified: a kind for each event";
        match kind {
            Kind::Attempt => Event::Attempt(self.attempts.next().expect(held)),
            Kind::Appeared => Event::Appeared(self.appeared.next().expect(held)),
            Kind::Vanished => Event::Vanished(self.vanished.next().expect(held)),
            Kind::PlayerNamed => {
                let named = self.players_named.next().expect(held);
                Event::PlayerNamed(PlayerNamed { player: named.player(), name: named.name().to_owned() })
            }
            Kind::SpeciesNamed => {
                let named = self.species_named.next().expect(held);
                Event::SpeciesNamed(SpeciesNamed { species: named.species(), name: named.name().to_owned() })
            }
            Kind::Opened => {
                let opened = self.opened.next().expect(held);
                Event::Opened(Opened {
                    at_ns: opened.at_ns(),
                    world_seed: opened.world_seed(),
                    reach_mm: opened.reach_mm(),
                    cores: opened.cores(),
                    durable: opened.durable(),
                })
            }
            Kind::Put => Event::Put(read_put(&self.put.next().expect(held))),
            Kind::Changed => {
                let changed = self.changed.next().expect(held);
                let (key, value) = (changed.key().to_owned(), changed.value().map(str::to_owned));
                Event::Changed(Changed { at_ns: changed.at_ns(), key, value })
            }
            _ => unreachable!("the block was verified: known kinds only"),
        }
    }
}

fn read_put(put: &wire::Put<'_>) -> Put {
    Put {
        at_ns: put.at_ns(),
        time_ns: put.time_ns(),
        bus: put.bus().to_owned(),
        source: put.source().to_owned(),
        detail_type: put.detail_type().to_owned(),
        detail: put.detail().to_owned(),
        resources: put.resources().into_iter().flatten().map(str::to_owned).collect(),
        region: put.region().to_owned(),
        cause: put.cause(),
        hops: put.hops(),
        schedule: put.schedule().map(str::to_owned),
        by: put.by().map(str::to_owned),
        origin: put.origin(),
        trace: put.trace().map(str::to_owned),
    }
}

/// Counts the events of a section and checks that its vectors agree with its order.
fn verify_section(section: &wire::Section<'_>) -> Result<usize, Malformed> {
    let lengths = [
        section.attempts().map_or(0, |v| v.len()),
        section.appeared().map_or(0, |v| v.len()),
        section.vanished().map_or(0, |v| v.len()),
        section.players_named().map_or(0, |v| v.len()),
        section.species_named().map_or(0, |v| v.len()),
        section.opened().map_or(0, |v| v.len()),
        section.put().map_or(0, |v| v.len()),
        section.changed().map_or(0, |v| v.len()),
    ];
    if let Some(attempts) = section.attempts()
        && structs(Some(attempts)).iter().any(|attempt| attempt.outcome() > Outcome::UnknownFakemon)
    {
        return Err(Malformed::Value("an attempt has an outcome that this version does not know"));
    }
    let Some(kinds) = section.kinds() else {
        return match lengths[1..].iter().all(|length| *length == 0) {
            true => Ok(lengths[0]),
            false => Err(Malformed::Value("a section without an order holds more than attempts")),
        };
    };
    let mut counts = [0usize; 8];
    for kind in kinds.bytes() {
        let count = counts.get_mut(usize::from(*kind));
        *count.ok_or(Malformed::Value("an event is of a kind that this version does not know"))? += 1;
    }
    match counts == lengths {
        true => Ok(kinds.len()),
        false => Err(Malformed::Value("the order of a section does not agree with its events")),
    }
}

/// A vector of structs as a slice.
fn structs<'a, T>(vector: Option<flatbuffers::Vector<'a, T>>) -> &'a [T] {
    let Some(vector) = vector else { return &[] };
    const { assert!(align_of::<T>() == 1) };
    assert_eq!(vector.bytes().len(), vector.len() * size_of::<T>());
    // SAFETY: generated structs are `repr(transparent)` over a byte array: alignment 1, every bit pattern valid; the
    // vector was verified to hold `len` of them, and the assertion above says so again.
    unsafe { std::slice::from_raw_parts(vector.bytes().as_ptr().cast::<T>(), vector.len()) }
}
