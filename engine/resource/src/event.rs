//! An event to put on a bus.

use fakemon_model::authorship::OURS;
use fakemon_model::envelope::{DEFAULT_BUS, REGION};
use fakemon_model::event::Put;
use fakemon_model::ids::{EventKey, Position, Timestamp};

/// An event that is not in the journal yet. Its id is derived from the position that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The name of an existing bus.
    pub bus: String,
    /// The source.
    pub source: String,
    /// The detail-type.
    pub detail_type: String,
    /// The detail: the text of a JSON object.
    pub detail: String,
    /// ARNs of what the event is about.
    pub resources: Vec<String>,
    /// When it happened, as the sender says; none means now.
    pub time: Option<Timestamp>,
    /// The region of the request.
    pub region: String,
    /// The event that a rule made this one from.
    pub cause: Option<Position>,
    /// How often rules handed it from bus to bus.
    pub hops: u8,
    /// The name of the delivery of `cause` that it is the result of, if that delivery must happen exactly once.
    pub by: Option<String>,
    /// The event that a rule hands on to this bus, and whose id it keeps; none for a new event.
    pub origin: Option<EventKey>,
    /// The header of the trace that it belongs to (`X-Amzn-Trace-Id`): targets get it along.
    pub trace: Option<String>,
}

impl NewEvent {
    /// An event for the bus `default`, of now; `detail` is the text of a JSON object.
    pub fn new(source: &str, detail_type: &str, detail: &str) -> NewEvent {
        NewEvent {
            bus: DEFAULT_BUS.to_owned(),
            source: source.to_owned(),
            detail_type: detail_type.to_owned(),
            detail: detail.to_owned(),
            resources: Vec::new(),
            time: None,
            region: REGION.to_owned(),
            cause: None,
            hops: 0,
            by: None,
            origin: None,
            trace: None,
        }
    }

    /// Bytes of its texts: what [`PUT_BYTES_MAX`](fakemon_model::limits::PUT_BYTES_MAX) counts, and a little more.
    pub fn bytes(&self) -> usize {
        let texts = [&self.bus, &self.source, &self.detail_type, &self.detail, &self.region];
        texts.iter().map(|text| text.len() + 8).sum::<usize>()
            + self.resources.iter().chain(&self.trace).map(|text| text.len() + 8).sum::<usize>()
    }

    /// As it is written at `now`, by the engine's time, when the wall clock shows `wall`. What others put without a
    /// time gets whole seconds, as the service gives it; a fraction is the sender's word, and shown as such.
    pub fn put(self, now: Timestamp, wall: Timestamp) -> Put {
        let NewEvent { bus, source, detail_type, detail, resources, time, region, cause, hops, by, origin, trace } =
            self;
        let wall = if source.starts_with(OURS) { wall } else { Timestamp(wall.seconds() * 1_000_000_000) };
        Put {
            at: now,
            time: time.unwrap_or(wall),
            bus,
            source,
            detail_type,
            detail,
            resources,
            region,
            cause,
            hops,
            schedule: None,
            by,
            origin,
            trace,
        }
    }
}
