//! Proof that a journal is intact: every block follows the one before, every attempt is decided again with the same
//! outcome, no attempt id is used twice, and the state after every block is the one recorded in it.
//!
//! Where something is wrong, everything before it is still proven, and so is much of what follows: the hash chain
//! holds from any block on, and what a block adds to the state can be checked without knowing the state. [`examine`]
//! goes through all of it; [`verify`] ends at the first finding. Both also check the databases beside the journal:
//! everything a server needs to start can be read.

mod again;
mod examiner;
mod parts;

use examiner::Examiner;
use fakemon_capture::options::OpenError;
pub use fakemon_journal::Part;
use fakemon_journal::{DamageLocation, ReadError, Store, is_not_begun};
use fakemon_model::ids::Position;
use parts::Parts;
use std::ops::ControlFlow;
use std::path::Path;

/// Findings that are reported one by one; a journal with more is damaged all over.
pub const FINDINGS_MAX: usize = 100;

/// What was proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blocks whose hash holds.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Attempts that were decided again.
    pub attempts: u64,
    /// The position of the oldest event.
    pub first_position: Position,
    /// One past the newest.
    pub end_position: Position,
    /// The state hash of the world at the end.
    pub state_hash: u64,
    /// False: retention deleted the beginning, so that outcomes could not be decided again; only the chain, and what
    /// each block adds to the state, is proven.
    pub from_the_beginning: bool,
}

/// The result of reading a journal from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// False: nothing was acknowledged yet, and there is nothing to prove. A server that was killed while it made the
    /// directory leaves that, and the next one makes the rest.
    pub is_begun: bool,
    /// What was proven in total.
    pub verified: Verified,
    /// What was proven, segment by segment: between two segments something is wrong.
    pub segments: Vec<Segment>,
    /// What is wrong, in order, the first [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// The number of further findings.
    pub more_findings: u64,
}

impl Default for Examination {
    fn default() -> Self {
        let (verified, segments, findings) = (Verified::default(), Vec::new(), Vec::new());
        Examination { is_begun: true, verified, segments, findings, more_findings: 0 }
    }
}

impl Examination {
    /// Whether what is wrong is made from the journal alone, so that nothing is lost: the index, or a snapshot beside
    /// a journal that has its beginning.
    pub fn is_derived_only(&self) -> bool {
        let is_derived = |finding: &Finding| match finding.cause {
            Cause::Part(name) if name == Part::Index.name() => true,
            Cause::Part(name) if name == Part::Snapshot.name() => self.verified.from_the_beginning,
            _ => false,
        };
        self.findings.iter().all(is_derived)
    }
}

/// Neighbouring blocks that hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The position of its first event.
    pub first: Position,
    /// One past its last event.
    pub end: Position,
    /// The number of blocks.
    pub blocks: u64,
    /// How much of them is proven.
    pub proof: Proof,
    /// The state hash of the world at its end, as its last block records it.
    pub state_hash: u64,
}

/// How much is proven of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Everything: every attempt was decided again with the same outcome.
    Outcomes,
    /// The hash chain, and that each block adds to the state what it records, except for the first block, because the
    /// one before it is missing. Outcomes cannot be decided again without the events before.
    Chain,
}

impl Proof {
    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Proof::Outcomes => "outcomes",
            Proof::Chain => "chain",
        }
    }
}

/// Something wrong in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub cause: Cause,
    /// The first event that is concerned.
    pub position: Position,
    /// Where the journal is right again, if anywhere.
    pub until: Option<Position>,
    /// The first position of the block, where there is one.
    pub block: Option<Position>,
    /// What is wrong, in words.
    pub what: String,
    /// What must be there.
    pub expected: Option<String>,
    /// What is there.
    pub found: Option<String>,
    /// The damaged file, if the store says.
    pub file: Option<String>,
    /// Offset and length in the file.
    pub bytes: Option<(u64, u64)>,
}

/// Kinds of things that are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Bytes cannot be read from the disk, or are no block.
    Unreadable,
    /// Blocks are missing.
    Missing,
    /// A block is not the one that was written: its hash does not hold.
    Changed,
    /// An event does not follow from those before it.
    Diverged,
    /// The state after a block is not the recorded one.
    State,
    /// A collection does not hold exactly what its player caught.
    Collections,
    /// The journal ends before the last acknowledged event.
    Acknowledged,
    /// The note of what was acknowledged is damaged.
    Note,
    /// Another database of the directory: `snapshot`, `index` or `bus`.
    Part(&'static str),
}

impl Cause {
    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Unreadable => "unreadable",
            Cause::Missing => "missing",
            Cause::Changed => "changed",
            Cause::Diverged => "diverged",
            Cause::State => "state",
            Cause::Collections => "collections",
            Cause::Acknowledged => "acknowledged",
            Cause::Note => "note",
            Cause::Part(name) => name,
        }
    }
}

impl Finding {
    fn new(cause: Cause, position: Position, what: impl Into<String>) -> Finding {
        let what = what.into();
        Finding {
            cause,
            position,
            until: None,
            block: None,
            what,
            expected: None,
            found: None,
            file: None,
            bytes: None,
        }
    }

    /// The journal ends at `end`, and everything before a later position was there.
    pub(crate) fn lacking(end: Position, told: Position, what: impl Into<String>) -> Finding {
        let (expected, found) = (Some(told.to_string()), Some(end.to_string()));
        Finding { expected, found, ..Finding::new(Cause::Acknowledged, end, what) }
    }

    fn in_block(self, block: Position) -> Finding {
        Finding { block: Some(block), ..self }
    }

    fn at(self, spot: DamageLocation) -> Finding {
        Finding { file: spot.file, bytes: spot.bytes, ..self }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wrong = match self.cause {
            Cause::Part(_) | Cause::Note => return f.write_str(&self.what),
            Cause::Diverged | Cause::State => "diverges",
            _ => "is damaged",
        };
        write!(f, "the journal {wrong} at position {}: {}", self.position, self.what)
    }
}

/// Why a journal is not proven.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read at all.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something is wrong with it.
    #[error("{0}")]
    Wrong(Box<Finding>),
}

/// Verifies a data directory, also beside a running server; `progress` is called now and then with the position and
/// the end.
///
/// # Errors
/// The first finding, with its position.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(Position, Position)) -> Result<Verified, VerifyError> {
    if is_not_begun(dir) {
        return Ok(Verified::default());
    }
    let parts = Parts::open(dir);
    let store = Store::open_to_read(dir)?;
    let examination = run(&store, true, progress);
    let first = examination.findings.into_iter().next();
    match first.or_else(|| parts.findings(&store, &mut |_| {}).into_iter().next()) {
        Some(finding) => Err(VerifyError::Wrong(Box::new(finding))),
        None => Ok(examination.verified),
    }
}

/// Looks at all of a data directory, beside a running server too: what is wrong, and what is proven all the same.
/// `reading` hears which database beside the journal is read next.
///
/// # Errors
/// When it cannot be opened at all.
pub fn examine(
    dir: &Path,
    progress: &mut dyn FnMut(Position, Position),
    reading: &mut dyn FnMut(Part),
) -> Result<Examination, OpenError> {
    if is_not_begun(dir) {
        return Ok(Examination { is_begun: false, ..Examination::default() });
    }
    let parts = Parts::open(dir);
    let store = Store::open_to_read(dir)?;
    let mut examination = run(&store, false, progress);
    examination.findings.extend(parts.findings(&store, reading));
    Ok(examination)
}

/// Examines a store, up to the first finding or to its end.
pub fn run(store: &Store, only_first: bool, progress: &mut dyn FnMut(Position, Position)) -> Examination {
    let end = store.end_position().unwrap_or_default(); // an unreadable end is found on the way
    let mut examiner = Examiner::new(store.kept_from().unwrap_or(Position(1)));
    store.pieces(&mut |piece| {
        examiner.take(piece);
        progress(examiner.position(), end.max(examiner.position()));
        match only_first && examiner.found_something() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match only_first && examiner.found_something() {
        true => examiner.end(),
        false => examiner.end_with(store),
    }
}
