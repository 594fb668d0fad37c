//! Results that players missed: read from the journal by one thread of low priority, and handed to their connections
//! in pieces, the next when the last is accepted.
//!
//! One read serves all players who missed the same part of the journal: after a restart thousands of players
//! reconnect at about the same position, and cost one pass.
//!
//! Before `resumed` is sent, the edge reads what the player has sent on other connections, which may be broken by
//! now, and waits for all attempts that are then in flight. Only what was still in the network comes later; a player
//! retries an attempt without an answer.
//!
//! ```text
//! journal   ──────[ piece ]──────►  each record once, for all that catch up
//!                  │ results by player
//!                  ▼
//! connections: a ├┤  b ├┤  c  (further on: not yet)
//! ```

use crate::connections::{ConnectionCommand, ConnectionId, Connections, Said, To};
use fakemon_capture::player::Player;
use fakemon_engine::{Engine, ReadError, Tail};
use fakemon_model::event::{Decision, PlayerName};
use fakemon_model::ids::{AttemptId, PlayerId, Position};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Connections that catch up at once.
const CATCHING_UP_MAX: usize = 16_384;
/// Records of the journal per read.
const READ_MAX: u64 = 32_768;
/// Results per piece: about as many as may wait for a slow reader.
const RESULTS_MAX: usize = 256;
/// Pause before a piece that a connection refused is handed over again.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// Interval of checks whether the attempts in flight are decided.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Interval of checks whether the edge stops.
const IDLE: Duration = Duration::from_millis(100);
/// Longest wait for attempts in flight. The journal takes milliseconds, so this is reached only when it stalls.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);
/// Niceness of this thread: players who are connected come first.
const NICENESS: i32 = 15;
/// How often the log says that the journal cannot be read.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The edge threads' handle to the reader.
#[derive(Clone)]
pub(crate) struct CatchUp {
    notes: Sender<Note>,
    /// Connections that catch up. Relaxed: a bound that guards no other data.
    count: Arc<AtomicUsize>,
}

enum Note {
    Asked(Missing),
    /// Everything that the player sent on other connections has been read: all their attempts are in flight or
    /// decided now.
    Fenced(ConnectionId),
    /// The outcome of the last piece for a connection.
    Said(ConnectionId, Said),
}

/// A connection that catches up.
struct Missing {
    connection: ConnectionId,
    name: PlayerName,
    /// None until the player's first attempt.
    player: Option<Player>,
    /// Attempts that were in flight when the request came; none until that is known.
    awaited: Option<Vec<AttemptId>>,
    asked: Instant,
    /// All results before this position were handed over, or are in `found`.
    next: Position,
    /// All results before this position are to be sent; none while attempts are in flight that may still get a
    /// position.
    end: Option<Position>,
    found: Vec<Decision>,
    is_complete: bool,
    post: Post,
    _counted: Counted,
}

/// State of the pieces for one connection.
enum Post {
    /// Ready for the next piece.
    Free,
    /// A piece is on its way. The last one is empty and ends the catch-up.
    Under { piece: Arc<[Decision]>, is_last: bool },
    /// The connection refused the piece; retried at `at`.
    Again { piece: Arc<[Decision]>, is_last: bool, at: Instant },
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The handle of the edge threads, and the reader that serves them.
pub(crate) fn pair() -> (CatchUp, Reader) {
    let (notes, heard) = channel();
    let catch_up = CatchUp { notes: notes.clone(), count: Arc::default() };
    (catch_up, Reader { heard, notes })
}

impl CatchUp {
    /// Sends a connection the results of its player's attempts after the position `behind`, in pieces
    /// ([`ConnectionCommand::Missed`]), then [`ConnectionCommand::Resumed`], which says whether the journal still had
    /// all of them; it never does if `so_far` is false. False: too many connections catch up.
    pub(crate) fn ask(&self, connection: ConnectionId, name: PlayerName, behind: Position, so_far: bool) -> bool {
        let counted = Counted(self.count.clone());
        if self.count.fetch_add(1, Ordering::Relaxed) >= CATCHING_UP_MAX {
            return false;
        }
        let missing = Missing {
            connection,
            name,
            player: None,
            awaited: None,
            asked: Instant::now(),
            next: Position(behind.0.saturating_add(1)),
            end: None,
            found: Vec::new(),
            is_complete: so_far,
            post: Post::Free,
            _counted: counted,
        };
        self.notes.send(Note::Asked(missing)).is_ok()
    }
}

/// Reads the journal for all connections that catch up.
pub(crate) struct Reader {
    heard: Receiver<Note>,
    /// Given to the callbacks of pieces, to report their outcome.
    notes: Sender<Note>,
}

impl Reader {
    /// Serves until `is_stopping`, or the engine is closed.
    pub(crate) fn run(self, engine: &Engine, switchboard: &Connections, is_stopping: impl Fn() -> bool) {
        // On Linux this is the thread's alone. If it is refused, the thread is one like all others.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let tail = engine.tail();
        let mut all = All::default();
        while !is_stopping() {
            // Can only be a timeout: `self.notes` keeps the channel open.
            let first = self.heard.recv_timeout(all.patience(tail.end())).ok();
            for note in first.into_iter().chain(self.heard.try_iter()) {
                if let Note::Asked(missing) = &note {
                    self.fence(missing, switchboard);
                }
                all.take(note, engine);
            }
            if let Err(error) = all.read_next(&tail) {
                return tracing::error!("nobody catches up any more: the journal cannot be read: {error}");
            }
            for one in all.missing.values_mut() {
                one.hand_over(&tail, switchboard, &self.notes);
            }
        }
    }
}

impl Reader {
    /// Makes the edge read what the player has sent on all their connections, broken ones too.
    fn fence(&self, missing: &Missing, switchboard: &Connections) {
        let (connection, notes) = (missing.connection, self.notes.clone());
        switchboard.send(To::Player(missing.name.clone()), ConnectionCommand::Fence, move |_| {
            let _ = notes.send(Note::Fenced(connection)); // the reader has ended
        });
    }
}

/// All connections that catch up.
#[derive(Default)]
struct All {
    missing: HashMap<ConnectionId, Missing>,
    /// The order in which connections are read for; may name connections that are gone.
    turns: VecDeque<ConnectionId>,
    /// When the log last said that the journal cannot be read.
    said: Option<Instant>,
}

impl All {
    /// How long the reader may sleep.
    fn patience(&self, end: Position) -> Duration {
        let until = |one: &Missing| match &one.post {
            Post::Under { .. } => IDLE,
            Post::Again { at, .. } => at.saturating_duration_since(Instant::now()),
            Post::Free if one.can_read(end) => Duration::ZERO,
            Post::Free if one.awaited.is_none() => IDLE,
            Post::Free => LOOK_AGAIN,
        };
        self.missing.values().map(until).min().unwrap_or(IDLE)
    }

    fn take(&mut self, note: Note, engine: &Engine) {
        let (connection, said) = match note {
            Note::Asked(mut one) => {
                one.player = engine.find_player(&one.name);
                // A position that is not durable yet was told by another journal: a server runs on an older copy.
                one.is_complete &= one.next <= engine.tail().end();
                self.turns.push_back(one.connection);
                self.missing.insert(one.connection, one);
                return;
            }
            Note::Fenced(connection) => {
                if let Some(one) = self.missing.get_mut(&connection) {
                    one.player = one.player.take().or_else(|| engine.find_player(&one.name));
                    one.awaited = Some(one.player.as_ref().map(Player::in_flight).unwrap_or_default());
                }
                return;
            }
            Note::Said(connection, said) => (connection, said),
        };
        let Some(one) = self.missing.get_mut(&connection) else { return };
        match std::mem::replace(&mut one.post, Post::Free) {
            Post::Under { is_last: false, .. } if said.reached > 0 => {}
            Post::Under { piece, is_last } if said.refused > 0 => {
                one.post = Post::Again { piece, is_last, at: Instant::now() + TRY_AGAIN };
            }
            // Everything was sent, or the connection is gone.
            _ => drop(self.missing.remove(&connection)),
        }
    }

    /// Reads on for the connection whose turn it is, and for all that need the same records. Damage ends the catch-up
    /// of these, who hear that results are missing; the others go on.
    fn read_next(&mut self, tail: &Tail) -> Result<(), ReadError> {
        let end = tail.end();
        self.turns.retain(|connection| self.missing.contains_key(connection));
        let can_read = |connection: &ConnectionId| self.missing[connection].can_read(end);
        let Some(turn) = self.turns.iter().position(can_read) else { return Ok(()) };
        let connection = self.turns.remove(turn).expect("it was just found");
        self.turns.push_back(connection);
        let begin = tail.begin();
        let known = match &begin {
            Ok(begin) => *begin,
            Err(ReadError::Corrupt { .. } | ReadError::Damaged(_)) => Position(0),
            Err(ReadError::Store(_) | ReadError::Failed(_)) => return begin.map(drop),
        };
        let from = self.missing[&connection].next.max(known);
        let mut served: HashMap<PlayerId, Vec<&mut Missing>> = HashMap::new();
        for one in self.missing.values_mut() {
            if one.can_read(end) && one.next.max(known) >= from && one.next.0 < from.0.saturating_add(READ_MAX) {
                one.is_complete &= one.next >= known;
                one.next = one.next.max(known);
                let player = one.player.as_ref().expect("only who has thrown can read").id();
                served.entry(player).or_default().push(one);
            }
        }
        let read = begin.and_then(|_| {
            tail.read(from, READ_MAX, &mut |seen| {
                let Some((player, decision)) = seen.attempt() else { return };
                served.get_mut(&player).into_iter().flatten().for_each(|one| one.find(decision));
            })
        });
        let served = served.into_values().flatten();
        match read {
            Ok(next) => {
                served.filter(|one| one.found.len() < RESULTS_MAX).for_each(|one| one.next = one.next.max(next));
            }
            Err(error) => {
                for one in served {
                    (one.is_complete, one.next) = (false, one.next.max(end));
                }
                self.say_unreadable(&error);
            }
        }
        Ok(())
    }

    /// Never more than a line a minute: each player who asks meets the same damage.
    fn say_unreadable(&mut self, error: &ReadError) {
        if self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!("players who resume do not get all they missed, and all else goes on: {error}");
        }
    }
}

impl Missing {
    fn can_read(&self, end: Position) -> bool {
        matches!(self.post, Post::Free) && self.player.is_some() && self.next < self.end.unwrap_or(end)
    }

    /// Takes a result, unless it was handed over already, or `RESULTS_MAX` wait.
    fn find(&mut self, decision: Decision) {
        let position = decision.position;
        let is_behind = position < self.next || self.end.is_some_and(|end| position >= end);
        if !is_behind && self.found.len() < RESULTS_MAX {
            self.found.push(decision);
            self.next = Position(position.0 + 1);
        }
    }

    /// Hands the next piece to the connection, if it is ready for one.
    fn hand_over(&mut self, tail: &Tail, switchboard: &Connections, notes: &Sender<Note>) {
        let is_at_end = matches!(self.post, Post::Free) && self.found.is_empty() && self.is_at_end(tail);
        let (piece, is_last) = match &self.post {
            Post::Under { .. } => return,
            Post::Again { at, .. } if *at > Instant::now() => return,
            Post::Again { piece, is_last, .. } => (piece.clone(), *is_last),
            Post::Free if !self.found.is_empty() => (std::mem::take(&mut self.found).into(), false),
            Post::Free if is_at_end => (Arc::default(), true),
            Post::Free => return,
        };
        let errand = match is_last {
            true => ConnectionCommand::Resumed {
                position: Position(self.end.unwrap_or_default().0.saturating_sub(1)),
                is_complete: self.is_complete,
            },
            false => ConnectionCommand::Missed(piece.clone()),
        };
        self.post = Post::Under { piece, is_last };
        let (connection, notes) = (self.connection, notes.clone());
        switchboard.send(To::Connection(connection), errand, move |said| {
            let _ = notes.send(Note::Said(connection, said)); // the reader has ended
        });
    }

    /// Whether everything was handed over. The end is fixed to the durable end once the attempts in flight are
    /// decided.
    fn is_at_end(&mut self, tail: &Tail) -> bool {
        let is_undecided = match (&self.awaited, &self.player) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(awaited), Some(player)) => player.awaits_any(awaited),
        };
        if self.end.is_none() && (!is_undecided || self.asked.elapsed() > DECIDED_WITHIN) {
            self.end = Some(tail.end());
        }
        self.end.is_some_and(|end| self.next >= end || self.player.is_none())
    }
}
