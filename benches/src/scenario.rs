//! Scenarios: who throws at what. Each is a handful of numbers, so that a new one is a new row.

use std::fmt;
use std::str::FromStr;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// All race for one fakémon; when it is caught, for the next.
    Hot,
    /// Uniformly over many fakémon.
    Spread,
    /// A few places are crowded, most are not; some throws fall short, some fakémon dodge, some throws are sent
    /// twice.
    Realistic,
}

/// The numbers of a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Fakémon that can be thrown at, at any time.
    pub slots: u32,
    /// How players choose among them.
    pub choice: Choice,
    /// Chance that a throw within reach catches; none: as the species has it.
    pub catch_rate: Option<f64>,
    /// Throws from too far away, of 10,000.
    pub out_of_reach_of_10_000: u32,
    /// Throws that are sent a second time, of 10,000.
    pub repeated_of_10_000: u32,
}

/// How players choose among the fakémon that are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// Each as likely as the other.
    Uniform,
    /// By Zipf's law with this exponent, around the place where the player lives.
    Zipf(f64),
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 3] = [Scenario::Hot, Scenario::Spread, Scenario::Realistic];

    /// The word for it on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Hot => "hot",
            Scenario::Spread => "spread",
            Scenario::Realistic => "realistic",
        }
    }

    /// Its numbers.
    pub fn shape(self) -> Shape {
        match self {
            Scenario::Hot => Shape {
                slots: 1,
                choice: Choice::Uniform,
                catch_rate: Some(1.0),
                out_of_reach_of_10_000: 0,
                repeated_of_10_000: 0,
            },
            // Few are caught, so that most throws are decided by a roll and the world need not grow as fast as the
            // load.
            Scenario::Spread => Shape {
                slots: 10_000,
                choice: Choice::Uniform,
                catch_rate: Some(0.002),
                out_of_reach_of_10_000: 0,
                repeated_of_10_000: 0,
            },
            Scenario::Realistic => Shape {
                slots: 2_000,
                choice: Choice::Zipf(1.0),
                catch_rate: None,
                out_of_reach_of_10_000: 300,
                repeated_of_10_000: 100,
            },
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScenario(String);

impl fmt::Display for UnknownScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no scenario: give hot, spread or realistic", self.0)
    }
}

impl std::error::Error for UnknownScenario {}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(word: &str) -> Result<Scenario, UnknownScenario> {
        let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == word);
        found.ok_or_else(|| UnknownScenario(word.escape_debug().to_string()))
    }
}
