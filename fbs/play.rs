//! Messages of the player websocket, subprotocol `fakemon.v1.fb`: plain values in, bytes out, and back. Both
//! directions of both sides stand here, so that a client in Rust and the server cannot disagree.

use crate::Malformed;
use crate::generated::play::fakemon::play as wire;
pub use crate::generated::play::fakemon::play::Outcome;
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, VerifierOptions, WIPOffset};

/// What a player sends. Numbers are as they came: whether they make sense is for the reader to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Request {
    /// What is wild around a place?
    Look {
        /// Degrees.
        lat: f64,
        /// Degrees.
        lon: f64,
        /// Metres.
        radius_m: f64,
    },
    /// An attempt.
    Attempt {
        /// The player's name for it.
        attempt_id: u64,
        /// At what.
        fakemon_id: u64,
        /// Degrees.
        lat: f64,
        /// Degrees.
        lon: f64,
    },
    /// What have I caught?
    Collection {
        /// Only before this position; 0 means from the newest.
        before: u64,
    },
    /// What have I missed?
    Resume {
        /// Everything behind this position.
        position: u64,
    },
}

/// A wild fakémon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sighting<'a> {
    /// Which.
    pub fakemon_id: u64,
    /// Its species.
    pub species: &'a str,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Nanoseconds since 1970.
    pub vanishes_at_ns: u64,
}

/// An answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptResult {
    /// The player's name for the attempt.
    pub attempt_id: u64,
    /// At what.
    pub fakemon_id: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Where in the journal; 0 when throttled.
    pub position: u64,
    /// When to try again; 0 unless throttled.
    pub retry_after_ms: u32,
}

/// A fakémon in a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caught<'a> {
    /// Which.
    pub fakemon_id: u64,
    /// Its species.
    pub species: &'a str,
    /// Nanoseconds since 1970.
    pub captured_at_ns: u64,
    /// Where in the journal.
    pub position: u64,
}

/// What a player gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<'a> {
    /// What is wild around.
    World(Vec<Sighting<'a>>),
    /// One more.
    Appeared(Sighting<'a>),
    /// This one is gone.
    Vanished(u64),
    /// How an attempt ended.
    AttemptResult(AttemptResult),
    /// Captures, in their order, and where older ones begin (0: there are none).
    Collection(Vec<Caught<'a>>, u64),
    /// A request that made no sense.
    Error {
        /// For programs.
        code: &'a str,
        /// For people.
        message: &'a str,
        /// Which attempt was meant, where that could be read.
        attempt_id: Option<u64>,
    },
    /// What was missed is told.
    Resumed {
        /// Up to here.
        position: u64,
        /// Whether the journal still had all of it.
        complete: bool,
    },
}

/// Reads one message of a player.
pub fn read_request(bytes: &[u8]) -> Result<Request, Malformed> {
    const UNKNOWN: Malformed = Malformed::Value("body must be a Look, an Attempt, a CollectionRequest or a Resume");
    let options = VerifierOptions {
        max_tables: 2, // the request and its body: anything else is none of ours
        ..Default::default()
    };
    let request = wire::root_as_request_with_opts(&options, bytes)?;
    match request.body_type() {
        wire::RequestBody::Look => request.body_as_look().map(|look| Request::Look {
            lat: look.lat(),
            lon: look.lon(),
            radius_m: look.radius_m(),
        }),
        wire::RequestBody::Attempt => request.body_as_attempt().map(|attempt| Request::Attempt {
            attempt_id: attempt.attempt_id(),
            fakemon_id: attempt.fakemon_id(),
            lat: attempt.lat(),
            lon: attempt.lon(),
        }),
        wire::RequestBody::CollectionRequest => {
            request.body_as_collection_request().map(|collection| Request::Collection { before: collection.before() })
        }
        wire::RequestBody::Resume => {
            request.body_as_resume().map(|resume| Request::Resume { position: resume.position() })
        }
        _ => None,
    }
    .ok_or(UNKNOWN)
}

/// Reads one message of the server.
pub fn read_reply(bytes: &[u8]) -> Result<Reply<'_>, Malformed> {
    const UNKNOWN: Malformed = Malformed::Value("body is of no known kind");
    let reply = flatbuffers::root::<wire::Reply<'_>>(bytes)?;
    match reply.body_type() {
        wire::ReplyBody::World => {
            reply.body_as_world().map(|world| Reply::World(world.fakemon().iter().map(read_sighting).collect()))
        }
        wire::ReplyBody::Appeared => {
            reply.body_as_appeared().map(|appeared| Reply::Appeared(read_sighting(appeared.fakemon())))
        }
        wire::ReplyBody::Vanished => reply.body_as_vanished().map(|vanished| Reply::Vanished(vanished.fakemon_id())),
        wire::ReplyBody::AttemptResult => reply.body_as_attempt_result().map(read_result),
        wire::ReplyBody::Collection => reply.body_as_collection().map(|collection| {
            Reply::Collection(collection.items().iter().map(read_caught).collect(), collection.more_before())
        }),
        wire::ReplyBody::Error => reply.body_as_error().map(|error| Reply::Error {
            code: error.code(),
            message: error.message(),
            attempt_id: error.attempt_id(),
        }),
        wire::ReplyBody::Resumed => reply
            .body_as_resumed()
            .map(|resumed| Reply::Resumed { position: resumed.position(), complete: resumed.complete() }),
        _ => None,
    }
    .ok_or(UNKNOWN)
}

fn read_sighting(sighting: wire::Sighting<'_>) -> Sighting<'_> {
    Sighting {
        fakemon_id: sighting.fakemon_id(),
        species: sighting.species(),
        lat: sighting.lat(),
        lon: sighting.lon(),
        vanishes_at_ns: sighting.vanishes_at_ns(),
    }
}

fn read_result(result: wire::AttemptResult<'_>) -> Reply<'_> {
    Reply::AttemptResult(AttemptResult {
        attempt_id: result.attempt_id(),
        fakemon_id: result.fakemon_id(),
        outcome: result.outcome(),
        position: result.position(),
        retry_after_ms: result.retry_after_ms(),
    })
}

fn read_caught(caught: wire::Caught<'_>) -> Caught<'_> {
    Caught {
        fakemon_id: caught.fakemon_id(),
        species: caught.species(),
        captured_at_ns: caught.captured_at_ns(),
        position: caught.position(),
    }
}

/// Writes messages, one after the other, into one buffer that is kept.
#[derive(Default)]
pub struct Writer {
    builder: FlatBufferBuilder<'static>,
}

impl Writer {
    /// The bytes of a player's message.
    pub fn request(&mut self, request: &Request) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let (body_type, body) = match *request {
            Request::Look { lat, lon, radius_m } => {
                let look = wire::Look::create(fbb, &wire::LookArgs { lat, lon, radius_m });
                (wire::RequestBody::Look, look.as_union_value())
            }
            Request::Attempt { attempt_id, fakemon_id, lat, lon } => {
                let args = wire::AttemptArgs { attempt_id, fakemon_id, lat, lon };
                (wire::RequestBody::Attempt, wire::Attempt::create(fbb, &args).as_union_value())
            }
            Request::Collection { before } => {
                let args = wire::CollectionRequestArgs { before };
                let body = wire::CollectionRequest::create(fbb, &args);
                (wire::RequestBody::CollectionRequest, body.as_union_value())
            }
            Request::Resume { position } => {
                let resume = wire::Resume::create(fbb, &wire::ResumeArgs { position });
                (wire::RequestBody::Resume, resume.as_union_value())
            }
        };
        let body = Some(body);
        let root = wire::Request::create(fbb, &wire::RequestArgs { body_type, body });
        fbb.finish_minimal(root);
        fbb.finished_data()
    }

    /// What is wild around.
    pub fn world<'a>(&mut self, fakemon: impl Iterator<Item = Sighting<'a>>, more: bool) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let rows: Vec<_> = fakemon.map(|sighting| write_sighting(fbb, sighting)).collect();
        let fakemon = Some(fbb.create_vector(&rows));
        let world = wire::World::create(fbb, &wire::WorldArgs { fakemon, more });
        self.finish(wire::ReplyBody::World, world.as_union_value())
    }

    /// One more.
    pub fn appeared(&mut self, sighting: Sighting<'_>) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let fakemon = Some(write_sighting(fbb, sighting));
        let appeared = wire::Appeared::create(fbb, &wire::AppearedArgs { fakemon });
        self.finish(wire::ReplyBody::Appeared, appeared.as_union_value())
    }

    /// This one is gone.
    pub fn vanished(&mut self, fakemon_id: u64) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let vanished = wire::Vanished::create(fbb, &wire::VanishedArgs { fakemon_id });
        self.finish(wire::ReplyBody::Vanished, vanished.as_union_value())
    }

    /// How an attempt ended.
    pub fn attempt_result(&mut self, result: &AttemptResult) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let args = wire::AttemptResultArgs {
            attempt_id: result.attempt_id,
            fakemon_id: result.fakemon_id,
            outcome: result.outcome,
            position: result.position,
            retry_after_ms: result.retry_after_ms,
        };
        let result = wire::AttemptResult::create(fbb, &args);
        self.finish(wire::ReplyBody::AttemptResult, result.as_union_value())
    }

    /// Captures, in their order, and where older ones begin (0: there are none).
    pub fn collection<'a>(&mut self, items: impl Iterator<Item = Caught<'a>>, more_before: u64) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let rows: Vec<_> = items.map(|caught| write_caught(fbb, caught)).collect();
        let items = Some(fbb.create_vector(&rows));
        let collection = wire::Collection::create(fbb, &wire::CollectionArgs { items, more_before });
        self.finish(wire::ReplyBody::Collection, collection.as_union_value())
    }

    /// A request that made no sense.
    pub fn error(&mut self, code: &str, message: &str, attempt_id: Option<u64>) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let args = wire::ErrorArgs {
            code: Some(fbb.create_string(code)),
            message: Some(fbb.create_string(message)),
            attempt_id,
        };
        let error = wire::Error::create(fbb, &args);
        self.finish(wire::ReplyBody::Error, error.as_union_value())
    }

    /// What was missed is told, up to this position.
    pub fn resumed(&mut self, position: u64, complete: bool) -> &[u8] {
        let fbb = &mut self.builder;
        fbb.reset();
        let resumed = wire::Resumed::create(fbb, &wire::ResumedArgs { position, complete });
        self.finish(wire::ReplyBody::Resumed, resumed.as_union_value())
    }

    fn finish(&mut self, body_type: wire::ReplyBody, body: WIPOffset<UnionWIPOffset>) -> &[u8] {
        let body = Some(body);
        let root = wire::Reply::create(&mut self.builder, &wire::ReplyArgs { body_type, body });
        self.builder.finish_minimal(root);
        self.builder.finished_data()
    }
}

fn write_sighting<'f>(fbb: &mut FlatBufferBuilder<'f>, sighting: Sighting<'_>) -> WIPOffset<wire::Sighting<'f>> {
    let args = wire::SightingArgs {
        fakemon_id: sighting.fakemon_id,
        species: Some(fbb.create_shared_string(sighting.species)),
        lat: sighting.lat,
        lon: sighting.lon,
        vanishes_at_ns: sighting.vanishes_at_ns,
    };
    wire::Sighting::create(fbb, &args)
}

fn write_caught<'f>(fbb: &mut FlatBufferBuilder<'f>, caught: Caught<'_>) -> WIPOffset<wire::Caught<'f>> {
    let args = wire::CaughtArgs {
        fakemon_id: caught.fakemon_id,
        species: Some(fbb.create_shared_string(caught.species)),
        captured_at_ns: caught.captured_at_ns,
        position: caught.position,
    };
    wire::Caught::create(fbb, &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: [Request; 4] = [
        Request::Look { lat: 40.4168, lon: -3.7038, radius_m: 200.0 },
        Request::Attempt { attempt_id: u64::MAX, fakemon_id: 42, lat: f64::INFINITY, lon: -180.0 },
        Request::Collection { before: 7 },
        Request::Resume { position: u64::MAX },
    ];

    #[test]
    fn requests_come_back_as_they_were() {
        let mut writer = Writer::default();
        for request in REQUESTS {
            assert_eq!(read_request(writer.request(&request)).unwrap(), request);
        }
    }

    #[test]
    fn replies_come_back_as_they_were() {
        let mut writer = Writer::default();
        let sighting =
            |fakemon_id| Sighting { fakemon_id, species: "sparkit", lat: 1.5, lon: -2.5, vanishes_at_ns: 9 };
        let caught = Caught { fakemon_id: 1, species: "leaflet", captured_at_ns: 2, position: 3 };
        let result = AttemptResult {
            attempt_id: 1,
            fakemon_id: 2,
            outcome: Outcome::Throttled,
            position: 0,
            retry_after_ms: 20,
        };
        let world = writer.world([sighting(1), sighting(2)].into_iter(), false).to_vec();
        assert_eq!(read_reply(&world).unwrap(), Reply::World(vec![sighting(1), sighting(2)]));
        assert_eq!(read_reply(writer.appeared(sighting(3))).unwrap(), Reply::Appeared(sighting(3)));
        assert_eq!(read_reply(writer.vanished(4)).unwrap(), Reply::Vanished(4));
        assert_eq!(read_reply(writer.attempt_result(&result)).unwrap(), Reply::AttemptResult(result));
        let items = vec![caught; 1000];
        let collection = writer.collection(items.iter().copied(), 77).to_vec();
        assert_eq!(read_reply(&collection).unwrap(), Reply::Collection(items, 77));
        let resumed = Reply::Resumed { position: 9, complete: true };
        assert_eq!(read_reply(writer.resumed(9, true)).unwrap(), resumed);
        for attempt_id in [None, Some(0), Some(8)] {
            let error = Reply::Error { code: "bad_message", message: "why", attempt_id };
            assert_eq!(read_reply(writer.error("bad_message", "why", attempt_id)).unwrap(), error);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_request_never_a_panic() {
        let mut writer = Writer::default();
        assert!(read_request(&[]).is_err());
        for request in REQUESTS {
            let bytes = writer.request(&request).to_vec();
            for cut in 0..bytes.len() {
                let _ = read_request(&bytes[..cut]);
            }
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    let _ = read_request(&damaged);
                }
            }
        }
    }
}
