//! The table of species: how easily each is caught and how long it stays. A built-in one, or one from a file.

use crate::limits::{LIFETIME_S_MAX, SPECIES_MAX, SPECIES_NAME_BYTES_MAX};
use serde::Deserialize;

/// The table that is used when the settings name no other.
const BUILT_IN: &str = include_str!("species.toml");

/// A chance in 1/10,000: from "always dodges" to "never dodges".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchRate(u16);

impl CatchRate {
    /// Never dodges.
    pub const ALWAYS: CatchRate = CatchRate(10_000);

    /// From a number between 0 and 1, rounded to four decimals; anything else is none.
    pub fn from_fraction(fraction: f64) -> Option<CatchRate> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: 0 to 10,000")]
        (0.0..=1.0).contains(&fraction).then(|| CatchRate((fraction * 10_000.0).round() as u16))
    }

    /// From 1/10,000, as the journal has it; more than 10,000 means always.
    pub fn from_basis_points(basis_points: u16) -> CatchRate {
        CatchRate(basis_points.min(10_000))
    }

    /// In 1/10,000.
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// A number between 0 and 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// A species, with the defaults of its spawns.
#[derive(Clone, Debug, PartialEq)]
pub struct Species {
    /// The name, as players read it.
    pub name: String,
    /// When a spawn does not say.
    pub catch_rate: CatchRate,
    /// Seconds; when a spawn does not say.
    pub lifetime_s: u64,
    /// How often the demo world spawns it, relative to the others.
    pub weight: u32,
    /// Hours of the day, from and to (exclusive, may wrap past midnight), in which the demo world spawns it.
    pub active: Option<(u8, u8)>,
}

/// Why a table is refused. The message names the entry and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("species table: {0}")]
pub struct SpeciesError(String);

/// All species of a world.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeciesTable {
    species: Vec<Species>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    species: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    catch_rate: f64,
    lifetime_s: u64,
    #[serde(default = "one")]
    weight: u32,
    active: Option<String>,
}

fn one() -> u32 {
    1
}

impl Default for SpeciesTable {
    fn default() -> Self {
        SpeciesTable::from_toml(BUILT_IN).expect("the built-in table is valid, a test reads it")
    }
}

impl SpeciesTable {
    /// Reads a table: `[[species]]` entries with `name`, `catch_rate`, `lifetime_s`, and if wanted `weight`,
    /// `active`.
    pub fn from_toml(text: &str) -> Result<SpeciesTable, SpeciesError> {
        let file: File = toml::from_str(text).map_err(|error| SpeciesError(located(text, &error)))?;
        if file.species.is_empty() || file.species.len() > SPECIES_MAX {
            return Err(SpeciesError(format!("give 1 to {SPECIES_MAX} [[species]] entries")));
        }
        let species = file.species.into_iter().map(Entry::check).collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<&str> = species.iter().map(|species| species.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(SpeciesError(format!("`{}` stands there twice: remove one", pair[0]))),
            None => Ok(SpeciesTable { species }),
        }
    }

    /// The species of this name.
    pub fn named(&self, name: &str) -> Option<&Species> {
        self.species.iter().find(|species| species.name == name)
    }

    /// All of them, in the order of the table.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Species> {
        self.species.iter()
    }
}

/// The error of the parser: on which line, which member, and what it must be.
fn located(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let number = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let member = line.split('=').next().unwrap_or_default().trim();
    let said = error.message();
    let wrong = said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "));
    let what = match wrong.and_then(|wrong| wrong.split_once(", expected ")) {
        Some((_, "f64")) => format!("{member} must be a number"),
        Some((_, "a string")) => format!("{member} must be a text in quotes"),
        Some((_, "u64" | "u32" | "u16" | "u8")) => format!("{member} must be a whole number"),
        Some(_) => "species must be tables: write [[species]], and below it name, catch_rate and lifetime_s".into(),
        None => said.replace('\n', " "),
    };
    format!("line {number}: {what}")
}

impl Entry {
    fn check(self) -> Result<Species, SpeciesError> {
        let name = self.name;
        let refuse = |why: String| Err(SpeciesError(format!("`{}`: {why}", name.escape_debug())));
        if name.is_empty() || name.len() > SPECIES_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return refuse(format!("name must be 1 to {SPECIES_NAME_BYTES_MAX} bytes without control characters"));
        }
        let Some(catch_rate) = CatchRate::from_fraction(self.catch_rate) else {
            return refuse("catch_rate must be a number from 0 to 1".into());
        };
        if self.lifetime_s == 0 || self.lifetime_s > LIFETIME_S_MAX {
            return refuse(format!("lifetime_s must be 1 to {LIFETIME_S_MAX}"));
        }
        let Some(active) = self.active.as_deref().map(parse_hours).map_or(Some(None), |hours| hours.map(Some)) else {
            return refuse("active must be two hours from 0 to 24, as in \"20-6\"".into());
        };
        Ok(Species { catch_rate, lifetime_s: self.lifetime_s, weight: self.weight, active, name })
    }
}

fn parse_hours(text: &str) -> Option<(u8, u8)> {
    let (from, to) = text.split_once('-')?;
    let hours = (from.parse().ok()?, to.parse().ok()?);
    (hours.0 <= 24 && hours.1 <= 24).then_some(hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_holds_the_promised_species() {
        let table = SpeciesTable::default();
        for name in ["sparkit", "leaflet", "bubblin", "emberoo", "pebblor", "gustling"] {
            assert!(table.named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_bad_entry_is_named_with_the_remedy() {
        let entry =
            |line: &str| format!("[[species]]\nname = \"sparkit\"\ncatch_rate = 0.5\nlifetime_s = 60\n{line}");
        for (text, message) in [
            ("species = []".into(), "give 1 to 4096"),
            (entry("").replace("0.5", "1.5"), "`sparkit`: catch_rate must be a number from 0 to 1"),
            (entry("").replace("0.5", "nan"), "`sparkit`: catch_rate"),
            (entry("").replace("60", "0"), "`sparkit`: lifetime_s must be 1 to"),
            (entry("active = \"25-3\""), "`sparkit`: active must be two hours"),
            (entry("colour = 1"), "line 5: unknown field `colour`"),
            (entry("").replace("0.5", "\"0.5\""), "line 3: catch_rate must be a number"),
            (entry("").replace("60", "1.5"), "line 4: lifetime_s must be a whole number"),
            (entry("").replace("\"sparkit\"", "7"), "line 2: name must be a text in quotes"),
            ("species = [7]".into(), "line 1: species must be tables: write [[species]]"),
            (entry("") + &entry(""), "`sparkit` stands there twice"),
        ] {
            let error = SpeciesTable::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
