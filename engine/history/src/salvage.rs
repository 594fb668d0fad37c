//! Makes a new data directory of what is left of a damaged one, with the positions, ids and hashes of the old one.
//!
//! A journal must have no hole: nothing proves what follows one. So one run of neighbouring blocks is kept, and every
//! other readable run is stored beside it as JSON lines (`salvaged/`), from which `fakemon import` makes a data
//! directory for tools. Of these, the one from which a server knows most of what was acknowledged:
//!
//! - the run that the snapshot stands in, from there on: as after retention, the state is complete, players keep what
//!   they caught, and answers stay; older history is beside it
//! - the run from the beginning on: a server continues from its end; what was acknowledged after it is lost
//! - the snapshot without any run, if blocks around it are lost: the journal is empty and goes on from its position
//!
//! Where there is none of these (retention deleted the beginning, and the snapshot is lost), the longest run, for
//! tools only. What the bus keeps goes along in each case, and is all that is kept if nothing else can be read: then
//! the world is empty, and positions go on so that no id is given twice.
//!
//! A run whose events contradict each other, although its hash chain holds, is mended (`mend`): every consistent
//! event keeps its position, and the others are reported. From the first change on, hashes are new.

mod bus;
mod choice;
mod mend;

use crate::archive::{Block, Group, Recorded};
use crate::jsonl::{Names, write_block, write_end, write_event, write_export};
use crate::rebuild::Rebuild;
use crate::verify::{self, Cause, Examination, Finding};
use bus::{Bus, Fit};
use choice::{Run, choose, is_before, runs, stands_in};
use fakemon_capture::decision::record;
use fakemon_capture::options::OpenError;
use fakemon_capture::population::StateHash;
use fakemon_fbs::journal::{BlockHead, BlockReader, BlockWriter, Changed, Event, SectionDraft};
use fakemon_fbs::snapshot::Head;
use fakemon_journal::files::{self, PRIVATE_FILE, PRIVATE_FOLDER};
use fakemon_journal::index;
use fakemon_journal::{BlockHash, BlockOrGap, Part, RowStore, Rows, SalvageCopy, Store, Unfinished};
use fakemon_model::ids::{Ahead, PlayerId, Position, SpeciesId, Timestamp};
use mend::{Mender, Mending};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Contradictions that are reported as sentences; all of them are in a file.
const SENTENCES_MAX: usize = 20;

/// What was salvaged.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// What is wrong with the old directory.
    pub examination: Examination,
    /// The position of the first event that was kept.
    pub first: Position,
    /// One past the last event.
    pub end: Position,
    /// Which part was kept.
    pub kept: Kept,
    /// What else was done, and what is lost, as sentences.
    pub notes: Vec<String>,
}

/// Which part of a journal was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing is wrong: nothing was written.
    Untouched,
    /// The whole journal.
    Everything,
    /// The whole journal, except what contradicts the rest.
    Mended,
    /// The end, with the snapshot.
    End,
    Beginning,
    /// Only the snapshot: the journal is empty, and goes on from its position.
    Snapshot,
    /// Some part, without a snapshot: for tools only.
    History,
    /// Neither journal nor snapshot, but what the bus keeps: the world is empty.
    Bus,
}

impl Kept {
    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kept::Untouched => "untouched",
            Kept::Everything => "everything",
            Kept::Mended => "mended",
            Kept::End => "end",
            Kept::Beginning => "beginning",
            Kept::Snapshot => "snapshot",
            Kept::History => "history",
            Kept::Bus => "bus",
        }
    }

    /// Whether a server goes on with it.
    pub fn is_servable(self) -> bool {
        self != Kept::History
    }
}

impl Salvaged {
    /// The report as JSON.
    pub fn as_json(&self) -> Value {
        let findings: Vec<_> = self.examination.findings.iter().map(ToString::to_string).collect();
        json!({
            "first_position": self.first.to_string(),
            "end_position": self.end.to_string(),
            "kept": self.kept.name(),
            "servable": self.kept.is_servable(),
            "notes": self.notes,
            "wrong": findings,
        })
    }
}

/// Makes the new directory `to`, which is empty, not there, or what an earlier attempt left, of the damaged one;
/// `progress` hears the position and the end now and then, `reading` which database beside the journal is read next.
/// If nothing is wrong, nothing is written; when it fails, nothing stays.
///
/// # Errors
/// When a process has the old one open, nothing can be read, or the new one cannot be written.
pub fn salvage(
    dir: &Path,
    to: &Path,
    progress: &mut dyn FnMut(Position, Position),
    reading: &mut dyn FnMut(Part),
) -> Result<Salvaged, OpenError> {
    let held = SalvageCopy::hold(dir)?;
    let unfinished = Unfinished::begin(to)?;
    let examined = verify::examine(dir, progress, reading);
    let whole = examined.as_ref().ok().filter(|examination| examination.findings.is_empty()).cloned();
    // After a beginning that retention deleted, only the snapshot says whether events contradict the ones before.
    if let Some(examination) = whole.as_ref().filter(|whole| whole.verified.first_position == Position(1)) {
        return Ok(untouched(examination.clone()));
    }
    let wreck = SalvageCopy::of(dir, to, held)?;
    let mut salvaged = take_out(&wreck, examined, (to, &unfinished), progress)?;
    if salvaged.kept == Kept::Untouched {
        return Ok(salvaged);
    }
    drop(wreck);
    if salvaged.kept.is_servable() {
        verify_new(to)?;
    } else {
        salvaged.notes.push(format!("a server refuses {}: restore a copy for it", to.display()));
    }
    write_note(to, &salvaged)?;
    unfinished.is_complete();
    Ok(salvaged)
}

/// Proves what was made.
fn verify_new(to: &Path) -> Result<(), OpenError> {
    verify::verify(to, &mut |_, _| {}).map(drop).map_err(|error| OpenError::Io(format!("{}: {error}", to.display())))
}

/// Takes out of the copy what is kept, and puts the rest of what can be read beside it.
fn take_out(
    wreck: &SalvageCopy,
    examined: Result<Examination, OpenError>,
    (to, unfinished): (&Path, &Unfinished),
    progress: &mut dyn FnMut(Position, Position),
) -> Result<Salvaged, OpenError> {
    let whole = examined.as_ref().ok().filter(|examination| examination.findings.is_empty()).cloned();
    let mut notes = Vec::new();
    let found = match examined {
        Ok(examined) => examined.findings,
        Err(error) => {
            notes.push(format!("it could not be opened: {error}"));
            Vec::new()
        }
    };
    let is_part = |finding: &Finding| matches!(finding.cause, Cause::Part(_));
    let (parts, found): (Vec<Finding>, Vec<Finding>) = found.into_iter().partition(is_part);
    let (store, repaired) = wreck.journal()?;
    // What was wrong before the repair is what is wrong with the old directory.
    let found = if repaired.is_some() { found } else { Vec::new() };
    notes.extend(repaired);
    let mut examination = verify::run(&store, false, &mut |_, _| {});
    let runs = runs(&examination);
    let (rows, repaired) = wreck.rows();
    notes.extend(repaired);
    let bus_is_whole = !parts.iter().any(|finding| finding.cause == Cause::Part(Part::Bus.name()));
    let bus = Bus::open(wreck, bus_is_whole, &mut notes)?;
    let told = note_reach(&mut examination, &store, &bus, rows.as_ref());
    let (kept, run) = choose(&examination, &runs, rows.as_ref(), &store, bus.next)?;
    let mending = mend(&store, run, rows.as_ref())?;
    if let Some(examination) = whole.filter(|_| mending.instead.is_empty()) {
        return Ok(untouched(examination));
    }
    let is_mended = kept == Kept::Everything && !mending.instead.is_empty();
    let kept = if is_mended { Kept::Mended } else { kept };
    let mut rebuild = Rebuild::begin_in(to, unfinished, "a salvage")?;
    let wrong_state = examination.findings.iter().find(|finding| finding.cause == Cause::State);
    let wrong_state = wrong_state.and_then(|finding| finding.block);
    let last_at = copy_run(&store, run, (&mending, wrong_state), &mut rebuild, progress)?;
    note_mending(&mending, to, &mut notes)?;
    if run.first > Position(1) && kept != Kept::Bus {
        copy_older_captures(&store, run, &rebuild, &mut notes)?;
    }
    let fail = |error: fakemon_journal::ReadError| OpenError::reading(to.display(), &error, "");
    let settled = rebuild.settle(run.first).map_err(fail)?;
    for other in runs.iter().filter(|other| **other != run) {
        notes.push(write_lines(&store, *other, to)?);
    }
    note_losses(&examination, run, told, &mut notes);
    report_all(&mut examination, found, parts);
    let changed_from = mending.instead.keys().next().copied().into_iter().chain(wrong_state).min();
    let stands = rows
        .as_ref()
        .is_some_and(|rows| kept == Kept::Snapshot || stands_in(rows, run, &store) && is_before(rows, changed_from));
    let changes = bus.wants_changes_before().filter(|_| run.first == Position(1));
    let changes = changes.map(|before| changes_before(&store, run, before)).transpose()?;
    drop((store, rows));
    match stands {
        true => wreck.hand_over("snapshot", to)?,
        false if kept == Kept::Bus => begin_world(to, run.first)?,
        false if kept == Kept::History => {
            notes.push("the snapshot was left behind: nothing says what came before the journal".to_owned());
        }
        false => notes.push("the snapshot was left behind: it is made again from the journal".to_owned()),
    }
    bus.hand_over(wreck, Fit { run, last_at, told, changes }, to, &mut notes)?;
    settled.complete()?;
    index::build_in(unfinished)?;
    Ok(Salvaged { examination, first: run.first, end: run.end, kept, notes })
}

/// How far the journal must have reached: who read an event proves that it was there, whatever is left of the note.
/// That is a finding if it ends before.
fn note_reach(examination: &mut Examination, store: &Store, bus: &Bus, rows: Option<&RowStore>) -> Position {
    let head = rows.and_then(|rows| rows.head().ok().flatten()).map_or(Position(0), |head| Position(head.position));
    let told = store.told().max(bus.reach).max(head);
    let end = examination.verified.end_position;
    let is_told = examination.findings.iter().any(|finding| finding.cause == Cause::Acknowledged);
    if told > end && !examination.segments.is_empty() && !is_told {
        examination.findings.push(Finding::lacking(end, told, "others have read events that are not here"));
    }
    told
}

/// Puts what was found before a repair first, and what is wrong beside the journal last.
fn report_all(examination: &mut Examination, found: Vec<Finding>, parts: Vec<Finding>) {
    let is_told = found.iter().any(|finding| finding.cause == Cause::Acknowledged);
    let left = std::mem::replace(&mut examination.findings, found);
    let left = left.into_iter().filter(|finding| !is_told || finding.cause != Cause::Acknowledged);
    examination.findings.extend(left.chain(parts));
    examination.findings.dedup();
}

/// All changes of resources in a run before a position.
fn changes_before(store: &Store, run: Run, before: Position) -> Result<Vec<Changed>, OpenError> {
    let mut changes = Vec::new();
    blocks_of(store, run, &mut |block, _| {
        block.reader().for_each(|position, _, event| {
            if let Event::Changed(changed) = event
                && Position(position) < before
            {
                changes.push(changed);
            }
        });
        Ok(())
    })?;
    Ok(changes)
}

/// Makes the snapshot of an empty world whose journal goes on from a position.
fn begin_world(to: &Path, position: Position) -> Result<(), OpenError> {
    let fail = |error: fakemon_journal::ReadError| OpenError::reading(to.display(), &error, "");
    let rows = RowStore::open_up_to(to, position, position)?;
    let head = Head { position: position.0, next_fakemon_id: position.0, ..Head::default() };
    rows.write_rows(&Rows { head: Some(head), ..Rows::default() }).and_then(|()| rows.flush()).map_err(fail)
}

/// The result for a directory in which nothing is wrong.
fn untouched(examination: Examination) -> Salvaged {
    let (first, end) = (examination.verified.first_position, examination.verified.end_position);
    Salvaged { examination, first, end, kept: Kept::Untouched, notes: Vec::new() }
}

/// Visits a block, and its bytes.
type VisitBlock<'v> = dyn FnMut(&Block<'_>, &[u8]) -> Result<(), OpenError> + 'v;

/// Visits the blocks of a run.
fn blocks_of(store: &Store, run: Run, visit: &mut VisitBlock<'_>) -> Result<(), OpenError> {
    let mut result = Ok(());
    store.pieces(&mut |piece| {
        let BlockOrGap::Block(stored) = piece else { return ControlFlow::Continue(()) };
        if stored.first >= run.end {
            return ControlFlow::Break(());
        }
        if stored.first >= run.first
            && let Ok(reader) = stored.read()
        {
            result = visit(&Block::new(reader, stored.hash), stored.bytes());
        }
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result
}

/// The replacements for what contradicts in a run: from its beginning if that is the journal's, else from the
/// snapshot on. Without either nothing can be decided again.
fn mend(store: &Store, run: Run, rows: Option<&RowStore>) -> Result<Mending, OpenError> {
    let fail = |error: fakemon_journal::ReadError| OpenError::Io(error.to_string());
    let (from, rows) = match (run.first, rows.filter(|rows| stands_in(rows, run, store))) {
        (Position(1), _) => (Position(1), None),
        (_, Some(rows)) => {
            let head = rows.head().map_err(fail)?;
            (head.map_or(run.first, |head| Position(head.position)), Some(rows))
        }
        (_, None) => return Ok(Mending::default()),
    };
    let mut mender = Mender::new(rows).map_err(fail)?;
    let decided = Run { first: from, ..run };
    blocks_of(store, decided, &mut |block, _| {
        block.for_each_as_written(|recorded| mender.live_through(&recorded));
        Ok(())
    })?;
    if !mender.found_something() {
        return Ok(Mending::default());
    }
    blocks_of(store, decided, &mut |block, _| {
        block.for_each_as_written(|recorded| mender.gather(recorded));
        Ok(())
    })?;
    mender.mend().map_err(fail)
}

/// Copies blocks as they are, up to the first one with a replacement; from there on they are written again. Returns
/// when the last one was written, by the wall clock.
fn copy_run(
    store: &Store,
    run: Run,
    (mending, wrong_state): (&Mending, Option<Position>),
    rebuild: &mut Rebuild,
    progress: &mut dyn FnMut(Position, Position),
) -> Result<Option<Timestamp>, OpenError> {
    let mut last_at = None;
    let mut state = (run.first == Position(1)).then(StateHash::default);
    let (mut writer, mut is_changed) = (BlockWriter::default(), false);
    blocks_of(store, run, &mut |block, bytes| {
        let Group { first, end, .. } = block.group;
        is_changed |= mending.instead.range(first..end).next().is_some() || wrong_state == Some(first);
        let appended = match is_changed {
            true => {
                let bytes = rewritten(block, mending, &mut state, &mut writer);
                let reader = BlockReader::new(bytes).expect("it was just written");
                rebuild.go_on(&reader, bytes)
            }
            false => {
                state = Some(StateHash(block.state_hash));
                rebuild.append(block.reader(), bytes, &block.hash)
            }
        };
        progress(end, run.end);
        last_at = Some(block.group.committed_at);
        appended.map_err(|error| OpenError::Io(format!("the block at position {first}: {error}")))
    })?;
    Ok(last_at)
}

/// A block with the replacements in it. `state` becomes the state after it; none: it follows from what the block
/// says.
fn rewritten<'w>(
    block: &Block<'_>,
    mending: &Mending,
    state: &mut Option<StateHash>,
    writer: &'w mut BlockWriter,
) -> &'w [u8] {
    let (mut events, mut said, mut facts) = (VecDeque::new(), StateHash::default(), StateHash::default());
    block.for_each_as_written(|Recorded { position, event, .. }| {
        said.add(record::facts_of(&event));
        let event = mending.instead.get(&position).cloned().unwrap_or(event);
        facts.add(record::facts_of(&event));
        events.push_back(event);
    });
    let sections: Vec<SectionDraft> = block
        .sections()
        .map(|(shard, count)| {
            let mut section = SectionDraft::new(shard.0, 0);
            events.drain(..count).for_each(|event| record::draft(&mut section, &event, Ahead(0)));
            section
        })
        .collect();
    let mut after = state.unwrap_or(StateHash(block.state_hash.wrapping_sub(said.0)));
    after.add(facts);
    *state = Some(after);
    writer.write(BlockHead { state_hash: after.0, ..block.reader().head() }, &sections)
}

/// Reports the changes, and which acknowledged answers no longer hold: a few as sentences, all of them as lines.
fn note_mending(mending: &Mending, to: &Path, notes: &mut Vec<String>) -> Result<(), OpenError> {
    let all = mending.left_out.len() + mending.moved.len();
    if all == 0 {
        return Ok(());
    }
    let (folder, mut lines) = (to.join("salvaged"), String::new());
    let path = folder.join("mended.jsonl");
    let left_out = mending.left_out.iter().map(|left_out| (left_out.sentence(), left_out.as_json()));
    let moved = mending.moved.iter().map(|moved| (moved.sentence(), moved.as_json()));
    for (nth, (sentence, line)) in left_out.chain(moved).enumerate() {
        if nth < SENTENCES_MAX {
            notes.push(sentence);
        }
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    let made = files::make_folder(&folder, PRIVATE_FOLDER);
    let written = made.and_then(|()| files::replace(&path, lines.as_bytes(), PRIVATE_FILE));
    written.map_err(|error| OpenError::Io(format!("{}: {error}", path.display())))?;
    let (left_out, moved) = (mending.left_out.len(), mending.moved.len());
    notes.push(format!(
        "the journal contradicted itself: {left_out} events are left out and {moved} stand at another position, all of \
         them are in {}; everything else stands where it stood",
        path.display()
    ));
    Ok(())
}

/// Copies the captures of players from blocks that are not kept.
fn copy_older_captures(store: &Store, run: Run, rebuild: &Rebuild, notes: &mut Vec<String>) -> Result<(), OpenError> {
    let mut written = Ok(());
    let read = store.collections_around_damage(&mut |player, position, caught| {
        if position < run.first && written.is_ok() {
            written = rebuild.collect(player, position, caught);
        }
    });
    written.map_err(|error| OpenError::Io(error.to_string()))?;
    if let Err(error) = read {
        notes.push(format!("entries of collections are lost ({error}): the fakémon still have their winners"));
    }
    Ok(())
}

/// Gives no names: lines then show numbers only.
struct Numbers;

impl Names for Numbers {
    fn player(&self, _: PlayerId) -> Option<&str> {
        None
    }

    fn species(&self, _: SpeciesId) -> Option<&str> {
        None
    }
}

/// Writes a run as JSON lines beside the new journal; returns a sentence about it.
fn write_lines(store: &Store, run: Run, to: &Path) -> Result<String, OpenError> {
    let folder = to.join("salvaged");
    let path: PathBuf = folder.join(format!("positions-{}-to-{}.jsonl", run.first, run.end));
    let fail = |error: std::io::Error| OpenError::Io(format!("{}: {error}", path.display()));
    files::make_folder(&folder, PRIVATE_FOLDER).map_err(fail)?;
    let mut out = BufWriter::new(File::create(&path).map_err(fail)?);
    write_export(&mut out, run.first, run.end, None).map_err(fail)?;
    let (mut blocks, mut hash): (u64, BlockHash) = (0, [0; 32]);
    blocks_of(store, run, &mut |block, _| {
        (blocks, hash) = (blocks + 1, block.hash);
        let mut result = write_block(&mut out, block);
        block.for_each(|recorded| {
            if result.is_ok() {
                result = write_event(&mut out, &recorded, &Numbers);
            }
        });
        result.map_err(fail)
    })?;
    write_end(&mut out, run.end, blocks, &hash).and_then(|()| out.flush()).map_err(fail)?;
    out.get_ref().sync_all().and_then(|()| files::sync_folder(&folder)).map_err(fail)?;
    Ok(format!("positions {} to {} (exclusive) are in {}", run.first, run.end, path.display()))
}

fn note_losses(examination: &Examination, run: Run, told: Position, notes: &mut Vec<String>) {
    if told > run.end {
        notes.push(format!(
            "lost: all before position {told} was acknowledged, and what came from position {} on is forgotten",
            run.end
        ));
    }
    for finding in &examination.findings {
        let lost = match (finding.cause, finding.until) {
            (Cause::Unreadable | Cause::Missing | Cause::Changed, Some(until)) => {
                format!("lost: positions {} to {until} (exclusive)", finding.position)
            }
            (Cause::Unreadable | Cause::Changed, None) => {
                format!("lost: position {} and what follows", finding.position)
            }
            _ => continue,
        };
        notes.push(lost);
    }
}

fn write_note(to: &Path, salvaged: &Salvaged) -> Result<(), OpenError> {
    let folder = to.join("salvaged");
    let path = folder.join("report.json");
    let report = format!("{:#}\n", salvaged.as_json());
    let made = files::make_folder(&folder, PRIVATE_FOLDER);
    let written = made.and_then(|()| files::replace(&path, report.as_bytes(), PRIVATE_FILE));
    written.map_err(|error| OpenError::Io(format!("{}: {error}", path.display())))
}
