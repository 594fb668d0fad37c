//! Schedule expressions: `rate(5 minutes)`, `cron(0 12 * * ? *)`, `at(2026-11-24T20:00:00)`.

use super::cron::{Cron, number};
use jiff::civil::DateTime;

/// A schedule expression, as EventBridge defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Periodic, every this many nanoseconds; a day has 24 hours.
    Rate(u64),
    /// Minutes of the wall clock.
    Cron(Box<Cron>),
    /// Once, at a second of the wall clock.
    At(DateTime),
}

/// The text is no schedule expression. The error does not repeat the text, which the caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no schedule expression: rate(5 minutes), cron(0 12 * * ? *) or at(2026-11-24T20:00:00)")]
pub struct InvalidExpression;

/// The years that cron supports; the engine's time ends in 2554.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;
/// Units of rates, in seconds.
const UNITS: [(&str, u64); 3] = [("minute", 60), ("hour", 3_600), ("day", 86_400)];

impl Expression {
    /// Parses an expression as Amazon EventBridge Scheduler accepts it.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn parse(text: &str) -> Result<Expression, InvalidExpression> {
        let (kind, inside) = text.strip_suffix(')').and_then(|text| text.split_once('(')).ok_or(InvalidExpression)?;
        Ok(Expression(match kind {
            "rate" => Kind::Rate(rate(inside).ok_or(InvalidExpression)?),
            "cron" => Kind::Cron(Box::new(Cron::parse(inside)?)),
            "at" => Kind::At(at(inside).ok_or(InvalidExpression)?),
            _ => return Err(InvalidExpression),
        }))
    }

    /// Parses an expression as rules of a bus accept it: no `at`, and one minute is not `1 minutes`.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn parse_of_rule(text: &str) -> Result<Expression, InvalidExpression> {
        let expression = Expression::parse(text)?;
        let is_one = text.strip_prefix("rate(").is_some_and(|rate| rate.trim_start_matches('0').starts_with("1 "));
        match expression.0 {
            Kind::At(_) => Err(InvalidExpression),
            Kind::Rate(_) if is_one == text.ends_with("s)") => Err(InvalidExpression),
            Kind::Rate(_) | Kind::Cron(_) => Ok(expression),
        }
    }

    /// Whether it is due at most once.
    pub fn is_once(&self) -> bool {
        matches!(self.0, Kind::At(_))
    }
}

fn rate(text: &str) -> Option<u64> {
    let (value, unit) = text.split_once(' ')?;
    let value = number(value).filter(|value| *value > 0)?;
    let named = |(name, _): &&(&str, u64)| unit == *name || unit.strip_suffix('s') == Some(name);
    let (_, seconds) = UNITS.iter().find(named)?;
    u64::from(value).checked_mul(*seconds)?.checked_mul(1_000_000_000)
}

/// Parses exactly `yyyy-mm-ddThh:mm:ss`.
fn at(text: &str) -> Option<DateTime> {
    let shape = b"0000-00-00T00:00:00";
    let fits = |(byte, shape): (u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == *shape };
    let is_whole = text.len() == shape.len() && text.bytes().zip(shape).all(fits);
    let at: Option<DateTime> = is_whole.then(|| text.parse().ok())?;
    at.filter(|at| YEARS.contains(&at.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_took_is_taken_and_what_it_refused_is_refused() {
        for taken in [
            "cron(0-15/1 8-8 ? * 2,3,4,5,6,7 *)",
            "cron(30-30 13-13 ? * 2,4,6 *)",
            "cron(1-31/30 1-1 ? * 1,7 *)",
            "cron(0 18 ? * MON-FRI *)",
            "cron(*/15 * * * ? *)",
            "cron(0-59/10 0-23/2 ? * * *)",
            "cron(0 8 1 * ? *)",
            "cron(0/5 8-17 ? * MON-FRI *)",
            "cron(15 10 ? * 6L 2002-2005)",
            "cron(0 2 ? * SAT#3 *)",
            "cron(* * ? * SAT#3 *)",
            "cron(0/5 5 ? JAN 1-5 2022)",
            "cron(5,35 14 * * ? *)",
            "cron(0 0 LW * ? *)",
            "cron(0 0 15W,L FEB-NOV/3 ? 2199)",
            "cron(0 22-2 ? * FRI-MON *)",
            "rate(1 minute)",
            "rate(5 hours)",
            "rate(1 day)",
        ] {
            assert!(Expression::parse(taken).is_ok() && Expression::parse_of_rule(taken).is_ok(), "{taken}");
        }
        for of_the_scheduler in ["at(2026-11-24T20:00:00)", "rate(1 minutes)", "rate(5 hour)"] {
            assert!(Expression::parse(of_the_scheduler).is_ok(), "{of_the_scheduler}");
            assert!(Expression::parse_of_rule(of_the_scheduler).is_err(), "{of_the_scheduler}");
        }
        for refused in [
            "cron(0 1 * * * *)",
            "cron(7 20 * * NOT *)",
            "cron(INVALID)",
            "cron(0 dummy ? * MON-FRI *)",
            "cron(71 8 1 * ? *)",
            "cron()",
            "rate(10 seconds)",
            "rate(10 years)",
            "rate()",
            "rate(10)",
            "rate(10 minutess)",
            "rate(foo minutes)",
            "rate(-10 minutes)",
            "rate(+10 minutes)",
            "rate(0 minutes)",
            "rate( 10 minutes )",
            " rate(10 minutes)",
            "rate(10 minutes) ",
            "rate(99999999999999999999 days)",
            "rate(4294967295 days)",
            "at(2021-12-31T23:59:59Z)",
            "at(2021-12-31)",
            "at(2021-02-30T00:00:00)",
            "at(2200-01-01T00:00:00)",
            "at(1969-12-31T23:59:59)",
            "at(2021-12-31T24:00:00)",
            "at(2021-12-31T23:59:59.5)",
            "cron(0 0 ? * ? *)",
            "cron(0 0 * * MON *)",
            "cron(0 0 32 * ? *)",
            "cron(0 0 0 * ? *)",
            "cron(0 0 ? * 8 *)",
            "cron(0 0 ? * 0 *)",
            "cron(0 0 ? * 2#6 *)",
            "cron(0 0 ? * 2#1,3#2 *)",
            "cron(0 0 ? * L-2 *)",
            "cron(0 0 ? 13 MON *)",
            "cron(0 0 1 * ? 1969)",
            "cron(0 0 1 * ? 2200)",
            "cron(0 0 1 * ? 2030-2020)",
            "cron(*/0 0 1 * ? *)",
            "cron(*/60 0 1 * ? *)",
            "cron(0 0 W * ? *)",
            "cron(0,, 0 1 * ? *)",
            "cron(-1 0 1 * ? *)",
            "cron(0 0 1 * ? * *)",
            "(0 0 1 * ? *)",
            "",
            "cron(",
            ")",
            "at(\u{661}\u{661}21-12-31T23:59:5)",
        ] {
            assert!(Expression::parse(refused).is_err(), "{refused}");
        }
    }
}
