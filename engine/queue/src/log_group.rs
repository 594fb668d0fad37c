//! Log groups: lines sorted by time, each in a stream of its group, for people who want to see what the bus is doing.
//! Lines are in the depot; memory holds a few words per group.
//!
//! ```text
//! group 0 'l' timestamp ms (8) sequence (8) → ingested at ms (8), length of the stream's name (2), stream, message
//! group 0 's' stream → created at ms (8), and once it has lines: first ms (8), last ms (8), ingested at ms (8)
//! group 0 'n'        → number of lines (8)
//! ```

use fakemon_journal::{Batch, BusStore, ReadError, Table};
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{LogGroupName, LogStreamName};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The most lines of one group; beyond it the oldest are deleted.
pub const LINES_MAX: u64 = 10_000_000;
/// How many lines are deleted at once, so that room is made rarely.
const LINES_LET_GO: u64 = 100_000;
/// How often expired lines are deleted, in milliseconds.
const RETENTION_EVERY_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place in the group.
    pub place: LinePlace,
    /// When it arrived, in milliseconds since 1970.
    pub ingested_at_ms: u64,
    pub stream: String,
    /// Its text.
    pub message: String,
}

/// The place of a line in its group. Lines are sorted by time, lines of one millisecond by arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinePlace {
    /// The line's time, in milliseconds since 1970.
    pub at_ms: u64,
    /// Unique in the group.
    pub sequence: u64,
}

impl LinePlace {
    /// The next place.
    #[must_use]
    pub fn next(self) -> LinePlace {
        LinePlace { sequence: self.sequence.saturating_add(1), ..self }
    }
}

/// A stream of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub name: String,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Times of its lines; none if it never had any.
    pub times: Option<StreamTimes>,
}

/// Times of the lines that a stream got, in milliseconds since 1970, including lines that retention deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTimes {
    /// The time of the earliest line.
    pub first_ms: u64,
    /// The time of the latest line.
    pub last_ms: u64,
    /// When the last lines arrived.
    pub ingested_at_ms: u64,
}

impl Stream {
    fn new(name: &str, now_ms: u64) -> Stream {
        Stream { name: name.to_owned(), created_at_ms: now_ms, times: None }
    }

    fn value(&self) -> Vec<u8> {
        let times = self.times.map(|times| [times.first_ms, times.last_ms, times.ingested_at_ms]);
        let numbers = std::iter::once(self.created_at_ms).chain(times.into_iter().flatten());
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    fn read(name: &[u8], value: &[u8]) -> Stream {
        let mut numbers =
            value.chunks_exact(8).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
        let created_at_ms = numbers.next().unwrap_or_default();
        let times = match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(first_ms), Some(last_ms), Some(ingested_at_ms)) => {
                Some(StreamTimes { first_ms, last_ms, ingested_at_ms })
            }
            _ => None,
        };
        Stream { name: String::from_utf8_lossy(name).into_owned(), created_at_ms, times }
    }

    /// Updates its times with new lines.
    fn take(&mut self, lines: &[(u64, &str)], now_ms: u64) {
        let (earliest, latest) = (lines.iter().map(|line| line.0).min(), lines.iter().map(|line| line.0).max());
        let Some((first_ms, last_ms)) = earliest.zip(latest) else { return };
        let held = self.times.unwrap_or(StreamTimes { first_ms, last_ms, ingested_at_ms: now_ms });
        self.times = Some(StreamTimes {
            first_ms: held.first_ms.min(first_ms),
            last_ms: held.last_ms.max(last_ms),
            ingested_at_ms: now_ms,
        });
    }
}

#[derive(Default)]
struct Group {
    lines: u64,
    next: u64,
    streams: HashMap<String, Stream>,
    cleaned_at_ms: u64,
}

/// All log groups of a data directory.
pub struct Logs {
    depot: Arc<BusStore>,
    groups: Mutex<HashMap<String, Group>>,
}

fn row(group: &str, kind: u8, rest: &[u8]) -> Vec<u8> {
    [group.as_bytes(), &[0, kind], rest].concat()
}

fn line_row(group: &str, place: LinePlace) -> Vec<u8> {
    row(group, b'l', &[place.at_ms.to_be_bytes(), place.sequence.to_be_bytes()].concat())
}

impl Logs {
    pub fn open(depot: Arc<BusStore>) -> Logs {
        Logs { depot, groups: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Group>> {
        self.groups.lock()
    }

    /// The state of a group; read from the depot at first use.
    fn group<'g>(&self, held: &'g mut HashMap<String, Group>, name: &str) -> Result<&'g mut Group, ReadError> {
        if !held.contains_key(name) {
            let lines = self.depot.get(Table::Logs, &row(name, b'n', b""))?;
            let lines = lines.and_then(|count| Some(u64::from_be_bytes(count.try_into().ok()?))).unwrap_or(0);
            let streams = self.streams(name)?.into_iter().map(|stream| (stream.name.clone(), stream)).collect();
            held.insert(name.to_owned(), Group { lines, streams, ..Group::default() });
        }
        Ok(held.get_mut(name).expect("it was just made"))
    }

    /// Appends lines to a stream, which is made if it does not exist; each with its time in milliseconds. They
    /// survive the end of the process; with `sync`, a power cut too. Lines older than `retention_days` are deleted
    /// from time to time.
    ///
    /// # Errors
    /// When the depot cannot be read or written.
    pub fn append(
        &self,
        group: LogGroupName<'_>,
        stream: LogStreamName<'_>,
        lines: &[(u64, &str)],
        retention_days: Option<u32>,
        sync: bool,
        now: Timestamp,
    ) -> Result<(), ReadError> {
        self.append_with(group, stream, lines, retention_days, Batch::default(), sync, now)
    }

    /// As [`append`](Self::append), in one batch with other changes.
    #[expect(clippy::too_many_arguments, reason = "those of `append`, and the batch")]
    pub fn append_with(
        &self,
        LogGroupName(group): LogGroupName<'_>,
        LogStreamName(stream): LogStreamName<'_>,
        lines: &[(u64, &str)],
        retention_days: Option<u32>,
        mut batch: Batch,
        sync: bool,
        now: Timestamp,
    ) -> Result<(), ReadError> {
        let now_ms = now.0 / 1_000_000;
        let mut held = self.held();
        let state = self.group(&mut held, group)?;
        let mut taking = state.streams.get(stream).cloned().unwrap_or_else(|| Stream::new(stream, now_ms));
        taking.take(lines, now_ms);
        batch.put(Table::Logs, row(group, b's', stream.as_bytes()), taking.value());
        // Sequence numbers grow with time, so that none is used twice, even after a restart.
        let first = state.next.max(now.0);
        for (sequence, (at_ms, message)) in (first..).zip(lines) {
            let place = LinePlace { at_ms: *at_ms, sequence };
            batch.put(Table::Logs, line_row(group, place), line_value(now_ms, stream, message));
        }
        let mut left = state.lines + lines.len() as u64;
        if let Some(days) = retention_days
            && now_ms.saturating_sub(state.cleaned_at_ms) >= RETENTION_EVERY_MS
        {
            let expired = LinePlace { at_ms: expired_ms(now, days), sequence: 0 };
            left = left.saturating_sub(self.let_go(group, expired, u64::MAX, &mut batch)?);
            state.cleaned_at_ms = now_ms;
        } else if left > LINES_MAX {
            left -= self.let_go(group, LinePlace { at_ms: u64::MAX, sequence: 0 }, LINES_LET_GO, &mut batch)?;
        }
        batch.put(Table::Logs, row(group, b'n', b""), left.to_be_bytes());
        self.depot.write(batch, false).map_err(ReadError::Failed)?;
        state.next = first + lines.len() as u64;
        state.lines = left;
        state.streams.insert(stream.to_owned(), taking);
        drop(held);
        // Without the lock, so that writers of other lines share the sync and deliveries do not wait for it.
        if sync { self.depot.sync().map_err(ReadError::Failed) } else { Ok(()) }
    }

    /// Deletes at most `most` of the lines before `end`; returns how many.
    fn let_go(&self, group: &str, end: LinePlace, most: u64, batch: &mut Batch) -> Result<u64, ReadError> {
        let (prefix, end) = (row(group, b'l', b""), line_row(group, end));
        let (mut count, mut last) = (0, None);
        self.depot.scan(Table::Logs, &prefix, &prefix, &mut |key, _| {
            if count >= most || key >= end.as_slice() {
                return ControlFlow::Break(());
            }
            count += 1;
            last = Some(key.to_vec());
            ControlFlow::Continue(())
        })?;
        if let Some(mut last) = last {
            last.push(0);
            batch.delete_range(Table::Logs, prefix, last);
        }
        Ok(count)
    }

    /// Makes a stream; returns whether it is new.
    ///
    /// # Errors
    /// When the depot cannot be read or written.
    pub fn create_stream(
        &self,
        LogGroupName(group): LogGroupName<'_>,
        LogStreamName(stream): LogStreamName<'_>,
        now: Timestamp,
    ) -> Result<bool, ReadError> {
        let mut held = self.held();
        let state = self.group(&mut held, group)?;
        if state.streams.contains_key(stream) {
            return Ok(false);
        }
        let (mut batch, made) = (Batch::default(), Stream::new(stream, now.0 / 1_000_000));
        batch.put(Table::Logs, row(group, b's', stream.as_bytes()), made.value());
        self.depot.write(batch, true).map_err(ReadError::Failed)?;
        state.streams.insert(stream.to_owned(), made);
        Ok(true)
    }

    /// Deletes a stream and its lines; returns whether it existed.
    ///
    /// # Errors
    /// When the depot cannot be read or written.
    pub fn delete_stream(
        &self,
        LogGroupName(group): LogGroupName<'_>,
        LogStreamName(stream): LogStreamName<'_>,
    ) -> Result<bool, ReadError> {
        let mut held = self.held();
        let state = self.group(&mut held, group)?;
        if !state.streams.contains_key(stream) {
            return Ok(false);
        }
        let (mut batch, mut count) = (Batch::default(), 0);
        let prefix = row(group, b'l', b"");
        self.depot.scan(Table::Logs, &prefix, &prefix, &mut |key, value| {
            if read_line(&prefix, key, value).is_some_and(|line| line.stream == stream) {
                batch.delete(Table::Logs, key);
                count += 1;
            }
            ControlFlow::Continue(())
        })?;
        let left = state.lines.saturating_sub(count);
        batch.delete(Table::Logs, row(group, b's', stream.as_bytes()));
        batch.put(Table::Logs, row(group, b'n', b""), left.to_be_bytes());
        self.depot.write(batch, true).map_err(ReadError::Failed)?;
        state.lines = left;
        state.streams.remove(stream);
        Ok(true)
    }

    /// Deletes all lines and streams of a group.
    ///
    /// # Errors
    /// When the depot cannot be written.
    pub fn forget(&self, group: &str) -> Result<(), ReadError> {
        let mut held = self.held();
        let mut batch = Batch::default();
        let (from, to) = ([group.as_bytes(), &[0]].concat(), [group.as_bytes(), &[1]].concat());
        batch.delete_range(Table::Logs, from, to);
        self.depot.write(batch, true).map_err(ReadError::Failed)?;
        held.remove(group);
        Ok(())
    }

    /// Adds to the batch the deletion of all lines and streams of all groups.
    pub fn forget_all(&self, batch: &mut Batch) {
        self.held().clear();
        batch.delete_range(Table::Logs, b"", [0xFF]); // names are text
    }

    /// The streams of a group, by name.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn streams(&self, group: &str) -> Result<Vec<Stream>, ReadError> {
        let prefix = row(group, b's', b"");
        let mut streams = Vec::new();
        self.depot.scan(Table::Logs, &prefix, &prefix, &mut |key, value| {
            streams.push(Stream::read(&key[prefix.len()..], value));
            ControlFlow::Continue(())
        })?;
        Ok(streams)
    }

    /// Whether a group has a stream.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn has_stream(
        &self,
        LogGroupName(group): LogGroupName<'_>,
        LogStreamName(stream): LogStreamName<'_>,
    ) -> Result<bool, ReadError> {
        Ok(self.group(&mut self.held(), group)?.streams.contains_key(stream))
    }

    /// The number of lines in a group.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn lines(&self, group: &str) -> Result<u64, ReadError> {
        Ok(self.group(&mut self.held(), group)?.lines)
    }

    /// Visits the lines of a group from a place on, in order, until the visitor breaks.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn read(
        &self,
        group: &str,
        from: LinePlace,
        visit: &mut dyn FnMut(Line) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let prefix = row(group, b'l', b"");
        let mut visit =
            |key: &[u8], value: &[u8]| read_line(&prefix, key, value).map_or(ControlFlow::Continue(()), &mut *visit);
        self.depot.scan(Table::Logs, &prefix, &line_row(group, from), &mut visit)
    }

    /// Visits the lines of a group before a place, the newest first, until the visitor breaks.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn read_back(
        &self,
        group: &str,
        before: LinePlace,
        visit: &mut dyn FnMut(Line) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let prefix = row(group, b'l', b"");
        let mut visit =
            |key: &[u8], value: &[u8]| read_line(&prefix, key, value).map_or(ControlFlow::Continue(()), &mut *visit);
        self.depot.scan_back(Table::Logs, &prefix, &line_row(group, before), &mut visit)
    }
}

/// The time in milliseconds before which lines are expired.
pub fn expired_ms(now: Timestamp, retention_days: u32) -> u64 {
    (now.0 / 1_000_000).saturating_sub(u64::from(retention_days) * 86_400_000)
}

fn line_value(ingested_at_ms: u64, stream: &str, message: &str) -> Vec<u8> {
    let length = u16::try_from(stream.len()).expect("names of streams are checked to be short");
    [&ingested_at_ms.to_be_bytes()[..], &length.to_be_bytes(), stream.as_bytes(), message.as_bytes()].concat()
}

fn read_line(prefix: &[u8], key: &[u8], value: &[u8]) -> Option<Line> {
    let (at_ms, sequence) = key.get(prefix.len()..)?.split_first_chunk::<8>()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    let (ingested, rest) = value.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (stream, message) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(Line {
        place: LinePlace { at_ms: u64::from_be_bytes(*at_ms), sequence },
        ingested_at_ms: u64::from_be_bytes(*ingested),
        stream: String::from_utf8_lossy(stream).into_owned(),
        message: String::from_utf8_lossy(message).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    fn messages(logs: &Logs, from: LinePlace) -> Vec<String> {
        let mut found = Vec::new();
        logs.read("g", from, &mut |line| {
            found.push(line.message);
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    #[test]
    fn lines_are_read_in_order_of_their_time_from_both_ends_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let depot = Arc::new(BusStore::open(dir.path()).unwrap());
        let logs = Logs::open(depot.clone());
        logs.append(LogGroupName("g"), LogStreamName("one"), &[(5, "b"), (3, "a")], None, true, at(10)).unwrap();
        logs.append(LogGroupName("g"), LogStreamName("two"), &[(5, "c")], None, true, at(11)).unwrap();
        logs.append(LogGroupName("go"), LogStreamName("two"), &[(5, "of another group")], None, true, at(11))
            .unwrap();
        let logs = Logs::open(depot);
        assert_eq!(messages(&logs, LinePlace::default()), ["a", "b", "c"]);
        assert_eq!(messages(&logs, LinePlace { at_ms: 4, sequence: 0 }), ["b", "c"]);
        let mut back = Vec::new();
        logs.read_back("g", LinePlace { at_ms: u64::MAX, sequence: 0 }, &mut |line| {
            back.push((line.stream, line.message));
            if back.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(back, [("two".into(), "c".into()), ("one".into(), "b".to_owned())]);
        assert_eq!(logs.lines("g").unwrap(), 3);
        let times = |logs: &Logs, stream: usize| logs.streams("g").unwrap()[stream].times.unwrap();
        assert_eq!(times(&logs, 0), StreamTimes { first_ms: 3, last_ms: 5, ingested_at_ms: 10 });
        logs.append(LogGroupName("g"), LogStreamName("two"), &[(4, "late")], None, true, at(12)).unwrap();
        assert_eq!(times(&logs, 1), StreamTimes { first_ms: 4, last_ms: 5, ingested_at_ms: 12 });
        assert!(
            logs.has_stream(LogGroupName("g"), LogStreamName("two")).unwrap()
                && !logs.has_stream(LogGroupName("g"), LogStreamName("three")).unwrap()
        );
        assert!(logs.delete_stream(LogGroupName("g"), LogStreamName("one")).unwrap());
        assert_eq!(messages(&logs, LinePlace::default()), ["late", "c"]);
        assert_eq!(logs.lines("g").unwrap(), 2);
        logs.forget("g").unwrap();
        assert!(messages(&logs, LinePlace::default()).is_empty() && logs.streams("g").unwrap().is_empty());
        assert_eq!(logs.lines("go").unwrap(), 1);
    }

    #[test]
    fn what_is_too_old_goes() {
        const DAY: u64 = 86_400_000;
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(Arc::new(BusStore::open(dir.path()).unwrap()));
        logs.append(
            LogGroupName("g"),
            LogStreamName("s"),
            &[(DAY, "old"), (3 * DAY, "young")],
            None,
            true,
            at(3 * DAY),
        )
        .unwrap();
        logs.append(LogGroupName("g"), LogStreamName("s"), &[(4 * DAY, "new")], Some(2), true, at(4 * DAY)).unwrap();
        assert_eq!(messages(&logs, LinePlace::default()), ["young", "new"]);
        assert_eq!(logs.lines("g").unwrap(), 2);
    }
}
