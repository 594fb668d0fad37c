//! `GET /metrics`: what happened since the start, in the text format of Prometheus. One noun for one thing: names are
//! those of the journal and of messages, units stand last. The text is made at most ten times a second, for all who
//! ask.

mod text;

use super::Shared;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use fakemon_delivery::{Course, LaneId, LaneMetrics};
use fakemon_edge::{self as edge, CloseReason};
use fakemon_engine::{Durability, Metrics};
use fakemon_model::event::Outcome;
use fakemon_pipe::PipeFigures;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use text::{Text, WHOLE_SECOND_NS};

/// Everything that is counted.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<impl IntoResponse, Infallible> {
    let text = shared.metrics.get(async { Ok::<_, Infallible>(rendered(&shared).into()) }).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

fn rendered(shared: &Shared) -> String {
    let mut text = Text::default();
    let metrics = shared.engine.metrics();
    attempts(&mut text, &metrics);
    stages(&mut text, &metrics, &(shared.options.read_edge)());
    world(&mut text, &metrics);
    journal(&mut text, shared, &metrics);
    connections(&mut text, &(shared.options.read_edge)());
    bus(&mut text, shared);
    schedules(&mut text, shared);
    schemas(&mut text, shared);
    process(&mut text, shared);
    text.finish()
}

fn attempts(text: &mut Text, metrics: &Metrics) {
    text.family("fakemon_attempts_total", "counter", "Throws decided, by outcome.");
    for (outcome, count) in Outcome::ALL.iter().zip(metrics.attempts) {
        text.sample("fakemon_attempts_total", &[("outcome", outcome.name())], count);
    }
    text.counter("fakemon_attempts_throttled_total", "Throws not accepted: too much was waiting.", metrics.throttled);
    text.counter("fakemon_attempts_resent_total", "Throws sent again, given their first answer.", metrics.resent);
    let help = "Collections and first answers that are damaged on the disk; `fakemon verify` says where.";
    text.counter("fakemon_reads_failed_total", help, metrics.reads_failed);
}

fn stages(text: &mut Text, metrics: &Metrics, edge: &edge::Figures) {
    let name = "fakemon_stage_seconds";
    text.family(name, "histogram", "Time of a throw up to a stage, from the stage before it.");
    for (stage, histogram) in [
        ("queued", &metrics.queued_ns),
        ("decided", &metrics.decided_ns),
        ("durable", &metrics.durable_ns),
        ("answered", &edge.answered_ns),
    ] {
        text.histogram(name, &[("stage", stage)], histogram, text::LATENCY_BOUNDS_NS, WHOLE_SECOND_NS);
    }
    let name = "fakemon_attempt_seconds";
    text.family(name, "histogram", "Time of a throw from received to durable.");
    text.histogram(name, &[], &metrics.total_ns, text::LATENCY_BOUNDS_NS, WHOLE_SECOND_NS);
    text.family("fakemon_mailbox_depth", "gauge", "Throws that wait for a shard.");
    for (shard, depth) in metrics.mailbox_depth.iter().enumerate() {
        text.sample("fakemon_mailbox_depth", &[("shard", &shard.to_string())], *depth);
    }
}

fn world(text: &mut Text, metrics: &Metrics) {
    text.gauge("fakemon_wild", "Fakémon that can be caught now.", metrics.wild);
    text.gauge("fakemon_players", "Players that have ever thrown.", metrics.players);
    text.counter("fakemon_appeared_total", "Fakémon that appeared.", metrics.appeared);
    text.counter("fakemon_vanished_total", "Fakémon that vanished uncaught.", metrics.vanished);
}

fn journal(text: &mut Text, shared: &Shared, metrics: &Metrics) {
    let name = "fakemon_group_events";
    text.family(name, "histogram", "Events written and synced together.");
    text.histogram(name, &[], &metrics.group_events, text::COUNT_BOUNDS, 1.0);
    text.counter("fakemon_group_bytes_total", "Bytes of all groups.", metrics.group_bytes);
    let name = "fakemon_sync_seconds";
    text.family(name, "histogram", "Time to write and sync a group.");
    text.histogram(name, &[], &metrics.sync_ns, text::LATENCY_BOUNDS_NS, WHOLE_SECOND_NS);
    text.gauge("fakemon_journal_depth", "Turns of shards that wait for the journal.", metrics.journal_depth);
    text.gauge("fakemon_journal_position", "The first position that is not durable yet.", metrics.position);
    let world_position = shared.engine.world_position();
    text.gauge("fakemon_world_position", "Looks show all events before it.", world_position);
    text.gauge("fakemon_snapshot_position", "The snapshot holds all events before it.", metrics.snapshot_position);
    let synced = shared.engine.options().durability == Durability::Synced;
    text.gauge(
        "fakemon_synced",
        "1: answers wait for the sync. 0: a power cut can take some back.",
        u8::from(synced),
    );
}

fn connections(text: &mut Text, edge: &edge::Figures) {
    text.gauge("fakemon_connections", "Players connected.", edge.connections);
    text.counter("fakemon_connections_accepted_total", "Connections accepted.", edge.accepted);
    text.family("fakemon_connections_closed_total", "counter", "Connections closed, by reason.");
    for (reason, count) in CloseReason::ALL.iter().zip(edge.closed) {
        text.sample("fakemon_connections_closed_total", &[("reason", reason.name())], count);
    }
    text.gauge("fakemon_watchers", "Connections that look at an area.", edge.watchers);
    text.counter("fakemon_pushes_total", "Changes of the world told to watchers.", edge.pushes);
    text.counter("fakemon_received_bytes_total", "Bytes from players.", edge.bytes_in);
    text.counter("fakemon_sent_bytes_total", "Bytes to players.", edge.bytes_out);
    text.counter("fakemon_messages_received_total", "Messages of players.", edge.messages_in);
    text.counter("fakemon_messages_sent_total", "Messages to players.", edge.messages_out);
    text.counter("fakemon_messages_refused_total", "Messages answered with an error.", edge.errors);
    text.counter("fakemon_messages_throttled_total", "Throws answered `throttled` by the edge.", edge.throttled);
}

/// Metrics of the bus: EventBridge's names, under our prefix.
fn bus(text: &mut Text, shared: &Shared) {
    let courier = shared.engine.courier();
    let figures = courier.figures();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    text.counter("fakemon_events_total", "Events that rules looked at.", count(&figures.events));
    text.counter("fakemon_matched_events_total", "Of these, matched a rule.", count(&figures.matched_events));
    text.family("fakemon_triggered_rules_total", "counter", "Events that a rule matched.");
    for ((bus, rule), matched) in figures.triggered() {
        text.sample("fakemon_triggered_rules_total", &[("bus", &bus), ("rule", &rule)], matched);
    }
    let name = "fakemon_commands_refused_total";
    text.family(name, "counter", "Spawns and throws that came as events and were not carried out, by reason.");
    for (reason, count) in figures.commands_refused() {
        text.sample(name, &[("reason", reason)], count);
    }
    let totals = figures.totals();
    text.family("fakemon_bus_events_total", "counter", "Events on a bus.");
    for (bus, events, _) in &totals {
        text.sample("fakemon_bus_events_total", &[("bus", bus)], events);
    }
    text.family("fakemon_unmatched_events_total", "counter", "Of these, matched no rule.");
    for (bus, _, unmatched) in &totals {
        text.sample("fakemon_unmatched_events_total", &[("bus", bus)], unmatched);
    }
    let name = "fakemon_notices_untold_total";
    text.counter(name, "What the engine had to say of itself and found no room.", shared.engine.notices().untold());
    let lanes = courier.lanes().of_rules();
    let mut family = |name: &str, help: &str, of: fn(&LaneMetrics) -> &AtomicU64| {
        text.family(name, "counter", help);
        for lane in &lanes {
            text.sample(name, &labels(lane.id(), &lane.id().subscriber.rule()), count(of(lane.figures())));
        }
    };
    family("fakemon_invocation_attempts_total", "Attempts to deliver.", |lane| &lane.attempts);
    family("fakemon_invocations_total", "Events delivered.", |lane| &lane.delivered);
    family("fakemon_retry_invocation_attempts_total", "Attempts that failed and come again.", |lane| &lane.retries);
    family("fakemon_failed_invocations_total", "Events given up.", |lane| &lane.failed);
    family("fakemon_invocations_sent_to_dlq_total", "Of these, dead letters.", |lane| &lane.dead_lettered);
    family("fakemon_invocations_failed_to_be_sent_to_dlq_total", "Of these, lost.", |lane| &lane.dead_letters_failed);
    family("fakemon_throttled_rules_total", "Deliveries that waited for a rate limit.", |lane| &lane.throttled);
    text.family("fakemon_backlog_events", "gauge", "Events that wait for a target.");
    for lane in &lanes {
        text.sample("fakemon_backlog_events", &labels(lane.id(), &lane.id().subscriber.rule()), lane.backlog());
    }
    text.family("fakemon_backlog_age_seconds", "gauge", "Age of the oldest event that waits for a target.");
    for lane in &lanes {
        let age_ns = courier.oldest_at(lane).map_or(0, |at| courier.wall().ns_since(at));
        text.sample(
            "fakemon_backlog_age_seconds",
            &labels(lane.id(), &lane.id().subscriber.rule()),
            age_ns / 1_000_000 / 1_000,
        );
    }
    pipes(text, shared);
    answers(text, shared);
    let (start, _) = figures.latencies_ns();
    let name = "fakemon_ingestion_to_invocation_start_seconds";
    text.family(name, "histogram", "Time of an event from its group to the first attempt to deliver it.");
    text.histogram(name, &[], &start, text::LATENCY_BOUNDS_NS, WHOLE_SECOND_NS);
    let (_, complete) = figures.latencies_ns();
    let name = "fakemon_ingestion_to_invocation_complete_seconds";
    text.family(name, "histogram", "Time of an event from its group to its delivery.");
    text.histogram(name, &[], &complete, text::LATENCY_BOUNDS_NS, WHOLE_SECOND_NS);
    let routed = shared.engine.routed_position();
    text.gauge("fakemon_routed_position", "Rules have looked at all events before it.", routed);
}

fn pipes(text: &mut Text, shared: &Shared) {
    let pipes = shared.engine.pipes().figures();
    text.family("fakemon_pipe_running", "gauge", "1: the pipe runs. 0: it does not.");
    for (pipe, runs, _) in &pipes {
        text.sample("fakemon_pipe_running", &[("pipe", pipe)], u8::from(*runs));
    }
    let mut family = |name: &str, help: &str, of: fn(&PipeFigures) -> &AtomicU64| {
        text.family(name, "counter", help);
        for (pipe, _, figures) in &pipes {
            text.sample(name, &[("pipe", pipe)], of(figures).load(Ordering::Relaxed));
        }
    };
    family("fakemon_pipe_records_total", "Records that the source had.", |pipe| &pipe.records);
    family("fakemon_pipe_filtered_total", "Of these, not wanted by the filter.", |pipe| &pipe.filtered);
    family("fakemon_pipe_batches_total", "Batches.", |pipe| &pipe.batches);
    family("fakemon_pipe_delivered_total", "What the target took.", |pipe| &pipe.delivered);
    family("fakemon_pipe_retries_total", "Attempts that failed and come again.", |pipe| &pipe.retries);
    family("fakemon_pipe_failed_total", "Records given up.", |pipe| &pipe.failed);
    family("fakemon_pipe_sent_to_dlq_total", "Of these, dead letters.", |pipe| &pipe.dead_lettered);
    text.family("fakemon_pipe_position", "gauge", "Of pipes that read the journal: the next position.");
    for (pipe, _, figures) in &pipes {
        let position = figures.position.load(Ordering::Relaxed);
        if position > 0 {
            text.sample("fakemon_pipe_position", &[("pipe", pipe)], position);
        }
    }
}

/// Answer webhooks all together: one series for each would be too many.
fn answers(text: &mut Text, shared: &Shared) {
    let lanes = shared.engine.courier().lanes().of_answers();
    let sum = |of: fn(&LaneMetrics) -> &AtomicU64| -> u64 {
        lanes.iter().map(|lane| of(lane.figures()).load(Ordering::Relaxed)).sum()
    };
    let webhooks = shared.engine.registry().answer_webhooks.size();
    text.gauge("fakemon_answer_webhooks", "Answer webhooks.", webhooks);
    text.counter("fakemon_answers_attempted_total", "Attempts to deliver an answer.", sum(|lane| &lane.attempts));
    text.counter("fakemon_answers_delivered_total", "Answers delivered.", sum(|lane| &lane.delivered));
    text.counter("fakemon_answers_failed_total", "Answers given up.", sum(|lane| &lane.failed));
    let waiting: u64 = lanes.iter().map(|lane| lane.backlog()).sum();
    text.gauge("fakemon_answers_waiting", "Answers that wait for their webhook.", waiting);
}

fn schedules(text: &mut Text, shared: &Shared) {
    let schedules = shared.engine.schedules();
    text.gauge("fakemon_schedules", "Schedules and rules of the clock that are enabled.", schedules.kept);
    text.counter("fakemon_schedule_firings_total", "Due times that fired.", schedules.fired);
    text.counter("fakemon_schedules_missed_total", "Schedules that missed due times, each time.", schedules.missed);
    let late_s = schedules.late_ns_max as f64 / 1e9;
    text.gauge("fakemon_schedule_late_seconds_max", "How much later than it was to the latest fired.", late_s);
}

fn schemas(text: &mut Text, shared: &Shared) {
    let (figures, discovery) = (shared.engine.enforcer().figures(), &shared.discovery);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let name = "fakemon_schema_checked_events_total";
    text.family(name, "counter", "Events checked against their schemas, by outcome.");
    for (outcome, counter) in [
        ("valid", &figures.valid),
        ("warned", &figures.warned),
        ("rejected", &figures.rejected),
        ("unknown", &figures.unknown),
    ] {
        text.sample(name, &[("outcome", outcome)], count(counter));
    }
    let mut total = |name: &str, help: &str, counter| text.counter(name, help, count(counter));
    total("fakemon_schema_learned_events_total", "Events that discoverers learned from.", &discovery.learned);
    total("fakemon_schema_left_out_events_total", "Events that they left out under load.", &discovery.left_out);
    total("fakemon_schema_versions_total", "Versions of schemas that they made.", &discovery.versions);
    total("fakemon_schema_drifts_total", "Of these, changes of a known shape.", &discovery.drifts);
}

fn labels<'n>(id: &'n LaneId, rule: &'n str) -> [(&'n str, &'n str); 4] {
    let course = match &id.course {
        Course::Live => "live",
        Course::Redrive => "redrive",
        Course::Replay(_) => "replay",
    };
    [("bus", id.subscriber.bus()), ("rule", rule), ("target", id.subscriber.target()), ("course", course)]
}

fn process(text: &mut Text, shared: &Shared) {
    let name = "fakemon_build_info";
    text.family(name, "gauge", "1; the version is in the label.");
    text.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.gauge("fakemon_uptime_seconds", "Time since the start.", shared.started.elapsed().as_secs_f64());
    if let Some(resident) = resident_bytes() {
        text.gauge("fakemon_process_resident_memory_bytes", "Memory of the process.", resident);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        text.gauge("fakemon_process_open_fds", "Open descriptors.", descriptors.count());
    }
}

/// Resident memory in bytes; none where `/proc` does not exist.
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
