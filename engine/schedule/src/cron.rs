//! `cron(minutes hours day-of-month month day-of-week year)` in AWS's dialect, on the calendar alone: the matching
//! minutes of the wall clock. `timing` applies the time zone.
//!
//! ```text
//! minutes        0-59              , - * /
//! hours          0-23              , - * /
//! day of month   1-31              , - * / ? L W     L the last day, 15W the weekday nearest to the 15th, LW the last
//! month          1-12, JAN-DEC     , - * /
//! day of week    1-7, SUN-SAT      , - * / ? L #     6L the last Friday, FRI#3 the third, L alone is Saturday
//! year           1970-2199         , - * /
//! ```
//!
//! Exactly one of the two days is `?`. Ranges may wrap around (`FRI-MON`, `22-2`), except those of years. No crate
//! has this dialect; this one is a few bits per field, so that a search looks at most at every month: an expression
//! that never matches costs microseconds.

use super::InvalidExpression;
use jiff::civil::{Date, DateTime};

const YEAR_MIN: i16 = 1970;
const YEAR_MAX: i16 = 2199;
const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A cron expression: one bit for each value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: Days,
    months: u64,
    /// One bit per year from 1970 on.
    years: [u64; 4],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    OfMonth {
        days: u64,
        last: bool,
        /// Days whose nearest weekday matches.
        near: u64,
        last_weekday: bool,
    },
    OfWeek {
        /// One bit per weekday; Sunday is 1.
        weekdays: u64,
        /// Weekdays of which the last in the month matches.
        last: u64,
        /// The nth weekday of the month: (7, 3) is the third Saturday.
        nth: Option<(u32, u32)>,
    },
}

/// Every seventh day.
const WEEKLY: u64 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;

/// The direction of a search.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Later,
    Earlier,
}

/// The values that a field may have.
struct Field {
    min: u32,
    max: u32,
    words: &'static [&'static str],
}

const MINUTE: Field = Field { min: 0, max: 59, words: &[] };
const HOUR: Field = Field { min: 0, max: 23, words: &[] };
const DAY: Field = Field { min: 1, max: 31, words: &[] };
const MONTH: Field = Field { min: 1, max: 12, words: &MONTHS };
const WEEKDAY: Field = Field { min: 1, max: 7, words: &WEEKDAYS };
const YEAR: Field = Field { min: YEAR_MIN as u32, max: YEAR_MAX as u32, words: &[] };

impl Cron {
    /// Parses the text between the parentheses.
    pub(super) fn parse(text: &str) -> Result<Cron, InvalidExpression> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday, year] = fields.as_slice() else { return Err(InvalidExpression) };
        let days = match (day, weekday) {
            ("?", "?") => return Err(InvalidExpression),
            (_, "?") => days_of_month(day),
            ("?", _) => days_of_week(weekday),
            _ => return Err(InvalidExpression),
        };
        Ok(Cron {
            minutes: MINUTE.bits(minute).ok_or(InvalidExpression)?,
            hours: HOUR.bits(hour).ok_or(InvalidExpression)?,
            days: days.ok_or(InvalidExpression)?,
            months: MONTH.bits(month).ok_or(InvalidExpression)?,
            years: years(year).ok_or(InvalidExpression)?,
        })
    }

    /// The matching minutes from that of `from` on, in one direction.
    pub(super) fn minutes(&self, from: DateTime, way: Way) -> impl Iterator<Item = DateTime> + use<'_> {
        let mut next = Some(from);
        std::iter::from_fn(move || {
            let found = self.nearest(next?, way);
            next = found.and_then(|found| match way {
                Way::Later => found.checked_add(jiff::Span::new().minutes(1)).ok(),
                Way::Earlier => found.checked_sub(jiff::Span::new().minutes(1)).ok(),
            });
            found
        })
    }

    /// The matching minute nearest to `from` in one direction, `from` included.
    fn nearest(&self, from: DateTime, way: Way) -> Option<DateTime> {
        let whole = |value: i8| u32::try_from(value).expect("parts of a date are never negative");
        let mut limit = Some((whole(from.month()), whole(from.day()), whole(from.hour()), whole(from.minute())));
        let mut year = from.year();
        if way == Way::Later && year < YEAR_MIN || way == Way::Earlier && year > YEAR_MAX {
            (year, limit) = (if way == Way::Later { YEAR_MIN } else { YEAR_MAX }, None);
        }
        while (YEAR_MIN..=YEAR_MAX).contains(&year) {
            if self.has_year(year)
                && let Some(found) = self.in_year(year, limit, way)
            {
                return Some(found);
            }
            (year, limit) = (if way == Way::Later { year + 1 } else { year - 1 }, None);
        }
        None
    }

    fn has_year(&self, year: i16) -> bool {
        let bit = usize::try_from(year - YEAR_MIN).expect("years are looked at from the first on");
        self.years[bit / 64] >> (bit % 64) & 1 == 1
    }

    fn in_year(&self, year: i16, limit: Option<(u32, u32, u32, u32)>, way: Way) -> Option<DateTime> {
        for month in set(self.months, limit.map(|limit| limit.0), way) {
            let limit = limit.filter(|limit| limit.0 == month);
            let days = self.days.in_month(year, month);
            for day in set(days, limit.map(|limit| limit.1), way) {
                let limit = limit.filter(|limit| limit.1 == day).map(|limit| (limit.2, limit.3));
                if let Some((hour, minute)) = self.in_day(limit, way) {
                    let small = |part: u32| i8::try_from(part).expect("parts of a date are small");
                    let found = DateTime::new(year, small(month), small(day), small(hour), small(minute), 0, 0);
                    return Some(found.expect("the day is one of its month"));
                }
            }
        }
        None
    }

    fn in_day(&self, limit: Option<(u32, u32)>, way: Way) -> Option<(u32, u32)> {
        for hour in set(self.hours, limit.map(|limit| limit.0), way) {
            let limit = limit.filter(|limit| limit.0 == hour).map(|limit| limit.1);
            if let Some(minute) = set(self.minutes, limit, way).next() {
                return Some((hour, minute));
            }
        }
        None
    }
}

/// The bits that are set, from `limit` on, in one direction.
fn set(bits: u64, limit: Option<u32>, way: Way) -> impl Iterator<Item = u32> {
    let mut left = match (limit, way) {
        (None, _) => bits,
        (Some(limit), Way::Later) => bits & (u64::MAX << limit),
        (Some(limit), Way::Earlier) => bits & (u64::MAX >> (63 - limit)),
    };
    std::iter::from_fn(move || {
        let found = match way {
            _ if left == 0 => return None,
            Way::Later => left.trailing_zeros(),
            Way::Earlier => left.ilog2(),
        };
        left &= !(1 << found);
        Some(found)
    })
}

impl Days {
    /// The matching days of a month.
    fn in_month(&self, year: i16, month: u32) -> u64 {
        let first = Date::new(year, i8::try_from(month).expect("at most 12"), 1).expect("years are four digits");
        let length = u32::try_from(first.days_in_month()).expect("at most 31");
        let all = (2u64 << length) - 2;
        // The weekday of the first of the month; Sunday is 1.
        let weekday = u32::try_from(first.weekday().to_sunday_one_offset()).expect("at most 7");
        let weekday_of = |day: u32| (weekday + day + 5) % 7 + 1;
        match *self {
            Days::OfMonth { days, last, near, last_weekday } => {
                let mut meant = days & all | u64::from(last) << length;
                for day in set(near & all, None, Way::Later) {
                    meant |= 1 << nearest_weekday(day, weekday_of(day), length);
                }
                if last_weekday {
                    meant |= 1 << nearest_weekday(length, weekday_of(length), length);
                }
                meant
            }
            Days::OfWeek { weekdays, last, nth } => {
                // The first day of the month with this weekday; the others follow at intervals of seven.
                let first_of = |wanted: u32| (wanted + 7 - weekday) % 7 + 1;
                let mut meant = 0;
                for wanted in set(weekdays, None, Way::Later) {
                    meant |= WEEKLY << first_of(wanted) & all;
                }
                for wanted in set(last, None, Way::Later) {
                    let first = first_of(wanted);
                    meant |= 1 << (first + (length - first) / 7 * 7);
                }
                if let Some((wanted, number)) = nth {
                    meant |= 1 << (first_of(wanted) + (number - 1) * 7) & all;
                }
                meant
            }
        }
    }
}

/// The weekday nearest to a day, in the same month.
fn nearest_weekday(day: u32, weekday: u32, length: u32) -> u32 {
    match weekday {
        7 if day == 1 => 3,
        7 => day - 1,
        1 if day == length => day - 2,
        1 => day + 1,
        _ => day,
    }
}

impl Field {
    /// The bits of a list of values, ranges and steps.
    fn bits(&self, text: &str) -> Option<u64> {
        text.split(',')
            .try_fold(0, |bits, part| Some(bits | self.values(part)?.fold(0, |bits, value| bits | 1 << value)))
    }

    /// The values of `5`, `1-5` or `*`, each with an optional step after `/`; `5/10` runs to the maximum.
    fn values(&self, part: &str) -> Option<impl Iterator<Item = u32> + use<>> {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step = step.map(|step| number(step).filter(|step| (1..=self.max).contains(step)));
        let is_stepped = step.is_some();
        let step = step.unwrap_or(Some(1))?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None if is_stepped => (self.value(range)?, self.max),
            None => (self.value(range)?, self.value(range)?),
        };
        let (min, size) = (self.min, self.max - self.min + 1);
        let count = if from <= to { to - from + 1 } else { size - (from - to) + 1 };
        Some((0..count).step_by(step as usize).map(move |ahead| (from - min + ahead) % size + min))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let word = word.and_then(|index| Some(u32::try_from(index).ok()? + 1));
        word.or_else(|| number(text)).filter(|number| (self.min..=self.max).contains(number))
    }
}

/// Digits and nothing else.
pub(super) fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn years(text: &str) -> Option<[u64; 4]> {
    let mut years = [0; 4];
    for part in text.split(',') {
        if let Some((from, to)) = part.split('/').next().and_then(|range| range.split_once('-'))
            && YEAR.value(from)? > YEAR.value(to)?
        {
            return None; // years do not wrap around
        }
        for year in YEAR.values(part)? {
            let bit = (year - YEAR.min) as usize;
            years[bit / 64] |= 1 << (bit % 64);
        }
    }
    Some(years)
}

fn days_of_month(text: &str) -> Option<Days> {
    let (mut days, mut last, mut near, mut last_weekday) = (0, false, 0, false);
    for part in text.split(',') {
        match part {
            "L" => last = true,
            "LW" => last_weekday = true,
            _ => match part.strip_suffix('W') {
                Some(day) => near |= 1 << DAY.value(day)?,
                None => days |= DAY.bits(part)?,
            },
        }
    }
    Some(Days::OfMonth { days, last, near, last_weekday })
}

fn days_of_week(text: &str) -> Option<Days> {
    let (mut weekdays, mut last) = (0, 0);
    if let Some((day, number)) = text.split_once('#') {
        let number = self::number(number).filter(|number| (1..=5).contains(number))?;
        return Some(Days::OfWeek { weekdays, last, nth: Some((WEEKDAY.value(day)?, number)) });
    }
    for part in text.split(',') {
        match part.strip_suffix('L') {
            Some("") => weekdays |= 1 << WEEKDAY.max,
            Some(day) => last |= 1 << WEEKDAY.value(day)?,
            None => weekdays |= WEEKDAY.bits(part)?,
        }
    }
    Some(Days::OfWeek { weekdays, last, nth: None })
}
