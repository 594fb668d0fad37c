//! An embeddable engine that decides contention exactly once, on a durable journal of events with an event bus.
//!
//! Millions of players throw a ball at the same fakémon: exactly one has it. Every decision is an event of a journal,
//! synced to the disk before anyone is told; rules hand events to functions, queues and log groups of this process,
//! with retries, dead letters, archives and replays, by the patterns of Amazon EventBridge.
//!
//! It is no server and has no network: the program `fakemon` puts one around it. It is no cluster: one process owns a
//! data directory, on one machine with Linux and io_uring. It is no general database: it stores players, what they
//! catch, and events.
//!
//! ```
//! use fakemon_engine::{CatchRate, Engine, Options, Outcome, Place, Spawn};
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let engine = Engine::open(dir, Options { cores: 1, ..Options::default() })?;
//! let place = Place::from_degrees(40.4168, -3.7038)?;
//! let sparkit = engine.spawn(Spawn { catch_rate: Some(CatchRate::ALWAYS), ..Spawn::new("sparkit", place) })?;
//! assert_eq!(engine.player("ana")?.attempt(sparkit, place)?.wait()?, Outcome::Captured); // and it is on the disk
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! These calls block. A program that serves many players takes a [`Client`] per thread, submits under tokens and
//! polls completions. Examples, one idea each (`cargo run --example race`, in `engine/examples`):
//!
//! - `race`: two players, one creature, and what a restart knows
//! - `crowd`: a hundred thousand players, one creature; the client of an event loop
//! - `rule_to_function`: events that match a pattern reach a function
//! - `retry_and_dead_letter`: a target that fails, and what it never takes
//! - `time_travel`: the world before any event, beside the engine that goes on
//! - `what_if`: the same attempts, decided again by other settings
//!
//! What an embedding program needs stands at the root; behind it, one module for each room that it may enter.
//!
//! # The way of an attempt
//!
//! ```text
//! Client ─ owner(fakémon) ─► Mailbox ─► Shard ─ Turn ─► CommitQueue ─► Committer ─ block, sync ─► CompletionQueue ─► Client
//!  claims the attempt id     bounded    one core,       bounded        one thread,               the answers
//!  in the player's ledger               one owner                      takes all that waits      of the group
//! ```
//!
//! A client routes an attempt to the core that owns its fakémon. The core takes everything that waits and decides it
//! as one [`Turn`](fakemon_capture::decision::turn::Turn); the committer takes every turn that waits and writes one
//! block, with one sync. Groups grow exactly as load grows; there is no timer anywhere on this way. Behind it, at
//! their own pace, followers read what is durable: the view of the world (`world`), and the snapshot that makes the
//! next start short.
//!
//! # The way of an event
//!
//! ```text
//! journal ── Router ── Filter ──► Lane ──► Dispatcher ─► queue, log group, bus, capture service, function
//!  blocks    follows    rules of   one for   JSON, the      └─► players (the program's sink), webhooks (the program)
//!            `BUS`      one bus    each      target's shape
//!                                  target
//! ```
//!
//! Everything in the journal is an event on a bus ([`envelope`](fakemon_model::envelope); who may say what:
//! [`authorship`](fakemon_model::authorship)). The router reads durable blocks, decides which rules of the bus match
//! — game events on their records, without JSON — and puts their keys on the lanes of the targets. A lane is a
//! durable cursor and what waits behind it; each target has its own, so that one that is slow or dead delays no
//! other. What fails comes again later, and at last becomes a dead letter. Archives and replays are views on the same
//! journal. A pipe ([`pipe`]) joins a queue, a bus, the journal or a stream to a target, with a filter and an
//! enrichment on the way. Resources (buses, rules, targets, …) are changes in the journal too; what the bus itself
//! has to remember lies in the `BusStore` of `engine/journal`.
//!
//! What the engine says of itself ([`notices`](delivery::notices): a dead target, a slow disk) is an event too, so
//! that rules can remedy it. Who emits what and who consumes it, and what is wrong with that, is in
//! [`topology`](history::topology). What happens by the clock enters like any other event: [`mod@schedule`].
//!
//! # What never happens
//!
//! - A fakémon has a second winner: [`Population::apply`](fakemon_capture::population::Population::apply) asserts it.
//! - Anyone is told anything before it is durable, losers included: answers lie in the turn until its group is
//!   synced. [`Durability::Unsynced`] is the exception, by name.
//! - A decision overtakes another one of its shard: nothing changes before its record has a place in the journal
//!   ([`commit_queue`](fakemon_capture::commit::commit_queue)), and nothing waits between the two.
//! - A thread of the engine ends unnoticed: one that panics is a failure of the engine ([`Engine::failure`]), by
//!   name.
//! - A power cut takes a file or folder that was reported as written: [`files`](fakemon_journal::files) makes them.
//! - An attempt id is decided twice: the player's ledger ([`players`](fakemon_capture::player)) claims it first, for
//!   ever.
//! - [`resolve`](fakemon_capture::decision::resolve::resolve) reads a clock, a random number or the environment:
//!   deciding the same journal again ([`verify`](history::verify)) gives the same outcomes, and the same hash of
//!   everything after every block.
//! - A shard takes a lock, reads a disk, or waits for a player.
//! - A queue grows: all bounds stand in [`limits`]. Full is an answer, [`Throttled`].
//! - A failed write or sync is tried again: the engine stops ([`Engine::failure`]), and the next start finds out what
//!   the disk holds, on the usual way.
//! - Looking at the world or at a collection delays an attempt.
//! - A due time of a schedule fires twice, or is missed without a word.
//! - Time in the journal goes back, or what lasts (a fakémon, a hidden message) lasts longer or shorter because the
//!   clock was set: records and deadlines are by the engine's own time, which passes as time passes.
//! - What people see is by another clock than what they filter by, or stays wrong for ever after a start with a wrong
//!   clock: both are the [`wall_clock`], as it was when the event was written; each block says how far the engine's
//!   time is ahead of it (`engine/sync/src/clock.rs`). Tokens, signatures, schedules and the `time` of events are by
//!   the wall clock too. The order is the position's, whatever clocks show.
//! - A thread ends without a word: that is a failure ([`Engine::failure`]), and [`Engine::spawn_thread`] holds the
//!   threads of the program around the engine to the same.
//! - A cursor passes an event that is neither delivered nor a dead letter; retention lets go of an event that a lane
//!   still needs.
//!
//! # The rooms
//!
//! Each room is a crate beside this one, and uses only those above it; Cargo proves it. This crate is the facade: it
//! opens them, closes them, watches over them, and names what an embedding program needs.
//!
//! | crate | what is in it | its outside package |
//! |---|---|---|
//! | `engine/model` | ids and names, places, species, fakémon, attempts, events and their envelope, every bound | |
//! | `engine/sync` | mailboxes, wake-ups, the clock, failures and threads, whether they move | |
//! | `engine/pattern` | EventBridge's patterns and input transforms, JSON as it was written | aho-corasick, wide |
//! | `engine/schema` | schemas: read, checked, learned, compared, turned into types | regex, minijinja |
//! | `engine/resource` | buses, rules, targets, queues, pipes, schedules, and all of it at a position | rpds |
//! | `engine/journal` | blocks, hash chain, snapshot, index and bus stores, copies, salvage | rocksdb |
//! | `engine/capture` | client → core → shard → commit queue → committer → completion queue; snapshot and recovery | glommio, h3o |
//! | `engine/queue` | queues, log groups, notes, secrets | |
//! | `engine/schedule` | cron, rate and one-time expressions, and what is due | jiff |
//! | `engine/delivery` | router, filters, lanes, retries, dead letters, replays, notices | |
//! | `engine/pipe` | from a source over filter and enrichment to a target | |
//! | `engine/history` | archive, explain, trace, replay, timeline, verify, topology, salvage | |
//! | `engine/simulation` | a whole node on one thread, from a seed, with faults of disks, networks and clocks | |
//!
//! FlatBuffers enter through the crate `fakemon-fbs`.
//!
//! # Glossary
//!
//! The words of this project that the field does not have:
//!
//! - **fakémon**: what is contended for; **attempt**: one try of a player to capture it (players say *throw*)
//! - **place**: where something is, in ten-millionths of a degree; **reach**: how far an attempt goes
//! - **position**: the number of an event in the journal, from 1, without gaps
//! - **turn**: what a shard decided in one go; **group**: the turns that one block and one sync make durable
//! - **facet**: a player, a fakémon or a cause by which the index finds events
//! - **lane**: the durable cursor of one target, and the events that wait behind it
//! - **cause**: the position of the event that led to this one; **origin**: the event that was handed on unchanged
//! - **ahead**: how far the engine's time is ahead of the wall clock
//! - **notice**: what the engine says of itself, as an event on the bus `default`

mod monitor;
mod timekeeper;
mod validate;
mod engine;

/// Resources of the bus: buses, rules, targets, queues, pipes, schedules, and all of them at a position.
pub mod bus {
    pub use fakemon_resource::inbound::*;
    pub use fakemon_resource::resource::*;
    pub use fakemon_resource::{DEFAULT_BUS, DEFAULT_GROUP, Destination, GAME_BUS, InvalidChange, Registry};
}

pub use fakemon_delivery as delivery;
pub use fakemon_delivery::schema;
pub use fakemon_history as history;
pub use fakemon_model::{ids, limits, names, place, species};
pub use fakemon_pattern::pattern;
pub use fakemon_pipe as pipe;
pub use fakemon_queue::{log_group, queue};
pub use fakemon_schedule as schedule;

pub use engine::{AlreadySet, BlockingPlayer, CallError, Engine, PendingAttempt};
pub use fakemon_capture::client::Client;
pub use fakemon_capture::command::{Attempt, Completion, Spawn, SpawnError, Stages, SubmitError, Throttled};
pub use fakemon_capture::completion_queue::NoMoreClients;
pub use fakemon_capture::metrics::Metrics;
pub use fakemon_capture::options::{Durability, OpenError, Options, Retention, Thresholds};
pub use fakemon_capture::player::Player;
pub use fakemon_capture::population::Fate;
pub use fakemon_capture::world::{Change as WorldChange, Subscription};
pub use fakemon_delivery::local::PlayerMessage;
pub use fakemon_delivery::tail::{Seen, Tail};
pub use fakemon_delivery::{Failed, FailureCode, ShapedEvent};
pub use fakemon_journal::ReadError;
pub use fakemon_journal::checkpoint::Checkpoint;
pub use fakemon_model::event::{
    CaptureAttempt, Caught, DecidedAttempt, Decision, Event, Outcome, PlayerName, PlayerNameError, Sighting,
};
pub use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position, SpeciesId, Timestamp, Token};
pub use fakemon_model::place::{Place, PlaceError};
pub use fakemon_model::species::{CatchRate, SpeciesTable};
pub use fakemon_pattern::pattern::Pattern;
pub use fakemon_resource::{InvalidChange, NewEvent};
pub use fakemon_sync::clock::wall_clock;
pub use validate::validate;

#[cfg(test)]
mod salvage_tests;
