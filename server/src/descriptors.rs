//! Descriptors: every connection is one, and so is every file of the journal. The limit of the process is divided
//! before anything is opened, so that no number of players or clients takes away what the journal and health need.
//!
//! ```text
//! limit ── engine: its files, shards, threads
//!       ├─ control plane: a third of the rest at most, and some more for health
//!       ├─ webhooks: a sixteenth of the rest
//!       └─ players: what is left
//! ```

use anyhow::ensure;

/// Threads, signals, log, page and whatever a library has open for a moment.
const OTHERS: usize = 8;
/// With fewer there is no server.
const CONNECTIONS_MIN: usize = 24;
/// Requests of webhooks at once that are of use.
const OUTGOING_MAX: usize = 4_096;

/// Who may have how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Connections of players.
    pub(crate) players: usize,
    /// Connections to the control plane.
    pub(crate) control: usize,
    /// Connections of webhooks.
    pub(crate) outgoing: usize,
}

impl Descriptors {
    /// Divides the limit of the process, when the engine needs so many and the control plane has use for `control`,
    /// with `extra` beside them.
    pub(crate) fn divide(limit: usize, engine: usize, control: usize, extra: usize) -> anyhow::Result<Descriptors> {
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

/// Takes all that the hard limit gives; how many that is.
pub(crate) fn raise_limit() -> usize {
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
