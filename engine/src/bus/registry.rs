//! All resources of the bus as of one position of the journal: a map that changes are applied to in their order.

use super::resource::{
    ApiDestination, Archive, Bus, Change, Connection, LogGroup, Queue, Replay, Resource, Rule, RuleState, Tags,
    Target,
};
use crate::ids::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The bus of the game.
pub const GAME_BUS: &str = "fakemon";
/// The bus of the engine, and of everybody who names none.
pub const DEFAULT_BUS: &str = "default";

/// The resources as of the last durable change, for everybody who asks.
#[derive(Debug, Default)]
pub(crate) struct Resources(RwLock<Arc<Registry>>);

impl Resources {
    pub(crate) fn new(registry: Registry) -> Resources {
        Resources(RwLock::new(Arc::new(registry)))
    }

    pub(crate) fn current(&self) -> Arc<Registry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn apply(&self, changes: &[Change]) {
        if !changes.is_empty() {
            let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let registry = Arc::make_mut(&mut held);
            changes.iter().for_each(|change| registry.apply(change));
        }
    }
}

/// All resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    /// By name.
    pub buses: BTreeMap<String, Bus>,
    /// By bus and name.
    pub rules: BTreeMap<(String, String), Rule>,
    /// By bus, rule and id.
    pub targets: BTreeMap<(String, String, String), Target>,
    /// By name.
    pub archives: BTreeMap<String, Archive>,
    /// By name.
    pub replays: BTreeMap<String, Replay>,
    /// By name.
    pub connections: BTreeMap<String, Connection>,
    /// By name.
    pub destinations: BTreeMap<String, ApiDestination>,
    /// By name.
    pub queues: BTreeMap<String, Queue>,
    /// By name.
    pub log_groups: BTreeMap<String, LogGroup>,
}

impl Registry {
    /// What is there before anybody made anything: the two buses.
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

    /// Applies one change. Changes are checked before they are written; applying one twice is applying it once.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(resource) => self.put(resource.clone()),
            Change::Delete(key) => self.delete(key),
        }
    }

    fn put(&mut self, resource: Resource) {
        match resource {
            Resource::Bus(bus) => drop(self.buses.insert(bus.name.clone(), bus)),
            Resource::Rule(rule) => drop(self.rules.insert((rule.bus.clone(), rule.name.clone()), rule)),
            Resource::Target(target) => {
                let key = (target.bus.clone(), target.rule.clone(), target.id.clone());
                drop(self.targets.insert(key, target));
            }
            Resource::Archive(archive) => drop(self.archives.insert(archive.name.clone(), archive)),
            Resource::Replay(replay) => drop(self.replays.insert(replay.name.clone(), replay)),
            Resource::Connection(connection) => {
                drop(self.connections.insert(connection.name.clone(), connection));
            }
            Resource::Destination(destination) => {
                drop(self.destinations.insert(destination.name.clone(), destination));
            }
            Resource::Queue(queue) => drop(self.queues.insert(queue.name.clone(), queue)),
            Resource::LogGroup(group) => drop(self.log_groups.insert(group.name.clone(), group)),
        }
    }

    fn delete(&mut self, key: &str) {
        let Some((kind, name)) = key.split_once('/') else { return };
        let parts: Vec<&str> = name.split('/').collect();
        match (kind, parts.as_slice()) {
            ("bus", [bus]) => {
                self.buses.remove(*bus);
                self.rules.retain(|(of, _), _| of != bus);
                self.targets.retain(|(of, _, _), _| of != bus);
            }
            ("rule", [bus, rule]) => {
                self.rules.remove(&((*bus).to_owned(), (*rule).to_owned()));
                self.targets.retain(|(of, by, _), _| (of, by) != (&(*bus).to_owned(), &(*rule).to_owned()));
            }
            ("target", [bus, rule, id]) => {
                self.targets.remove(&((*bus).to_owned(), (*rule).to_owned(), (*id).to_owned()));
            }
            ("archive", _) => drop(self.archives.remove(name)),
            ("replay", _) => drop(self.replays.remove(name)),
            ("connection", _) => drop(self.connections.remove(name)),
            ("destination", _) => drop(self.destinations.remove(name)),
            ("queue", _) => drop(self.queues.remove(name)),
            ("log-group", _) => drop(self.log_groups.remove(name)),
            _ => {}
        }
    }

    /// Every resource, in the order in which they can be put into an empty registry.
    pub fn resources(&self) -> impl Iterator<Item = Resource> + '_ {
        let buses = self.buses.values().cloned().map(Resource::Bus);
        let rules = self.rules.values().cloned().map(Resource::Rule);
        let targets = self.targets.values().cloned().map(Resource::Target);
        let archives = self.archives.values().cloned().map(Resource::Archive);
        let replays = self.replays.values().cloned().map(Resource::Replay);
        let connections = self.connections.values().cloned().map(Resource::Connection);
        let destinations = self.destinations.values().cloned().map(Resource::Destination);
        let queues = self.queues.values().cloned().map(Resource::Queue);
        let groups = self.log_groups.values().cloned().map(Resource::LogGroup);
        let first = buses.chain(rules).chain(targets).chain(archives).chain(replays);
        first.chain(connections).chain(destinations).chain(queues).chain(groups)
    }

    /// What makes of these resources those of a new data directory. Targets go with their rules, rules with their buses.
    pub fn emptied(&self) -> Vec<Change> {
        let new = Registry::new();
        let stays = |resource: &Resource| match resource {
            Resource::Bus(bus) => new.buses.contains_key(&bus.name),
            Resource::Rule(rule) => !new.buses.contains_key(&rule.bus),
            Resource::Target(_) => true,
            _ => false,
        };
        let gone = self.resources().filter(|resource| !stays(resource)).map(|gone| Change::Delete(gone.key()));
        let changed = new.buses.values().filter(|bus| self.buses.get(&bus.name) != Some(bus));
        gone.chain(changed.cloned().map(|bus| Change::Put(Resource::Bus(bus)))).collect()
    }

    /// The rules of a bus.
    pub fn rules_of<'r>(&'r self, bus: &str) -> impl Iterator<Item = &'r Rule> + use<'r> {
        let from = (bus.to_owned(), String::new());
        let bus = bus.to_owned();
        self.rules.range(from..).take_while(move |((of, _), _)| *of == bus).map(|(_, rule)| rule)
    }

    /// The targets of a rule.
    pub fn targets_of<'r>(&'r self, bus: &str, rule: &str) -> impl Iterator<Item = &'r Target> + use<'r> {
        let from = (bus.to_owned(), rule.to_owned(), String::new());
        let (bus, rule) = (bus.to_owned(), rule.to_owned());
        let own = move |(of, by, _): &(String, String, String)| *of == bus && *by == rule;
        self.targets.range(from..).take_while(move |(key, _)| own(key)).map(|(_, target)| target)
    }
}

impl Rule {
    /// Whether it matches.
    pub fn is_enabled(&self) -> bool {
        self.state != RuleState::Disabled
    }
}
