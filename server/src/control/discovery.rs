//! Discoverers at work: what happens on their buses becomes schemas in `discovered-schemas`, a new version where the shape
//! of events grows. One reader follows the journal for all of them, at its own pace: what is more than it reads in a turn
//! it leaves out, for a sample says as much. Learning twice changes nothing, so after a start it reads again what it may
//! not have learned before.

use super::{Shared, desk};
use fakemon_engine::bus::resource::{Change, Resource, Schema, SchemaVersion, Tags};
use fakemon_engine::bus::{DEFAULT_BUS, NewEvent, Registry};
use fakemon_engine::envelope::{REGION, SOURCE_ENGINE};
use fakemon_engine::ids::{Position, Timestamp};
use fakemon_engine::limits::{SCHEMA_BYTES_MAX, SCHEMA_CHARS_MAX, SCHEMA_VERSIONS_MAX, SCHEMAS_MAX};
use fakemon_engine::schema::{
    self, DISCOVERED_REGISTRY, Drift, Kind, SCHEMA_DRIFT, Shape, envelope_schema, schema_name,
};
use fakemon_engine::{ReadError, Tail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often it looks for what is new.
const EVERY: Duration = Duration::from_millis(100);
/// Records that are looked at in a turn; of more, the newest.
const RECORDS_MAX: u64 = 50_000;
/// Events that are learned from in a turn.
const EVENTS_MAX: usize = 1_000;
/// Records that are read again after a start.
const AGAIN: u64 = 50_000;
/// Versions that come as fast as shapes change; those behind them wait twice as long each.
const PROMPT_VERSIONS: u32 = 8;
/// The longest wait for a version.
const WAIT_S_MAX: u64 = 3_600;

/// What was counted.
#[derive(Default)]
pub(super) struct DiscoveryFigures {
    /// Events that were learned from.
    pub(super) learned: AtomicU64,
    /// Records that were left out under load.
    pub(super) left_out: AtomicU64,
    /// Versions that were made.
    pub(super) versions: AtomicU64,
    /// Of these, changes of a shape that was known.
    pub(super) drifts: AtomicU64,
}

/// What is known of one kind of event.
struct Learned {
    source: String,
    detail_type: String,
    bus: String,
    /// The newest event that changed it.
    event_id: String,
    shape: Shape,
    /// As the newest version has it.
    told: Shape,
    /// The newest version and when its schema was made; none before the first.
    version: Option<(u32, Timestamp)>,
    /// Before this moment there is no new version.
    quiet_until: Timestamp,
}

#[derive(Default)]
struct Discovery {
    /// Everything before it was read, or left out.
    next: Option<Position>,
    by_name: HashMap<String, Learned>,
}

/// Follows the journal for all discoverers until the server stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut discovery = Discovery::default();
    while !shared.is_stopping() {
        tokio::time::sleep(EVERY).await;
        let registry = shared.engine.registry();
        let tail = shared.engine.tail();
        if registry.discoverers.values().all(|discoverer| !discoverer.started) {
            discovery = Discovery { next: Some(tail.end()), ..Discovery::default() };
            continue;
        }
        let of = Arc::clone(&shared);
        let turn = tokio::task::spawn_blocking(move || {
            let read = discovery.read(&tail, &registry, &of.discovery);
            (discovery, read)
        });
        match turn.await {
            Ok((next, Ok(()))) => discovery = next,
            Ok((_, Err(error))) => return tracing::error!("discoverers end: the journal cannot be read: {error}"),
            Err(error) => return tracing::error!("discoverers end: {error}"),
        }
        discovery.tell(&shared).await;
    }
}

impl Discovery {
    /// One turn: takes in what is new.
    fn read(&mut self, tail: &Tail, registry: &Registry, figures: &DiscoveryFigures) -> Result<(), ReadError> {
        let since: HashMap<&str, Timestamp> = registry
            .discoverers
            .values()
            .filter(|discoverer| discoverer.started)
            .map(|discoverer| (discoverer.bus.as_str(), discoverer.started_at))
            .collect();
        let end = tail.end();
        let from = self.next.unwrap_or(Position(end.0.saturating_sub(AGAIN).max(1)));
        let newest = Position(end.0.saturating_sub(RECORDS_MAX)).max(from);
        figures.left_out.fetch_add(newest.0 - from.0, Ordering::Relaxed);
        let mut taken = 0;
        let next = tail.read(newest, RECORDS_MAX, &mut |seen| {
            let wanted = since.get(seen.bus()).is_some_and(|since| seen.committed_at() >= *since);
            if !wanted || seen.source() == SOURCE_ENGINE {
                return;
            }
            if taken >= EVENTS_MAX {
                figures.left_out.fetch_add(1, Ordering::Relaxed);
                return;
            }
            taken += 1;
            for event in std::iter::once(seen.json()).chain(seen.attempt_json()) {
                self.take(registry, seen.bus(), &event);
            }
        })?;
        figures.learned.fetch_add(taken as u64, Ordering::Relaxed);
        self.next = Some(next);
        Ok(())
    }

    fn take(&mut self, registry: &Registry, bus: &str, event: &str) {
        let Ok(event) = serde_json::from_str::<Value>(event) else { return };
        let (Some(source), Some(detail_type)) = (event["source"].as_str(), event["detail-type"].as_str()) else {
            return;
        };
        let name = schema_name(source, detail_type);
        if !self.by_name.contains_key(&name) {
            if self.by_name.len() >= SCHEMAS_MAX {
                return;
            }
            self.by_name.insert(name.clone(), Learned::begin(registry, &name, bus, source, detail_type));
        }
        let Some(learned) = self.by_name.get_mut(&name) else { return };
        learned.catch_up(registry, &name);
        if learned.shape.take(&event["detail"]) || learned.version.is_none() {
            learned.event_id = event["id"].as_str().unwrap_or_default().to_owned();
            bus.clone_into(&mut learned.bus);
        }
    }

    /// Makes versions of what was learned.
    async fn tell(&mut self, shared: &Shared) {
        let now = shared.engine.now();
        let due = |learned: &Learned| {
            (learned.version.is_none() || learned.shape != learned.told) && learned.quiet_until <= now
        };
        let mut names: Vec<(&String, &mut Learned)> = self.by_name.iter_mut().collect();
        names.retain_mut(|(_, learned)| due(learned));
        for (name, learned) in names {
            learned.tell(shared, name, now).await;
        }
    }
}

impl Learned {
    fn begin(registry: &Registry, name: &str, bus: &str, source: &str, detail_type: &str) -> Learned {
        let mut learned = Learned {
            source: source.to_owned(),
            detail_type: detail_type.to_owned(),
            bus: bus.to_owned(),
            event_id: String::new(),
            shape: Shape::default(),
            told: Shape::default(),
            version: None,
            quiet_until: Timestamp(0),
        };
        learned.catch_up(registry, name);
        learned
    }

    /// Begins from what the registry has, if somebody else changed it.
    fn catch_up(&mut self, registry: &Registry, name: &str) {
        let held = registry.schemas.get(&(DISCOVERED_REGISTRY.to_owned(), name.to_owned()));
        let version = held.map(|held| (held.latest, held.created_at));
        if version == self.version {
            return;
        }
        let read = version.and_then(|(version, _)| {
            let held = registry.schema_version(DISCOVERED_REGISTRY, name, version)?;
            schema::Schema::read(Kind::named(&held.kind)?, &held.content).ok()?.detail_shape()
        });
        self.shape = read.unwrap_or_default();
        self.told = self.shape.clone();
        self.version = version;
    }

    async fn tell(&mut self, shared: &Shared, name: &str, now: Timestamp) {
        let _one_at_a_time = shared.changing.lock().await;
        let registry = shared.engine.registry();
        self.quiet_until = Timestamp(now.0 + EVERY.as_nanos() as u64);
        let content = envelope_schema(Kind::OpenApi3, &self.source, &self.detail_type, &self.shape).to_string();
        if let Err(why) = has_room(&registry, name, &content) {
            self.quiet_until = Timestamp(now.0 + WAIT_S_MAX * 1_000_000_000);
            return tracing::warn!(schema = name, "what was learned makes no version: {why}");
        }
        let (changes, version, created_at) = changes(&registry, name, &content, now);
        let drifts = self.told.drift(&self.shape, "$.detail");
        // First, so that it is told in any case; told twice it names the same version.
        if self.version.is_some() {
            let event = self.drifted(name, version, &drifts);
            if desk::put(&shared.orders, vec![event]).await.is_err() {
                return; // it comes again
            }
            shared.discovery.drifts.fetch_add(1, Ordering::Relaxed);
        }
        if desk::change(&shared.orders, changes).await.is_err() {
            return;
        }
        shared.discovery.versions.fetch_add(1, Ordering::Relaxed);
        self.told = self.shape.clone();
        self.version = Some((version, created_at));
        if version > PROMPT_VERSIONS {
            let wait_s = (1_u64 << (version - PROMPT_VERSIONS).min(12)).min(WAIT_S_MAX);
            self.quiet_until = Timestamp(now.0 + wait_s * 1_000_000_000);
        }
    }

    fn drifted(&self, name: &str, version: u32, drifts: &[Drift]) -> NewEvent {
        let changes: Vec<Value> =
            drifts.iter().take(100).map(|drift| json!({ "path": drift.path, "change": drift.change })).collect();
        let detail = json!({
            "registry": DISCOVERED_REGISTRY,
            "schema": name,
            "version": version.to_string(),
            "bus": self.bus,
            "source": self.source,
            "detail_type": self.detail_type,
            "event_id": self.event_id,
            "changes": changes,
        });
        NewEvent {
            bus: DEFAULT_BUS.into(),
            source: SOURCE_ENGINE.into(),
            detail_type: SCHEMA_DRIFT.into(),
            detail: detail.to_string(),
            resources: Vec::new(),
            time: None,
            region: REGION.into(),
            cause: None,
            hops: 0,
            by: None,
        }
    }
}

fn has_room(registry: &Registry, name: &str, content: &str) -> Result<(), String> {
    if content.chars().nth(SCHEMA_CHARS_MAX).is_some() {
        return Err(format!("it would have more than {SCHEMA_CHARS_MAX} characters"));
    }
    let known = registry.schemas.contains_key(&(DISCOVERED_REGISTRY.to_owned(), name.to_owned()));
    if !known && registry.schemas_of(DISCOVERED_REGISTRY).count() >= SCHEMAS_MAX {
        return Err(format!("{DISCOVERED_REGISTRY} has {SCHEMAS_MAX} schemas already: delete some"));
    }
    let bytes: usize = registry.schema_versions.values().map(|version| version.content.len()).sum();
    match bytes + content.len() > SCHEMA_BYTES_MAX {
        true => Err(format!("all schemas have at most {SCHEMA_BYTES_MAX} bytes: delete old versions")),
        false => Ok(()),
    }
}

/// What makes it the newest version; its number, and when its schema was made. The oldest version goes, if there are many.
fn changes(registry: &Registry, name: &str, content: &str, now: Timestamp) -> (Vec<Change>, u32, Timestamp) {
    let held = registry.schemas.get(&(DISCOVERED_REGISTRY.to_owned(), name.to_owned())).cloned();
    let mut held = held.unwrap_or_else(|| Schema {
        registry: DISCOVERED_REGISTRY.into(),
        name: name.into(),
        description: Some("discovered from events".into()),
        latest: 0,
        last: 0,
        created_at: now,
        modified_at: now,
        tags: Tags::new(),
    });
    held.last += 1;
    held.latest = held.last;
    held.modified_at = now;
    let (version, created_at) = (held.latest, held.created_at);
    let made = SchemaVersion {
        registry: DISCOVERED_REGISTRY.into(),
        schema: name.into(),
        version,
        kind: Kind::OpenApi3.name().into(),
        content: content.to_owned(),
        created_at: now,
        bindings: BTreeMap::new(),
    };
    let mut changes = vec![Change::Put(Resource::Schema(held)), Change::Put(Resource::SchemaVersion(made))];
    let older: Vec<u32> = registry.versions_of(DISCOVERED_REGISTRY, name).map(|version| version.version).collect();
    if let [oldest, ..] = older[..]
        && older.len() >= SCHEMA_VERSIONS_MAX
    {
        let (of, name, number) = SchemaVersion::place_of(DISCOVERED_REGISTRY, name, oldest);
        changes.push(Change::Delete(format!("schema-version/{of}/{name}/{number}")));
    }
    (changes, version, created_at)
}
