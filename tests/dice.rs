//! Random numbers with a seed: a test that fails prints the seed, and `FAKEMON_SEED` repeats it.

use fakemon_model::ids::mix;
use std::time::{SystemTime, UNIX_EPOCH};

/// Random numbers from a seed; prints the seed when its test panics.
pub(crate) struct Dice {
    seed: u64,
    rolled: u64,
}

impl Dice {
    /// Takes the seed from the environment, else from the clock.
    pub(crate) fn new() -> Dice {
        let given = std::env::var("FAKEMON_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        Dice { seed: given.unwrap_or(u64::from(clock.subsec_nanos())), rolled: 0 }
    }

    /// A number from 0 to below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.rolled += 1;
        let number = mix(mix(self.seed).wrapping_add(self.rolled));
        usize::try_from(number % end as u64).expect("it is smaller than a usize")
    }

    /// Random bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.below(256)).expect("it is below 256")).collect()
    }

    /// One of the elements.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Changes some bytes; may cut the end off, or add to it.
    pub(crate) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len().max(1));
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.extend(self.bytes(5)),
                _ => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
            }
        }
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it happened with FAKEMON_SEED={}", self.seed);
        }
    }
}
