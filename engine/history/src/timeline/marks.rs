//! Marks on the time axis beside the figures: openings, changes of resources, events that were put, and the engine's
//! own notices. Of each kind the first thousand are kept; the rest is counted.

use fakemon_fbs::journal::{Event as Record, Put};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_resource::DEFAULT_BUS;
use std::collections::BTreeMap;

/// Marks of one kind that are kept.
const MARKS_MAX: usize = 1_000;
/// Kinds of put events that are counted separately.
const KINDS_MAX: usize = 256;
/// The most bytes of a text in a mark.
const TEXT_BYTES_MAX: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When it happened.
    pub at: Timestamp,
    /// Its position in the journal.
    pub position: Position,
    /// What happened.
    pub what: Marked,
}

/// What is marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The engine opened the journal.
    Opened {
        /// The number of shards.
        cores: u16,
        /// False: answers were given before the sync.
        durable: bool,
    },
    /// A resource of the bus changed.
    Changed {
        key: String,
        /// Whether it was deleted.
        gone: bool,
    },
    /// The engine put a notice on the bus `default`.
    Said {
        detail_type: String,
        /// Its detail as JSON, or the beginning of it.
        detail: String,
    },
    /// A client put an event on a bus.
    Put {
        /// The name of the bus.
        bus: String,
        /// The source of the event.
        source: String,
        detail_type: String,
    },
}

impl Marked {
    /// Whether it reports refused attempts.
    pub fn is_shedding(&self) -> bool {
        matches!(self, Marked::Said { detail_type, .. } if detail_type.starts_with("fakemon.shedding_"))
    }
}

/// All marks of a range, by kind, each in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Openings.
    pub opened: Vec<Mark>,
    /// Changes of resources.
    pub changed: Vec<Mark>,
    /// The engine's own notices.
    pub said: Vec<Mark>,
    /// Events that were put.
    pub put: Vec<Mark>,
    /// How many of each kind (bus, source, detail-type) were put.
    pub put_kinds: BTreeMap<(String, String, String), u64>,
    /// How many events of further kinds were put.
    pub put_of_other_kinds: u64,
    /// Marks that were not kept; the buckets still count them.
    pub left_out: u64,
}

impl Marks {
    /// Every mark that is kept.
    pub fn all(&self) -> impl Iterator<Item = &Mark> {
        self.opened.iter().chain(&self.changed).chain(&self.said).chain(&self.put)
    }

    pub(super) fn add(&mut self, at: Timestamp, position: Position, event: &Record<'_>) {
        let (marks, what) = match event {
            Record::Opened(opened) => {
                (&mut self.opened, Marked::Opened { cores: opened.cores, durable: opened.durable })
            }
            Record::Changed(changed) => {
                let key = cut(&changed.key);
                (&mut self.changed, Marked::Changed { key, gone: changed.value.is_none() })
            }
            Record::Put(put) if is_said(put) => {
                let (detail_type, detail) = (cut(&put.detail_type), cut(&put.detail));
                (&mut self.said, Marked::Said { detail_type, detail })
            }
            Record::Put(put) => {
                let Put { bus, source, detail_type, .. } = put;
                self.count(put);
                let what = Marked::Put { bus: cut(bus), source: cut(source), detail_type: cut(detail_type) };
                (&mut self.put, what)
            }
            _ => return,
        };
        match marks.len() < MARKS_MAX {
            true => marks.push(Mark { at, position, what }),
            false => self.left_out += 1,
        }
    }
}

impl Marks {
    fn count(&mut self, put: &Put) {
        let kind = (cut(&put.bus), cut(&put.source), cut(&put.detail_type));
        match self.put_kinds.len() < KINDS_MAX || self.put_kinds.contains_key(&kind) {
            true => *self.put_kinds.entry(kind).or_default() += 1,
            false => self.put_of_other_kinds += 1,
        }
    }
}

fn is_said(put: &Put) -> bool {
    put.bus == DEFAULT_BUS && put.source == "fakemon.engine"
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}
