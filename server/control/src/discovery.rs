//! Schema discovery: events on buses with a discoverer become schemas in `discovered-schemas`, with a new version
//! when the shape of events grows. One reader follows the journal for all of them, at its own pace, and learns from a
//! sample: in every turn from the first event of each type, and from some more of each while there is time, so that
//! no type crowds out another. Learning is idempotent, so after a start it reads again what it may not have learned
//! before.
//!
//! - `share`: the sample of a turn

mod share;

use super::Shared;
use fakemon_delivery::schema::{self, DISCOVERED_REGISTRY, Drift, Kind, SCHEMA_DRIFT, Shape, envelope_schema};
use fakemon_engine::{ReadError, Tail, wall_clock};
use fakemon_http::desk;
use fakemon_model::envelope::{REGION, SOURCE_ENGINE};
use fakemon_model::event::Outcome;
use fakemon_model::ids::{PlayerId, Position, Timestamp};
use fakemon_model::limits::{SCHEMA_BYTES_MAX, SCHEMA_CHARS_MAX, SCHEMA_VERSIONS_MAX, SCHEMAS_MAX};
use fakemon_model::names::{RegistryName, SchemaName};
use fakemon_pattern::raw;
use fakemon_resource::resource::{Change, Resource, Schema, SchemaVersion, Tags};
use fakemon_resource::{DEFAULT_BUS, GAME_BUS, NewEvent, Registry};
use fakemon_sync::seldom::Seldom;
use hashbrown::HashMap;
use serde_json::{Value, json};
use share::Share;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static TOO_ALIKE: Seldom = Seldom::new("nothing is learned of these events");

/// Interval of reads of the journal.
const EVERY: Duration = Duration::from_millis(100);
/// Records read in one turn.
const RECORDS_MAX: u64 = 50_000;
/// Attempts sampled in one turn, per outcome: the engine writes them, all in the same shape.
const ATTEMPTS_MAX: u64 = 5;
/// Records that the reader may be behind; of more, the oldest are skipped.
const BACKLOG_MAX: u64 = 1_000_000;
/// Records that are read again after a start.
const AGAIN: u64 = 50_000;
/// Versions published at once; each later one waits twice as long as the one before.
const PROMPT_VERSIONS: u32 = 8;
/// The longest wait before a version, in seconds.
const WAIT_S_MAX: u64 = 3_600;

/// Metrics of discovery.
#[derive(Default)]
pub(super) struct DiscoveryFigures {
    /// Events that were learned from.
    pub(super) learned: AtomicU64,
    /// Records that were skipped under load.
    pub(super) left_out: AtomicU64,
    /// Versions that were created.
    pub(super) versions: AtomicU64,
    /// Versions that changed a known shape.
    pub(super) drifts: AtomicU64,
}

/// The shape of one type of event, and its published schema.
struct Learned {
    source: String,
    detail_type: String,
    /// The name of its schema; unique.
    name: String,
    bus: String,
    /// The newest event that changed the shape.
    event_id: String,
    shape: Shape,
    /// The shape as of the newest version.
    told: Shape,
    /// The newest version, and when its schema was created; none before the first.
    version: Option<(u32, Timestamp)>,
    /// No new version before this time.
    quiet_until: Timestamp,
}

#[derive(Default)]
struct Discovery {
    /// All records before it were read, or skipped.
    next: Option<Position>,
    /// By source and detail-type. None: no free name for its schema was found.
    by_type: HashMap<(String, String), Option<Learned>>,
    names: HashSet<String>,
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
    /// One turn: learns from new records.
    fn read(&mut self, tail: &Tail, registry: &Registry, figures: &DiscoveryFigures) -> Result<(), ReadError> {
        let now = wall_clock();
        let since: HashMap<&str, Timestamp> = registry
            .discoverers
            .values()
            .filter(|discoverer| discoverer.started)
            .map(|discoverer| (discoverer.bus.as_str(), discoverer.started_at))
            // One that was started in the future was started before the clock was set back.
            .map(|(bus, since)| (bus, if since > now { Timestamp(0) } else { since }))
            .collect();
        let end = tail.end();
        let from = self.next.unwrap_or(Position(end.0.saturating_sub(AGAIN).max(1)));
        let start = Position(end.0.saturating_sub(BACKLOG_MAX)).max(from);
        figures.left_out.fetch_add(start.0 - from.0, Ordering::Relaxed);
        let (mut share, mut attempts) = (Share::default(), [0; Outcome::ALL.len()]);
        let learns_of_attempts = since.contains_key(GAME_BUS);
        let is_wanted = &mut |_: PlayerId, outcome: Outcome| {
            let count: &mut u64 = &mut attempts[outcome as usize];
            *count += 1;
            learns_of_attempts && *count <= ATTEMPTS_MAX
        };
        let next = tail.read_wanted(start, RECORDS_MAX, is_wanted, &mut |seen| {
            let wanted = since.get(seen.bus()).is_some_and(|since| seen.committed_at() >= *since);
            if !wanted || seen.source() == SOURCE_ENGINE {
                return;
            }
            if !share.take(seen.source(), seen.detail_type()) {
                figures.left_out.fetch_add(1, Ordering::Relaxed);
                return;
            }
            for event in std::iter::once(seen.json()).chain(seen.attempt_json()) {
                self.take(registry, seen.bus(), &event);
            }
        })?;
        if learns_of_attempts {
            let left_out = attempts.map(|count| count.saturating_sub(ATTEMPTS_MAX));
            figures.left_out.fetch_add(left_out.iter().sum(), Ordering::Relaxed);
        }
        figures.learned.fetch_add(share.taken(), Ordering::Relaxed);
        self.next = Some(next);
        Ok(())
    }

    fn take(&mut self, registry: &Registry, bus: &str, event: &str) {
        let Ok(event) = raw::tree(event) else { return };
        let (Some(source), Some(detail_type)) = (event["source"].as_str(), event["detail-type"].as_str()) else {
            return;
        };
        let Some(learned) = self.learned(registry, bus, source, detail_type) else { return };
        learned.catch_up(registry);
        if learned.shape.take(&event["detail"]) || learned.version.is_none() {
            learned.event_id = event["id"].as_str().unwrap_or_default().to_owned();
            bus.clone_into(&mut learned.bus);
        }
    }

    /// The entry of a type; none if there are too many types, or no free name for its schema.
    fn learned(&mut self, registry: &Registry, bus: &str, source: &str, detail_type: &str) -> Option<&mut Learned> {
        let key = (source.to_owned(), detail_type.to_owned());
        if !self.by_type.contains_key(&key) {
            if self.by_type.len() >= SCHEMAS_MAX {
                return None;
            }
            let held = schema::discovered(registry, source, detail_type).map(|held| held.name.clone());
            let name = held
                .filter(|name| !self.names.contains(name))
                .or_else(|| schema::free_name(registry, source, detail_type, |name| self.names.contains(name)));
            if name.is_none() {
                TOO_ALIKE.say(|| {
                    tracing::warn!(
                        source,
                        detail_type,
                        "nothing is learned of these events: their names are too alike"
                    );
                });
            }
            self.names.extend(name.clone());
            let learned = name.map(|name| Learned::begin(registry, name, bus, source, detail_type));
            self.by_type.insert(key.clone(), learned);
        }
        self.by_type.get_mut(&key)?.as_mut()
    }

    /// Publishes new versions of shapes that changed.
    async fn tell(&mut self, shared: &Shared) {
        let now = shared.engine.now();
        let due = |learned: &Learned| {
            (learned.version.is_none() || learned.shape != learned.told) && learned.quiet_until <= now
        };
        let all: Vec<&mut Learned> = self.by_type.values_mut().flatten().filter(|learned| due(learned)).collect();
        for learned in all {
            learned.tell(shared, now).await;
        }
    }
}

impl Learned {
    fn begin(registry: &Registry, name: String, bus: &str, source: &str, detail_type: &str) -> Learned {
        let mut learned = Learned {
            source: source.to_owned(),
            detail_type: detail_type.to_owned(),
            name,
            bus: bus.to_owned(),
            event_id: String::new(),
            shape: Shape::default(),
            told: Shape::default(),
            version: None,
            quiet_until: Timestamp(0),
        };
        learned.catch_up(registry);
        learned
    }

    /// Starts over from the schema in the registry, if a client changed it.
    fn catch_up(&mut self, registry: &Registry) {
        let held = registry.schemas.get(&(DISCOVERED_REGISTRY.to_owned(), self.name.clone()));
        let version = held.map(|held| (held.latest, held.created_at));
        if version == self.version {
            return;
        }
        let read = version.and_then(|(version, _)| {
            let held = registry.schema_version(RegistryName(DISCOVERED_REGISTRY), SchemaName(&self.name), version)?;
            schema::Schema::read(Kind::named(&held.kind)?, &held.content).ok()?.detail_shape()
        });
        self.shape = read.unwrap_or_default();
        self.told = self.shape.clone();
        self.version = version;
    }

    async fn tell(&mut self, shared: &Shared, now: Timestamp) {
        let _one_at_a_time = shared.changing.lock().await;
        let registry = shared.engine.registry();
        self.quiet_until = Timestamp(now.0 + EVERY.as_nanos() as u64);
        let content = envelope_schema(Kind::OpenApi3, &self.source, &self.detail_type, &self.shape).to_string();
        if let Err(why) = has_room(&registry, &self.name, &content) {
            self.quiet_until = Timestamp(now.0 + WAIT_S_MAX * 1_000_000_000);
            return tracing::warn!(schema = self.name, "what was learned makes no version: {why}");
        }
        let (changes, version, created_at) = changes(&registry, &self.name, &content, wall_clock());
        let drifts = self.told.drift(&self.shape, "$.detail");
        // The event first, so that it is put in any case; if it is put twice, both name the same version.
        if self.version.is_some() {
            let event = self.drifted(version, &drifts);
            if desk::tell(&shared.orders, vec![event]).await.is_err() {
                return; // retried in the next turn
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

    fn drifted(&self, version: u32, drifts: &[Drift]) -> NewEvent {
        let changes: Vec<Value> =
            drifts.iter().take(100).map(|drift| json!({ "path": drift.path, "change": drift.change })).collect();
        let detail = json!({
            "registry": DISCOVERED_REGISTRY,
            "schema": self.name,
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
            origin: None,
            trace: None,
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

/// The changes that publish the newest version; its number, and when its schema was created. The oldest version is
/// deleted if there are too many.
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
    let older: Vec<u32> = registry
        .versions_of(RegistryName(DISCOVERED_REGISTRY), SchemaName(name))
        .map(|version| version.version)
        .collect();
    if let [oldest, ..] = older[..]
        && older.len() >= SCHEMA_VERSIONS_MAX
    {
        let (of, name, number) = SchemaVersion::place_of(RegistryName(DISCOVERED_REGISTRY), SchemaName(name), oldest);
        changes.push(Change::Delete(format!("schema-version/{of}/{name}/{number}")));
    }
    (changes, version, created_at)
}
