//! How an engine is set up, and why it cannot be.

use fakemon_model::limits::{CORES_MAX, OPEN_TABLES_MAX};
use fakemon_model::species::SpeciesTable;
use std::time::Duration;

pub use fakemon_journal::{Directory, Durability, OpenError, Retention};

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shards, one executor each, pinned to a core each. Default: one per core of the machine.
    pub cores: usize,
    /// How far an attempt reaches, in metres. Default 50.
    pub reach_m: f64,
    /// Decides dodge rolls. None (the default) keeps the journal's; a new journal gets one from the clock.
    pub world_seed: Option<u64>,
    /// The species that can be spawned. Default: the built-in table.
    pub species: SpeciesTable,
    /// When answers are given. Default: after the sync.
    pub durability: Durability,
    /// What the journal keeps. Default: everything.
    pub retention: Retention,
    /// How often the snapshot follows the journal; it also does after a million events. Default: 5 s.
    pub snapshot_every: Duration,
    /// Whether the index is made; without it, look-ups read the journal. `fakemon index` makes it later. Default:
    /// true.
    pub index: bool,
    /// Whether executors are pinned to a core each, as far as there are cores. Default: true.
    pub pin: bool,
    /// What the engine reports about itself, and from which thresholds on.
    pub thresholds: Thresholds,
    /// Whether all rules, pipes and archives of the bus `default` see what the engine says of itself; else those
    /// alone whose pattern asks for a `source` or a `detail-type`. Default: true.
    pub notices: bool,
    /// Whether targets are accepted that nothing here serves: their events become dead letters. Default: false.
    pub unserved_targets: bool,
}

/// From which values on the engine reports something on the bus `default`; see `notices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// A group that takes longer than this to write and sync is slow. Default: 250 ms.
    pub slow_sync: Duration,
    /// Less free space than this is low, in bytes. Default: 2 GiB.
    pub disk_space_low: u64,
    /// Less than this is critical. Default: 512 MiB.
    pub disk_space_critical: u64,
    /// A target is dead after this many failures without a delivery between them, over a second at least. Default: 5.
    pub target_dead_attempts: u32,
    /// A target is also dead after this time without a delivery. Default: 30 s.
    pub target_dead_after: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            slow_sync: Duration::from_millis(250),
            disk_space_low: 2 << 30,
            disk_space_critical: 512 << 20,
            target_dead_attempts: 5,
            target_dead_after: Duration::from_secs(30),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cores: std::thread::available_parallelism().map_or(1, usize::from).min(CORES_MAX),
            reach_m: 50.0,
            world_seed: None,
            species: SpeciesTable::default(),
            durability: Durability::Synced,
            retention: Retention::default(),
            snapshot_every: Duration::from_secs(5),
            index: true,
            pin: true,
            thresholds: Thresholds::default(),
            notices: true,
            unserved_targets: false,
        }
    }
}

/// Descriptors of databases and threads, besides [`DESCRIPTORS_PER_CORE`].
const DESCRIPTORS: usize = 52;
/// Tables that the databases have open at least, together.
const OPEN_TABLES_MIN: usize = 40;
/// Descriptors of a shard: its rings, its bells, the bell of a client.
const DESCRIPTORS_PER_CORE: usize = 8;

impl Options {
    pub fn check(&self) -> Result<(), OpenError> {
        if !(1..=CORES_MAX).contains(&self.cores) {
            return Err(OpenError::Options(format!("cores must be from 1 to {CORES_MAX}, not {}", self.cores)));
        }
        if !(0.0..=100_000.0).contains(&self.reach_m) {
            return Err(OpenError::Options(format!("reach_m must be from 0 to 100000 metres, not {}", self.reach_m)));
        }
        Ok(())
    }

    /// Whether the process may have as many descriptors as the engine needs: without them it would stop later, when a
    /// table or a connection cannot be opened.
    pub fn check_descriptors(&self, limit: usize) -> Result<(), OpenError> {
        let needed = self.descriptors(limit);
        if limit >= needed {
            return Ok(());
        }
        Err(OpenError::TooFewDescriptors(format!(
            "the limit of open files is {limit}, and an engine of {} cores needs {needed} at least: raise it (`ulimit -n \
             65536`, LimitNOFILE= in a systemd unit, or setrlimit in the program)",
            self.cores
        )))
    }

    /// Descriptors that an engine with these options has open at most, about, where the process may have `limit`.
    pub fn descriptors(&self, limit: usize) -> usize {
        DESCRIPTORS + DESCRIPTORS_PER_CORE * self.cores + (limit / 4).clamp(OPEN_TABLES_MIN, OPEN_TABLES_MAX)
    }

    pub fn reach_mm(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: at most 100 km")]
        let reach_mm = (self.reach_m * 1000.0).round() as u32;
        reach_mm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_open_files_that_is_too_low_for_the_engine_is_refused_with_the_remedy() {
        let options = Options { cores: 4, ..Options::default() };
        options.check_descriptors(options.descriptors(0)).unwrap();
        options.check_descriptors(usize::MAX).unwrap();
        let said = options.check_descriptors(options.descriptors(0) - 1).unwrap_err().to_string();
        assert!(said.contains("is 123") && said.contains("needs 124") && said.contains("ulimit -n"), "{said}");
    }
}
