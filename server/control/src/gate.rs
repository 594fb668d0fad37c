//! Authentication. With access keys, a request must be signed; `POST /events` accepts an API key instead. Health,
//! metrics and the page stay open, because they change nothing; so do webhooks of partners, which check their own
//! signature.
//!
//! Open mode trusts every client that reaches the loopback address. A browser on this machine does, on behalf of any
//! page it shows, so two attacks are rejected: a foreign name that resolves to this machine (DNS rebinding: seen in
//! the header `host`), and a request from a foreign page (seen in the header `origin`).

use super::aws;
use super::{Shared, partners};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fakemon_access::access_keys::AccessKeys;
use fakemon_access::authority::{Authority, origin_of};
use fakemon_access::player_token::Access;
use fakemon_aws::ApiError;
use fakemon_aws::{api_keys, signature};
use fakemon_http::refusal::Refusal;
use std::sync::Arc;

/// Paths that are read without a signature.
const OPEN: [&str; 7] = ["/", "/page.css", "/page.js", "/figures", "/metrics", "/healthz", "/readyz"];
/// Paths of our own, whose errors are in our format; and prefixes of such.
const OWN: [&str; 5] = ["/events", "/_reset", "/topology", "/webhooks", "/checkpoint"];
const OWN_BELOW: [&str; 2] = ["/webhooks/", "/answers/"];

/// Passes a request on, or rejects it.
pub(super) async fn pass(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let delivery = partners::is_delivery(request.method(), request.uri().path());
    let puts = request.method() == Method::POST && request.uri().path() == "/events";
    let mut by_key = false;
    if let Some(value) = request.headers().get(api_keys::HEADER).filter(|_| puts || delivery) {
        match api_keys::admit(&shared.api, value.as_bytes()) {
            Ok(caller) => drop(request.extensions_mut().insert(caller)),
            Err(refusal) => return refusal.into_response(),
        }
        by_key = true;
    }
    match by_key {
        true => counted(&shared, let_in(&shared, request, next, delivery, by_key).await).await,
        false => let_in(&shared, request, next, delivery, by_key).await,
    }
}

/// Syncs the usage of the API key before the answer of a counted request is given.
async fn counted(shared: &Shared, answer: Response) -> Response {
    let notes = shared.engine.notes();
    let synced = tokio::task::spawn_blocking(move || notes.sync()).await;
    match synced.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(()) => answer,
        Err(error) => Refusal::stopped(Some(error)).into_response(),
    }
}

async fn let_in(shared: &Shared, request: Request, next: Next, delivery: bool, by_key: bool) -> Response {
    if delivery {
        return next.run(request).await;
    }
    let Some(keys) = &shared.options.access_keys else {
        return match check(&request) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        };
    };
    // An operation in the query string may change something, whatever the method.
    let reads =
        matches!(*request.method(), Method::GET | Method::HEAD) && !aws::is_query(request.headers(), request.uri());
    // Players authenticate with their own token there.
    let streams = request.uri().path() == "/stream" && matches!(shared.options.access, Access::Tokens(_));
    // It checks its own secret.
    let copies = request.uri().path() == "/checkpoint";
    if copies || reads && (OPEN.contains(&request.uri().path()) || streams) {
        return next.run(request).await;
    }
    if by_key && !request.headers().contains_key(header::AUTHORIZATION) {
        return next.run(request).await;
    }
    match signed(keys, request).await {
        Ok(request) => next.run(request).await,
        Err(response) => *response,
    }
}

/// Whether a path is one of our own, with errors in our format.
pub(super) fn is_own(path: &str) -> bool {
    OWN.contains(&path) || OWN_BELOW.iter().any(|below| path.starts_with(below))
}

/// Reads the body and checks the signature; returns the request with its body.
async fn signed(keys: &AccessKeys, request: Request) -> Result<Request, Box<Response>> {
    let (parts, body) = request.into_parts();
    let refuse = |error: ApiError| {
        tracing::debug!(path = parts.uri.path(), code = error.code, "not let in: {}", error.message);
        Box::new(match is_own(parts.uri.path()) {
            true if error.status == StatusCode::PAYLOAD_TOO_LARGE => {
                Refusal::new(error.status, "too_large", error.message).into_response()
            }
            true => Refusal::new(StatusCode::FORBIDDEN, "not_signed", error.message).into_response(),
            false => aws::refuse(&parts.uri, &parts.headers, error),
        })
    };
    let promising = signature::look_at(&parts, keys, jiff::Timestamp::now()).map_err(refuse)?;
    let is_too_large = parts.headers.get(header::CONTENT_LENGTH).is_some_and(|length| {
        length
            .to_str()
            .ok()
            .and_then(|length| length.parse().ok())
            .is_none_or(|bytes: usize| bytes > fakemon_aws::BODY_BYTES_MAX)
    });
    let status = if is_too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
    let unread = |_| ApiError::unread(status);
    let body = to_bytes(body, fakemon_aws::BODY_BYTES_MAX).await.map_err(unread).map_err(refuse)?;
    promising.check(&parts, &body).map_err(refuse)?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn check(request: &Request) -> Result<(), Refusal> {
    let (headers, is_safe) = (request.headers(), request.method().is_safe());
    let operates = is_safe && aws::is_query(headers, request.uri());
    if operates && is_sent_by_another_page(headers) {
        let message = "pages of other origins may not change this world";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "foreign_origin", message));
    }
    check_names(is_safe && !operates, request.uri(), headers)
}

/// Whether a browser says that another page sent it: requests for images have no origin.
fn is_sent_by_another_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| site != b"same-origin" && site != b"none") || headers.contains_key(header::REFERER)
}

fn check_names(is_safe: bool, target: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let forbidden = |code, message| Err(Refusal::new(StatusCode::FORBIDDEN, code, message));
    let host = Authority::asked(target, headers);
    if !host.as_ref().is_ok_and(|host| host.as_ref().is_none_or(Authority::is_this_machine)) {
        return forbidden(
            "foreign_host",
            "without credentials this server answers to localhost and loopback addresses only: use one in the URL",
        );
    }
    let Some(origin) = origin_of(headers) else {
        return Ok(());
    };
    let same = origin.zip(host.ok().flatten()).is_some_and(|(origin, host)| origin.is(&host));
    if !same && !is_safe {
        return forbidden("foreign_origin", "pages of other origins may not change this world");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(method: Method, host: &str, origin: Option<&str>) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let refusal = format!("{:?}", check_names(method.is_safe(), &Uri::from_static("/"), &headers).err()?);
        ["foreign_host", "foreign_origin"].into_iter().find(|code| refusal.contains(code))
    }

    #[test]
    fn this_machine_is_let_in() {
        for host in ["localhost", "LOCALHOST:7401", "127.0.0.1:7401", "127.8.8.8", "[::1]:7401", "[::1]"] {
            assert_eq!(verdict(Method::POST, host, None), None, "{host}");
        }
        for (host, origin) in [
            ("localhost:1", "http://localhost:1"),
            ("LOCALHOST:1", "http://localhost:1"),
            ("localhost", "http://localhost:80"),
            ("[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(verdict(Method::POST, host, Some(origin)), None, "{host} {origin}");
        }
        assert_eq!(verdict(Method::GET, "localhost:1", Some("http://elsewhere.example")), None);
    }

    #[test]
    fn the_address_of_a_request_is_judged_as_its_host() {
        let verdict = |target: &str, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            check_names(true, &target.parse().unwrap(), &headers).is_ok()
        };
        assert!(verdict("http://localhost:1/", "localhost:1"));
        assert!(!verdict("http://evil.example/", "localhost:1"));
        assert!(!verdict("http://evil.example/", "evil.example"));
        assert!(check_names(true, &"http://evil.example/".parse().unwrap(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn an_operation_in_the_address_is_refused_to_other_pages() {
        let ask = |address: &str, name: &'static str, value: &str| {
            let request = axum::http::Request::get(address).header("host", "localhost").header(name, value);
            check(&request.body(Body::empty()).unwrap()).is_ok()
        };
        let deletes = "/123456789012/q?Action=DeleteQueue&Version=2012-11-05";
        assert!(ask(deletes, "accept", "*/*") && ask(deletes, "sec-fetch-site", "none"));
        assert!(ask("/", "sec-fetch-site", "cross-site"), "the page itself");
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("referer", "http://evil.example/"),
            ("origin", "http://evil.example"),
        ] {
            assert!(!ask(deletes, name, value), "{name}");
        }
    }

    #[test]
    fn tricked_browsers_are_refused() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:7401",
            "",
            "[::2]",
            "10.0.0.1",
            "[::1]evil",
        ] {
            assert_eq!(verdict(Method::GET, host, None), Some("foreign_host"), "{host}");
        }
        for origin in ["http://evil.example", "null", "http://localhost:2", "http://127.0.0.1:1"] {
            assert_eq!(verdict(Method::POST, "localhost:1", Some(origin)), Some("foreign_origin"), "{origin}");
        }
    }
}
