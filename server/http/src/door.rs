//! The outermost layer of every request: it checks HTTP by RFC 9112, takes a place, bounds the total time of the
//! body, and confines a panic to its request.

use crate::listener::{Caller, Phase, Seat};
use crate::places::{HERE, Kind, Place, Places};
use crate::refusal::Refusal;
use crate::tasks;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fakemon_access::authority::Authority;
use fakemon_engine::wall_clock;
use futures_lite::FutureExt as _;
use hyper::body::{Frame, SizeHint};
use jiff::fmt::rfc2822::DateTimePrinter;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Paths that are answered however many clients are connected.
const HEALTH: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What a request needs to come in.
pub struct Door {
    /// Bounds on what is in progress.
    pub places: Arc<Places>,
    /// Longest time for a request to arrive, head and body.
    pub request_timeout: Duration,
    /// The largest body that an endpoint at this path reads, in bytes.
    pub body_bytes_max: fn(&str) -> usize,
}

/// Admits a request, and holds its place until it is answered.
pub async fn pass(
    State(door): State<Arc<Door>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let seat = Arc::clone(&caller.seat);
    seat.turn().await;
    let arrives_since = seat.waits_since().unwrap_or_else(Instant::now);
    seat.set(Phase::Working);
    let place = match enter(&door.places, &caller, &request) {
        Ok(place) => place,
        Err(refusal) => return answered(closing(refusal.into_response(), &seat), seat, None),
    };
    let path = request.uri().path().to_owned();
    let is_late = Arc::new(AtomicBool::new(false));
    let by = arrives_since + door.request_timeout;
    let is_too_large = declared_bytes(&request).is_some_and(|bytes| bytes > (door.body_bytes_max)(&path) as u64);
    let timely = |body| match is_too_large {
        true => Body::new(Endless { bytes: 0 }), // the body itself stays unread, and no `100 Continue` asks for it
        false => Body::new(Timely { body, alarm: Box::pin(sleep_until(by)), is_late: Arc::clone(&is_late) }),
    };
    let inside = HERE.scope(Arc::clone(&place), next.run(request.map(timely)));
    let response = match AssertUnwindSafe(inside).catch_unwind().await {
        Ok(_) if is_late.load(Ordering::Relaxed) => closing(too_slow(door.request_timeout).into_response(), &seat),
        Ok(response) if is_too_large || response.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            closing(response, &seat)
        }
        Ok(response) => response,
        Err(panic) => {
            let why = tasks::words(&*panic);
            tracing::error!(path, "a request ended in a panic, which is a mistake of ours: {why}");
            let message = "the server made a mistake with this request; its log says which";
            closing(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response(), &seat)
        }
    };
    answered(response, seat, Some(place))
}

/// Checks a request before any other layer, and takes its place.
fn enter(places: &Arc<Places>, caller: &Caller, request: &Request) -> Result<Arc<Place>, Refusal> {
    let kind = if HEALTH.contains(&request.uri().path()) { Kind::Health } else { Kind::Request };
    if caller.seat.is_extra && kind != Kind::Health {
        let message =
            "all connections that the limit of open files allows are at work: come again later, or raise it";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "full", message).after_ms(1_000));
    }
    check_host(request.version(), request.uri(), request.headers())?;
    places.take(kind, caller.address)
}

/// HTTP/1.1 names one host, in a form that can be one.
fn check_host(version: Version, target: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let wrong = |message| Err(Refusal::field("bad_host", "host", message));
    match Authority::asked(target, headers) {
        Err(why) => wrong(why),
        Ok(_) if version >= Version::HTTP_11 && !headers.contains_key(header::HOST) => {
            wrong("a request has a header `host`")
        }
        Ok(_) => Ok(()),
    }
}

fn too_slow(request_timeout: Duration) -> Refusal {
    let message = format!("the request has not arrived within {request_timeout:?} (limits.request_timeout)");
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message)
}

/// The length of the body that the head declares.
fn declared_bytes(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Closes the connection after this answer; what is unread of the request is discarded.
fn closing(mut response: Response, seat: &Seat) -> Response {
    seat.linger();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Attaches the place to the answer: it is freed when the answer is written.
fn answered(response: Response, seat: Arc<Seat>, place: Option<Arc<Place>>) -> Response {
    let is_stream = place.as_ref().is_some_and(|place| place.kind() == Kind::Stream);
    seat.set(if is_stream { Phase::Streaming } else { Phase::Writing { since: Instant::now(), is_whole: false } });
    dated(response).map(|body| Body::new(Held { body, seat, _place: place }))
}

/// With the time of the wall clock: hyper's own goes on from the latest that the clock has shown, and clients correct
/// theirs by it.
fn dated(mut response: Response) -> Response {
    static PRINTER: DateTimePrinter = DateTimePrinter::new();
    let now = jiff::Timestamp::from_nanosecond(i128::from(wall_clock().0)).ok();
    let text = now.and_then(|now| PRINTER.timestamp_to_rfc9110_string(&now).ok());
    if let Some(date) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// A body whose place is held until it is written, or the client gone; and which makes no more than the socket takes.
struct Held {
    body: Body,
    seat: Arc<Seat>,
    _place: Option<Arc<Place>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seat.answered();
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.seat.is_ahead(context) {
            return Poll::Pending;
        }
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            this.seat.handed_over(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that fails unless it has arrived by its deadline.
struct Timely {
    body: Body,
    alarm: Pin<Box<Sleep>>,
    is_late: Arc<AtomicBool>,
}

impl HttpBody for Timely {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if frame.is_ready() || this.alarm.as_mut().poll(context).is_pending() {
            return frame;
        }
        this.is_late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Stands for a body that is larger than what is read of any: every reader reaches its limit, and answers in its own
/// words, without a byte of it read.
struct Endless {
    bytes: usize,
}

/// More than any endpoint reads, in bytes.
const ENDLESS_BYTES_MAX: usize = 8 << 20;

/// What it is made of.
static NOTHING: [u8; 64 * 1024] = [0; 64 * 1024];

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.bytes > ENDLESS_BYTES_MAX {
            return Poll::Ready(Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::FileTooLarge)))));
        }
        this.bytes += NOTHING.len();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&NOTHING)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_1_1_has_one_host_and_http_1_0_may_have_none() {
        let check = |version, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            check_host(version, &Uri::from_static("/"), &headers).is_ok()
        };
        assert!(check(Version::HTTP_11, &["localhost"]) && check(Version::HTTP_10, &[]));
        assert!(!check(Version::HTTP_11, &[]) && !check(Version::HTTP_11, &["[::1]evil"]));
        assert!(!check(Version::HTTP_11, &["localhost", "localhost"]) && !check(Version::HTTP_10, &["a", "b"]));
    }
}
