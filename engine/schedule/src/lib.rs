//! Schedules, and rules with a `ScheduleExpression`.
//!
//! ```text
//! Timetable ── due ──► Timekeeper ── firing, durable ──► Router ──► lanes of targets of the rule
//!  follows the          owns the       an event of the     notes that      or of the schedule's group
//!  resources            time           journal             it has fired
//! ```
//!
//! Firing writes an event on no bus into the journal: its time is the due time, and only the targets of its schedule
//! get it. The last due time that fired follows from the journal, so that however the process ends each due time has
//! fired exactly once, or was missed. If due times were missed while the engine was not running, the last one fires
//! late ([`Missed::Last`]), unless the schedule says otherwise.
//!
//! Schedules use the wall clock; everything else uses the engine's clock, which never goes back. When the wall clock
//! is set forward, or the machine slept, the due times in between were missed. When it is set back by less than a
//! minute, nothing fires until it has caught up, so nothing fires twice. When it is set back by more, it had been
//! wrong before: periodic schedules continue from the time it shows now, and one-time schedules that fired do not
//! fire again.
//!
//! - `cron`, `expression`: schedule expressions
//! - `timing`: due times, including changes to and from daylight saving time
//! - `timetable`: the next due times
//! - `request`: requests to services as the input of targets
//! - `invocation`: what a target gets
//! - `agenda`: the timetable, shared by the router and the timekeeper
#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

mod cron;
mod expression;
mod timing;
mod timetable;
mod request;
mod invocation;
mod agenda;
#[cfg(test)]
mod tests;

pub use agenda::Agenda;
pub use agenda::ScheduleFigures;
pub use expression::{Expression, InvalidExpression};
pub use invocation::{Invocation, destinations, detail};
pub use invocation::{check_target, schedule_arn};
pub use request::{Entry, entries, message};
pub use request::{InvalidTarget, PUT_EVENTS, SEND_MESSAGE};
pub use request::{is_reserved, reserved_event};
pub use timetable::Missed;
pub use timetable::{CORRECTION_NS, Fire, MissedTimes, Now, Over, Standing, Standings};
pub use timing::Timing;
pub use timing::zone;

pub use fakemon_capture::command::Firing;
use fakemon_resource::resource::{Rule, Schedule};

impl Timing {
    /// The timing of an enabled schedule. A schedule that this version cannot parse never fires, and is logged.
    pub fn of_schedule(schedule: &Schedule) -> Option<Timing> {
        let Schedule { group, name, .. } = schedule;
        let expression = Expression::parse(&schedule.expression);
        let Some((expression, zone)) = expression.ok().zip(zone(&schedule.zone)) else {
            tracing::error!(group, name, "the schedule never fires: its expression or time zone cannot be read");
            return None;
        };
        schedule.enabled.then(|| Timing {
            expression,
            zone,
            start: schedule.start,
            end: schedule.end,
            window_ns: u64::from(schedule.window_minutes) * 60_000_000_000,
            seed: timing::seed(&format!("{group}/{name}")),
        })
    }

    /// The timing of an enabled rule with a schedule.
    pub fn of_rule(rule: &Rule) -> Option<Timing> {
        let text = rule.schedule.as_ref().filter(|_| rule.is_enabled())?;
        let Ok(expression) = Expression::parse(text) else {
            tracing::error!(bus = rule.bus, rule = rule.name, "the rule never fires: `{text}` cannot be read");
            return None;
        };
        Some(Timing { expression, zone: jiff::tz::TimeZone::UTC, start: None, end: None, window_ns: 0, seed: 0 })
    }
}
