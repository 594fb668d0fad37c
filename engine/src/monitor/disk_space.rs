//! Free space of the file system that the data directory lies on. A threshold that was passed is only left again with
//! a tenth more than it, so that space that swings around it is told once.

use fakemon_capture::options::Thresholds;
use fakemon_delivery::notices::{Notice, NoticeKind};
use std::path::Path;

/// The space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) free_bytes: u64,
    pub(super) total_bytes: u64,
}

impl Space {
    /// None if the system does not report it.
    pub(super) fn of(directory: &Path) -> Option<Space> {
        let found = rustix::fs::statvfs(directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(Space { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    #[default]
    Ok,
    Low,
    Critical,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Low => "low",
            Level::Critical => "critical",
        }
    }

    /// The free space below which a level is reached.
    fn threshold(self, thresholds: &Thresholds) -> u64 {
        match self {
            Level::Ok => thresholds.disk_space_low,
            Level::Low => thresholds.disk_space_low,
            Level::Critical => thresholds.disk_space_critical,
        }
    }
}

/// The level at the last look.
#[derive(Default)]
pub(super) struct DiskSpace {
    level: Level,
}

impl DiskSpace {
    pub(super) fn look(&mut self, space: Space, thresholds: &Thresholds, directory: &Path) -> Option<Notice> {
        let is_within = |level: &Level| {
            let threshold = level.threshold(thresholds);
            let leaves_at = if self.level >= *level { threshold.saturating_add(threshold / 10) } else { threshold };
            space.free_bytes < leaves_at
        };
        let level = [Level::Critical, Level::Low].into_iter().find(is_within).unwrap_or_default();
        let before = std::mem::replace(&mut self.level, level);
        let notice = || {
            Notice::new(NoticeKind::DiskSpace, "")
                .with("state", level.name())
                .with("before", before.name())
                .with("free_bytes", space.free_bytes)
                .with("total_bytes", space.total_bytes)
                .with("threshold_bytes", level.max(before).threshold(thresholds))
                .with("directory", directory.display().to_string())
        };
        (level != before).then(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_is_told_once_and_left_with_a_tenth_more() {
        let thresholds = Thresholds { disk_space_low: 1_000, disk_space_critical: 100, ..Thresholds::default() };
        let mut disk = DiskSpace::default();
        let mut told = Vec::new();
        for free_bytes in [5_000, 1_000, 999, 1_050, 980, 1_100, 999, 99, 105, 110, 2_000, 50] {
            let notice = disk.look(Space { free_bytes, total_bytes: 9_000 }, &thresholds, Path::new("d"));
            told.extend(notice.map(|_| (free_bytes, disk.level.name())));
        }
        let expected = [
            (999, "low"),
            (1_100, "ok"),
            (999, "low"),
            (99, "critical"),
            (110, "low"),
            (2_000, "ok"),
            (50, "critical"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_system_says_how_much_there_is() {
        let space = Space::of(Path::new(".")).unwrap();
        assert!(space.free_bytes <= space.total_bytes && space.total_bytes > 0, "{space:?}");
    }
}
