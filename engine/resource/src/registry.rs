//! All resources of the bus as of one position of the journal: a map to which changes are applied in their order.

use super::inbound::{AnswerWebhook, ApiKey, EventSource, PartnerWebhook, UsagePlan};
use super::resource::{
    ApiDestination, Archive, Bus, Change, Connection, InKey, LogGroup, LogPolicy, Named, Pipe, Queue, Replay,
    Resource, Rule, RuleState, Schedule, ScheduleGroup, Tags, Target, every_kind,
};
use super::resource::{Discoverer, Schema, SchemaRegistry, SchemaVersion};
use fakemon_model::envelope::{DEFAULT_BUS, GAME_BUS, plain_key};
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{BusName, RegistryName, RuleName, SchemaName};
use parking_lot::RwLock;
use rpds::RedBlackTreeMapSync;
use std::sync::Arc;

/// The group of schedules that name none.
pub const DEFAULT_GROUP: &str = "default";

/// The resources as of the last durable change, for all threads.
#[derive(Debug, Default)]
pub struct Resources(RwLock<Arc<Registry>>);

impl Resources {
    /// Begins with the resources of the opened journal.
    pub fn new(registry: Registry) -> Resources {
        Resources(RwLock::new(Arc::new(registry)))
    }

    /// The resources as of the last durable change.
    pub fn current(&self) -> Arc<Registry> {
        self.0.read().clone()
    }

    /// Applies changes that have just become durable, in the order of the journal.
    pub fn apply(&self, changes: &[Change]) {
        if !changes.is_empty() {
            let mut held = self.0.write();
            let registry = Arc::make_mut(&mut held);
            changes.iter().for_each(|change| registry.apply(change));
        }
    }
}

macro_rules! define_registry {
    ($($kind:ident($type:ty) $word:literal $map:ident;)*) => {
        /// All resources. Copies share their common parts, so a reader never makes a change slow.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Registry {
            $(
                #[doc = concat!("Each `", stringify!($type), "` by its place: a name, or that of what it belongs to, then its own.")]
                pub $map: RedBlackTreeMapSync<<$type as Named>::Name, $type>,
            )*
        }

        impl Registry {
            fn put(&mut self, resource: Resource) {
                match resource {
                    $(Resource::$kind(it) => self.$map.insert_mut(it.place(), it),)*
                }
            }

            fn delete(&mut self, key: &str) {
                let Some((kind, name)) = key.split_once('/') else { return };
                match kind {
                    $($word => if let Some(name) = <$type as Named>::Name::of_key(name) {
                        self.$map.remove_mut(&name);
                    },)*
                    _ => {}
                }
                self.delete_what_belongs_to(kind, name);
            }

            /// Every resource, in the order in which they can be put into an empty registry.
            pub fn resources(&self) -> impl Iterator<Item = Resource> + '_ {
                let all = std::iter::empty();
                $(let all = all.chain(self.$map.values().cloned().map(Resource::$kind));)*
                all
            }
        }
    };
}
every_kind!(define_registry);

impl Registry {
    /// The resources of a new data directory: the two buses.
    pub fn new() -> Registry {
        let mut registry = Registry::default();
        for (name, description) in
            [(DEFAULT_BUS, "what the engine says of itself"), (GAME_BUS, "everything that happens in the game")]
        {
            registry.put(Resource::Bus(Bus {
                name: name.into(),
                description: (name == GAME_BUS).then(|| description.into()),
                policy: None,
                dead_letter_arn: None,
                kept: serde_json::Map::new(),
                created_at: Timestamp(0),
                modified_at: Timestamp(0),
                tags: Tags::new(),
            }));
        }
        registry
    }

    /// Applies one change. Changes are checked before they are written; applying one twice has no further effect.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(resource) => self.put(resource.clone()),
            Change::Delete(key) => {
                if let Some(key) = self.meant(key) {
                    self.delete(key);
                }
            }
        }
    }

    /// The key that a change deletes. A schedule that is over is deleted with the version that was over
    /// (`schedule/GROUP/NAME@MODIFIED`); none if it was changed meanwhile.
    pub fn meant<'k>(&self, key: &'k str) -> Option<&'k str> {
        let schedule = plain_key(key);
        let Some(modified) = key.strip_prefix(schedule).and_then(|rest| rest.strip_prefix('@')) else {
            return Some(key);
        };
        let place = schedule.split_once('/').and_then(|(_, place)| <Schedule as Named>::Name::of_key(place));
        let held = place.and_then(|place| self.schedules.get(&place));
        held.is_some_and(|held| held.modified_at.0.to_string() == modified).then_some(schedule)
    }

    /// Deletes the parts of a deleted resource: of a bus the rules and discoverers, of a rule the targets, of a group
    /// the schedules, of a schema the versions.
    fn delete_what_belongs_to(&mut self, kind: &str, name: &str) {
        match kind {
            "bus" => {
                remove_where(&mut self.rules, |(bus, _)| bus == name);
                remove_where(&mut self.targets, |(bus, _, _)| bus == name);
                let learns = |id: &String| self.discoverers.get(id).is_some_and(|discoverer| discoverer.bus == name);
                let gone: Vec<String> = self.discoverers.keys().filter(|id| learns(id)).cloned().collect();
                for id in &gone {
                    self.discoverers.remove_mut(id);
                }
            }
            "schema" => {
                let Some((registry, schema)) = name.split_once('/') else { return };
                remove_where(&mut self.schema_versions, |(of, by, _)| {
                    (of.as_str(), by.as_str()) == (registry, schema)
                });
            }
            "rule" => {
                let Some((bus, rule)) = name.rsplit_once('/') else { return };
                remove_where(&mut self.targets, |(of, by, _)| (of.as_str(), by.as_str()) == (bus, rule));
            }
            "schedule-group" => remove_where(&mut self.schedules, |(group, _)| group == name),
            _ => {}
        }
    }

    /// The changes that reset these resources to those of a new data directory. Targets are deleted with their rules,
    /// rules with their buses, schedules with their groups.
    pub fn emptied(&self) -> Vec<Change> {
        let new = Registry::new();
        let stays = |resource: &Resource| match resource {
            Resource::Bus(bus) => new.buses.contains_key(&bus.name),
            Resource::Rule(rule) => !new.buses.contains_key(&rule.bus),
            Resource::Target(_) | Resource::Schedule(_) | Resource::SchemaVersion(_) => true,
            _ => false,
        };
        // This group always exists, so it is not deleted itself; but its schedules are.
        let default_group = self.schedules_of(DEFAULT_GROUP).next().map(|_| DEFAULT_GROUP);
        let default_group = default_group.filter(|group| !self.schedule_groups.contains_key(*group));
        let default_group = default_group.map(|group| Change::Delete(format!("schedule-group/{group}")));
        let gone = self.resources().filter(|resource| !stays(resource)).map(|gone| Change::Delete(gone.key()));
        let changed = new.buses.values().filter(|bus| self.buses.get(&bus.name) != Some(bus));
        gone.chain(default_group).chain(changed.cloned().map(|bus| Change::Put(Resource::Bus(bus)))).collect()
    }

    /// The schedules of a group.
    pub fn schedules_of<'r>(&'r self, group: &str) -> impl Iterator<Item = &'r Schedule> + use<'r> {
        let from = (group.to_owned(), String::new());
        let group = group.to_owned();
        self.schedules.range(from..).take_while(move |((of, _), _)| *of == group).map(|(_, schedule)| schedule)
    }

    /// The rules of a bus.
    pub fn rules_of<'r>(&'r self, bus: &str) -> impl Iterator<Item = &'r Rule> + use<'r> {
        let from = (bus.to_owned(), String::new());
        let bus = bus.to_owned();
        self.rules.range(from..).take_while(move |((of, _), _)| *of == bus).map(|(_, rule)| rule)
    }

    /// The targets of a rule.
    pub fn targets_of<'r>(
        &'r self,
        BusName(bus): BusName<'_>,
        RuleName(rule): RuleName<'_>,
    ) -> impl Iterator<Item = &'r Target> + use<'r> {
        let from = (bus.to_owned(), rule.to_owned(), String::new());
        let (bus, rule) = (bus.to_owned(), rule.to_owned());
        let own = move |(of, by, _): &(String, String, String)| *of == bus && *by == rule;
        self.targets.range(from..).take_while(move |(key, _)| own(key)).map(|(_, target)| target)
    }
}

impl Registry {
    /// The schemas of a registry.
    pub fn schemas_of<'r>(&'r self, registry: &str) -> impl Iterator<Item = &'r Schema> + use<'r> {
        let from = (registry.to_owned(), String::new());
        let registry = registry.to_owned();
        self.schemas.range(from..).take_while(move |((of, _), _)| *of == registry).map(|(_, schema)| schema)
    }

    /// The versions of a schema, the oldest first.
    pub fn versions_of<'r>(
        &'r self,
        RegistryName(registry): RegistryName<'_>,
        SchemaName(schema): SchemaName<'_>,
    ) -> impl Iterator<Item = &'r SchemaVersion> + use<'r> {
        let from = (registry.to_owned(), schema.to_owned(), String::new());
        let (registry, schema) = (registry.to_owned(), schema.to_owned());
        let own = move |(of, by, _): &(String, String, String)| *of == registry && *by == schema;
        self.schema_versions.range(from..).take_while(move |(key, _)| own(key)).map(|(_, version)| version)
    }

    /// A version of a schema.
    pub fn schema_version(
        &self,
        RegistryName(registry): RegistryName<'_>,
        SchemaName(schema): SchemaName<'_>,
        version: u32,
    ) -> Option<&SchemaVersion> {
        self.schema_versions.get(&SchemaVersion::place_of(RegistryName(registry), SchemaName(schema), version))
    }
}

fn remove_where<N: Ord + Clone, T>(map: &mut RedBlackTreeMapSync<N, T>, gone: impl Fn(&N) -> bool) {
    let names: Vec<N> = map.keys().filter(|name| gone(name)).cloned().collect();
    for name in &names {
        map.remove_mut(name);
    }
}

impl Rule {
    /// Whether it matches.
    pub fn is_enabled(&self) -> bool {
        self.state != RuleState::Disabled
    }
}
