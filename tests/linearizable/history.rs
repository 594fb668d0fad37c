//! What clients saw, and whether one order of decisions explains it.
//!
//! A fakémon is a register that is written once: wild, then caught by one attempt, or gone. A history of it is
//! linearizable if each attempt can be given one moment between its call and its return, so that the answers are
//! those of a fakémon that decides one attempt after another (Herlihy and Wing, "Linearizability", 1990). In general
//! this is a search; for this object one comparison per attempt decides it, because all that matters is one moment,
//! that of the capture: every `dodged` was called before it, every `already_captured` returns after it.
//!
//! An attempt without an answer (the connection broke, the server was killed) may have been decided at any time after
//! its call, or never: its interval is open.

/// An answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Captured,
    Dodged,
    AlreadyCaptured,
    Vanished,
}

/// When an attempt was answered, in nanoseconds of the test's clock; what, and at which position of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Return {
    pub(crate) at: u64,
    pub(crate) outcome: Outcome,
    pub(crate) position: u64,
}

/// One attempt at a fakémon, from its first call; sent again, it is the same attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Who made it, and its id among their attempts.
    pub(crate) attempt: (u32, u64),
    pub(crate) fakemon: u64,
    pub(crate) called: u64,
    /// The first answer; none while the interval is open.
    pub(crate) returned: Option<Return>,
}

impl Attempt {
    fn answered(&self, outcome: Outcome) -> Option<Return> {
        self.returned.filter(|returned| returned.outcome == outcome)
    }
}

/// Whether the attempts at one fakémon are linearizable; takes time linear in their number.
pub(crate) fn explain(attempts: &[Attempt]) -> Result<(), String> {
    let returns = |outcome| attempts.iter().filter_map(move |attempt| attempt.answered(outcome));
    let dodged = attempts.iter().filter(|attempt| attempt.answered(Outcome::Dodged).is_some());
    // The capture, or the end, happens between these two moments.
    let after = dodged.map(|attempt| attempt.called).max().unwrap_or(0);
    let lost = returns(Outcome::AlreadyCaptured).map(|returned| returned.at).min();
    let vanished = returns(Outcome::Vanished).map(|returned| returned.at).min();
    let before = lost.or(vanished).unwrap_or(u64::MAX);
    let fits = |called: u64, returned: u64| called.max(after) < returned.min(before);
    let mut winners = attempts.iter().filter(|attempt| attempt.answered(Outcome::Captured).is_some());
    let winner = winners.next();
    if let (Some(first), Some(second)) = (winner, winners.next()) {
        return Err(format!("two winners: {first:?} and {second:?}"));
    }
    if vanished.is_some() && (winner.is_some() || lost.is_some()) {
        return Err("it vanished, and was caught".into());
    }
    match winner {
        Some(Attempt { called, returned: Some(returned), .. }) if !fits(*called, returned.at) => {
            Err(format!("called {called}, captured {}, but dodged {after} and lost {before}", returned.at))
        }
        Some(_) => Ok(()),
        // Somebody has it who was never told.
        None if lost.is_some() => {
            let mut open = attempts.iter().filter(|attempt| attempt.returned.is_none());
            let caught = open.any(|attempt| fits(attempt.called, u64::MAX));
            if caught { Ok(()) } else { Err(format!("lost at {before}, but nobody can have captured it")) }
        }
        None if after >= before => Err(format!("vanished at {before}, but dodged one called at {after}")),
        None => Ok(()),
    }
}

/// Whether positions of the journal respect real time: what was called after another's return comes after it.
pub(crate) fn positions_respect_time(attempts: &[Attempt]) -> Result<(), String> {
    let mut by_call: Vec<(u64, Return)> =
        attempts.iter().filter_map(|attempt| Some((attempt.called, attempt.returned?))).collect();
    by_call.sort_by_key(|(called, _)| *called);
    let mut by_return: Vec<Return> = by_call.iter().map(|(_, returned)| *returned).collect();
    by_return.sort_by_key(|returned| returned.at);
    let (mut returned, mut newest) = (by_return.into_iter().peekable(), 0);
    for (called, own) in by_call {
        while let Some(earlier) = returned.next_if(|earlier| earlier.at < called) {
            newest = newest.max(earlier.position);
        }
        if own.position <= newest {
            let position = own.position;
            return Err(format!("position {position}, called at {called}, after position {newest} was answered"));
        }
    }
    Ok(())
}
