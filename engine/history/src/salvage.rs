//! Makes a new data directory of what is left of a damaged one, with the positions, ids and hashes of the old one.
//!
//! A journal must have no hole: nothing proves what follows one. So one run of neighbouring blocks is kept, and every
//! other readable run is stored beside it as JSON lines (`salvaged/`), from which `fakemon import` makes a data
//! directory for tools. Which run is kept:
//!
//! 1. The last one, if the snapshot can be read and its position is in it: as after retention, the state is complete,
//!    players keep what they caught, and every acknowledged answer stays; only history is missing.
//! 2. Else the one from the beginning on: a server continues from its end; what was acknowledged after it is lost.
//! 3. Else (retention deleted the beginning, and the snapshot is lost) the longest one, for tools only.
//!
//! A run whose events contradict each other, although its hash chain holds, is mended (`mend`): every consistent
//! event keeps its position, and the others are reported. From the first change on, hashes are new.

mod mend;

use crate::archive::{Block, Group, Recorded};
use crate::jsonl::{Names, write_block, write_end, write_event, write_export};
use crate::rebuild::Rebuild;
use crate::verify::{self, Cause, Examination, Finding, Segment};
use fakemon_capture::decision::record;
use fakemon_capture::options::OpenError;
use fakemon_capture::population::StateHash;
use fakemon_delivery::Known;
use fakemon_fbs::journal::{BlockHead, BlockReader, BlockWriter, SectionDraft};
use fakemon_journal::files::{self, PRIVATE_FILE, PRIVATE_FOLDER};
use fakemon_journal::index;
use fakemon_journal::{BlockHash, BlockOrGap, Part, RowStore, SalvageCopy, Store};
use fakemon_model::ids::{Ahead, PlayerId, Position, SpeciesId};
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
    /// Some part, without a snapshot.
    History,
}

impl Salvaged {
    /// The report as JSON.
    pub fn as_json(&self) -> Value {
        let kept = match self.kept {
            Kept::Untouched => "untouched",
            Kept::Everything => "everything",
            Kept::Mended => "mended",
            Kept::End => "end",
            Kept::Beginning => "beginning",
            Kept::History => "history",
        };
        let findings: Vec<_> = self.examination.findings.iter().map(ToString::to_string).collect();
        json!({
            "first_position": self.first.to_string(),
            "end_position": self.end.to_string(),
            "kept": kept,
            "notes": self.notes,
            "wrong": findings,
        })
    }
}

/// Neighbouring blocks whose hash chain holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: Position,
    end: Position,
}

/// Makes the new directory `to`, which is empty or not there, of the damaged one; `progress` hears the position and
/// the end now and then, `reading` which database beside the journal is read next. If nothing is wrong, nothing is
/// written.
///
/// # Errors
/// When a process has the old one open, nothing can be read, or the new one cannot be written.
pub fn salvage(
    dir: &Path,
    to: &Path,
    progress: &mut dyn FnMut(Position, Position),
    reading: &mut dyn FnMut(Part),
) -> Result<Salvaged, OpenError> {
    Rebuild::check(to)?;
    let held = SalvageCopy::hold(dir)?;
    let examined = verify::examine(dir, progress, reading);
    let whole = examined.as_ref().ok().filter(|examination| examination.findings.is_empty()).cloned();
    // After a beginning that retention deleted, only the snapshot says whether events contradict the ones before.
    if let Some(examination) = whole.as_ref().filter(|whole| whole.verified.first_position == Position(1)) {
        return Ok(untouched(examination.clone()));
    }
    let wreck = SalvageCopy::of(dir, to, held)?;
    let (store, mended) = wreck.journal()?;
    let mut examination = verify::run(&store, false, &mut |_, _| {});
    let is_part = |finding: &Finding| matches!(finding.cause, Cause::Part(_));
    let parts = examined.into_iter().flat_map(|examined| examined.findings).filter(is_part);
    let runs = runs(&examination);
    let rows = wreck.rows();
    let (kept, run) = choose(&examination, &runs, rows.as_ref(), &store)?;
    let mut notes = Vec::new();
    if mended {
        notes.push("the journal could not be opened: its tables were taken one by one".to_owned());
    }
    let mending = mend(&store, run, rows.as_ref())?;
    if let Some(examination) = whole.filter(|_| mending.instead.is_empty()) {
        return Ok(untouched(examination));
    }
    let is_mended = kept == Kept::Everything && !mending.instead.is_empty();
    let kept = if is_mended { Kept::Mended } else { kept };
    let mut rebuild = Rebuild::begin(to, "a salvage")?;
    let wrong_state = examination.findings.iter().find(|finding| finding.cause == Cause::State);
    let wrong_state = wrong_state.and_then(|finding| finding.block);
    copy_run(&store, run, (&mending, wrong_state), &mut rebuild, progress)?;
    note_mending(&mending, to, &mut notes)?;
    if run.first > Position(1) {
        copy_older_captures(&store, run, &rebuild, &mut notes)?;
    }
    let fail = |error: fakemon_journal::ReadError| OpenError::reading(to.display(), &error, "");
    let settled = rebuild.settle().map_err(fail)?;
    for other in runs.iter().filter(|other| **other != run) {
        notes.push(write_lines(&store, *other, to)?);
    }
    note_losses(&examination, &mut notes);
    examination.findings.extend(parts);
    let changed_from = mending.instead.keys().next().copied().into_iter().chain(wrong_state).min();
    let stands = rows.as_ref().is_some_and(|rows| stands_in(rows, run, &store) && is_before(rows, changed_from));
    drop((store, rows));
    match stands {
        true => wreck.hand_over("snapshot", to)?,
        false => notes.push("the snapshot was left behind: it is made again from the journal".to_owned()),
    }
    let is_bus = |finding: &Finding| finding.cause == Cause::Part(Part::Bus.name());
    let bus_is_whole = !examination.findings.iter().any(is_bus);
    hand_over_bus(&wreck, bus_is_whole, (kept, run), to, &mut notes)?;
    let salvaged = Salvaged { examination, first: run.first, end: run.end, kept, notes };
    write_note(to, &salvaged)?;
    settled.complete()?;
    index::build(to, &mut |_, _| {})?;
    verify::verify(to, &mut |_, _| {}).map_err(|error| OpenError::Io(format!("{}: {error}", to.display())))?;
    Ok(salvaged)
}

/// The result for a directory in which nothing is wrong.
fn untouched(examination: Examination) -> Salvaged {
    let (first, end) = (examination.verified.first_position, examination.verified.end_position);
    Salvaged { examination, first, end, kept: Kept::Untouched, notes: Vec::new() }
}

/// Adjacent segments are one run: between them only outcomes or the state are wrong, and those can be mended.
fn runs(examination: &Examination) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Segment { first, end, .. } in examination.segments.iter().copied() {
        match runs.last_mut().filter(|run| run.end == first) {
            Some(run) => run.end = end,
            None => runs.push(Run { first, end }),
        }
    }
    runs
}

fn choose(
    examination: &Examination,
    runs: &[Run],
    rows: Option<&RowStore>,
    store: &Store,
) -> Result<(Kept, Run), OpenError> {
    let last = *runs.last().ok_or_else(|| OpenError::Damaged {
        position: None,
        message: "nothing of the journal can be read: restore a copy".into(),
    })?;
    let told = store.told();
    let findings = examination.findings.iter().filter(|finding| finding.cause != Cause::Note);
    let is_whole = |causes: &[Cause]| findings.clone().all(|finding| causes.contains(&finding.cause));
    match runs.len() {
        _ if findings.clone().next().is_none() => return Ok((Kept::Everything, last)),
        1 if is_whole(&[Cause::Collections]) => return Ok((Kept::Everything, last)),
        1 if is_whole(&[Cause::Collections, Cause::Diverged, Cause::State]) => return Ok((Kept::Mended, last)),
        _ => {}
    }
    if told <= last.end && rows.is_some_and(|rows| stands_in(rows, last, store)) {
        return Ok((Kept::End, last));
    }
    match runs.iter().find(|run| run.first == Position(1)) {
        Some(first) => Ok((Kept::Beginning, *first)),
        None => {
            let longest = runs.iter().max_by_key(|run| run.end.0 - run.first.0).copied();
            Ok((Kept::History, longest.unwrap_or(last)))
        }
    }
}

/// Whether the snapshot's position is in a run, or at its ends, and agrees with it there.
fn stands_in(rows: &RowStore, run: Run, store: &Store) -> bool {
    let Ok(Some(head)) = rows.head() else { return false };
    let position = Position(head.position);
    if !(run.first..=run.end).contains(&position) {
        return false;
    }
    let mut agrees = position == Position(1);
    store.pieces(&mut |piece| {
        if let BlockOrGap::Block(stored) = piece
            && let Ok(block) = stored.read()
        {
            let end = stored.first.0 + u64::from(block.head().count);
            agrees |= end == position.0 && stored.hash == head.block_hash;
            agrees |= stored.first == position && stored.verify_after(&head.block_hash).is_ok();
            if stored.first >= position {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    agrees
}

/// Whether the snapshot is older than the first change.
fn is_before(rows: &RowStore, changed_from: Option<Position>) -> bool {
    let head = rows.head().ok().flatten();
    changed_from.is_none_or(|from| head.is_some_and(|head| Position(head.position) <= from))
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

/// Copies blocks as they are, up to the first one with a replacement; from there on they are written again.
fn copy_run(
    store: &Store,
    run: Run,
    (mending, wrong_state): (&Mending, Option<Position>),
    rebuild: &mut Rebuild,
    progress: &mut dyn FnMut(Position, Position),
) -> Result<(), OpenError> {
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
        appended.map_err(|error| OpenError::Io(format!("the block at position {first}: {error}")))
    })
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
    let read = store.collections(&mut |player, position, caught| {
        if position < run.first && written.is_ok() {
            written = rebuild.collect(player, position, caught);
        }
    });
    written.map_err(|error| OpenError::Io(error.to_string()))?;
    if let Err(error) = read {
        notes.push(format!("entries of collections are lost ({error}); the fakémon still have their winners"));
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

fn note_losses(examination: &Examination, notes: &mut Vec<String>) {
    for finding in &examination.findings {
        let lost = match (finding.cause, finding.until) {
            (Cause::Unreadable | Cause::Missing | Cause::Changed, Some(until)) => {
                format!("lost: positions {} to {until} (exclusive)", finding.position)
            }
            (Cause::Unreadable | Cause::Changed, None) => {
                format!("lost: position {} and what follows", finding.position)
            }
            (Cause::Acknowledged, _) => format!("lost: {}", finding.what),
            _ => continue,
        };
        notes.push(lost);
    }
}

/// Cursors of deliveries, queues, log groups and secrets go along, up to where they are damaged, unless they know
/// more than the journal.
fn hand_over_bus(
    wreck: &SalvageCopy,
    bus_is_whole: bool,
    (kept, run): (Kept, Run),
    to: &Path,
    notes: &mut Vec<String>,
) -> Result<(), OpenError> {
    let fits = |next: Position| matches!(kept, Kept::Everything | Kept::Mended | Kept::End) || next <= run.end;
    let known = wreck.depot().and_then(|depot| Known::read(&depot, run.first, Position(u64::MAX)).ok());
    match known.is_some_and(|known| fits(known.next)) {
        true => {
            if !bus_is_whole {
                let what = "queues, log groups, secrets and cursors of deliveries are there as far as they can be read: what was \
                            written after the damage is lost, and messages that were deleted after it are there again";
                notes.push(what.to_owned());
            }
            wreck.hand_over("bus", to)
        }
        false => {
            let what = "queues, log groups, secrets and cursors of deliveries were left behind: rules begin again with the \
                        first event of the journal, so delete those that must not, before a server goes on with it";
            notes.push(what.to_owned());
            Ok(())
        }
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
