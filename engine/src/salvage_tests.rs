//! Salvage, through an engine that opens what it made. A block that was changed behind everybody's back: where, what
//! is proven around it, and what salvage makes of it.

use crate::Engine;
use fakemon_capture::command::Completion;
use fakemon_capture::decision::record;
use fakemon_capture::options::{Durability, Options};
use fakemon_capture::population::StateHash;
use fakemon_fbs::journal::SpeciesNamed;
use fakemon_fbs::journal::{BlockHead, BlockReader, BlockWriter, SectionDraft};
use fakemon_history::import::import;
use fakemon_history::rebuild::Rebuild;
use fakemon_history::salvage::{Kept, salvage};
use fakemon_history::verify::Cause;
use fakemon_history::verify::{Proof, examine, verify};
use fakemon_journal::Link;
use fakemon_journal::{BlockHash, Store};
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Event, Outcome, PlayerName};
use fakemon_model::ids::{Ahead, AttemptId, FakemonId, PlayerId, Position, SpeciesId, Timestamp, Token};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use std::ops::ControlFlow;
use std::path::Path;

const BLOCKS: u64 = 10;

/// Writes blocks of two events each; the one at `changed` holds the bytes of another block.
fn journal(dir: &Path, changed: u64) {
    let mut rebuild = Rebuild::begin(dir, "a test").unwrap();
    let (mut writer, mut link, mut value) = (BlockWriter::default(), Link::default(), Vec::new());
    let mut wrong = None;
    for block in 0..BLOCKS {
        let first_position = 1 + 2 * block;
        let mut section = SectionDraft::default();
        for species in [2 * block, 2 * block + 1].map(|species| u16::try_from(species).unwrap()) {
            let name = format!("species {species}");
            link.state.add(StateHash::named(u64::from(species) << 32, &name));
            section.push_species_named(SpeciesNamed { species, name });
        }
        let state_hash = link.state.0;
        let head = BlockHead { first_position, count: 2, committed_ns: block, state_hash, ..BlockHead::default() };
        let bytes = writer.write(head, &[section]);
        link.append(bytes, 2, &mut value);
        rebuild.append(&BlockReader::new(bytes).unwrap(), bytes, &link.hash).unwrap();
        if block == changed {
            let at = value.windows(8).position(|window| window == b"species ").unwrap();
            value[at] = b'S';
            wrong = Some((Position(first_position), value.clone()));
        }
    }
    rebuild.settle(Position(1)).unwrap().complete().unwrap();
    if let Some((first, value)) = wrong {
        let store = Store::open(dir).unwrap();
        store.write_block(first, &value, std::iter::empty(), Durability::Synced).unwrap();
    }
}

#[test]
fn a_changed_block_is_found_and_what_is_around_it_stays_proven() {
    let dir = tempfile::tempdir().unwrap();
    journal(&dir.path().join("whole"), BLOCKS);
    let whole = examine(&dir.path().join("whole"), &mut |_, _| {}, &mut drop).unwrap();
    assert_eq!((whole.findings.len(), whole.segments.len(), whole.verified.blocks), (0, 1, BLOCKS));
    let data = dir.path().join("data");
    journal(&data, 4);
    let examination = examine(&data, &mut |_, _| {}, &mut drop).unwrap();
    let [finding] = &examination.findings[..] else { panic!("{examination:?}") };
    assert_eq!((finding.cause, finding.position, finding.until), (Cause::Changed, Position(9), Some(Position(11))));
    assert!(finding.expected.is_some() && finding.expected != finding.found);
    let segments: Vec<_> = examination.segments.iter().map(|one| (one.first.0, one.end.0, one.proof)).collect();
    assert_eq!(segments, [(1, 9, Proof::Outcomes), (11, 21, Proof::Chain)]);
    assert!(verify(&data, &mut |_, _| {}).unwrap_err().to_string().contains("position 9"));
}

#[test]
fn without_a_snapshot_the_beginning_is_salvaged_and_the_rest_lies_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (data, new, rest) = (dir.path().join("data"), dir.path().join("new"), dir.path().join("rest"));
    journal(&data, 4);
    let salvaged = salvage(&data, &new, &mut |_, _| {}, &mut drop).unwrap();
    assert_eq!((salvaged.kept, salvaged.first, salvaged.end), (Kept::Beginning, Position(1), Position(9)));
    assert_eq!(verify(&new, &mut |_, _| {}).unwrap().events, 8);
    let lines = std::fs::read(new.join("salvaged/positions-11-to-21.jsonl")).unwrap();
    let imported = import(&rest, &lines[..], &mut |_, _| {}).unwrap();
    assert_eq!((imported.first_position, imported.end_position), (Position(11), Position(21)));
    assert_eq!(verify(&rest, &mut |_, _| {}).unwrap().blocks, 5);
}

/// Writes a journal of these blocks, with correct hashes and state, whatever its events say.
fn journal_of(dir: &Path, blocks: &[Vec<Event>]) {
    let mut rebuild = Rebuild::begin(dir, "a test").unwrap();
    let (mut writer, mut link) = (BlockWriter::default(), Link { next: Position(1), ..Link::default() });
    for events in blocks {
        let mut section = SectionDraft::new(0, 0);
        for event in events {
            link.state.add(record::facts_of(event));
            record::draft(&mut section, event, Ahead(0));
        }
        let (first_position, count) = (link.next.0, u32::try_from(events.len()).unwrap());
        let state_hash = link.state.0;
        let head = BlockHead { first_position, count, committed_ns: 1, state_hash, ..BlockHead::default() };
        let bytes = writer.write(head, &[section]);
        link.append(bytes, u64::from(count), &mut Vec::new());
        rebuild.append(&BlockReader::new(bytes).unwrap(), bytes, &link.hash).unwrap();
    }
    rebuild.settle(Position(1)).unwrap().complete().unwrap();
}

const SPOT: Place = Place { lat_e7: 0, lon_e7: 0 };
const ENDS: Timestamp = Timestamp(1_000_000_000);

fn appeared(id: u64) -> Event {
    let (fakemon_id, species, catch_rate) = (FakemonId(id), SpeciesId(0), CatchRate::ALWAYS);
    Event::Appeared { fakemon_id, species, place: SPOT, catch_rate, at: Timestamp(1), vanishes_at: ENDS }
}

fn vanished(id: u64) -> Event {
    Event::Vanished { fakemon_id: FakemonId(id), species: SpeciesId(0), place: SPOT, at: ENDS, vanishes_at: ENDS }
}

fn attempt(player: u32, attempt: u64, fakemon: u64, outcome: Outcome) -> Event {
    let attempt = CaptureAttempt {
        player: PlayerId(player),
        attempt_id: AttemptId(attempt),
        fakemon_id: FakemonId(fakemon),
        place: SPOT,
        received_at: Timestamp(5),
    };
    let (queued_after_ns, decided_after_ns) = (1, 2);
    Event::Attempt(DecidedAttempt { attempt, outcome, species: SpeciesId(0), queued_after_ns, decided_after_ns })
}

fn beginning() -> Vec<Event> {
    let named = |player, name: &str| Event::PlayerNamed { player: PlayerId(player), name: name.into() };
    let (at, world_seed, reach_mm) = (Timestamp(1), 7, 50_000);
    vec![
        Event::Opened { at, world_seed, reach_mm, cores: 1, durable: true },
        Event::SpeciesNamed { species: SpeciesId(0), name: "sparkit".into() },
        named(1, "ana"),
        named(2, "bob"),
    ]
}

/// The events at each position.
fn events(dir: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    let archive = fakemon_history::archive::Archive::open(dir).unwrap();
    let read: Result<(), crate::ReadError> = archive.for_each_block(Position(1), |block| {
        block.for_each(|recorded| events.push(recorded.event));
        Ok(ControlFlow::Continue(()))
    });
    read.unwrap();
    events
}

#[test]
fn a_journal_that_contradicts_itself_is_mended_and_what_does_not_hold_is_said() {
    use Outcome::{AlreadyCaptured, Captured, UnknownFakemon, Vanished};
    let dir = tempfile::tempdir().unwrap();
    let (data, new) = (dir.path().join("data"), dir.path().join("new"));
    // Decided in another order: what bob wins at 7 appears at 10 only; what is unknown at 13 appeared at 12; what
    // vanished at 16 does so at 17. Never decided so: a second winner at 14, an attempt a second time at 15, what
    // vanishes at 19.
    journal_of(
        &data,
        &[
            [beginning(), vec![appeared(5)]].concat(),
            vec![
                appeared(7),
                attempt(2, 1, 9, Captured),
                attempt(1, 1, 7, Captured),
                attempt(1, 2, 9, AlreadyCaptured),
            ],
            vec![appeared(9), attempt(1, 3, 8, UnknownFakemon), appeared(8), attempt(2, 2, 8, UnknownFakemon)],
            vec![attempt(2, 3, 7, Captured), attempt(2, 1, 8, Captured)],
            vec![attempt(1, 4, 5, Vanished), vanished(5), attempt(1, 5, 8, Captured)],
            vec![vanished(6), appeared(6)],
        ],
    );
    let mut before = events(&data);
    assert_eq!(before.len(), 20);
    let found = examine(&data, &mut |_, _| {}, &mut drop).unwrap();
    assert_eq!((found.findings[0].cause, found.findings[0].position), (Cause::Diverged, Position(7)));
    let refused = Engine::open(&data, Options { cores: 1, ..Options::default() }).err().unwrap().to_string();
    assert!(refused.contains("position 7") && refused.contains("verify --salvage"), "{refused}");

    let salvaged = salvage(&data, &new, &mut |_, _| {}, &mut drop).unwrap();
    assert_eq!((salvaged.kept, salvaged.first, salvaged.end), (Kept::Mended, Position(1), Position(21)));
    let verified = verify(&new, &mut |_, _| {}).unwrap();
    assert_eq!((verified.events, verified.end_position), (20, Position(21)));
    let after = events(&new);
    let at = |position: usize| &after[position - 1];
    assert_eq!([at(7), at(9)], [&appeared(9), &attempt(2, 1, 9, Captured)]);
    assert_eq!([at(10), at(12)], [&attempt(1, 2, 9, AlreadyCaptured), &attempt(2, 2, 8, UnknownFakemon)]);
    assert_eq!([at(13), at(16), at(17)], [&appeared(8), &vanished(5), &attempt(1, 4, 5, Vanished)]);
    for (position, said) in
        [(14, "captured, but already_captured"), (15, "attempt 1 of player 2"), (19, "was not wild")]
    {
        let Event::Put(put) = at(position) else { panic!("{:?}", at(position)) };
        assert!(put.detail_type == "fakemon.left_out" && put.detail.contains(said), "{}", put.detail);
        let note = format!("left out: position {position}");
        assert!(
            salvaged.notes.iter().any(|line| line.contains(&note) && line.contains(said)),
            "{:?}",
            salvaged.notes
        );
    }
    for position in [7, 9, 10, 12, 13, 14, 15, 16, 17, 19] {
        before[position - 1] = at(position).clone();
    }
    assert_eq!(before, after, "everything else stands where it stood");
    let lines = std::fs::read_to_string(new.join("salvaged/mended.jsonl")).unwrap();
    assert_eq!((lines.matches("\"left_out\":").count(), lines.matches("\"moved\":").count()), (3, 7), "{lines}");

    let engine = Engine::open(&new, Options { cores: 1, ..Options::default() }).unwrap();
    let (mut client, mut done) = (engine.client().unwrap(), Vec::new());
    for name in ["ana", "bob"] {
        let player = engine.find_player(&PlayerName::new(name).unwrap()).unwrap();
        client.collection(Token(0), &player, None).unwrap();
        client.wait(&mut done, std::time::Duration::from_secs(10));
    }
    let caught: Vec<Vec<u64>> = done
        .iter()
        .map(|completion| match completion {
            Completion::Collection { items, .. } => items.iter().map(|item| item.fakemon_id.0).collect(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(caught, [vec![7, 8], vec![9]]);
    engine.close();
    verify(&new, &mut |_, _| {}).unwrap();
}

#[test]
fn behind_what_retention_let_go_of_the_snapshot_says_what_contradicts() {
    use Outcome::{AlreadyCaptured, Captured};
    let dir = tempfile::tempdir().unwrap();
    let (data, new) = (dir.path().join("data"), dir.path().join("new"));
    journal_of(&data, &[beginning(), vec![appeared(7), attempt(1, 1, 7, Captured)]]);
    let options = || Options { cores: 1, ..Options::default() };
    Engine::open(&data, options()).unwrap().close(); // the snapshot covers everything
    let store = Store::open(&data).unwrap();
    let end = store.end_position().unwrap();
    let (mut state, mut hash) = (StateHash::default(), BlockHash::default());
    store
        .blocks(Position(1), &mut |stored| {
            (state, hash) = (StateHash(stored.read()?.head().state_hash), stored.hash);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    let mut link = Link { next: end, hash, state };
    let events = [attempt(2, 1, 9, Captured), attempt(2, 2, 7, AlreadyCaptured), appeared(9)];
    let mut section = SectionDraft::new(0, 0);
    for event in &events {
        link.state.add(record::facts_of(event));
        record::draft(&mut section, event, Ahead(0));
    }
    let state_hash = link.state.0;
    let head = BlockHead { first_position: end.0, count: 3, committed_ns: 1, state_hash, ..BlockHead::default() };
    let (mut writer, mut value) = (BlockWriter::default(), Vec::new());
    link.append(writer.write(head, &[section]), 3, &mut value);
    store.write_block(end, &value, std::iter::empty(), Durability::Synced).unwrap();
    store.forget_blocks(Position(5)).unwrap();
    drop(store);
    assert!(Engine::open(&data, options()).is_err());
    let salvaged = salvage(&data, &new, &mut |_, _| {}, &mut drop).unwrap();
    assert_eq!((salvaged.kept, salvaged.first, salvaged.end), (Kept::Mended, Position(5), Position(end.0 + 3)));
    assert!(salvaged.notes.iter().any(|note| note.contains("fakémon 9")), "{:?}", salvaged.notes);
    let engine = Engine::open(&new, options()).unwrap();
    assert_eq!(engine.find_player(&PlayerName::new("bob").unwrap()).unwrap().id(), PlayerId(2));
    engine.close();
}
