//! The index: at which positions the journal has events of a fakémon, of a player, of a cause, of openings and of
//! changes of resources. It is made from the journal by a thread that reads every block anyway, late and in segments;
//! positions that are not indexed yet are read from the journal itself, so answers are complete with a young index,
//! an old one, or none.
//!
//! A posting is a position under a subject. Within a segment (about 65,536 events) subjects are spread over 256
//! buckets of each kind; a bucket is one value:
//!
//! ```text
//! subject − subject before, count, position − first, gaps …     (varints; subjects ascend, positions ascend)
//! ```
//!
//! So writing costs one row for hundreds of events, and a look-up reads one short row per segment, all neighbours.

use crate::copy::unfinished::Unfinished;
use crate::error::{Directory, OpenError};
use crate::store::DirectoryLock;
use crate::{IndexStore, ReadError, Store, damaged_index};
use fakemon_fbs::journal::{BlockReader, Event, Outcome};
use fakemon_model::ids::{FakemonId, PlayerId, Position, mix};
use fakemon_model::varint;
use std::ops::ControlFlow;
use std::path::Path;

/// A segment is written after this many events, at the end of a block.
const SEGMENT_EVENTS: u64 = 65_536;

/// What positions are looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Events of a fakémon: it appeared, players made attempts at it, it vanished.
    Fakemon(FakemonId),
    /// The one or two events that decide its fate: it appeared; it was captured, or vanished.
    Fate(FakemonId),
    /// Events of a player: the name got its number, and every attempt.
    Player(PlayerId),
    /// Events that rules put on another bus because of this one.
    Cause(Position),
    /// The engine opened the journal: the settings that decide from there on.
    Openings,
    /// Resources of the bus changed.
    Changes,
}

/// All kinds of subjects.
const KINDS: [u8; 6] = [0, 1, 2, 3, 4, 5];

impl Subject {
    fn kind(self) -> u8 {
        match self {
            Subject::Fakemon(_) => 0,
            Subject::Player(_) => 1,
            Subject::Cause(_) => 2,
            Subject::Changes => 3,
            Subject::Fate(_) => 4,
            Subject::Openings => 5,
        }
    }

    fn number(self) -> u64 {
        match self {
            Subject::Fakemon(fakemon) | Subject::Fate(fakemon) => fakemon.0,
            Subject::Player(player) => player.0.into(),
            Subject::Cause(position) => position.0,
            Subject::Openings | Subject::Changes => 0,
        }
    }

    fn bucket(self) -> u8 {
        (mix(self.number()) >> 56) as u8
    }

    /// The subjects of an event.
    pub fn of(event: &Event<'_>, visit: &mut dyn FnMut(Subject)) {
        let decides = |fakemon: u64, visit: &mut dyn FnMut(Subject)| {
            visit(Subject::Fakemon(FakemonId(fakemon)));
            visit(Subject::Fate(FakemonId(fakemon)));
        };
        match event {
            Event::Attempt(attempt) => {
                match attempt.outcome() {
                    Outcome::Captured => decides(attempt.fakemon_id(), visit),
                    _ => visit(Subject::Fakemon(FakemonId(attempt.fakemon_id()))),
                }
                visit(Subject::Player(PlayerId(attempt.player())));
            }
            Event::Appeared(appeared) => decides(appeared.fakemon_id(), visit),
            Event::Vanished(vanished) => decides(vanished.fakemon_id(), visit),
            Event::PlayerNamed(named) => visit(Subject::Player(PlayerId(named.player))),
            Event::Put(put) if put.cause != 0 => visit(Subject::Cause(Position(put.cause))),
            Event::Opened(_) => visit(Subject::Openings),
            Event::Changed(_) => visit(Subject::Changes),
            Event::Put(_) | Event::SpeciesNamed(_) => {}
        }
    }
}

/// Gathers postings of neighbouring blocks until a segment is full.
#[derive(Default)]
pub struct Segment {
    first: Position,
    end: Position,
    /// kind, bucket, subject and place in the segment, from the highest bits to the lowest, so that sorting the
    /// numbers sorts by all of them.
    postings: Vec<u128>,
    /// The same postings, grouped by bucket; only while a segment is written.
    dealt: Vec<u128>,
}

impl Segment {
    /// A segment that begins where the index ends.
    pub fn after(store: &IndexStore) -> Result<Segment, ReadError> {
        let end = store.segments()?.last().map_or(Position(0), |(_, end)| *end);
        Ok(Segment { first: end, end, ..Segment::default() })
    }

    /// Adds the next block, unless it is indexed already; writes the segment if it is full. A block that does not
    /// follow the last one begins a new segment.
    pub fn take_in(&mut self, block: &BlockReader<'_>, store: &IndexStore) -> Result<(), ReadError> {
        let head = block.head();
        if head.first_position < self.end.0 {
            return Ok(());
        }
        if head.first_position > self.end.0 {
            self.write(store)?;
            self.first = Position(head.first_position);
        }
        let (first, postings) = (self.first.0, &mut self.postings);
        block.for_each(|position, _, event| {
            Subject::of(&event, &mut |subject| {
                let bucket = u128::from(subject.kind()) << 8 | u128::from(subject.bucket());
                postings.push(bucket << 96 | u128::from(subject.number()) << 32 | u128::from(position - first));
            });
        });
        self.end = Position(head.first_position + u64::from(head.count));
        if self.end.0 - self.first.0 >= SEGMENT_EVENTS { self.write(store) } else { Ok(()) }
    }

    /// Writes the gathered postings, and begins the next segment.
    pub fn write(&mut self, store: &IndexStore) -> Result<(), ReadError> {
        if self.end > self.first {
            deal(&self.postings, &mut self.dealt);
            self.dealt.chunk_by_mut(|one, other| one >> 96 == other >> 96).for_each(<[u128]>::sort_unstable);
            let buckets = self.dealt.chunk_by(|one, other| one >> 96 == other >> 96);
            store.write(self.first, self.end, buckets.map(encoded))?;
            self.postings.clear();
            self.first = self.end;
        }
        Ok(())
    }
}

/// Groups postings by bucket, keeping their order: many short lists are sorted faster than one long one.
fn deal(postings: &[u128], dealt: &mut Vec<u128>) {
    let bucket = |posting: &u128| (posting >> 96) as usize;
    let mut places = [0; KINDS.len() << 8];
    postings.iter().for_each(|posting| places[bucket(posting)] += 1);
    let mut place = 0;
    for count in &mut places {
        place += std::mem::replace(count, place);
    }
    dealt.clear();
    dealt.resize(postings.len(), 0);
    for posting in postings {
        let place = &mut places[bucket(posting)];
        dealt[*place] = *posting;
        *place += 1;
    }
}

/// The postings of one bucket, sorted, as kind, bucket and bytes.
fn encoded(postings: &[u128]) -> (u8, u8, Vec<u8>) {
    let (kind, bucket) = ((postings[0] >> 104) as u8, (postings[0] >> 96) as u8);
    let mut bytes = Vec::with_capacity(postings.len() * 4);
    let mut before = 0;
    let subject = |posting: &u128| (posting >> 32) as u64;
    for group in postings.chunk_by(|one, other| subject(one) == subject(other)) {
        varint::put(&mut bytes, subject(&group[0]) - before);
        varint::put(&mut bytes, group.len() as u64);
        before = subject(&group[0]);
        let mut place = 0;
        for posting in group {
            let next = u64::from(*posting as u32);
            varint::put(&mut bytes, next - place);
            place = next;
        }
    }
    (kind, bucket, bytes)
}

/// The places of a subject in the bytes of its bucket; none if they are damaged.
fn decoded(mut bytes: &[u8], number: u64) -> Option<Vec<u64>> {
    let (mut subject, mut places) = (0u64, Vec::new());
    while !bytes.is_empty() {
        subject = subject.checked_add(varint::take(&mut bytes)?)?;
        let count = varint::take(&mut bytes)?;
        if subject > number {
            break;
        }
        let mut place = 0u64;
        for _ in 0..count {
            place = place.checked_add(varint::take(&mut bytes)?)?;
            if subject == number {
                places.push(place);
            }
        }
    }
    Some(places)
}

/// The index of a data directory, for look-ups.
pub struct Index {
    store: IndexStore,
    segments: Vec<(Position, Position)>,
}

impl Index {
    pub fn new(store: IndexStore) -> Result<Index, ReadError> {
        let segments = store.segments()?;
        Ok(Index { store, segments })
    }

    /// Visits, in order, the known positions of a subject between `from` and `to` (not included), until the visitor
    /// breaks.
    pub fn look_up(
        &self,
        subject: Subject,
        from: Position,
        to: Position,
        visit: &mut dyn FnMut(Found) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<(), ReadError> {
        let touched = |(first, end): &&(Position, Position)| *end > from && *first < to;
        let segments: Vec<_> = self.segments.iter().filter(touched).copied().collect();
        let mut unknown = gaps(&segments, from, to).into_iter().peekable();
        let (mut broken, mut told, mut failed) = (false, from, None);
        let mut visit = |found| match visit(found) {
            Ok(flow) => flow,
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        };
        if let Some((begin, _)) = segments.first() {
            let read = self.store.postings(subject.kind(), subject.bucket(), *begin, &mut |first, bytes| {
                while let Some((from, to)) = unknown.next_if(|(from, _)| *from < first) {
                    broken |= visit(Found::Unknown(from, to)).is_break();
                    told = to;
                }
                if first >= to || broken {
                    return Ok(ControlFlow::Break(()));
                }
                let damaged = || damaged_index(&format!("postings at position {first} cannot be read"));
                let places = decoded(bytes, subject.number()).ok_or_else(damaged)?;
                let positions = places.into_iter().map(|place| Position(first.0.saturating_add(place)));
                for position in positions.filter(|position| (from..to).contains(position)) {
                    told = Position(position.0 + 1);
                    if visit(Found::At(position)).is_break() {
                        broken = true;
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            });
            if let Err(error) = read {
                // The journal, from which the index is made, is still there.
                tracing::warn!("the journal is read instead of its index: {error}");
                unknown = vec![(told, to)].into_iter().peekable();
            }
        }
        while !broken && let Some((from, to)) = unknown.next() {
            broken = visit(Found::Unknown(from, to)).is_break();
        }
        failed.map_or(Ok(()), Err)
    }
}

/// What a look-up visits.
pub enum Found {
    /// The subject's next position.
    At(Position),
    /// From here to there (not included) there is no index: read the journal.
    Unknown(Position, Position),
}

/// The ranges between segments.
fn gaps(segments: &[(Position, Position)], from: Position, to: Position) -> Vec<(Position, Position)> {
    let mut gaps = Vec::new();
    let mut next = from;
    for (first, end) in segments {
        if *first > next {
            gaps.push((next, *first));
        }
        next = next.max(*end);
    }
    if next < to {
        gaps.push((next, to));
    }
    gaps
}

/// The range that was indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// The oldest event that is kept.
    pub first_position: Position,
    /// One past the newest.
    pub end_position: Position,
}

/// Rebuilds the index of a data directory from the beginning of the journal. No server may have the directory open.
/// `progress` is called now and then with the position and the end.
///
/// # Errors
/// When a server has the directory open, or the journal cannot be read.
pub fn build(dir: &Path, progress: &mut dyn FnMut(Position, Position)) -> Result<Indexed, OpenError> {
    let store = Store::open_to_read(dir)?;
    let _held = DirectoryLock::take(dir)?;
    build_of(&store, dir, progress)
}

/// The same, in a directory that is being made.
///
/// # Errors
/// When the journal cannot be read, or the index not written.
pub fn build_in(unfinished: &Unfinished) -> Result<Indexed, OpenError> {
    build_of(&Store::open_to_read(unfinished.dir())?, unfinished.dir(), &mut |_, _| {})
}

fn build_of(store: &Store, dir: &Path, progress: &mut dyn FnMut(Position, Position)) -> Result<Indexed, OpenError> {
    let fail = |error: ReadError| OpenError::reading(Directory(dir), &error, "");
    IndexStore::delete(dir)?;
    let index = IndexStore::open_up_to(dir, Position(u64::MAX))?;
    let end = store.end_position().map_err(fail)?;
    let first_position = store.first_position().map_err(fail)?.unwrap_or(end);
    let mut segment = Segment::default();
    let read = store.blocks(Position(0), &mut |stored| {
        segment.take_in(&stored.read()?, &index)?;
        progress(segment.end, end);
        Ok(ControlFlow::Continue(()))
    });
    read.and_then(|()| segment.write(&index)).and_then(|()| index.flush()).map_err(fail)?;
    Ok(Indexed { first_position, end_position: segment.end.max(first_position) })
}

/// Whether all postings can be read.
pub fn check(store: &IndexStore) -> Result<(), ReadError> {
    let segments = store.segments()?;
    store.all(&mut |kind, first, bytes| {
        let is_known = KINDS.contains(&kind) && segments.binary_search_by_key(&first, |(first, _)| *first).is_ok();
        match is_known && decoded(bytes, u64::MAX).is_some() {
            true => Ok(()),
            false => Err(damaged_index(&format!("postings at position {first} cannot be read"))),
        }
    })
}

/// Deletes postings of events that the journal has deleted.
pub fn forget(store: &IndexStore, before: Position) -> Result<(), ReadError> {
    store.forget(before, &KINDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_back_what_it_was_made_of() {
        let posting = |subject: u64, place: u32| 7u128 << 96 | u128::from(subject) << 32 | u128::from(place);
        let postings =
            [posting(3, 0), posting(3, 1), posting(3, 70_000), posting(u64::MAX, 5), posting(u64::MAX, u32::MAX)];
        let (kind, bucket, bytes) = encoded(&postings);
        assert_eq!((kind, bucket), (0, 7));
        let of = |subject| decoded(&bytes, subject);
        assert_eq!(of(3), Some(vec![0, 1, 70_000]));
        assert_eq!(of(u64::MAX), Some(vec![5, u64::from(u32::MAX)]));
        assert_eq!(of(4), Some(Vec::new()));
        assert_eq!(decoded(&bytes[..bytes.len() - 1], u64::MAX), None, "it is cut off");
    }

    #[test]
    fn postings_are_dealt_to_their_buckets() {
        let postings: Vec<u128> =
            (0..5_000u64).map(|at| u128::from(mix(at) % 1_536) << 96 | u128::from(mix(at + 7))).collect();
        let mut dealt = vec![9; 3];
        deal(&postings, &mut dealt);
        assert!(dealt.is_sorted_by_key(|posting| posting >> 96));
        let sorted = |mut postings: Vec<u128>| {
            postings.sort_unstable();
            postings
        };
        assert_eq!(sorted(dealt), sorted(postings));
    }

    #[test]
    fn what_is_not_indexed_is_told() {
        let p = |first, end| (Position(first), Position(end));
        assert_eq!(gaps(&[p(1, 5), p(5, 9), p(12, 20)], Position(1), Position(25)), [p(9, 12), p(20, 25)]);
        assert_eq!(gaps(&[p(1, 5)], Position(2), Position(4)), []);
        assert_eq!(gaps(&[], Position(2), Position(4)), [p(2, 4)]);
    }
}
