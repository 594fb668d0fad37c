//! Players and the network between them and the node. They race for the same few fakémon, send again what is not
//! answered in time or was answered long ago, and reconnect; messages are delayed, overtake each other, get lost and
//! arrive twice.

use crate::memory_log::{Fault, Machine};
use crate::model::{Model, NumberedAttempt};
use fakemon_model::dice::Dice;
use fakemon_model::ids::{FakemonId, mix};
use std::cell::RefCell;
use std::rc::Rc;

/// What a player asks for.
#[derive(Clone, Copy, Debug)]
pub enum Question {
    /// An attempt at a fakémon.
    Attempt(NumberedAttempt, FakemonId),
    /// The collection, which has at least this many captures.
    Collection(usize),
}

/// A message on its way to the node.
#[derive(Clone, Copy, Debug)]
pub struct Up {
    /// From whom.
    pub player: usize,
    /// On which connection.
    pub connection: u64,
    /// To which edge.
    pub edge: usize,
    /// What it says.
    pub question: Question,
}

/// An answer on its way to a player.
#[derive(Clone, Copy, Debug)]
pub struct Down {
    /// On which connection.
    pub connection: u64,
    /// What is answered.
    pub attempt: NumberedAttempt,
    /// Nothing was accepted: it is to be sent again.
    pub throttled: bool,
}

/// An attempt without an answer.
#[derive(Clone, Copy)]
struct Open {
    attempt: NumberedAttempt,
    fakemon: FakemonId,
    /// When it was sent last; 0: it is to be sent again.
    sent_ns: u64,
}

struct Gamer {
    connection: u64,
    edge: usize,
    open: Vec<Open>,
}

/// How a crowd behaves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Players.
    pub players: usize,
    /// Places where they connect.
    pub edges: usize,
    /// Attempts of all players together.
    pub attempts: usize,
    /// Attempts that a player has open at once.
    pub open: usize,
    /// One act in this many is idle, or asks again for what was answered.
    pub repeats: usize,
    /// Messages that are on their way to the node at once; players wait while there are more.
    pub wire: usize,
    /// How long a player waits for an answer, in nanoseconds.
    pub patience_ns: u64,
    /// One message in this many is lost; 0: none is.
    pub drops: usize,
    /// One message in this many arrives twice; 0: none does.
    pub doubles: usize,
    /// One act in this many is a reconnect; 0: none is.
    pub reconnects: usize,
}

/// All players, and their messages.
pub struct Crowd {
    dice: Dice,
    habits: Habits,
    gamers: Vec<Gamer>,
    up: Vec<Up>,
    down: Vec<Down>,
    connections: u64,
    left: usize,
    machine: Rc<RefCell<Machine>>,
}

/// The fakémon of a number.
pub fn fakemon_id(number: usize) -> FakemonId {
    FakemonId(1 + number as u64 * 7)
}

impl Crowd {
    /// A crowd that has done nothing yet.
    pub fn new(seed: u64, habits: Habits, machine: Rc<RefCell<Machine>>) -> Crowd {
        let gamer = |player| Gamer { connection: player as u64, edge: player % habits.edges, open: Vec::new() };
        Crowd {
            dice: Dice(seed),
            habits,
            gamers: (0..habits.players).map(gamer).collect(),
            up: Vec::new(),
            down: Vec::new(),
            connections: habits.players as u64,
            left: habits.attempts,
            machine,
        }
    }

    fn happens(&mut self, one_in: usize) -> bool {
        one_in > 0 && self.dice.below(one_in) == 0
    }

    /// Whether every attempt was sent.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// A player does something; `fakemon` have appeared so far.
    pub fn act(&mut self, model: &mut Model, fakemon: usize, now_ns: u64) {
        if self.up.len() >= self.habits.wire {
            return;
        }
        let player = self.dice.below(self.gamers.len());
        if self.happens(self.habits.reconnects) {
            self.reconnect(player);
        }
        let patience_ns = self.habits.patience_ns;
        let repeats = self.dice.below(self.habits.repeats) == 0;
        let gamer = &mut self.gamers[player];
        let some = self.dice.below(gamer.open.len().max(1));
        if let Some(late) =
            gamer.open.get_mut(some).filter(|open| open.sent_ns == 0 || now_ns >= open.sent_ns + patience_ns)
        {
            let timed_out = late.sent_ns > 0;
            late.sent_ns = now_ns.max(1);
            let (attempt, fakemon) = (late.attempt, late.fakemon);
            if timed_out && self.dice.below(4) == 0 {
                self.reconnect(player);
            }
            return self.send(player, Question::Attempt(attempt, fakemon));
        }
        if gamer.open.len() < self.habits.open && self.left > 0 && !repeats {
            self.left -= 1;
            let attempt = model.sends(player);
            let newest = self.dice.below(fakemon + 1);
            let target = fakemon_id(newest.max(self.dice.below(fakemon + 1)));
            self.gamers[player].open.push(Open { attempt, fakemon: target, sent_ns: now_ns.max(1) });
            return self.send(player, Question::Attempt(attempt, target));
        }
        if !repeats {
            return;
        }
        match self.dice.below(2) {
            0 if model.sent_by(player) > 0 => {
                let index = self.dice.below(model.sent_by(player));
                let target = fakemon_id(self.dice.below(fakemon + 1)); // the first fakémon counts
                self.send(player, Question::Attempt(NumberedAttempt { player, index }, target));
            }
            _ => self.send(player, Question::Collection(model.captures_of(player))),
        }
    }

    /// A player connects again, and sends at once what has no answer.
    fn reconnect(&mut self, player: usize) {
        self.connections += 1;
        self.gamers[player].connection = self.connections;
        self.gamers[player].edge = self.dice.below(self.habits.edges);
        self.gamers[player].open.iter_mut().for_each(|open| open.sent_ns = 0);
        self.machine.borrow_mut().count(Fault::Reconnect);
    }

    fn send(&mut self, player: usize, question: Question) {
        let Gamer { connection, edge, .. } = self.gamers[player];
        let up = Up { player, connection, edge, question };
        for _ in 0..self.copies() {
            self.up.push(up);
        }
    }

    /// How often a message arrives.
    fn copies(&mut self) -> usize {
        if self.happens(self.habits.drops) {
            self.machine.borrow_mut().count(Fault::Dropped);
            return 0;
        }
        if self.happens(self.habits.doubles) {
            self.machine.borrow_mut().count(Fault::Doubled);
            return 2;
        }
        1
    }

    /// The next message that arrives at the node.
    pub fn arrives(&mut self) -> Option<Up> {
        let next = self.dice.below(self.up.len().max(1));
        (next < self.up.len()).then(|| self.up.swap_remove(next))
    }

    /// An answer leaves the node.
    pub fn reply(&mut self, down: Down) {
        for _ in 0..self.copies() {
            self.down.push(down);
        }
    }

    /// The next answer arrives at its player; false if none is on its way.
    pub fn receives(&mut self) -> bool {
        if self.down.is_empty() {
            return false;
        }
        let next = self.dice.below(self.down.len());
        let Down { connection, attempt, throttled } = self.down.swap_remove(next);
        let gamer = &mut self.gamers[attempt.player];
        if gamer.connection == connection {
            // Attempts are sent for the first time in the order of their numbers.
            if let Ok(place) = gamer.open.binary_search_by_key(&attempt.index, |open| open.attempt.index) {
                if throttled {
                    gamer.open[place].sent_ns = 0;
                } else {
                    gamer.open.remove(place);
                }
            }
        }
        true
    }

    /// The node is gone: half of what was on its way to it arrives all the same, at the next.
    pub fn loses_node(&mut self) {
        let dice = &mut self.dice;
        self.up.retain(|_| dice.below(2) == 0);
        self.down.retain(|_| dice.below(2) == 0);
        (0..self.gamers.len()).for_each(|player| self.reconnect(player));
    }

    /// From now on no message is lost.
    pub fn behaves(&mut self) {
        (self.habits.drops, self.habits.doubles, self.habits.reconnects) = (0, 0, 0);
    }

    /// Sends everything again that has no answer; returns how much that is.
    pub fn insists(&mut self) -> usize {
        let open: Vec<Open> = self.gamers.iter().flat_map(|gamer| gamer.open.iter().copied()).collect();
        for Open { attempt, fakemon, .. } in &open {
            self.send(attempt.player, Question::Attempt(*attempt, *fakemon));
        }
        open.len()
    }

    /// Whether no message is on its way.
    pub fn is_silent(&self) -> bool {
        self.up.is_empty() && self.down.is_empty()
    }

    /// Sends attempts again that were sent before, one in `one_in` of each player, and asks for all collections.
    pub fn asks_again(&mut self, model: &Model, one_in: usize) {
        for player in 0..self.gamers.len() {
            for index in (0..model.sent_by(player)).filter(|index| mix(*index as u64).is_multiple_of(one_in as u64)) {
                self.send(player, Question::Attempt(NumberedAttempt { player, index }, fakemon_id(0)));
            }
            self.send(player, Question::Collection(model.captures_of(player)));
        }
    }
}
