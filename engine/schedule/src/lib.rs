//! What happens by the clock: schedules, and rules with a `ScheduleExpression`.
//!
//! ```text
//! Timetable ── due ──► Timekeeper ── firing, durable ──► Router ──► lanes of targets of the rule
//!  follows the          owns the       an event of the     notes that      or of the schedule's group
//!  resources            time           journal             it has fired
//! ```
//!
//! A firing is an event of the journal on no bus: its time is the due time, and only the targets of its schedule get it.
//! The last due time that fired is a fold over the journal, so that after any end of the process each due time has fired
//! exactly once, or was missed. What was missed while nobody was there fires once, late ([`Missed::Last`]), unless the
//! schedule says otherwise.
//!
//! The time is that of the wall clock, where everything else goes by the engine's, which never goes back. When the wall
//! clock is set forward, or the machine slept, what lies between was missed. When it is set back by less than a minute,
//! nothing fires until it has caught up, so nothing fires twice. By more, it had been wrong before: what comes again and
//! again goes on from the time that it shows now, and what was due once and fired does not fire again.
//!
//! - `cron`, `expression`: schedule expressions
//! - `timing`: due times, where clocks are set forward and back
//! - `timetable`: what is due next
//! - `request`: requests to services, as targets have them
//! - `invocation`: what a target gets
//! - `agenda`: the timetable between those who keep it and those who fire
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
pub use timetable::Missed;
pub use timetable::{CORRECTION_NS, Fire, MissedTimes, Now, Over, Standing, Standings};
pub use timing::Timing;
pub use timing::zone;

pub use fakemon_capture::command::Firing;
use fakemon_resource::resource::{Rule, Schedule};

impl Timing {
    /// Of a schedule that is enabled. One that this version cannot read never fires, and the log says so.
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

    /// Of a rule that is enabled and has a schedule.
    pub fn of_rule(rule: &Rule) -> Option<Timing> {
        let text = rule.schedule.as_ref().filter(|_| rule.is_enabled())?;
        let Ok(expression) = Expression::parse(text) else {
            tracing::error!(bus = rule.bus, rule = rule.name, "the rule never fires: `{text}` cannot be read");
            return None;
        };
        Some(Timing { expression, zone: jiff::tz::TimeZone::UTC, start: None, end: None, window_ns: 0, seed: 0 })
    }
}
