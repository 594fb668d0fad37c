//! Requests of pipes: one request to an API destination and its answer (enrichments and targets), or an answer
//! without end (a stream as source). Each errand is a task of its own; a pipe has at most two in progress, so the
//! number of pipes bounds them.

use super::connection;
use super::event_stream::{Dialect, EventStream};
use super::request::{self, Content, Stamp};
use super::{Webhooks, destination};
use axum::http::{HeaderName, HeaderValue, header};
use fakemon_delivery::{Failed, FailureCode};
use fakemon_http::tasks::watched;
use fakemon_pipe::{Call, HttpCall, Listen};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes of an enrichment's answer that are read, as with AWS.
const ANSWER_BYTES_MAX: usize = 6 << 20;
/// Interval of checks whether the pipe still waits.
const LOOK: Duration = Duration::from_millis(20);
/// Pause before an event is offered again to a pipe that was full.
const FULL: Duration = Duration::from_millis(5);
/// The wait before a stream that ended is reconnected, unless it names one; doubled after each failure.
const RECONNECT: Duration = Duration::from_secs(1);
const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// A stream that is silent for this long, without even a comment, is reconnected.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Runs errands until the runtime ends.
pub(crate) async fn run(hooks: Arc<Webhooks>) {
    let (send, mut errands) = mpsc::unbounded_channel(); // bounded by what pipes there may be
    let set = hooks.engine.set_http_client(move |errand| {
        let _ = send.send(errand); // nobody is here any more when the server stops
    });
    set.expect("a server sets it once");
    while let Some(errand) = errands.recv().await {
        match errand {
            HttpCall::Call(call) => watched(&hooks.engine, "errand", answer(hooks.clone(), call)),
            HttpCall::Listen(listen) => watched(&hooks.engine, "stream of a pipe", hear(hooks.clone(), listen)),
        }
    }
}

async fn answer(hooks: Arc<Webhooks>, call: Call) {
    let off = async {
        while !call.is_off() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        answered = ask(&hooks, &call) => call.answer(answered),
        () = off => {} // cut off: the pipe has stopped waiting
    }
}

async fn ask(hooks: &Webhooks, call: &Call) -> Result<String, Failed> {
    let recipient = destination(&hooks.engine.registry(), &call.destination)?;
    hooks.pace(&recipient).await;
    let mut wire = connection::authority(&recipient.destination.endpoint).and_then(|to| hooks.idle.take(&to));
    let content = Content { parameters: Some(&call.parameters), body: &call.body, stamp: Stamp::of_question() };
    let sent = hooks.send(&recipient, &content, ANSWER_BYTES_MAX, &mut wire).await;
    wire.into_iter().for_each(|wire| hooks.idle.keep(wire));
    let answered = sent?;
    if !answered.is_whole {
        let message = format!("the answer has more than {ANSWER_BYTES_MAX} bytes");
        return Err(Failed::permanently(FailureCode::ErrorFromTarget, message));
    }
    String::from_utf8(answered.body)
        .map_err(|_| Failed::permanently(FailureCode::ErrorFromTarget, "the answer is no text"))
}

/// Reads a stream, reconnecting when it ends, until the pipe has stopped listening.
async fn hear(hooks: Arc<Webhooks>, mut listen: Listen) {
    let mut failures = 0;
    while !listen.is_off() {
        let before = listen.after.clone();
        let wait = match listen_once(&hooks, &mut listen).await {
            Ok(retry) => {
                failures = 0;
                listen.trouble(None);
                retry.unwrap_or(RECONNECT)
            }
            Err(failed) => {
                tracing::debug!(source = listen.destination, code = %failed.code, "a stream: {}", failed.message);
                failures = if listen.after == before { failures + 1 } else { 0 };
                listen.trouble(Some(format!("{}: {}", failed.code, failed.message)));
                failed
                    .retry_after
                    .unwrap_or_else(|| RECONNECT.saturating_mul(1 << failures.min(6)).min(RECONNECT_MAX))
            }
        };
        let until = tokio::time::Instant::now() + wait;
        while !listen.is_off() && tokio::time::Instant::now() < until {
            tokio::time::sleep_until(until.min(tokio::time::Instant::now() + LOOK)).await;
        }
    }
}

/// Reads one connection to its end; returns the wait that the stream asks for.
async fn listen_once(hooks: &Webhooks, listen: &mut Listen) -> Result<Option<Duration>, Failed> {
    let recipient = destination(&hooks.engine.registry(), &listen.destination)?;
    let additions = hooks.additions(&recipient, false).await?;
    let content = Content { parameters: None, body: "", stamp: Stamp::of_question() };
    let mut outgoing = request::build(&recipient.destination, &additions, &content)?;
    let headers = outgoing.request.headers_mut();
    headers.remove(header::RANGE);
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream, application/x-ndjson"));
    if let Some(id) = listen.after.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(HeaderName::from_static("last-event-id"), id);
    }
    let answer = connection::open(hooks, outgoing).await?;
    listen.trouble(None);
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut stream = EventStream::new(Dialect::of(kind), listen.after.clone());
    let (mut body, mut heard) = (answer.into_body(), Vec::new());
    let mut silent_since = tokio::time::Instant::now();
    loop {
        let frame = match tokio::time::timeout(LOOK, body.frame()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(stream.retry),
            Err(_) if listen.is_off() || silent_since.elapsed() > SILENCE_MAX => return Ok(stream.retry),
            Err(_) => continue,
        };
        silent_since = tokio::time::Instant::now();
        let frame =
            frame.map_err(|error| Failed::for_now(FailureCode::ConnectionFailure, format!("it broke: {error}")))?;
        if let Some(bytes) = frame.data_ref() {
            stream.read(bytes, &mut heard);
        }
        for mut said in heard.drain(..) {
            let id = said.id.clone();
            // Nothing more is read before the pipe has room, so TCP slows the stream down.
            while let Err(full) = listen.hear(said) {
                if listen.is_off() {
                    return Ok(None);
                }
                said = full;
                tokio::time::sleep(FULL).await;
            }
            listen.after = id.or(listen.after.take());
        }
    }
}
