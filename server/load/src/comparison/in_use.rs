//! Cost for players of everything around captures, all in use together: the same load by turns without it and with
//! it, and the medians of both side by side.
//!
//! In use on the measured server: schedules that wait and ten that fire each second, a pipe and rules that evaluate
//! each event of the game, a discoverer that learns from them, a bus with enforced schemas and a back end that puts
//! events there, answer webhooks, streams of one player each, and connections to which a back end sends messages.

use crate::http::Http;
use crate::report::{Report, clean, median};
use crate::socket::{Access, Opening, Socket};
use crate::target::Target;
use anyhow::{Context, ensure};
use fakemon_model::ids::Timestamp;
use fakemon_protocol::Subprotocol;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs of each kind; the medians count.
const ROUNDS: usize = 5;
/// Schedules that wait.
const WAITING: usize = 2_000;
/// Schedules that fire in each second of a run,
const FIRING: usize = 10;
/// from this many seconds after they were made.
const LEAD_S: u64 = 2;
/// Rules that evaluate events of the game.
const RULES: usize = 20;
/// Answer webhooks, and streams, of players who make no attempts.
const FOLLOWERS: usize = 10;
/// Connections to which a back end sends messages.
const CONNECTIONS: u32 = 100;
/// Interval of the back end's actions: one batch of events, and one message to all connections.
const BACK_END_EVERY: Duration = Duration::from_millis(100);
/// Events of a batch.
const BATCH: usize = 10;
const ROLE: &str = "arn:aws:iam::123456789012:role/load";
const GAME_BUS: &str = "arn:aws:events:local:123456789012:event-bus/fakemon";

/// Settings of the comparison.
pub(crate) struct InUse<'a> {
    pub(crate) play: &'a Target,
    pub(crate) control: &'a Target,
    pub(crate) access: &'a Access,
    /// Prefix of the names of everything that it creates.
    pub(crate) name: &'a str,
    /// Length of one run.
    pub(crate) length: Duration,
}

/// Result of the comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    rounds: usize,
    without_per_second: f64,
    with_per_second: f64,
    ratio: f64,
    /// Work done beside the attempts while all was in use.
    events_put: u64,
    messages_sent: u64,
    schedules_fired: u64,
}

/// Counts of the back end's actions.
#[derive(Default)]
struct Done {
    events: AtomicU64,
    messages: AtomicU64,
}

impl InUse<'_> {
    /// Runs the load by turns without and with everything else in use.
    pub(crate) fn compare(&self, run: impl Fn() -> anyhow::Result<Report>) -> anyhow::Result<Comparison> {
        let (mut without, mut with, mut fired) = (Vec::new(), Vec::new(), 0);
        let done = Done::default();
        self.prepare()?;
        for _ in 0..ROUNDS {
            without.push(clean(run()?)?.decided_per_second);
            let before = self.fired()?;
            let report = self.beside(&done, &run)?;
            fired += self.fired()? - before;
            with.push(clean(report)?.decided_per_second);
        }
        let (without, with) = (median(without), median(with));
        Ok(Comparison {
            rounds: ROUNDS,
            without_per_second: without,
            with_per_second: with,
            ratio: with / without,
            events_put: done.events.load(Relaxed),
            messages_sent: done.messages.load(Relaxed),
            schedules_fired: fired,
        })
    }

    /// Creates what stays from run to run, because it costs nothing by itself: a queue, and a bus that enforces
    /// schemas.
    fn prepare(&self) -> anyhow::Result<()> {
        let name = self.name;
        self.aws("AmazonSQS.CreateQueue", &json!({ "QueueName": name }))?;
        let tags = json!([{ "Key": "fakemon:schema-enforcement", "Value": "reject" }]);
        self.aws("AWSEvents.CreateEventBus", &json!({ "Name": name, "Tags": tags }))?;
        self.rest("POST", &format!("/v1/registries/name/{name}"), &json!({}))?;
        let schema = json!({ "$schema": "http://json-schema.org/draft-04/schema#", "type": "object",
                             "required": ["unit"], "properties": { "unit": { "type": "integer", "minimum": 0 } } });
        let schema = json!({ "Type": "JSONSchemaDraft4", "Content": schema.to_string() });
        self.rest("POST", &format!("/v1/registries/name/{name}/schemas/name/shop@sold"), &schema)?;
        Ok(())
    }

    /// One run with everything in use.
    fn beside(&self, done: &Done, run: impl Fn() -> anyhow::Result<Report>) -> anyhow::Result<Report> {
        let discoverer = self.begin()?;
        let _streams = (0..FOLLOWERS).map(|number| self.stream(number)).collect::<anyhow::Result<Vec<_>>>()?;
        let sockets = self.connect()?;
        let is_over = AtomicBool::new(false);
        let report = std::thread::scope(|scope| {
            let back_end = scope.spawn(|| self.act(&sockets, done, &is_over));
            let report = run();
            is_over.store(true, Relaxed);
            back_end.join().map_err(|_| anyhow::anyhow!("the back end's thread panicked"))??;
            report
        });
        self.end(&discoverer)?;
        report
    }

    /// Creates everything that is active by itself; returns the id of the discoverer.
    fn begin(&self) -> anyhow::Result<String> {
        let name = self.name;
        let queue = format!("arn:aws:sqs:local:123456789012:{name}");
        self.rest("POST", &format!("/schedule-groups/{name}"), &json!({}))?;
        let schedule = |expression: &str| {
            json!({ "GroupName": name, "ScheduleExpression": expression, "FlexibleTimeWindow": { "Mode": "OFF" },
                    "Target": { "Arn": queue, "RoleArn": ROLE, "Input": "{}" } })
        };
        let waiting = (0..WAITING).map(|number| (format!("waits-{number}"), schedule("cron(0 12 1 1 ? 2199)")));
        let (now, length_s) = (SystemTime::now().duration_since(UNIX_EPOCH)?, self.length.as_secs() + LEAD_S);
        let firing = (LEAD_S..=length_s).flat_map(|second| {
            let at = Timestamp((now.as_secs() + second) * 1_000_000_000).to_string();
            let schedule = schedule(&format!("at({})", &at[.."2026-01-01T00:00:00".len()]));
            (0..FIRING).map(move |number| (format!("fires-{second}-{number}"), schedule.clone()))
        });
        let mut http = Http::connect(self.control)?;
        for (name, schedule) in waiting.chain(firing) {
            http.request("POST", &format!("/schedules/{name}"), &schedule.to_string())?;
            http.receive()?.json("a schedule")?;
        }
        for number in 0..RULES {
            let pattern = json!({ "detail-type": ["fakemon.capture_succeeded"],
                                  "detail": { "species": [format!("none-{number}")] } });
            let rule = format!("{name}-{number}");
            self.aws(
                "AWSEvents.PutRule",
                &json!({ "Name": rule, "EventBusName": "fakemon", "EventPattern": pattern.to_string() }),
            )?;
            let targets = json!([{ "Id": "load", "Arn": queue }]);
            self.aws(
                "AWSEvents.PutTargets",
                &json!({ "Rule": rule, "EventBusName": "fakemon", "Targets": targets }),
            )?;
        }
        let nobody = json!({ "detail": { "player": ["nobody"] } }).to_string();
        let filter = json!({ "FilterCriteria": { "Filters": [{ "Pattern": nobody }] } });
        let pipe = json!({ "Source": GAME_BUS, "Target": queue, "RoleArn": ROLE, "SourceParameters": filter });
        self.rest("POST", &format!("/v1/pipes/{name}"), &pipe)?;
        for number in 0..FOLLOWERS {
            let webhook = json!({ "url": "https://192.0.2.1/", "player": self.follower(number) });
            self.rest("PUT", &format!("/answers/webhooks/{name}-{number}"), &webhook)?;
        }
        let discoverer = self.rest("POST", "/v1/discoverers", &json!({ "SourceArn": GAME_BUS }))?;
        Ok(discoverer["DiscovererId"].as_str().context("a discoverer without an id")?.to_owned())
    }

    fn end(&self, discoverer: &str) -> anyhow::Result<()> {
        let name = self.name;
        self.rest("DELETE", &format!("/v1/discoverers/id/{discoverer}"), &Value::Null)?;
        for number in 0..FOLLOWERS {
            self.rest("DELETE", &format!("/answers/webhooks/{name}-{number}"), &Value::Null)?;
        }
        self.rest("DELETE", &format!("/v1/pipes/{name}"), &Value::Null)?;
        for number in 0..RULES {
            let rule = format!("{name}-{number}");
            self.aws(
                "AWSEvents.RemoveTargets",
                &json!({ "Rule": rule, "EventBusName": "fakemon", "Ids": ["load"] }),
            )?;
            self.aws("AWSEvents.DeleteRule", &json!({ "Name": rule, "EventBusName": "fakemon" }))?;
        }
        self.rest("DELETE", &format!("/schedule-groups/{name}"), &Value::Null)?;
        Ok(())
    }

    fn follower(&self, number: usize) -> String {
        format!("{}-follower-{number}", self.name)
    }

    /// Opens a stream of a player; it ends when dropped.
    fn stream(&self, number: usize) -> anyhow::Result<Http> {
        let mut http = Http::connect(self.control)?;
        http.request("GET", &format!("/stream?player={}", self.follower(number)), "")?;
        Ok(http)
    }

    fn connect(&self) -> anyhow::Result<Vec<Socket>> {
        // Their numbers are above those of all other players.
        let numbers = u32::MAX - CONNECTIONS..u32::MAX;
        numbers.map(|number| Opening::start(self.play, self.access, Subprotocol::Json, number)?.finish()).collect()
    }

    /// Acts as the back end until the run is over.
    fn act(&self, sockets: &[Socket], done: &Done, is_over: &AtomicBool) -> anyhow::Result<()> {
        let mut http = Http::connect(self.control)?;
        let (begun, mut messages) = (Instant::now(), String::new());
        for socket in sockets {
            writeln!(messages, r#"{{"id":"{}","json":{{"type":"load"}}}}"#, socket.id)?;
        }
        for number in 0.. {
            std::thread::sleep((begun + BACK_END_EVERY * number).saturating_duration_since(Instant::now()));
            if is_over.load(Relaxed) {
                break;
            }
            let entry = json!({ "EventBusName": self.name, "Source": "shop", "DetailType": "sold",
                                "Detail": json!({ "unit": number }).to_string() });
            let entries = json!({ "Entries": vec![entry; BATCH] });
            let put = http.call("AWSEvents.PutEvents", &entries)?;
            ensure!(put["FailedEntryCount"] == 0, "events were refused: {put}");
            done.events.fetch_add(BATCH as u64, Relaxed);
            http.request("POST", "/@connections?batch", &messages)?;
            let sent = http.receive()?.json("a batch of messages")?;
            done.messages.fetch_add(sent["reached"].as_u64().unwrap_or_default(), Relaxed);
        }
        Ok(())
    }

    /// How often schedules have fired so far.
    fn fired(&self) -> anyhow::Result<u64> {
        let text = Http::connect(self.control)?.get("/metrics")?.body;
        let value = text.lines().find_map(|line| line.strip_prefix("fakemon_schedule_firings_total "));
        value.and_then(|value| value.parse().ok()).context("the metrics do not say how often schedules fired")
    }

    fn aws(&self, operation: &str, request: &Value) -> anyhow::Result<Value> {
        Http::connect(self.control)?.call(operation, request)
    }

    fn rest(&self, method: &str, path: &str, request: &Value) -> anyhow::Result<Value> {
        let mut http = Http::connect(self.control)?;
        let body = if request.is_null() { String::new() } else { request.to_string() };
        http.request(method, path, &body)?;
        http.receive()?.json(path)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "medians of {} runs each, by turns", self.rounds)?;
        writeln!(f, "captures alone          {:>12.0} decided throws/s, durable", self.without_per_second)?;
        writeln!(
            f,
            "everything else in use  {:>12.0} decided throws/s, durable: {:.3} ×",
            self.with_per_second, self.ratio
        )?;
        let Comparison { events_put, messages_sent, schedules_fired, .. } = self;
        write!(
            f,
            "beside them {events_put} events were checked and put, {messages_sent} messages sent to connections, \
             {schedules_fired} schedules fired"
        )
    }
}
