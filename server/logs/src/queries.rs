//! Queries over lines in the language of Logs Insights, the commands that people type by hand: `fields`, `display`,
//! `filter`, `sort`, `limit`. A query runs in `StartQuery`, from the newest line to the oldest; its answer is kept in
//! memory, bounded, for `GetQueryResults`.
//!
//! - `language`: parses the text of a query

mod language;

use crate::Logs;
use crate::{ANSWER_BYTES_MAX, group_of, invalid, on_disk};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fakemon_aws::request::{Request, object};
use fakemon_aws::{ApiError, uuid};
use fakemon_engine::{Engine, ReadError, wall_clock};
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::ids::Timestamp;
use fakemon_pattern::raw;
use fakemon_queue::log_group::{Line, LinePlace};
use language::{Field, POINTER, Query};
use parking_lot::{Mutex, MutexGuard};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Answers that are kept; and their bytes.
const ANSWERS_MAX: usize = 100;
const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// Groups of one query.
const GROUPS_MAX: usize = 50;
/// Lines that one query scans.
const LINES_MAX: u64 = 1_000_000;
/// Lines that one query sorts.
const SORTED_MAX: usize = 100_000;
/// Rows of an answer.
const ROWS_MAX: usize = 10_000;

/// Answered queries, the newest last.
#[derive(Default)]
pub struct Queries(Mutex<VecDeque<Arc<Answered>>>);

struct Answered {
    id: String,
    text: String,
    group: String,
    asked_at: Timestamp,
    rows: Vec<Value>,
    bytes: usize,
    seen: Seen,
}

/// Statistics of a query.
#[derive(Clone, Copy, Default)]
struct Seen {
    matched: u64,
    scanned: u64,
    bytes: u64,
}

impl Queries {
    fn held(&self) -> MutexGuard<'_, VecDeque<Arc<Answered>>> {
        self.0.lock()
    }

    /// Removes all.
    pub fn clear(&self) {
        self.held().clear();
    }

    fn keep(&self, answered: Answered) {
        let mut held = self.held();
        held.push_back(Arc::new(answered));
        let mut bytes: usize = held.iter().map(|one| one.bytes).sum();
        while held.len() > ANSWERS_MAX || bytes > ANSWERS_BYTES_MAX && held.len() > 1 {
            bytes -= held.pop_front().map_or(0, |oldest| oldest.bytes);
        }
    }

    fn find(&self, request: &Request<'_>) -> Result<Arc<Answered>, ApiError> {
        let id = request.required("queryId");
        request.check()?;
        let found = self.held().iter().find(|one| one.id == id).cloned();
        found.ok_or_else(|| ApiError::missing("Query ID does not exist or has expired."))
    }
}

/// A time in seconds or milliseconds since 1970, as milliseconds.
fn moment(request: &Request<'_>, member: &str) -> Result<u64, ApiError> {
    let wrong = || invalid(format!("{member} is a number of seconds since 1970"));
    let given = request.get(member).and_then(Value::as_u64).ok_or_else(wrong)?;
    Ok(if given < 100_000_000_000 { given * 1_000 } else { given })
}

/// The groups that a query names, in any of the members.
fn groups(logs: &Logs, request: &Request<'_>) -> Result<Vec<(String, Option<u32>)>, ApiError> {
    let texts = |member: &str| {
        let given = request.get(member).and_then(Value::as_array).into_iter().flatten();
        given.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let one: Vec<String> = request.text("logGroupName").map(str::to_owned).into_iter().collect();
    let named = [one, texts("logGroupNames"), texts("logGroupIdentifiers")];
    request.check()?;
    let mut given = named.into_iter().filter(|names| !names.is_empty());
    let (Some(names), None) = (given.next(), given.next()) else {
        return Err(invalid("Exactly one of logGroupName, logGroupNames and logGroupIdentifiers must be given."));
    };
    if names.len() > GROUPS_MAX {
        return Err(invalid(format!("A query is about at most {GROUPS_MAX} log groups.")));
    }
    let registry = logs.engine.registry();
    let group = |name: &String| group_of(&registry, name).map(|group| (group.name.clone(), group.retention_days));
    names.iter().map(group).collect()
}

/// Runs a query and keeps its answer.
pub(crate) async fn start(logs: &Arc<Logs>, request: &Request<'_>) -> Result<Value, ApiError> {
    let (text, limit) = (request.required("queryString").to_owned(), request.number("limit", 1, ROWS_MAX as u64));
    let language = request.text("queryLanguage").unwrap_or("CWLI").to_owned();
    request.check()?;
    if language != "CWLI" {
        return Err(invalid(format!("queryLanguage {language} is not read here, only CWLI")));
    }
    let (from, to) = (moment(request, "startTime")?, moment(request, "endTime")?);
    if from > to {
        return Err(invalid("End time should not be less than start time."));
    }
    let groups = groups(logs, request)?;
    let query = Query::parse(&text).map_err(|why| ApiError::new("MalformedQueryException", why))?;
    let limit = query.limit.or(limit.and_then(|limit| usize::try_from(limit).ok())).unwrap_or(ROWS_MAX);
    let (asked_at, group) = (wall_clock(), groups[0].0.clone());
    let found = on_disk(logs, move |engine| look(engine, &query, &groups, (from, to), limit.min(ROWS_MAX)));
    let Found { rows, bytes, seen } = found.await?;
    let id = uuid();
    logs.queries.keep(Answered { id: id.clone(), text, group, asked_at, rows, bytes, seen });
    Ok(json!({ "queryId": id }))
}

struct Found {
    rows: Vec<Value>,
    bytes: usize,
    seen: Seen,
}

/// A line that matched, and its sort keys.
struct Row {
    shown: Value,
    bytes: usize,
    keys: Vec<Option<String>>,
}

/// Scans the groups, each from its newest line to its oldest.
fn look(
    engine: &Engine,
    query: &Query,
    groups: &[(String, Option<u32>)],
    (from, to): (u64, u64),
    limit: usize,
) -> Result<Found, ReadError> {
    let (mut rows, mut seen): (Vec<(u64, Row)>, Seen) = (Vec::new(), Seen::default());
    let most = if query.sort.is_empty() { limit } else { SORTED_MAX };
    for (group, retention_days) in groups {
        let oldest =
            retention_days.map_or(0, |days| fakemon_queue::log_group::expired_ms(wall_clock(), days)).max(from);
        let (mut bytes, mut of_group) = (0, 0);
        let end = LinePlace { at_ms: to.saturating_add(1), sequence: 0 };
        engine.logs().read_back(group, end, &mut |line| {
            if line.place.at_ms < oldest || seen.scanned >= LINES_MAX {
                return ControlFlow::Break(());
            }
            seen.scanned += 1;
            seen.bytes += line.message.len() as u64;
            let record = Record::new(group, &line);
            if !query.wants(&record) {
                return ControlFlow::Continue(());
            }
            seen.matched += 1;
            let row = record.row(query);
            bytes += row.bytes;
            of_group += 1;
            rows.push((line.place.at_ms, row));
            let full = of_group >= most || bytes >= ANSWER_BYTES_MAX * 8;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    rows.sort_by_key(|(at_ms, _)| std::cmp::Reverse(*at_ms));
    rows.sort_by(|(_, one), (_, other)| query.order(&one.keys, &other.keys));
    rows.truncate(limit);
    let bytes = rows.iter().map(|(_, row)| row.bytes).sum();
    Ok(Found { rows: rows.into_iter().map(|(_, row)| row.shown).collect(), bytes, seen })
}

/// A line, as a query sees it.
struct Record<'l> {
    group: &'l str,
    line: &'l Line,
    /// The line's JSON as it was written, so that fields are shown unchanged.
    json: Option<&'l RawValue>,
}

impl<'l> Record<'l> {
    fn new(group: &'l str, line: &'l Line) -> Record<'l> {
        let is_object = line.message.trim_start().starts_with('{');
        let json = is_object.then(|| serde_json::from_str(&line.message).ok()).flatten();
        Record { group, line, json }
    }

    /// A field: of the line itself (`@message`), or of its JSON (`detail.player`, `list.0`).
    fn field(&self, name: &str) -> Option<String> {
        let time = |ms: u64| {
            let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
            Some(at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
        };
        match name {
            "@message" => return Some(self.line.message.clone()),
            "@timestamp" => return time(self.line.place.at_ms),
            "@ingestionTime" => return time(self.line.ingested_at_ms),
            "@logStream" => return Some(self.line.stream.clone()),
            "@log" => return Some(format!("{ACCOUNT}:{}", self.group)),
            POINTER => return Some(self.pointer()),
            _ => {}
        }
        let json = self.json?;
        let found = raw::member(json, name).or_else(|| name.split('.').try_fold(json, part))?.get();
        match found {
            "null" => None,
            "true" => Some("1".into()),
            "false" => Some("0".into()),
            text if text.starts_with('"') => serde_json::from_str(text).ok(),
            other => Some(raw::compact(other)),
        }
    }

    fn pointer(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}\0{}\0{}", self.group, self.line.place.at_ms, self.line.place.sequence))
    }

    fn row(&self, query: &Query) -> Row {
        let (mut bytes, mut shown) = (0, Vec::with_capacity(query.fields.len() + 1));
        let pointer = Field::plain(POINTER);
        for Field { name, shown: alias } in query.fields.iter().chain([&pointer]) {
            if let Some(value) = self.field(name) {
                bytes += alias.len() + value.len() + 64;
                shown.push(json!({ "field": alias, "value": value }));
            }
        }
        let keys = query.sort.iter().map(|sort| self.field(query.meant(&sort.field))).collect();
        Row { shown: shown.into(), bytes, keys }
    }
}

/// A member of an object, or an element of a list.
fn part<'l>(value: &'l RawValue, name: &str) -> Option<&'l RawValue> {
    match value.get().starts_with('[') {
        true => raw::elements(value)?.get(name.parse::<usize>().ok()?).copied(),
        false => raw::member(value, name),
    }
}

impl Query {
    fn wants(&self, record: &Record<'_>) -> bool {
        self.filters.iter().all(|filter| filter.holds(&|name| record.field(self.meant(name))))
    }

    /// Missing fields come last in either direction.
    fn order(&self, one: &[Option<String>], other: &[Option<String>]) -> Ordering {
        let orders = self.sort.iter().zip(one.iter().zip(other)).map(|(sort, keys)| match keys {
            (Some(one), Some(other)) => {
                let order = language::compare(one, other);
                if sort.descending { order.reverse() } else { order }
            }
            (one, other) => other.is_some().cmp(&one.is_some()),
        });
        orders.fold(Ordering::Equal, Ordering::then)
    }
}

/// `GetQueryResults`.
pub(crate) fn results(logs: &Logs, request: &Request<'_>) -> Result<Value, ApiError> {
    let answered = logs.queries.find(request)?;
    let Seen { matched, scanned, bytes } = answered.seen;
    Ok(json!({
        "queryLanguage": "CWLI",
        "results": answered.rows,
        "statistics": { "recordsMatched": matched, "recordsScanned": scanned, "bytesScanned": bytes },
        "status": "Complete",
    }))
}

/// `DescribeQueries`: the newest first.
pub(crate) fn describe(logs: &Logs, request: &Request<'_>) -> Result<Value, ApiError> {
    let (group, status) = (request.text("logGroupName"), request.text("status"));
    let limit = request.number("maxResults", 1, 1_000).unwrap_or(1_000) as usize;
    request.check()?;
    let wanted = |one: &&Arc<Answered>| {
        group.is_none_or(|group| one.group == group) && status.is_none_or(|status| status == "Complete")
    };
    let shown = |one: &Arc<Answered>| {
        object([
            ("queryId", Some(one.id.as_str().into())),
            ("queryString", Some(one.text.as_str().into())),
            ("status", Some("Complete".into())),
            ("createTime", Some((one.asked_at.0 / 1_000_000).into())),
            ("logGroupName", Some(one.group.as_str().into())),
            ("queryLanguage", Some("CWLI".into())),
        ])
    };
    let queries: Vec<Value> = logs.queries.held().iter().rev().filter(wanted).take(limit).map(shown).collect();
    Ok(json!({ "queries": queries }))
}

/// `StopQuery`: a query has ended when it is known, so there is nothing to stop.
pub(crate) fn stop(logs: &Logs, request: &Request<'_>) -> Result<Value, ApiError> {
    logs.queries.find(request)?;
    Err(invalid("Query is not in a stoppable state: it is complete."))
}
