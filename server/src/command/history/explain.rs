//! `fakemon explain`: the whole story of one attempt, as text or as JSON, from a closed data directory or beside a
//! running server. An attempt is identified by its position in the journal, by the id of one of its events, or by its
//! player and its attempt id.

use crate::command::DataArg;
use crate::printed::stdout;
use anyhow::{Context, bail};
use fakemon_delivery::{Delivery, DeliveryStatus};
use fakemon_history::archive::Archive;
use fakemon_history::explain::{Order, RecordedAttempt, Story, explain};
use fakemon_model::envelope::{EventKey, Facet};
use fakemon_model::event::Outcome;
use fakemon_model::format::{counted, span};
use fakemon_model::ids::{AttemptId, Position, Timestamp};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Arguments of `fakemon explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    data: DataArg,
    /// The attempt's position in the journal, or the id of one of its events.
    #[arg(value_name = "POSITION|EVENT_ID", required_unless_present = "attempt")]
    event: Option<String>,
    /// The player who made the attempt.
    #[arg(long, value_name = "NAME", requires = "attempt", conflicts_with = "event")]
    player: Option<String>,
    /// The player's id of the attempt.
    #[arg(long, value_name = "ID", requires = "player", value_parser = clap::value_parser!(u64))]
    attempt: Option<u64>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `fakemon explain`.
pub fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let in_dir = || format!("data directory {}", args.data.data.display());
    let archive = Archive::open(&args.data.data)?;
    let position = match (&args.event, &args.player, args.attempt) {
        (Some(event), ..) => position_of(event)?,
        (None, Some(player), Some(attempt)) => decided(&archive, player, AttemptId(attempt)).with_context(in_dir)?,
        _ => bail!("give a position, an event id, or --player and --attempt"),
    };
    let story = explain(&archive, position).with_context(in_dir)?;
    let teller = Teller { archive: &archive, story: &story };
    let mut stdout = stdout();
    match args.json {
        true => writeln!(stdout, "{}", teller.json())?,
        false => teller.write(&mut stdout)?,
    }
    std::mem::forget(archive); // the process ends: closing it, table by table, would take longer than the answer
    Ok(())
}

/// Parses a position, or the one in an event id.
pub(super) fn position_of(event: &str) -> anyhow::Result<Position> {
    let position = event.parse().ok().map(Position).or_else(|| EventKey::of_id(event).map(EventKey::position));
    position.with_context(|| {
        format!("`{event}` is neither a position nor the id of an event of the journal (66616b65-…)")
    })
}

fn decided(archive: &Archive, name: &str, attempt: AttemptId) -> anyhow::Result<Position> {
    let player =
        archive.player_id(name).with_context(|| format!("--player {name}: nobody of this name ever threw"))?;
    let position = archive.decided(player, attempt)?;
    position.with_context(|| format!("--attempt {attempt}: {name} made no throw of this name"))
}

/// `3.2 µs earlier`, `17 ns later`, `at the same moment`.
fn apart(one: Timestamp, other: Timestamp) -> String {
    match one.cmp(&other) {
        std::cmp::Ordering::Less => format!("{} earlier", span(other.ns_since(one) as f64)),
        std::cmp::Ordering::Equal => "at the same moment".to_owned(),
        std::cmp::Ordering::Greater => format!("{} later", span(one.ns_since(other) as f64)),
    }
}

/// Writes the story, with names looked up in the archive.
struct Teller<'a> {
    archive: &'a Archive,
    story: &'a Story,
}

impl Teller<'_> {
    fn player(&self, attempt: &RecordedAttempt) -> String {
        self.archive.player_name(attempt.player).map_or_else(|| format!("#{}", attempt.player), str::to_owned)
    }

    fn species(&self, attempt: &RecordedAttempt) -> &str {
        self.archive.species_name(attempt.species).unwrap_or("unknown")
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let attempt = &self.story.attempt;
        writeln!(
            out,
            "throw {} of {} at fakémon {} ({}): {}",
            attempt.attempt_id,
            self.player(attempt),
            attempt.fakemon_id,
            self.species(attempt),
            attempt.outcome.name()
        )?;
        let id = EventKey::new(attempt.position, Facet::Happened).id();
        writeln!(out, "  position {}, event {id}, decided by shard {}", attempt.position, attempt.shard)?;
        writeln!(out, "\nthe way it took")?;
        self.write_stages(out)?;
        writeln!(out, "\nthe fakémon at that moment")?;
        self.write_target(out)?;
        writeln!(out, "\nwhy")?;
        self.write_reason(out)?;
        writeln!(out, "\nwhat rules made of it")?;
        self.write_deliveries(out)
    }

    fn write_stages(&self, out: &mut impl Write) -> io::Result<()> {
        let (attempt, durable) = (&self.story.attempt, &self.story.durable);
        let received = attempt.received_at;
        let mut stage = |name: &str, at: Timestamp, before: Timestamp, note: &str| {
            let (after, took) = (span(at.ns_since(received) as f64), span(at.ns_since(before) as f64));
            writeln!(out, "  {name:<9} {at}  +{after:<10} ({took}{note})")
        };
        let committed = durable.group.committed_at;
        stage("received", received, received, ": read from the socket")?;
        stage("queued", attempt.queued_at(), received, " into the mailbox of its shard")?;
        stage("decided", attempt.decided_at(), attempt.queued_at(), " there, and deciding")?;
        let events = durable.group.end.0 - durable.group.first.0;
        let group = format!(" until its group of {events} was written");
        stage("written", committed, attempt.decided_at(), &group)?;
        match durable.durable_at {
            Some(at) => stage("durable", at, committed, " to write and sync, then told"),
            None => writeln!(out, "  durable   not told: it is the newest group, or the last before a new start"),
        }
    }

    fn write_target(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(target) = &self.story.target else {
            return match self.story.attempt.outcome {
                Outcome::UnknownFakemon => writeln!(out, "  no fakémon of this id had ever appeared"),
                _ => writeln!(out, "  the journal does not reach back to its appearance"),
            };
        };
        writeln!(
            out,
            "  appeared at {} (position {})\n  to vanish at {}",
            target.appeared_at, target.appeared, target.vanishes_at
        )?;
        let rate = target.catch_rate.fraction() * 100.0;
        writeln!(out, "  stood at {:.7}, {:.7}; catch rate {rate:.2} %", target.place.lat(), target.place.lon())?;
        writeln!(out, "  throws at it: {} before this one, {} after", target.attempts_before, target.attempts_after)
    }

    fn write_reason(&self, out: &mut impl Write) -> io::Result<()> {
        let attempt = &self.story.attempt;
        let reach = self.story.opened.map(|opened| f64::from(opened.reach_mm) / 1e3);
        if let (Some(distance), Some(reach)) = (self.story.distance_m, reach) {
            let within = if attempt.outcome == Outcome::OutOfReach { "out of reach" } else { "thrown from" };
            writeln!(out, "  {within}: {distance:.1} m away, a throw reaches {reach:.1} m")?;
        }
        if let Some(roll) = self.story.roll {
            let held = if roll.rolled < roll.threshold { "it held" } else { "it dodged" };
            writeln!(out, "  rolled {} of 9999, a ball holds below {}: {held}", roll.rolled, roll.threshold)?;
        }
        if let Some(winner) = &self.story.winner {
            let won = &winner.attempt;
            writeln!(
                out,
                "  captured before by {} (throw {}, position {}), {} earlier",
                self.player(won),
                won.attempt_id,
                won.position,
                counted(attempt.position.0 - won.position.0, "position", "positions")
            )?;
            writeln!(out, "    received {}", apart(won.received_at, attempt.received_at))?;
            writeln!(out, "    in the mailbox {}", apart(won.queued_at(), attempt.queued_at()))?;
            writeln!(out, "    decided {}", apart(won.decided_at(), attempt.decided_at()))?;
            writeln!(out, "  it came first because {}", because(winner.order))?;
        }
        if let Some(later) = &self.story.captured_later {
            let (player, id, position) = (self.player(later), later.attempt_id, later.position);
            writeln!(out, "  captured later by {player} (throw {id}, position {position})")?;
        }
        if let Some(second) = &self.story.runner_up {
            writeln!(
                out,
                "  the next throw at it came from {} (throw {}, position {}): received {}, in the mailbox {}",
                self.player(second),
                second.attempt_id,
                second.position,
                apart(second.received_at, attempt.received_at),
                apart(second.queued_at(), attempt.queued_at())
            )?;
        }
        match (attempt.outcome, self.story.target.and_then(|target| target.vanished)) {
            (Outcome::Vanished, Some((position, at))) => {
                writeln!(out, "  it had vanished at {at} (position {position})")
            }
            (Outcome::Vanished, None) => writeln!(out, "  its time was over when the throw was received"),
            _ => Ok(()),
        }
    }

    fn write_deliveries(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(deliveries) = &self.story.deliveries else {
            return writeln!(out, "  the journal does not reach back to what the rules were then");
        };
        if deliveries.is_empty() {
            return writeln!(out, "  no rule with a target matched");
        }
        for delivery in deliveries {
            let event = if delivery.key.facet() == Facet::Attempt { "attempt" } else { "outcome" };
            let (bus, rule, target) = (&delivery.bus, &delivery.rule, &delivery.target);
            writeln!(out, "  {event}: rule {bus}/{rule}, target {target}")?;
            writeln!(out, "    {}", delivery.arn)?;
            for line in whereabouts(&delivery.whereabouts) {
                writeln!(out, "    {line}")?;
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let story = self.story;
        let durable = &story.durable;
        json!({
            "attempt": self.attempt_json(&story.attempt),
            "event_id": EventKey::new(story.attempt.position, Facet::Happened).id(),
            "stages": {
                "received_at": story.attempt.received_at.to_string(),
                "queued_at": story.attempt.queued_at().to_string(),
                "decided_at": story.attempt.decided_at().to_string(),
                "written_at": durable.group.committed_at.to_string(),
                "durable_at": durable.durable_at.map(|at| at.to_string()),
                "queued_after_ns": story.attempt.queued_at().ns_since(story.attempt.received_at),
                "decided_after_ns": story.attempt.decided_at().ns_since(story.attempt.received_at),
                "written_after_ns": durable.group.committed_at.ns_since(story.attempt.received_at),
                "durable_after_ns": durable.durable_at.map(|at| at.ns_since(story.attempt.received_at)),
            },
            "group": {
                "first_position": durable.group.first.to_string(),
                "end_position": durable.group.end.to_string(),
            },
            "fakemon": story.target.map(|target| json!({
                "appeared_position": target.appeared.to_string(),
                "appeared_at": target.appeared_at.to_string(),
                "vanishes_at": target.vanishes_at.to_string(),
                "lat": target.place.lat(),
                "lon": target.place.lon(),
                "catch_rate": target.catch_rate.fraction(),
                "throws_before": target.attempts_before,
                "throws_after": target.attempts_after,
                "vanished_position": target.vanished.map(|(position, _)| position.to_string()),
                "vanished_at": target.vanished.map(|(_, at)| at.to_string()),
            })),
            "distance_m": story.distance_m,
            "reach_m": story.opened.map(|opened| f64::from(opened.reach_mm) / 1e3),
            "world_seed": story.opened.map(|opened| opened.world_seed.to_string()),
            "roll": story.roll.map(|roll| json!({ "rolled": roll.rolled, "threshold": roll.threshold })),
            "winner": story.winner.map(|winner| {
                let mut told = self.attempt_json(&winner.attempt);
                told["because"] = because(winner.order).into();
                told["received_earlier_ns"] = signed(winner.attempt.received_at, story.attempt.received_at);
                told["queued_earlier_ns"] = signed(winner.attempt.queued_at(), story.attempt.queued_at());
                told["decided_earlier_ns"] = signed(winner.attempt.decided_at(), story.attempt.decided_at());
                told
            }),
            "captured_later": story.captured_later.map(|later| self.attempt_json(&later)),
            "runner_up": story.runner_up.map(|second| self.attempt_json(&second)),
            "deliveries": story.deliveries.as_ref().map(|all| all.iter().map(delivery_json).collect::<Vec<_>>()),
        })
    }

    fn attempt_json(&self, attempt: &RecordedAttempt) -> Value {
        json!({
            "position": attempt.position.to_string(),
            "player": self.archive.player_name(attempt.player),
            "attempt_id": attempt.attempt_id.to_string(),
            "fakemon_id": attempt.fakemon_id.to_string(),
            "species": self.archive.species_name(attempt.species),
            "lat": attempt.place.lat(),
            "lon": attempt.place.lon(),
            "outcome": attempt.outcome.name(),
            "shard": attempt.shard.0,
            "received_at": attempt.received_at.to_string(),
            "decided_at": attempt.decided_at().to_string(),
        })
    }
}

/// How much earlier `one` was than `other`, in nanoseconds; negative if later.
fn signed(one: Timestamp, other: Timestamp) -> Value {
    match one <= other {
        true => other.ns_since(one).into(),
        false => Value::from(-i64::try_from(one.ns_since(other)).unwrap_or(i64::MAX)),
    }
}

fn because(order: Order) -> &'static str {
    match order {
        Order::Received => "it was received earlier",
        Order::Queued => "it reached the mailbox of the shard earlier, although it was received later",
        Order::Mailbox => "it had the earlier place in the mailbox of the shard",
    }
}

/// The status of a delivery in a sentence; and in another the target's last answer, if there is one.
pub(super) fn whereabouts(whereabouts: &DeliveryStatus) -> Vec<String> {
    let sentence = match whereabouts {
        DeliveryStatus::Unknown => "where it went is not known: an import holds the journal alone".to_owned(),
        DeliveryStatus::NotMatched => "the rules did not look at it yet".to_owned(),
        DeliveryStatus::Waiting { attempts: 0, .. } => "it waits for its turn".to_owned(),
        DeliveryStatus::Waiting { attempts, first_attempt_at } => {
            let since = first_attempt_at.map(|at| format!(", the first at {at}")).unwrap_or_default();
            format!("it waits for its next attempt; {attempts} failed{since}")
        }
        DeliveryStatus::Delivered => "delivered (or given up, if its target has no dead-letter queue)".to_owned(),
        DeliveryStatus::DeadLetter { queue, at, retries, code, message } => {
            let retries = retries.parse().map_or("retries".to_owned(), |count| counted(count, "retry", "retries"));
            return vec![
                format!("given up at {at} after {retries}; it lies in the queue {queue}"),
                format!("{code}: {message}"),
            ];
        }
        DeliveryStatus::TargetGone => "the target is not there any more".to_owned(),
    };
    vec![sentence]
}

/// A delivery, for `--json`.
pub(super) fn delivery_json(delivery: &Delivery) -> Value {
    let more = match &delivery.whereabouts {
        DeliveryStatus::Waiting { attempts, first_attempt_at } => {
            let first = first_attempt_at.map(|at| at.to_string());
            json!({ "attempts": attempts, "first_attempt_at": first })
        }
        DeliveryStatus::DeadLetter { queue, at, retries, code, message } => {
            json!({ "queue": queue, "at": at.to_string(), "retries": retries, "code": code, "message": message })
        }
        DeliveryStatus::Unknown
        | DeliveryStatus::NotMatched
        | DeliveryStatus::Delivered
        | DeliveryStatus::TargetGone => {
            json!({})
        }
    };
    let mut told = json!({
        "event_id": delivery.key.id(),
        "bus": delivery.bus,
        "rule": delivery.rule,
        "target": delivery.target,
        "arn": delivery.arn,
        "state": delivery.whereabouts.name(),
    });
    let (Value::Object(told_members), Value::Object(more)) = (&mut told, more) else { return told };
    told_members.extend(more);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_read_by_people() {
        assert_eq!(apart(Timestamp(5), Timestamp(22)), "17 ns earlier");
        assert_eq!(apart(Timestamp(5), Timestamp(5)), "at the same moment");
    }

    #[test]
    fn an_attempt_is_named_by_position_or_event_id() {
        assert_eq!(position_of("4711").unwrap(), Position(4_711));
        assert_eq!(position_of("66616b65-0000-8000-8001-000000001267").unwrap(), Position(4_711));
        for wrong in ["", "-1", "66616b65", "a"] {
            assert!(position_of(wrong).unwrap_err().to_string().contains("neither a position nor"), "{wrong}");
        }
    }
}
