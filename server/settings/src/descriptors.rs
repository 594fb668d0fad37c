//! File descriptors: each connection needs one, and so does each file of the journal. The limit of the process is
//! divided before anything is opened, so that no number of players or clients can use up those of the journal and of
//! health checks.
//!
//! ```text
//! limit ── engine: its files, shards, threads
//!       ├─ control plane: a third of the rest at most, and some more for health
//!       ├─ webhooks: a sixteenth of the rest
//!       └─ players: what is left
//! ```

use anyhow::ensure;

/// Descriptors of threads, signals, log, page, and those that libraries open briefly.
const OTHERS: usize = 8;
/// Connections of players, at least; with fewer the server does not start.
const CONNECTIONS_MIN: usize = 24;
/// Connections of webhooks, at most; more are of no use.
const OUTGOING_MAX: usize = 4_096;

/// The share of each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Connections of players.
    pub players: usize,
    /// Connections to the control plane.
    pub control: usize,
    /// Connections of webhooks.
    pub outgoing: usize,
}

impl Descriptors {
    /// Divides the limit of the process: the engine needs `engine`, and the control plane can use up to `control`,
    /// with `extra` beside them.
    pub fn divide(limit: usize, engine: usize, control: usize, extra: usize) -> anyhow::Result<Descriptors> {
        let needed = engine + OTHERS + extra;
        ensure!(
            limit >= needed + CONNECTIONS_MIN,
            "the limit of open files is {limit}, and this server needs {} at least: raise it (`ulimit -n 65536`, or \
             LimitNOFILE= in a systemd unit)",
            needed + CONNECTIONS_MIN
        );
        let rest = limit - needed;
        let control = control.min(rest / 3);
        let outgoing = (rest / 16).min(OUTGOING_MAX);
        Ok(Descriptors { players: rest - control - outgoing, control, outgoing })
    }
}

/// Raises the soft limit to the hard limit; returns it.
pub fn raise_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, all) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            limit.current
        }
    };
    current.map_or(1 << 20, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_a_part_and_the_engine_its_own() {
        for limit in [160, 256, 1_024, 20_000, 1 << 20] {
            let Descriptors { players, control, outgoing } = Descriptors::divide(limit, 80, 12_000, 16).unwrap();
            assert!(players + control + outgoing + 80 + OTHERS + 16 <= limit, "{limit}");
            assert!(players >= control && control >= 10 && outgoing >= 2, "{limit}: {players} {control} {outgoing}");
        }
        let large = Descriptors::divide(1 << 20, 1_000, 12_000, 16).unwrap();
        assert_eq!((large.control, large.outgoing), (12_000, OUTGOING_MAX));
    }

    #[test]
    fn a_limit_that_is_too_small_is_refused_with_the_remedy() {
        let refused = Descriptors::divide(100, 80, 12_000, 16).unwrap_err().to_string();
        assert!(
            refused.contains("is 100") && refused.contains("needs 128") && refused.contains("ulimit -n"),
            "{refused}"
        );
    }
}
