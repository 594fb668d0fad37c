//! Counts of the last minute, in steps of five seconds; the newest step is still filling.

const STEP_S: u64 = 5;
const STEPS: usize = 12;

/// Counts of the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    steps: [u32; STEPS],
    /// The number of the newest step.
    newest: u64,
}

impl Rate {
    /// Adds `count` at a second of any clock that does not go back.
    pub(crate) fn add(&mut self, count: u64, second: u64) {
        self.move_to(second / STEP_S);
        let step = &mut self.steps[(self.newest % STEPS as u64) as usize];
        *step = step.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn move_to(&mut self, step: u64) {
        for passed in self.newest + 1..=step.min(self.newest + STEPS as u64) {
            self.steps[(passed % STEPS as u64) as usize] = 0;
        }
        if step > self.newest + STEPS as u64 {
            self.steps = [0; STEPS];
        }
        self.newest = self.newest.max(step);
    }

    /// The count of the last minute.
    pub(crate) fn last_minute(&self, second: u64) -> u64 {
        let mut now = *self;
        now.move_to(second / STEP_S);
        now.steps.iter().map(|count| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_remembered_and_no_more() {
        let mut rate = Rate::default();
        (1_000..1_060).for_each(|second| rate.add(10, second));
        assert_eq!(rate.last_minute(1_059), 600);
        assert_eq!(rate.last_minute(1_060), 550, "the oldest five seconds are over");
        assert_eq!(rate.last_minute(1_114), 50);
        assert_eq!(rate.last_minute(1_115), 0);
        rate.add(7, 9_000);
        assert_eq!(rate.last_minute(9_000), 7);
        rate.add(u64::MAX, 9_000);
        assert_eq!(rate.last_minute(9_001), u64::from(u32::MAX));
    }
}
