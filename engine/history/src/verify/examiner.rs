//! Reads a journal piece by piece, and notes what is proven and what is wrong.

use super::again::{self, Again};
use super::{Cause, Examination, FINDINGS_MAX, Finding, Proof, Segment};
use fakemon_capture::decision::record;
use fakemon_capture::population::StateHash;
use fakemon_fbs::journal::BlockReader;
use fakemon_journal::{BlockHash, BlockOrGap, DamageLocation, Store, StoredBlock, block_hash};
use fakemon_model::ids::Position;

pub(super) struct Examiner {
    examination: Examination,
    /// From this position on all blocks must exist.
    kept_from: Position,
    /// None before the first block.
    before: Option<Before>,
    /// Present as long as everything before is known.
    again: Option<Again>,
    segment: Option<Segment>,
}

/// What the next block must follow.
struct Before {
    next: Position,
    /// None: the block before could not be read, so nothing proves the next block's hash.
    hash: Option<BlockHash>,
    /// None for the same reason.
    state: Option<StateHash>,
    /// The finding that ends where the next block begins.
    open: Option<usize>,
}

impl Examiner {
    pub(super) fn new(kept_from: Position) -> Examiner {
        let (examination, segment, again) = (Examination::default(), None, Some(Again::default()));
        Examiner { examination, kept_from, before: None, again, segment }
    }

    /// The position that was reached.
    pub(super) fn position(&self) -> Position {
        self.before.as_ref().map_or(Position(0), |before| before.next)
    }

    pub(super) fn found_something(&self) -> bool {
        !self.examination.findings.is_empty()
    }

    pub(super) fn take(&mut self, piece: BlockOrGap<'_>) {
        match piece {
            BlockOrGap::Block(stored) => self.block(&stored),
            BlockOrGap::Unreadable(at, spot) => {
                let at = at.max(self.position()).max(Position(1));
                let what = format!("it cannot be read: {}", spot.error);
                self.break_at(at, Finding::new(Cause::Unreadable, at, what).at(spot));
            }
        }
    }

    /// Notes a finding: the segment ends before it, and the state after it is unknown.
    fn break_at(&mut self, next: Position, finding: Finding) {
        self.end_segment();
        self.give_up_deciding();
        let open = self.note(finding);
        self.before = Some(Before { next, hash: None, state: None, open });
    }

    /// Stops deciding again: outcomes follow only from a known state.
    fn give_up_deciding(&mut self) {
        if let Some(again) = self.again.take() {
            self.examination.verified.attempts = again.attempts;
        }
    }

    fn note(&mut self, finding: Finding) -> Option<usize> {
        let findings = &mut self.examination.findings;
        if findings.len() == FINDINGS_MAX {
            self.examination.more_findings += 1;
            return None;
        }
        findings.push(finding);
        Some(findings.len() - 1)
    }

    fn block(&mut self, stored: &StoredBlock<'_>) {
        self.arrive_at(stored.first);
        let computed =
            self.before.as_ref().and_then(|before| before.hash).map(|hash| block_hash(&hash, stored.bytes()));
        if let Some(computed) = computed.filter(|computed| *computed != stored.hash) {
            let what = "its hash does not match: the block, or the hash beside it, changed";
            let finding = Finding::new(Cause::Changed, stored.first, what).in_block(stored.first);
            let (expected, found) = (Some(hex(&stored.hash)), Some(hex(&computed)));
            return self.bad_block(stored, Finding { expected, found, ..finding });
        }
        match stored.read() {
            Ok(block) => self.sound_block(stored, &block),
            Err(error) => {
                let finding = Finding::new(Cause::Unreadable, stored.first, error.to_string());
                self.bad_block(stored, finding.in_block(stored.first).at(DamageLocation::default()));
            }
        }
    }

    /// Notes a changed block. The next block is chained to the hash that this one had.
    fn bad_block(&mut self, stored: &StoredBlock<'_>, finding: Finding) {
        let end = stored.read().map(|block| stored.first.0 + u64::from(block.head().count));
        self.break_at(Position(end.unwrap_or(stored.first.0 + 1)), finding);
        if let Some(before) = &mut self.before {
            before.hash = Some(stored.hash);
        }
    }

    /// Checks that the next block is where it must be.
    fn arrive_at(&mut self, first: Position) {
        let Some(before) = &mut self.before else {
            if first > self.kept_from {
                let what = format!("it begins at position {first} only: files of it are missing, restore a copy");
                self.note(Finding { until: Some(first), ..Finding::new(Cause::Missing, self.kept_from, what) });
            }
            if first > Position(1) {
                self.again = None;
            }
            let whole = first == Position(1);
            let (hash, state) = (whole.then(BlockHash::default), whole.then(StateHash::default));
            self.before = Some(Before { next: first, hash, state, open: None });
            return;
        };
        if let Some(open) = before.open.take() {
            self.examination.findings[open].until = Some(first);
            before.next = before.next.max(first);
        }
        if before.next != first {
            let (missing, what) = (before.next, format!("the next block is at {first}"));
            self.break_at(first, Finding { until: Some(first), ..Finding::new(Cause::Missing, missing, what) });
            if let Some(before) = &mut self.before {
                before.open = None;
            }
        }
    }

    fn sound_block(&mut self, stored: &StoredBlock<'_>, block: &BlockReader<'_>) {
        let head = block.head();
        let mut facts = StateHash::default();
        block.for_each(|_, _, event| facts.add(record::facts(&event)));
        let before = self.before.as_ref().expect("it arrived at the block");
        let state = before.state.map(|mut state| {
            state.add(facts);
            state.0
        });
        if let Some(state) = state.filter(|state| *state != head.state_hash) {
            self.end_segment();
            self.give_up_deciding();
            let what = "the state after this block is not what it says";
            let finding = Finding::new(Cause::State, stored.first, what).in_block(stored.first);
            let (expected, found) = (Some(format!("{state:016x}")), Some(format!("{:016x}", head.state_hash)));
            self.note(Finding { expected, found, ..finding });
        } else if let Some(finding) = self.again.as_mut().and_then(|again| again.block(block).err()) {
            self.end_segment();
            self.give_up_deciding();
            self.note(*finding);
        }
        let next = Position(stored.first.0 + u64::from(head.count));
        let (hash, state) = (Some(stored.hash), Some(StateHash(head.state_hash)));
        self.before = Some(Before { next, hash, state, open: None });
        self.extend_segment(stored.first, next, head.state_hash);
    }

    fn extend_segment(&mut self, first: Position, end: Position, state_hash: u64) {
        let proof = if self.again.is_some() { Proof::Outcomes } else { Proof::Chain };
        let segment = self.segment.get_or_insert(Segment { first, end, blocks: 0, proof, state_hash });
        (segment.end, segment.state_hash, segment.blocks) = (end, state_hash, segment.blocks + 1);
        let verified = &mut self.examination.verified;
        if verified.blocks == 0 {
            verified.first_position = first;
        }
        (verified.blocks, verified.state_hash) = (verified.blocks + 1, state_hash);
        verified.events += end.0 - first.0;
        verified.end_position = end;
    }

    fn end_segment(&mut self) {
        self.examination.segments.extend(self.segment.take());
    }

    /// Also checks what concerns the journal as a whole.
    pub(super) fn end_with(mut self, store: &Store) -> Examination {
        let end = self.position().max(self.kept_from);
        if self.before.is_none() && self.kept_from > Position(1) {
            self.again = None; // without a block, collections are all that is left of what came before
        }
        if let Some(what) = store.damaged_note() {
            self.note(Finding::new(Cause::Note, end, what));
        }
        if let Err(error) = store.check_notes() {
            self.note(Finding::new(Cause::Note, end, error.to_string()));
        }
        if store.told() > end {
            let what = format!("{}, or give `--salvage NEW_DIR`", store.lacks_acknowledged());
            self.note(Finding::lacking(end, store.told(), what));
        }
        let wrong = match &self.again {
            Some(again) => again.check_collections(store),
            None => again::unreadable_collections(store),
        };
        if let Some(finding) = wrong {
            self.note(finding);
        }
        self.end()
    }

    pub(super) fn end(mut self) -> Examination {
        self.end_segment();
        let verified = &mut self.examination.verified;
        if verified.blocks == 0 && self.before.is_none() {
            (verified.first_position, verified.end_position) = (self.kept_from, self.kept_from);
        }
        verified.from_the_beginning = self.again.is_some();
        if let Some(again) = &self.again {
            verified.attempts = again.attempts;
        }
        self.examination
    }
}

fn hex(hash: &BlockHash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
