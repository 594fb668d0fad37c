//! Checks events where they come in, from every source: a client, a partner, a rule, a schedule, a pipe. The game's
//! own events are valid by construction. The tags of a bus configure it:
//!
//! ```text
//! fakemon:schema-enforcement   off (without the tag), warn, reject
//! fakemon:schema-registry      names of registries, the first that knows an event decides
//!                              (without the tag: discovered-schemas fakemon.events)
//! fakemon:schema-unknown       allow (without the tag), reject: events of which no registry has a schema
//! ```
//!
//! The newest version of a schema applies. Each version is parsed once and cached, within a bound.

use super::builtin::{OUR_REGISTRY, our_schema};
use super::lookup::schemas_named;
use super::{DISCOVERED_REGISTRY, Kind, Schema, Violation, schema_name};
use fakemon_model::ids::Timestamp;
use fakemon_model::limits::SCHEMA_CACHE_BYTES_MAX;
use fakemon_model::names::{RegistryName, SchemaName};
use fakemon_pattern::raw;
use fakemon_resource::{NewEvent, Registry, resource};
use fakemon_schema::EventParts;
use fakemon_sync::seldom::Seldom;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static NOT_AS_SAID: Seldom = Seldom::new("an event is not what its schema says");

/// What happens to events that do not conform to their schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Events are not checked.
    Off,
    /// Events are counted and logged.
    Warn,
    /// Events are refused.
    Reject,
}

impl Enforcement {
    /// The tag of a bus that holds it.
    pub const TAG: &str = "fakemon:schema-enforcement";
    /// The tag with the registries in which schemas are looked for.
    pub const REGISTRY_TAG: &str = "fakemon:schema-registry";
    /// The tag that decides about events without a schema.
    pub const UNKNOWN_TAG: &str = "fakemon:schema-unknown";

    /// The value of a word.
    pub fn named(word: &str) -> Option<Enforcement> {
        Some(match word {
            "off" => Enforcement::Off,
            "warn" => Enforcement::Warn,
            "reject" => Enforcement::Reject,
            _ => return None,
        })
    }
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Admitted.
    Fine,
    /// Admitted, although it does not conform.
    Warned(String),
    /// Refused: where and why it does not conform.
    Refused(Violation),
}

/// Counts of checked events.
#[derive(Debug, Default)]
pub struct SchemaFigures {
    /// Events that conform to their schema.
    pub valid: AtomicU64,
    /// Events that do not conform, and were admitted.
    pub warned: AtomicU64,
    /// Events that do not conform, and were refused.
    pub rejected: AtomicU64,
    /// Events without a schema.
    pub unknown: AtomicU64,
}

/// Checks events. Shared by all parts that take in events.
#[derive(Debug, Default)]
pub struct Enforcer {
    cache: Mutex<Cache>,
    figures: SchemaFigures,
}

#[derive(Debug, Default)]
struct Cache {
    by_registry: HashMap<String, HashMap<String, Cached>>,
    weight: usize,
}

#[derive(Debug)]
struct Cached {
    version: u32,
    created_at: Timestamp,
    /// None if it cannot be parsed, because a newer program wrote it.
    schema: Option<Arc<Schema>>,
}

/// A schema, and its name for people.
struct Found<'f> {
    schema: Arc<Schema>,
    registry: &'f str,
    name: &'f str,
    version: u32,
}

/// The source and the detail-type of an event.
type Type<'t> = (&'t str, &'t str);

impl Enforcer {
    /// Counts of checked events.
    pub fn figures(&self) -> &SchemaFigures {
        &self.figures
    }

    /// Admits an event, or says where and why it does not conform to its schema.
    ///
    /// # Errors
    /// When its bus rejects such events.
    pub fn admit(&self, registry: &Registry, event: &NewEvent) -> Result<(), Violation> {
        let NewEvent { bus, source, detail_type, resources, .. } = event;
        let asked = registry.buses.get(bus).is_some_and(|bus| bus.tags.contains_key(Enforcement::TAG));
        if !asked {
            return Ok(());
        }
        let detail = match raw::tree(&event.detail) {
            Ok(detail) => detail,
            Err(error) => {
                let why = format!("cannot be compared with a schema: {error}");
                return Err(Violation { path: "$.detail".into(), why });
            }
        };
        match self.check(registry, bus, &EventParts { source, detail_type, detail: &detail, resources }) {
            Verdict::Fine => Ok(()),
            Verdict::Refused(violation) => Err(violation),
            Verdict::Warned(what) => {
                NOT_AS_SAID.say(|| {
                    tracing::warn!(bus, source, detail_type, "an event is not what its schema says: {what}");
                });
                Ok(())
            }
        }
    }

    /// Checks an event for a bus.
    pub fn check(&self, registry: &Registry, bus: &str, event: &EventParts<'_>) -> Verdict {
        let Some(tags) = registry.buses.get(bus).map(|bus| &bus.tags) else { return Verdict::Fine };
        let enforcement = tags.get(Enforcement::TAG).and_then(|word| Enforcement::named(word));
        let Some(enforcement) = enforcement.filter(|enforcement| *enforcement != Enforcement::Off) else {
            return Verdict::Fine;
        };
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let name = schema_name(event.source, event.detail_type);
        let registries = tags.get(Enforcement::REGISTRY_TAG).map(String::as_str).unwrap_or_default();
        let Some(found) = self.find(registry, registries, &name, (event.source, event.detail_type)) else {
            count(&self.figures.unknown);
            let refused = tags.get(Enforcement::UNKNOWN_TAG).is_some_and(|word| word == "reject");
            let path = "$.detail-type".to_owned();
            let violation = Violation { path, why: format!("is not known: there is no schema {name} of it") };
            return match enforcement {
                Enforcement::Reject if refused => Verdict::Refused(violation),
                Enforcement::Warn if refused => Verdict::Warned(violation.to_string()),
                _ => Verdict::Fine,
            };
        };
        let Err(violation) = found.schema.check_event(event) else {
            count(&self.figures.valid);
            return Verdict::Fine;
        };
        let Violation { path, why } = violation;
        let why = format!("{why} (schema {}, version {}, in {})", found.name, found.version, found.registry);
        let violation = Violation { path, why };
        if enforcement == Enforcement::Reject {
            count(&self.figures.rejected);
            return Verdict::Refused(violation);
        }
        count(&self.figures.warned);
        Verdict::Warned(violation.to_string())
    }

    fn find<'f>(
        &self,
        registry: &'f Registry,
        registries: &'f str,
        name: &'f str,
        of_type: Type<'_>,
    ) -> Option<Found<'f>> {
        let mut names = registries.split([',', ' ']).filter(|name| !name.is_empty()).peekable();
        if names.peek().is_none() {
            let usual = [DISCOVERED_REGISTRY, OUR_REGISTRY];
            return usual.into_iter().find_map(|of| self.find_in(registry, of, name, of_type));
        }
        names.find_map(|of| self.find_in(registry, of, name, of_type))
    }

    /// The schema of an event's type. A schema that a discoverer made is only for the type named in its text, even if
    /// other types get the same schema name; a schema written by people applies by its name.
    fn find_in<'f>(
        &self,
        registry: &'f Registry,
        of: &'f str,
        name: &'f str,
        of_type: Type<'_>,
    ) -> Option<Found<'f>> {
        if of == OUR_REGISTRY {
            let schema = our_schema(name)?.schema.clone();
            return Some(Found { schema, registry: of, name, version: 1 });
        }
        let mut by_name = None;
        for held in schemas_named(registry, of, name) {
            let Some(found) = self.read(registry, held) else { continue };
            let of_another = match found.schema.speaks_of() {
                Some(speaks_of) if speaks_of == of_type => return Some(found),
                speaks_of => speaks_of.is_some() && of == DISCOVERED_REGISTRY,
            };
            if held.name == name && !of_another {
                by_name = Some(found);
            }
        }
        by_name
    }

    /// The newest version of a schema, from the cache.
    fn read<'f>(&self, registry: &Registry, held: &'f resource::Schema) -> Option<Found<'f>> {
        let resource::Schema { registry: of, name, latest: version, created_at, .. } = held;
        let mut cache = self.cache.lock();
        let known = cache.by_registry.get(of).and_then(|schemas| schemas.get(name));
        let known = known.filter(|known| (known.version, known.created_at) == (*version, *created_at));
        let schema = match known {
            Some(known) => known.schema.clone(),
            None => {
                let read =
                    registry.schema_version(RegistryName(of), SchemaName(name), *version).and_then(|version| {
                        Schema::read(Kind::named(&version.kind)?, &version.content).ok().map(Arc::new)
                    });
                cache.keep(of, name, Cached { version: *version, created_at: *created_at, schema: read.clone() });
                read
            }
        };
        Some(Found { schema: schema?, registry: of, name, version: *version })
    }
}

impl Cache {
    fn keep(&mut self, registry: &str, name: &str, cached: Cached) {
        let weight = |cached: &Cached| 1_000 + cached.schema.as_ref().map_or(0, |schema| schema.weight());
        let more = weight(&cached);
        if self.weight + more > SCHEMA_CACHE_BYTES_MAX {
            *self = Cache::default(); // rare; the cache fills again by use
        }
        let schemas = self.by_registry.entry(registry.to_owned()).or_default();
        let before = schemas.insert(name.to_owned(), cached);
        self.weight = (self.weight + more).saturating_sub(before.map_or(0, |before| weight(&before)));
    }
}
