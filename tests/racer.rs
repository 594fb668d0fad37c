//! A player who remembers every answer, and retries.

use crate::dice::Dice;
use crate::player::{Player, attempt_at, number};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// Attempts in flight.
const IN_FLIGHT: usize = 8;
/// How many of the newest answers, and how many others, are checked by a retry.
const SAMPLE: usize = 30;

/// A player's answers by attempt, over all runs of a server.
pub(crate) struct Racer {
    pub(crate) name: String,
    pub(crate) answers: BTreeMap<u64, Value>,
    next_attempt: u64,
}

impl Racer {
    pub(crate) fn new(name: &str) -> Racer {
        Racer { name: name.to_owned(), answers: BTreeMap::new(), next_attempt: 0 }
    }

    /// The answers that report a capture.
    pub(crate) fn captures(&self) -> impl Iterator<Item = &Value> {
        self.answers.values().filter(|answer| answer["outcome"] == "captured")
    }

    /// Makes attempts at the fakémon that `fakemon` returns and records every answer, until the connection breaks.
    pub(crate) fn race(&mut self, play: SocketAddr, fakemon: impl Fn() -> u64) {
        let Some(mut player) = Player::connect(play, &self.name) else { return };
        let (mut in_flight, mut heard) = (0, true);
        loop {
            while heard && in_flight < IN_FLIGHT {
                self.next_attempt += 1;
                in_flight += 1;
                heard = player.say(&attempt_at(self.next_attempt, fakemon())).is_some();
            }
            // Answers sent before the end are still in the socket.
            let Some(answer) = player.hear() else { return };
            in_flight -= 1;
            let told_twice = self.answers.insert(number(&answer, "attempt_id"), answer);
            assert_eq!(told_twice, None);
        }
    }

    /// Retried attempts get the first answer, unanswered ones get one now; captures are in the collection.
    pub(crate) fn is_told_the_same(&mut self, play: SocketAddr, dice: &mut Dice) {
        let mut player = Player::connect(play, &self.name).expect("it listens");
        for attempt in self.next_attempt.saturating_sub(2 * IN_FLIGHT as u64)..=self.next_attempt {
            self.answers.entry(attempt).or_insert_with(|| player.attempt(attempt, 1).expect("it answers"));
        }
        let all: Vec<_> = self.answers.iter().collect();
        let newest = all.iter().rev().take(SAMPLE).copied();
        let some: Vec<_> = newest.chain((0..SAMPLE).map(|_| *dice.one_of(&all))).collect();
        for (attempt, first) in some {
            // The id decides, not the fakémon.
            assert_eq!(player.attempt(*attempt, 1).as_ref(), Some(first));
        }
        let collection = player.ask(&json!({ "type": "collection" })).expect("it answers");
        let items = collection["items"].as_array().expect("items");
        let kept: HashMap<u64, u64> =
            items.iter().map(|item| (number(item, "fakemon_id"), number(item, "position"))).collect();
        let oldest = kept.values().min().copied().unwrap_or(0); // a page is not the whole collection
        for won in self.captures() {
            let (fakemon, position) = (number(won, "fakemon_id"), number(won, "position"));
            let held = kept.get(&fakemon) == Some(&position) || (items.len() >= 10_000 && position < oldest);
            assert!(held, "{} misses {won}", self.name);
        }
    }
}
