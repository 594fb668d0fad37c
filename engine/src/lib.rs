//! Decides massive contention exactly once, keeps every event, tells everyone who cares.
//!
//! Millions of players throw a ball at the same fakémon: exactly one has it. This crate is the engine: it has no
//! network, reads no file but its journal, and can be embedded:
//!
//! ```
//! use fakemon_engine::{Engine, Options, command::*, ids::*, model::*, place::Place};
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let engine = Engine::open(dir, Options { cores: 1, ..Options::default() })?;
//! let mut client = engine.client()?; // one per thread
//!
//! let place = Place::from_degrees(40.4168, -3.7038)?;
//! let (fakemon_id, species) = (FakemonId(42), "sparkit".to_owned());
//! let catch_rate = fakemon_engine::species::CatchRate::from_fraction(1.0);
//! client.spawn(Token(0), &Spawn { fakemon_id: Some(fakemon_id), species, place, lifetime_s: None, catch_rate })?;
//!
//! let player = client.register(&PlayerName::new("ana")?)?;
//! let (attempt_id, received_at) = (AttemptId(1), engine.now());
//! let mut done = Vec::new();
//! client.wait(&mut done, std::time::Duration::from_secs(5));
//! client.attempt(Token(1), Attempt { player, attempt_id, fakemon_id, place, received_at })?;
//! while done.len() < 2 {
//!     client.wait(&mut done, std::time::Duration::from_secs(5));
//! }
//! let Completion::Decided { decision, .. } = &done[1] else { unreachable!() };
//! assert_eq!(decision.outcome, Outcome::Captured); // and it is on the disk
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/race.rs` is a little longer.
//!
//! # The way of a throw
//!
//! ```text
//! Client ── owner(fakémon) ──► Mailbox ──► Shard ── Turn ──► Desk ──► Committer ── block, sync ──► Outbox ──► Client
//!  claims the attempt id       bounded     one core,         bounded  one thread,                  the answers
//!  in the player's ledger                  one owner                  takes all that waits         of the group
//! ```
//!
//! A client routes a throw to the core that owns its fakémon. The core takes everything that waits and decides it as
//! one [`Turn`](turn::Turn); the committer takes every turn that waits and writes one block, with one sync. Groups
//! grow exactly as load grows; there is no timer anywhere on this way. Behind it, at their own pace, followers read
//! what is durable: the view of the world (`world`), and the snapshot that makes the next start short.
//!
//! # The way of an event
//!
//! ```text
//! journal ── Router ── Filter ──► Lane ──► Courier ──► queue, log group, bus, capture service, function
//!  blocks    follows    rules of   one for   JSON, the     └──► players (the program's postman), webhooks (the program)
//!            `BUS`      one bus    each      target's shape
//!                                  target
//! ```
//!
//! Everything in the journal is an event on a bus ([`envelope`]; who may say what: [`authorship`]). The router reads durable blocks, decides which rules of
//! the bus match — game events on their records, without JSON — and puts their keys on the lanes of the targets. A lane
//! is a durable cursor and what waits behind it; each target has its own, so that one that is slow or dead holds up
//! nobody. What fails comes again later, and at last becomes a dead letter. Archives and replays are views on the same
//! journal. A pipe ([`pipe`]) joins a queue, a bus, the journal or a stream to a target, with a filter and an enrichment
//! on the way. Resources (buses, rules, targets, …) are changes in the journal too; what the bus itself has to remember
//! lies in the `Depot` of `engine/journal`.
//!
//! What the engine says of itself ([`notices`]: a dead target, a slow disk) is an event too, so that rules can remedy it.
//! Who emits what and who consumes it, and what is wrong with that, is in [`topology`].
//! What happens by the clock enters like any other event: [`mod@schedule`].
//!
//! # What never happens
//!
//! - A fakémon has a second winner: [`Population::apply`](state::Population::apply) asserts it.
//! - Anyone is told anything before it is durable, losers included: answers lie in the turn until its group is synced.
//!   [`Durability::Unsynced`] is the exception, by name.
//! - A decision overtakes another one of its shard: nothing changes before its record has a place in the journal
//!   ([`desk`]), and nothing waits between the two.
//! - A thread of the engine ends unnoticed: one that panics is a failure of the engine ([`Engine::failure`]), by name.
//! - A power cut takes a file or folder that somebody was told of: [`files`] makes them.
//! - An attempt id is decided twice: the player's ledger ([`players`]) claims it first, for ever.
//! - [`resolve`](resolve::resolve) reads a clock, a random number or the environment: whoever decides the same journal
//!   again ([`mod@verify`]) gets the same outcomes, and the same hash of everything after every block.
//! - A shard takes a lock, reads a disk, or waits for a player.
//! - A queue grows: all bounds stand in [`limits`]. Full is an answer, [`Throttled`](command::Throttled).
//! - A failed write or sync is tried again: the engine stops ([`Engine::failure`]), and the next start finds out what
//!   the disk holds, on the usual way.
//! - Looking at the world or at a collection delays a throw.
//! - A due time of a schedule fires twice, or is missed without a word.
//! - Time in the journal goes back, or what lasts (a fakémon, a hidden message) lasts longer or shorter because somebody set
//!   the clock: records and deadlines are by the engine's own time, which passes as time passes.
//! - What people see is by another clock than what they filter by, or stays wrong for ever after a start with a wrong clock:
//!   both are the [`wall_clock`], as it was when the event was written; each block says how far the engine's time is ahead
//!   of it (`engine/sync/src/clock.rs`). Tokens, signatures, schedules and the `time` of events are by the wall clock too.
//!   The order is the position's, whatever clocks show.
//! - A thread ends without a word: that is a failure ([`Engine::failure`]), and [`Engine::spawn_thread`] holds the threads of the
//!   program around the engine to the same.
//! - A cursor passes an event that is neither delivered nor a dead letter; retention lets go of an event that a lane
//!   still needs.
//!
//! # The rooms
//!
//! Each room is a crate beside this one, and uses only those above it; Cargo proves it. This crate is the facade: it opens
//! them, closes them, watches over them, and names what an embedding program needs.
//!
//! | crate | what is in it | its outside package |
//! |---|---|---|
//! | `engine/model` | ids, places, species, fakémon, events and their envelope, every bound | |
//! | `engine/sync` | mailboxes, wake-ups, the clock, failures and threads, whether they move | |
//! | `engine/pattern` | EventBridge's patterns and input transforms, JSON as it was written | aho-corasick, wide |
//! | `engine/schema` | schemas: read, checked, learned, compared, turned into types | regex, minijinja |
//! | `engine/resource` | buses, rules, targets, queues, pipes, schedules, and all of it at a position | rpds |
//! | `engine/journal` | blocks, hash chain, snapshot, index and bus stores, copies, salvage | rocksdb |
//! | `engine/capture` | client → core → shard → desk → committer → outbox; snapshot and recovery | glommio, h3o |
//! | `engine/queue` | queues, log groups, notes, secrets | |
//! | `engine/schedule` | cron, rate and one-time expressions, and what is due | jiff |
//! | `engine/delivery` | router, filters, lanes, retries, dead letters, replays, notices | |
//! | `engine/pipe` | from a source over filter and enrichment to a target | |
//! | `engine/history` | archive, explain, trace, replay, timeline, verify, topology, salvage | |
//!
//! FlatBuffers enter through the crate `fakemon-fbs`.

mod monitor;
mod timekeeper;
mod validate;
mod engine;

pub(crate) use fakemon_capture::{
    client, clockwork, committer, cores, metrics, options, outbox, reader, recovery, shared, snapshot,
};
pub use fakemon_capture::{command, desk, players, resolve, shard, state, turn, world};
pub use fakemon_delivery as delivery;
pub(crate) use fakemon_delivery::{inside, reset, tail};
pub use fakemon_delivery::{notices, schema};
pub use fakemon_history::{
    archive, explain, import, jsonl as lines, salvage, state_at as moment, timeline, topology, trace, verify, what_if,
};
pub(crate) use fakemon_journal as journal;
pub use fakemon_journal::{checkpoint, files, index};
pub(crate) use fakemon_journal::{follow, retention};
pub use fakemon_model::event as model;
pub use fakemon_model::{authorship, dice, envelope, fakemon, ids, limits, place, species, state_hash};
pub use fakemon_pattern::{pattern, raw, transform};
pub use fakemon_pipe as pipe;
pub use fakemon_queue::{log_group as logs, notes, queue, secrets};
pub use fakemon_resource as bus;
pub use fakemon_schedule as schedule;
pub(crate) use fakemon_sync::{clock, failure};
pub use fakemon_sync::{mailbox, pulse};

pub use client::Client;
pub use clock::wall_clock;
pub use engine::{AlreadySet, BlockingPlayer, CallError, Engine, PendingAttempt};
pub use failure::no_thread;
pub use fakemon_journal::ReadError;
pub use inside::{Function, OnDecision, PlayerMessage, PlayerSink};
pub use metrics::Metrics;
pub use options::{Durability, OpenError, Options, Retention, Thresholds};
pub use outbox::NoMoreClients;
pub use tail::{Seen, Tail};
pub use world::{Change, Subscription};

#[cfg(test)]
mod salvage_tests;
