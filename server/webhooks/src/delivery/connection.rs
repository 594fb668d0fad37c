//! One HTTP connection to a target: only to allowed addresses, kept while it is usable, bounded in time and in the
//! bytes read of an answer. Redirects are not followed.

use super::{Webhooks, guard};
use axum::body::Bytes;
use axum::http::{Request, Response, StatusCode, Uri, header};
use fakemon_delivery::{Failed, FailureCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// Longest time for a request, from the name lookup to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read, at most.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The longest `Retry-After` of a target that is respected.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// A connection that can be used again.
pub(super) struct Wire {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Wire {
    /// Whether it is connected to this authority.
    pub(super) fn is_to(&self, authority: &str) -> bool {
        self.authority == authority
    }
}

/// A request that is ready to be sent.
pub(crate) struct Outgoing {
    pub uri: Uri,
    pub request: Request<Full<Bytes>>,
}

impl Outgoing {
    /// Scheme, host and port.
    pub(crate) fn authority(&self) -> String {
        authority_of(&self.uri)
    }
}

/// Scheme, host and port of an endpoint, if it is one.
pub(crate) fn authority(endpoint: &str) -> Option<String> {
    endpoint.parse().ok().map(|uri: Uri| authority_of(&uri))
}

/// Host and port, as the header `Host` has them, without user information.
pub(crate) fn host(uri: &Uri) -> String {
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

fn authority_of(uri: &Uri) -> String {
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    format!("{}://{authority}", uri.scheme_str().unwrap_or("https"))
}

/// The answer of a target.
pub(super) struct Answered {
    pub status: StatusCode,
    retry_after: Option<Duration>,
    pub body: Vec<u8>,
    /// Whether `body` is the whole body.
    pub(super) is_whole: bool,
}

/// Sends a request; an error if the target did not accept it. Reads at most `wanted` bytes of the answer, or
/// `ANSWER_BYTES_MAX` if that is more.
pub(crate) async fn send(
    hooks: &Webhooks,
    wire: &mut Option<Wire>,
    outgoing: Outgoing,
    wanted: usize,
) -> Result<Answered, Failed> {
    let answered = exchange_within(hooks, wire, outgoing, PATIENCE, wanted.max(ANSWER_BYTES_MAX)).await?;
    if answered.status.is_success() {
        return Ok(answered);
    }
    Err(refused(answered.status, answered.retry_after))
}

/// The failure that an unsuccessful status means.
pub(crate) fn refused(status: StatusCode, retry_after: Option<Duration>) -> Failed {
    // The statuses that EventBridge retries.
    let comes_again = status.is_server_error() || matches!(status.as_u16(), 401 | 407 | 408 | 409 | 429);
    let code = match status.as_u16() {
        401 | 403 | 407 => FailureCode::NoPermissions,
        429 => FailureCode::Throttling,
        _ => FailureCode::ErrorFromTarget,
    };
    Failed {
        retriable: comes_again,
        code,
        message: format!("HTTP {}: the target answered {status}", status.as_u16()),
        retry_after: retry_after.filter(|_| comes_again),
    }
}

/// Whether the target rejected the credentials (401, or 407 of a proxy), so that new ones may help.
pub(super) fn is_unauthorized(failed: &Failed) -> bool {
    failed.retriable && failed.code == FailureCode::NoPermissions
}

/// Sends a request and reads the answer, within `PATIENCE`.
pub(super) async fn exchange(
    hooks: &Webhooks,
    wire: &mut Option<Wire>,
    outgoing: Outgoing,
) -> Result<Answered, Failed> {
    exchange_within(hooks, wire, outgoing, PATIENCE, ANSWER_BYTES_MAX).await
}

/// Sends a request and reads at most `bytes_max` bytes of the answer, within `patience`.
pub(super) async fn exchange_within(
    hooks: &Webhooks,
    wire: &mut Option<Wire>,
    outgoing: Outgoing,
    patience: Duration,
    bytes_max: usize,
) -> Result<Answered, Failed> {
    let kept = wire.take();
    match tokio::time::timeout(patience, within_time(hooks, kept, outgoing, bytes_max)).await {
        Ok(Ok((answered, good))) => {
            *wire = good;
            Ok(answered)
        }
        Ok(Err(failed)) => Err(failed),
        Err(_) => Err(Failed::for_now(
            FailureCode::Timeout,
            format!("the target did not answer within {} s", patience.as_secs_f32()),
        )),
    }
}

async fn within_time(
    hooks: &Webhooks,
    kept: Option<Wire>,
    outgoing: Outgoing,
    bytes_max: usize,
) -> Result<(Answered, Option<Wire>), Failed> {
    let authority = outgoing.authority();
    let Outgoing { uri, request } = outgoing;
    // A connection that the target has closed is detected before the request is sent; a new one costs only time.
    let kept = kept.filter(|wire| wire.authority == authority && !wire.sender.is_closed());
    let mut good = None;
    if let Some(mut wire) = kept
        && wire.sender.ready().await.is_ok()
    {
        good = Some(wire);
    }
    let mut wire = match good {
        Some(wire) => wire,
        None => Wire { authority, sender: connect(hooks, &uri).await? },
    };
    let answer = wire.sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status();
    let retry_after = asked_to_wait(&answer);
    let (mut body, mut read) = (answer.into_body(), Vec::new());
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        if let Some(bytes) = frame.data_ref() {
            let room = bytes_max - read.len();
            read.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if bytes.len() > room {
                whole = false; // the rest is not read, so the connection cannot be reused
                break;
            }
        }
    }
    // No connection is kept while permits are scarce: a target without one would wait for an idle one.
    let is_kept = whole && hooks.outgoing.available_permits() > 0;
    Ok((Answered { status, retry_after, body: read, is_whole: whole }, is_kept.then_some(wire)))
}

fn asked_to_wait(answer: &Response<Incoming>) -> Option<Duration> {
    let wait = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    wait.and_then(|wait| retry_after(wait, jiff::Timestamp::now()))
}

/// `Retry-After`: a number of seconds, or a date (RFC 9110, 10.2.3) in one of its three forms; a date in the past is
/// zero.
fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit 64 bits is above the limit anyway.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)).min(RETRY_AFTER_MAX));
    }
    let of = |format: &str| {
        let date = jiff::fmt::strtime::parse(format, value).ok()?.to_datetime().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let date = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .into_iter()
        .find_map(of)?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// Sends a request on a connection of its own whose answer may have no end; only its head has a deadline.
pub(crate) async fn open(hooks: &Webhooks, outgoing: Outgoing) -> Result<Response<Incoming>, Failed> {
    let begun = async {
        let mut sender = connect(hooks, &outgoing.uri).await?;
        sender.send_request(outgoing.request).await.map_err(|error| broken(&error))
    };
    let late = |_| {
        Failed::for_now(FailureCode::Timeout, format!("the source did not answer within {} s", PATIENCE.as_secs()))
    };
    let answer = tokio::time::timeout(PATIENCE, begun).await.map_err(late)??;
    if answer.status().is_success() { Ok(answer) } else { Err(refused(answer.status(), asked_to_wait(&answer))) }
}

fn broken(error: &hyper::Error) -> Failed {
    Failed::for_now(FailureCode::ConnectionFailure, format!("the connection broke: {error}"))
}

async fn connect(hooks: &Webhooks, uri: &Uri) -> Result<SendRequest<Full<Bytes>>, Failed> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let tls = uri.scheme_str() != Some("http");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    // Waiting for a permit counts towards the time of the request; if that runs out, it is retried like any failure.
    let place = hooks.outgoing.clone().acquire_owned().await.expect("it is never closed");
    let stream = reach(hooks, &host, port).await?;
    let _ = stream.set_nodelay(true); // without it, deliveries are only later
    if !tls {
        return speak(stream, place).await;
    }
    let name = ServerName::try_from(host).map_err(|error| {
        Failed::permanently(FailureCode::InvalidParameter, format!("no name for a certificate: {error}"))
    })?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&hooks.tls));
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| {
        Failed::for_now(FailureCode::ConnectionFailure, format!("no encrypted connection: {error}"))
    })?;
    speak(stream, place).await
}

async fn reach(hooks: &Webhooks, host: &str, port: u16) -> Result<TcpStream, Failed> {
    let failure = |what: String| Failed::for_now(FailureCode::ConnectionFailure, what);
    let addresses = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> =
        addresses.map_err(|error| failure(format!("{host} cannot be looked up: {error}")))?.collect();
    let allowed = |address: &&SocketAddr| hooks.private || guard::is_public(address.ip());
    let mut last = None;
    for address in addresses.iter().filter(allowed) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(failure(format!("{host} does not answer: {error}"))),
        }
    }
    Err(last.unwrap_or_else(|| match addresses.is_empty() {
        true => failure(format!("{host} has no address")),
        false => Failed::permanently(
            FailureCode::NoPermissions,
            format!(
                "{host} is a loopback, private or reserved address: start with --allow-private-targets to reach it"
            ),
        ),
    }))
}

/// Starts HTTP on a stream; its permit is freed when the connection has ended.
async fn speak<S>(stream: S, place: OwnedSemaphorePermit) -> Result<SendRequest<Full<Bytes>>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(async move {
        drop(connection.await); // the sender gets the error
        drop(place);
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_not_told_to_proxies() {
        for uri in ["http://us:pw@example.com:8080/u", "http://example.com:8080/u"] {
            assert_eq!(host(&uri.parse().unwrap()), "example.com:8080");
        }
    }

    #[test]
    fn a_target_says_in_seconds_or_with_a_date_when_to_come_again() {
        let now: jiff::Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        for (said, seconds) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("100000", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(300)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(said, now), seconds.map(Duration::from_secs), "{said}");
        }
    }

    #[test]
    fn what_a_target_answers_has_the_services_code_and_whether_it_comes_again() {
        for (status, code, comes_again) in [
            (400, "ERROR_FROM_TARGET", false),
            (401, "NO_PERMISSIONS", true),
            (403, "NO_PERMISSIONS", false),
            (404, "ERROR_FROM_TARGET", false),
            (407, "NO_PERMISSIONS", true),
            (408, "ERROR_FROM_TARGET", true),
            (429, "THROTTLING", true),
            (500, "ERROR_FROM_TARGET", true),
            (503, "ERROR_FROM_TARGET", true),
        ] {
            let failed = refused(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(9)));
            assert_eq!((failed.code.name(), failed.retriable), (code, comes_again), "{status}");
            assert_eq!(failed.retry_after.is_some(), comes_again, "{status}");
            assert!(failed.message.starts_with(&format!("HTTP {status}: ")), "{failed:?}");
            assert_eq!(is_unauthorized(&failed), matches!(status, 401 | 407), "{status}");
        }
    }
}
