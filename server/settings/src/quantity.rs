//! Values of settings that have a unit: spans of time and numbers of bytes.

use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A hundred years, so that no addition to a clock overflows.
pub(crate) const TIME_MS_MAX: u64 = 36_500 * 86_400_000;

/// A span of time: a whole number and a unit, as in `10s`, `36h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A number of bytes: a whole number and a unit, as in `512MiB`, `100GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Size(pub u64);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        let units = [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let ms = quantity(text, &units).filter(|ms| (1..=TIME_MS_MAX).contains(ms));
        ms.map(|ms| Time(Duration::from_millis(ms))).ok_or_else(|| {
            format!(
                "`{text}` is no time: give a whole number and ms, s, min, h or d, as in \"36h\", at most \"36500d\""
            )
        })
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        let bytes = quantity(text, &units).filter(|bytes| *bytes > 0);
        bytes.map(Size).ok_or_else(|| {
            format!("`{text}` is no size: give a whole number and KiB, MiB, GiB or TiB, as in \"100GiB\"")
        })
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

macro_rules! deserialize_from_text {
    ($type:ty) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
deserialize_from_text!(Time);
deserialize_from_text!(Size);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
