//! The opening handshake: one HTTP request, which becomes a player, or an answer that says what to do instead.

use crate::auth::{Access, Refusal};
use crate::play::Subprotocol;
use fakemon_engine::model::PlayerName;
use std::net::IpAddr;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::header::{AUTHORIZATION, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::http::{StatusCode, Uri};

/// A request, with a token in it, is not longer.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 8 * 1024;
const PATH: &str = "/play";

/// Who is let in.
pub(crate) struct Gate {
    pub(crate) access: Access,
    /// Where people with a browser find the page.
    pub(crate) page: Option<String>,
}

/// What the bytes so far amount to.
pub(crate) enum Handshake {
    /// Not a whole request yet.
    Incomplete,
    /// Somebody plays.
    Admitted(Admitted),
    /// The answer; nothing follows.
    Refused(Vec<u8>),
}

/// A player at the door.
pub(crate) struct Admitted {
    pub(crate) player: PlayerName,
    pub(crate) subprotocol: Subprotocol,
    /// What the request was long; frames follow it.
    pub(crate) request_bytes: usize,
    pub(crate) answer: Vec<u8>,
}

/// Why somebody is not let in, as HTTP says it.
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<&'static str>,
}

impl Gate {
    /// Reads a request from the start of `bytes`.
    pub(crate) fn read(&self, bytes: &[u8]) -> Handshake {
        match self.admit(bytes) {
            Ok(Some(admitted)) => Handshake::Admitted(admitted),
            Ok(None) if bytes.len() < HANDSHAKE_BYTES_MAX => Handshake::Incomplete,
            Ok(None) => Handshake::Refused(too_long().answer()),
            Err(refused) => Handshake::Refused(refused.answer()),
        }
    }

    fn admit(&self, bytes: &[u8]) -> Result<Option<Admitted>, Refused> {
        let parsed = Request::try_parse(bytes).map_err(|error| self.not_a_request(&error))?;
        let Some((request_bytes, request)) = parsed else {
            return Ok(None);
        };
        if request_bytes > HANDSHAKE_BYTES_MAX {
            return Err(too_long());
        }
        if request.uri().path() != PATH {
            let message = format!("there is nothing at this path: {}", self.hint());
            return Err(refused(StatusCode::NOT_FOUND, "not_found", message, None));
        }
        let mut response = create_response(&request).map_err(|error| self.not_a_request(&error))?;
        let player = self.player(&request)?;
        let subprotocol = subprotocol(&request)?;
        if request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
            let name = HeaderValue::from_static(subprotocol.name());
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        let mut answer = Vec::new();
        write_response(&mut answer, &response).expect("our own headers are text, and a vector takes all");
        Ok(Some(Admitted { player, subprotocol, request_bytes, answer }))
    }

    fn player(&self, request: &Request) -> Result<PlayerName, Refused> {
        match &self.access {
            Access::Open => {
                check_origin(request)?;
                let name = query(request.uri(), "player")?.ok_or(Refusal::NoPlayer)?;
                Ok(PlayerName::new(&name).map_err(Refusal::from)?)
            }
            Access::Tokens(keys) => {
                let token = match bearer(request) {
                    Some(token) => token.to_owned(),
                    None => query(request.uri(), "token")?.ok_or(Refusal::NoToken)?,
                };
                Ok(keys.player(&token)?)
            }
        }
    }

    fn not_a_request(&self, error: &tungstenite::Error) -> Refused {
        use tungstenite::Error::Protocol;
        match error {
            Protocol(ProtocolError::WrongHttpMethod) => {
                let message = format!("only GET is known here: {}", self.hint());
                refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, None)
            }
            Protocol(
                ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::MissingUpgradeWebSocketHeader
                | ProtocolError::MissingSecWebSocketVersionHeader,
            ) => refused(StatusCode::UPGRADE_REQUIRED, "upgrade_required", self.hint(), None),
            error => refused(StatusCode::BAD_REQUEST, "bad_request", error.to_string(), None),
        }
    }

    fn hint(&self) -> String {
        let query = match self.access {
            Access::Open => "?player=NAME",
            Access::Tokens(_) => " with a token",
        };
        let page = self.page.as_ref().map(|page| format!("; the page is at {page}"));
        format!("players connect with a websocket (version 13) to {PATH}{query}{}", page.unwrap_or_default())
    }
}

/// In open mode nobody proves who they are, so no web page from elsewhere may play through a visitor's browser.
fn check_origin(request: &Request) -> Result<(), Refused> {
    let Some(origin) = request.headers().get(ORIGIN) else {
        return Ok(());
    };
    let uri = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if host == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
        return Ok(());
    }
    Err(refused(
        StatusCode::FORBIDDEN,
        "origin_refused",
        "without player tokens only pages of this machine may connect".into(),
        Some("Origin"),
    ))
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The first we know of those that the client names; JSON for clients that name none.
fn subprotocol(request: &Request) -> Result<Subprotocol, Refused> {
    let mut asked = request
        .headers()
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .peekable();
    if asked.peek().is_none() {
        return Ok(Subprotocol::Json);
    }
    asked.find_map(Subprotocol::named).ok_or_else(|| {
        refused(
            StatusCode::BAD_REQUEST,
            "unknown_subprotocol",
            "ask for fakemon.v1.json, for fakemon.v1.fb, or for none".into(),
            Some("Sec-WebSocket-Protocol"),
        )
    })
}

/// The value of a query parameter, percent-decoded, a plus being a space.
fn query(uri: &Uri, field: &'static str) -> Result<Option<String>, Refused> {
    let query = uri.query().unwrap_or_default();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, value)) = pairs.find(|(name, _)| *name == field) else {
        return Ok(None);
    };
    let decoded = percent_decoded(value).and_then(|bytes| String::from_utf8(bytes).ok());
    let broken = || {
        let message = format!("{field} must be percent-encoded UTF-8");
        refused(StatusCode::BAD_REQUEST, "bad_request", message, Some(field))
    };
    decoded.ok_or_else(broken).map(Some)
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    Some(decoded)
}

fn refused(status: StatusCode, code: &'static str, message: String, field: Option<&'static str>) -> Refused {
    Refused { status, code, message, field }
}

fn too_long() -> Refused {
    refused(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "too_large",
        format!("the request must not be longer than {HANDSHAKE_BYTES_MAX} bytes"),
        None,
    )
}

/// The answer when there are as many connections as the settings allow.
pub(crate) fn full() -> Vec<u8> {
    refused(
        StatusCode::SERVICE_UNAVAILABLE,
        "full",
        "as many players are connected as this server takes: come back later".into(),
        None,
    )
    .answer()
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        let (status, code, field) = match refusal {
            Refusal::NoPlayer | Refusal::Name(_) => (StatusCode::BAD_REQUEST, "bad_player", "player"),
            Refusal::NoToken | Refusal::Token(_) => (StatusCode::UNAUTHORIZED, "unauthorized", "token"),
        };
        refused(status, code, refusal.to_string(), Some(field))
    }
}

impl Refused {
    fn answer(&self) -> Vec<u8> {
        let Refused { status, code, message, field } = self;
        let error = serde_json::json!({"error": {"code": code, "message": message, "field": field}});
        let body = format!("{error}\n");
        let more = match *status {
            StatusCode::UPGRADE_REQUIRED => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            StatusCode::UNAUTHORIZED => "WWW-Authenticate: Bearer\r\n",
            StatusCode::METHOD_NOT_ALLOWED => "Allow: GET\r\n",
            StatusCode::SERVICE_UNAVAILABLE => "Retry-After: 5\r\n",
            _ => "",
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\
             Connection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::TokenKeys;

    const UPGRADE: &str = "Host: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn open() -> Gate {
        Gate { access: Access::Open, page: Some("http://127.0.0.1:7401/".into()) }
    }

    fn request(target: &str, more: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\n{UPGRADE}{more}\r\n").into_bytes()
    }

    fn admitted(gate: &Gate, bytes: &[u8]) -> Admitted {
        match gate.read(bytes) {
            Handshake::Admitted(admitted) => admitted,
            Handshake::Incomplete => panic!("incomplete"),
            Handshake::Refused(answer) => panic!("{}", String::from_utf8_lossy(&answer)),
        }
    }

    fn refusal(gate: &Gate, bytes: &[u8]) -> String {
        match gate.read(bytes) {
            Handshake::Refused(answer) => String::from_utf8(answer).unwrap(),
            _ => panic!("not refused: {}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn players_are_let_in() {
        let bytes = request("/play?x=1&player=Ana%20Mar%C3%ADa", "");
        for cut in 0..bytes.len() {
            assert!(matches!(open().read(&bytes[..cut]), Handshake::Incomplete), "{cut}");
        }
        let ana = admitted(&open(), &[bytes.clone(), b"frames".to_vec()].concat());
        assert_eq!((ana.player.as_str(), ana.request_bytes), ("Ana María", bytes.len()));
        assert_eq!(ana.subprotocol, Subprotocol::Json);
        let answer = String::from_utf8(ana.answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
        let answer = answer.to_lowercase();
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
        assert!(!answer.contains("sec-websocket-protocol"), "{answer}");
    }

    #[test]
    fn subprotocols_are_agreed_on() {
        for (asked, got) in [
            ("Sec-WebSocket-Protocol: fakemon.v1.fb\r\n", "fakemon.v1.fb"),
            ("Sec-WebSocket-Protocol: soap, fakemon.v1.json, fakemon.v1.fb\r\n", "fakemon.v1.json"),
            ("Sec-WebSocket-Protocol: soap\r\nSec-WebSocket-Protocol: fakemon.v1.fb\r\n", "fakemon.v1.fb"),
        ] {
            let ana = admitted(&open(), &request("/play?player=ana", asked));
            assert_eq!(ana.subprotocol.name(), got);
            let answer = String::from_utf8(ana.answer).unwrap().to_lowercase();
            assert!(answer.contains(&format!("sec-websocket-protocol: {got}\r\n")), "{answer}");
        }
        let answer = refusal(&open(), &request("/play?player=ana", "Sec-WebSocket-Protocol: soap\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("fakemon.v1.fb"), "{answer}");
    }

    #[test]
    fn everybody_else_is_told_what_to_do() {
        let long = format!("X: {}\r\n", "x".repeat(HANDSHAKE_BYTES_MAX));
        let page = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into();
        let plain = "GET /play?player=ana HTTP/1.1\r\nHost: x\r\n\r\n".into();
        let name = format!("/play?player={}", "x".repeat(65));
        for (bytes, status, message) in [
            (page, "404", "the page is at http://127.0.0.1:7401/"),
            (plain, "426", "the page is at http://127.0.0.1:7401/"),
            (request("/elsewhere?player=ana", ""), "404", "/play?player=NAME"),
            (request("/play", ""), "400", "/play?player=NAME"),
            (request("/play?player=", ""), "400", "\"field\":\"player\""),
            (request(&name, ""), "400", "1 to 64 bytes"),
            (request("/play?player=%00", ""), "400", "control characters"),
            (request("/play?player=%FF", ""), "400", "percent-encoded UTF-8"),
            (request("/play?player=%4", ""), "400", "percent-encoded UTF-8"),
            (request("/play?player=ana", "Origin: https://evil.example\r\n"), "403", "Origin"),
            (request("/play?player=ana", "Origin: null\r\n"), "403", "Origin"),
            (request("/play?player=ana", &long), "431", "8192"),
            (b"POST /play HTTP/1.1\r\n\r\n".to_vec(), "405", "GET"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "400", "bad_request"),
            (b"GET /play?player=ana HTTP/1.0\r\n\r\n".to_vec(), "400", "bad_request"),
        ] {
            let answer = refusal(&open(), &bytes);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(body.contains(message), "{answer}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string());
        }
        for origin in ["http://localhost:7401", "http://127.0.0.1:7401", "http://[::1]:80"] {
            admitted(&open(), &request("/play?player=ana", &format!("Origin: {origin}\r\n")));
        }
    }

    #[test]
    fn tokens_are_needed_where_they_are_configured() {
        use jsonwebtoken::{EncodingKey, Header, encode};
        let gate = Gate { access: Access::Tokens(TokenKeys::new(Some(b"secret"), None).unwrap()), page: None };
        let claims = serde_json::json!({"sub": "ana"});
        let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(b"secret")).unwrap();
        for (target, more) in [
            (format!("/play?token={token}"), String::new()),
            ("/play?player=ben".into(), format!("Authorization: bearer {token}\r\n")),
            ("/play".into(), format!("Authorization: Bearer {token}\r\nOrigin: https://game.example\r\n")),
        ] {
            assert_eq!(admitted(&gate, &request(&target, &more)).player.as_str(), "ana");
        }
        for (target, more) in [
            ("/play?player=ana", ""),
            ("/play?token=a.b.c", ""),
            ("/play", "Authorization: Basic YTpi\r\n"),
            ("/play", "Authorization: Bearer\r\n"),
        ] {
            let answer = refusal(&gate, &request(target, more));
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
            assert!(answer.contains("WWW-Authenticate: Bearer"), "{answer}");
        }
    }
}
