//! Scenarios: how players choose their targets. Each is a handful of numbers, so that a new one is a new row.

use std::fmt;
use std::str::FromStr;

/// A scenario of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// All race for one fakémon; when it is caught, for the next.
    Hot,
    /// Attempts spread uniformly over many fakémon.
    Spread,
    /// A few places are crowded, most are not; some attempts are out of reach, some fakémon dodge, some attempts are
    /// sent twice.
    Realistic,
}

/// The numbers of a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Fakémon that are targets at the same time.
    pub slots: u32,
    /// How players choose among them.
    pub choice: Choice,
    /// Chance, 0 to 1, that an attempt within reach captures; none: that of the species.
    pub catch_rate: Option<f64>,
    /// Attempts from out of reach, per 10,000.
    pub out_of_reach_of_10_000: u32,
    /// Attempts that are sent twice, per 10,000.
    pub repeated_of_10_000: u32,
}

/// How players choose among the fakémon on the board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// All with the same probability.
    Uniform,
    /// By Zipf's law with this exponent, ranked from the player's home.
    Zipf(f64),
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 3] = [Scenario::Hot, Scenario::Spread, Scenario::Realistic];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Hot => "hot",
            Scenario::Spread => "spread",
            Scenario::Realistic => "realistic",
        }
    }

    /// Its parameters.
    pub fn shape(self) -> Shape {
        match self {
            Scenario::Hot => Shape {
                slots: 1,
                choice: Choice::Uniform,
                catch_rate: Some(1.0),
                out_of_reach_of_10_000: 0,
                repeated_of_10_000: 0,
            },
            // Few are caught, so that most attempts are decided by a roll and the world need not grow as fast as the
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

/// The error for an unknown scenario.
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
