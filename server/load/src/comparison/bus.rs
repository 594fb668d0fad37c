//! Cost of rules for players, and latency of a webhook: the same load by turns without rules and with them, and the
//! medians of both side by side.

use crate::http::Http;
use crate::report::{Report, clean, median};
use crate::stages::Stage;
use crate::target::Target;
use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Runs of each kind; the medians count.
const ROUNDS: usize = 3;
/// The rate limit of the webhook's destination: more than any load reaches.
const RATE_MAX: u64 = 1_000_000;
const BODY_BYTES_MAX: usize = 1 << 20;

/// A webhook that is received in this process.
pub(crate) struct Webhook<'a> {
    /// The detail-type of its events.
    pub(crate) detail_type: &'a str,
    /// Requests in parallel; none: one after the other.
    pub(crate) at_once: Option<u32>,
}

/// Rules that the generator made on the bus of the game.
pub(crate) struct Rules {
    control: Target,
    names: Vec<String>,
    delivered: Arc<AtomicU64>,
}

impl Rules {
    /// Creates `count` rules on fields of captures that match none, each with a queue; and, with `webhook`, one that
    /// sends all events of a detail-type to it.
    pub(crate) fn make(
        control: &Target,
        name: &str,
        count: u32,
        webhook: Option<Webhook<'_>>,
    ) -> anyhow::Result<Rules> {
        let mut rules = Rules { control: control.clone(), names: Vec::new(), delivered: Arc::new(AtomicU64::new(0)) };
        rules.call("AmazonSQS.CreateQueue", &json!({ "QueueName": name }))?;
        let queue_arn = format!("arn:aws:sqs:local:123456789012:{name}");
        for number in 0..count {
            let pattern = json!({ "detail-type": ["fakemon.capture_succeeded"],
                                  "detail": { "species": [format!("none-{number}")] } });
            rules.put(&format!("{name}-{number}"), &pattern, &queue_arn, None)?;
        }
        if let Some(Webhook { detail_type, at_once }) = webhook {
            let arn = rules.destination(name)?;
            rules.put(&format!("{name}-webhook"), &json!({ "detail-type": [detail_type] }), &arn, at_once)?;
        }
        Ok(rules)
    }

    fn put(&mut self, name: &str, pattern: &Value, target: &str, at_once: Option<u32>) -> anyhow::Result<()> {
        let mut rule = json!({ "Name": name, "EventBusName": "fakemon", "EventPattern": pattern.to_string(),
                               "State": "DISABLED" });
        if let Some(at_once) = at_once {
            rule["Tags"] = json!([{ "Key": "fakemon:order", "Value": "none" },
                                  { "Key": "fakemon:concurrency", "Value": at_once.to_string() }]);
        }
        self.call("AWSEvents.PutRule", &rule)?;
        let targets = json!([{ "Id": "load", "Arn": target }]);
        self.call("AWSEvents.PutTargets", &json!({ "Rule": name, "EventBusName": "fakemon", "Targets": targets }))?;
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Creates an API destination that is received in this process.
    fn destination(&self, name: &str) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen for the webhook")?;
        let endpoint = format!("http://{}/", listener.local_addr()?);
        let delivered = self.delivered.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let delivered = delivered.clone();
                std::thread::spawn(move || hear(&stream, &delivered));
            }
        });
        let key = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "x-load", "ApiKeyValue": "load" } });
        let connection = json!({ "Name": name, "AuthorizationType": "API_KEY", "AuthParameters": key });
        let connection = self.call("AWSEvents.CreateConnection", &connection)?;
        let destination = json!({ "Name": name, "ConnectionArn": connection["ConnectionArn"], "HttpMethod": "POST",
                                  "InvocationEndpoint": endpoint, "InvocationRateLimitPerSecond": RATE_MAX });
        let destination = self.call("AWSEvents.CreateApiDestination", &destination)?;
        Ok(destination["ApiDestinationArn"].as_str().context("an API destination without ARN")?.to_owned())
    }

    fn switch(&self, on: bool) -> anyhow::Result<()> {
        let operation = if on { "AWSEvents.EnableRule" } else { "AWSEvents.DisableRule" };
        for name in &self.names {
            self.call(operation, &json!({ "Name": name, "EventBusName": "fakemon" }))?;
        }
        Ok(())
    }

    fn call(&self, operation: &str, request: &Value) -> anyhow::Result<Value> {
        Http::connect(&self.control)?.call(operation, request)
    }

    /// Runs the load by turns without and with the rules.
    pub(crate) fn compare(&self, run: impl Fn() -> anyhow::Result<Report>) -> anyhow::Result<Comparison> {
        let (mut without, mut with, mut heard) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            self.switch(false)?;
            without.push(clean(run()?)?.decided_per_second);
            self.switch(true)?;
            let report = clean(run()?)?;
            with.push(report.decided_per_second);
            heard.extend(report.stages.into_iter().filter(|stage| stage.name.starts_with("ingestion_to_invocation")));
        }
        self.switch(false)?;
        let (without, with) = (median(without), median(with));
        Ok(Comparison {
            rules: self.names.len(),
            rounds: ROUNDS,
            without_per_second: without,
            with_per_second: with,
            ratio: with / without,
            delivered: self.delivered.load(Relaxed),
            stages: medians(heard),
        })
    }
}

/// For each stage, the reading whose p99 is the median.
fn medians(mut stages: Vec<Stage>) -> Vec<Stage> {
    stages.sort_by(|a, b| (&a.name, a.p99_ns).cmp(&(&b.name, b.p99_ns)));
    stages.chunk_by(|a, b| a.name == b.name).map(|same| same[same.len() / 2].clone()).collect()
}

/// Answers requests of one connection, and counts them.
fn hear(mut stream: &TcpStream, delivered: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok().filter(|length| *length <= BODY_BYTES_MAX)?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
        delivered.fetch_add(1, Relaxed);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

/// Result of the comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    rules: usize,
    rounds: usize,
    without_per_second: f64,
    with_per_second: f64,
    ratio: f64,
    /// Events delivered to the webhook.
    delivered: u64,
    stages: Vec<Stage>,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "medians of {} runs each, by turns", self.rounds)?;
        writeln!(f, "without rules   {:>12.0} decided throws/s, durable", self.without_per_second)?;
        let rules = format!("with {} rules", self.rules);
        write!(f, "{rules:<15} {:>12.0} decided throws/s, durable: {:.3} ×", self.with_per_second, self.ratio)?;
        for stage in &self.stages {
            let ms = |ns: u64| ns as f64 / 1e6;
            let (p50, p99) = (ms(stage.p50_ns), ms(stage.p99_ns));
            write!(
                f,
                "\n{}: {} events, p50 {p50:.3} ms, p99 {p99:.3} ms",
                stage.name.replace('_', " "),
                stage.count
            )?;
        }
        if self.delivered > 0 {
            write!(f, "\nthe webhook heard {} events", self.delivered)?;
        }
        Ok(())
    }
}
