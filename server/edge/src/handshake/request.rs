//! The request of a handshake: read from bytes, as browsers, proxies and hand-written clients send it.

use super::{HEADERS_MAX, Refused, refused, too_long};
use fakemon_access::authority::{Authority, percent_decoded};
use fakemon_access::player_token::only_authorization;
use tungstenite::handshake::server::Request;
use tungstenite::http::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use tungstenite::http::{Method, StatusCode, Uri, Version};

/// The request at the start of `bytes`, and its length; none if it is not whole yet.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(usize, Request)>, Refused> {
    let bad = |why: String| refused(StatusCode::BAD_REQUEST, "bad_request", why, None);
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut lines);
    let request_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(too_long()),
        Err(error) => return Err(bad(format!("no HTTP request: {error}"))),
    };
    let mut request = Request::new(());
    let method = Method::from_bytes(head.method.unwrap_or_default().as_bytes());
    *request.method_mut() = method.map_err(|error| bad(error.to_string()))?;
    let target = head.path.unwrap_or_default().parse::<Uri>();
    *request.uri_mut() = target.map_err(|error| bad(error.to_string()))?;
    *request.version_mut() = if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    for line in head.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let value = HeaderValue::from_bytes(line.value).map_err(|error| bad(error.to_string()))?;
        request.headers_mut().append(name, value);
    }
    Ok(Some((request_bytes, request)))
}

/// The same request with each upgrade header reduced to one value: these headers are lists, which may span several
/// lines.
pub(super) fn single(request: &Request) -> Request {
    let mut single = request.clone();
    for (name, word) in [(CONNECTION, "Upgrade"), (UPGRADE, "websocket")] {
        let lines = request.headers().get_all(&name).iter().filter_map(|line| line.to_str().ok());
        if lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word)) {
            single.headers_mut().insert(name, HeaderValue::from_static(word));
        }
    }
    single
}

/// A request names its host exactly once (RFC 9112, 3.2): with two, a proxy might have used the other one.
pub(super) fn check_host(request: &Request) -> Result<(), Refused> {
    let wrong = |why: &str| Err(refused(StatusCode::BAD_REQUEST, "bad_request", why.into(), Some("Host")));
    match Authority::asked(request.uri(), request.headers()) {
        Err(why) => wrong(why),
        Ok(_) if !request.headers().contains_key(HOST) => wrong("a request has a header `host`"),
        Ok(_) => Ok(()),
    }
}

/// The one `Authorization` of a request: of two, a proxy might have checked the other one.
pub(super) fn authorization(request: &Request) -> Result<Option<&str>, Refused> {
    only_authorization(request.headers())
        .map_err(|why| refused(StatusCode::BAD_REQUEST, "bad_request", why.into(), Some("Authorization")))
}

/// The value of a query parameter, percent-decoded; a plus is a space.
pub(super) fn query(uri: &Uri, field: &'static str) -> Result<Option<String>, Refused> {
    let query = uri.query().unwrap_or_default();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, value)) = pairs.find(|(name, _)| *name == field) else {
        return Ok(None);
    };
    // Proxies and clients may read either: which one is meant is not known.
    if pairs.any(|(name, _)| name == field) {
        let message = format!("{field} is there twice: leave one of them");
        return Err(refused(StatusCode::BAD_REQUEST, "bad_request", message, Some(field)));
    }
    let decoded = percent_decoded(value);
    let broken = || {
        let message = format!("{field} must be percent-encoded UTF-8");
        refused(StatusCode::BAD_REQUEST, "bad_request", message, Some(field))
    };
    decoded.ok_or_else(broken).map(Some)
}
