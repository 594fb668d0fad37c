//! A block that was changed behind everybody's back: where, what is proven around it, and what salvage makes of it.

use super::*;
use crate::import::import;
use crate::journal::Link;
use crate::options::Durability;
use crate::state::StateHash;
use crate::verify::{Proof, examine, verify};
use fakemon_fbs::journal::{BlockHead, BlockReader, BlockWriter, SectionDraft, SpeciesNamed};

const BLOCKS: u64 = 10;

/// Blocks of two events each; of the one at `changed`, the bytes of another one in its place.
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
        let head = BlockHead { first_position, count: 2, committed_ns: block, previous_sync_ns: 0, state_hash };
        let bytes = writer.write(head, &[section]);
        link.append(bytes, 2, &mut value);
        rebuild.append(&BlockReader::new(bytes).unwrap(), bytes, &link.hash).unwrap();
        if block == changed {
            let at = value.windows(8).position(|window| window == b"species ").unwrap();
            value[at] = b'S';
            wrong = Some((Position(first_position), value.clone()));
        }
    }
    rebuild.settle().unwrap().complete().unwrap();
    if let Some((first, value)) = wrong {
        let store = Store::open(dir).unwrap();
        store.write_block(first, &value, std::iter::empty(), Durability::Synced).unwrap();
    }
}

#[test]
fn a_changed_block_is_found_and_what_is_around_it_stays_proven() {
    let dir = tempfile::tempdir().unwrap();
    journal(&dir.path().join("whole"), BLOCKS);
    let whole = examine(&dir.path().join("whole"), &mut |_, _| {}).unwrap();
    assert_eq!((whole.findings.len(), whole.segments.len(), whole.verified.blocks), (0, 1, BLOCKS));
    let data = dir.path().join("data");
    journal(&data, 4);
    let examination = examine(&data, &mut |_, _| {}).unwrap();
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
    let salvaged = salvage(&data, &new, &mut |_, _| {}).unwrap();
    assert_eq!((salvaged.kept, salvaged.first, salvaged.end), (Kept::Beginning, Position(1), Position(9)));
    assert_eq!(verify(&new, &mut |_, _| {}).unwrap().events, 8);
    let lines = std::fs::read(new.join("salvaged/positions-11-to-21.jsonl")).unwrap();
    let imported = import(&rest, &lines[..], &mut |_, _| {}).unwrap();
    assert_eq!((imported.first_position, imported.end_position), (Position(11), Position(21)));
    assert_eq!(verify(&rest, &mut |_, _| {}).unwrap().blocks, 5);
}
