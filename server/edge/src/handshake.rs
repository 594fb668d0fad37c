//! The opening handshake: one HTTP request, which is admitted at `/play` or at the general endpoint, or answered with
//! an error that says what to do instead.

pub(crate) mod route;

mod request;

use fakemon_access::authority::origin_of;
use fakemon_access::player_token::{Access, Holder, Refusal, shown};
use fakemon_model::event::PlayerName;
use fakemon_model::ids::{Position, Timestamp};
use fakemon_protocol::Subprotocol;
use request::{authorization, check_host, parse, query, single};
use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::{Request, Response, create_response, write_response};
use tungstenite::http::StatusCode;
use tungstenite::http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};

/// Longest request: room for a token, and for all cookies that a browser keeps for one site.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 32 * 1024;
/// Header lines of a request, at most.
const HEADERS_MAX: usize = 256;
/// Bytes of the user agent that are kept.
const USER_AGENT_BYTES_MAX: usize = 256;
/// Response header with the id of the connection.
const CONNECTION_ID: HeaderName = HeaderName::from_static("x-fakemon-connection-id");

/// Endpoint of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/play`: the game, in its messages.
    Play,
    /// `/ws`: any messages; each becomes an event on the bus.
    General,
}

impl Endpoint {
    /// Its name in events and logs.
    pub fn name(self) -> &'static str {
        match self {
            Endpoint::Play => "play",
            Endpoint::General => "ws",
        }
    }

    fn at(path: &str) -> Option<Endpoint> {
        match path {
            "/play" => Some(Endpoint::Play),
            "/ws" => Some(Endpoint::General),
            _ => None,
        }
    }
}

/// Policy of the handshake.
pub(crate) struct HandshakePolicy {
    pub(crate) access: Access,
    /// Address of the page, for visitors with a browser.
    pub(crate) page: Option<String>,
}

/// Outcome of parsing the bytes received so far.
pub(crate) enum Handshake {
    /// Not a whole request yet.
    Incomplete,
    /// A valid handshake that the access settings admit.
    Admitted(Box<Admitted>),
    /// The HTTP answer; the connection is closed after it.
    Refused(Vec<u8>),
}

/// A handshake that may be accepted.
pub(crate) struct Admitted {
    pub(crate) endpoint: Endpoint,
    /// None only at the general endpoint in open mode.
    pub(crate) player: Option<PlayerName>,
    /// Expiry of the token.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) subprotocol: Subprotocol,
    /// The last position that the player knows, if they resume.
    pub(crate) from: Option<Position>,
    /// Length of the request; frames follow it.
    pub(crate) request_bytes: usize,
    pub(crate) request: Request,
    response: Response,
}

impl Admitted {
    /// The response that accepts the handshake, with the id of the connection.
    pub(crate) fn answer(&mut self, connection_id: &str) -> Vec<u8> {
        let id = HeaderValue::from_str(connection_id).expect("an id is hexadecimal");
        self.response.headers_mut().insert(CONNECTION_ID, id);
        let mut answer = Vec::new();
        write_response(&mut answer, &self.response).expect("our own headers are text, and a vector takes all");
        answer
    }

    /// The user agent, cut to `USER_AGENT_BYTES_MAX`.
    pub(crate) fn user_agent(&self) -> &str {
        let agent = self.request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = agent.unwrap_or_default();
        &agent[..agent.floor_char_boundary(USER_AGENT_BYTES_MAX)]
    }
}

/// Why a handshake is rejected, as an HTTP response.
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<&'static str>,
}

impl HandshakePolicy {
    /// Reads a request from the start of `bytes`.
    pub(crate) fn read(&self, bytes: &[u8]) -> Handshake {
        match self.admit(bytes) {
            Ok(Some(admitted)) => Handshake::Admitted(Box::new(admitted)),
            Ok(None) if bytes.len() < HANDSHAKE_BYTES_MAX => Handshake::Incomplete,
            Ok(None) => Handshake::Refused(too_long().answer()),
            Err(refused) => Handshake::Refused(refused.answer()),
        }
    }

    fn admit(&self, bytes: &[u8]) -> Result<Option<Admitted>, Refused> {
        let Some((request_bytes, request)) = parse(bytes)? else {
            return Ok(None);
        };
        if request_bytes > HANDSHAKE_BYTES_MAX {
            return Err(too_long());
        }
        let Some(endpoint) = Endpoint::at(request.uri().path()) else {
            let message = format!("there is nothing at this path: {}", self.hint());
            return Err(refused(StatusCode::NOT_FOUND, "not_found", message, None));
        };
        let mut response = create_response(&single(&request)).map_err(|error| self.not_a_request(&error))?;
        check_host(&request)?;
        let (player, expires_at) = self.who(&request, endpoint)?;
        let (subprotocol, from) = match endpoint {
            Endpoint::Play => (subprotocol(&request)?, from(&request)?),
            // Subprotocols here are the application's, unknown to us: a client that insists on one sees none in the
            // answer.
            Endpoint::General => (Subprotocol::Json, None),
        };
        if endpoint == Endpoint::Play && request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
            let name = HeaderValue::from_static(subprotocol.name());
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        Ok(Some(Admitted { endpoint, player, expires_at, subprotocol, from, request_bytes, request, response }))
    }

    fn who(&self, request: &Request, endpoint: Endpoint) -> Result<(Option<PlayerName>, Option<Timestamp>), Refused> {
        match &self.access {
            Access::Open => {
                check_origin(request)?;
                let name = query(request.uri(), "player")?;
                if name.is_none() && endpoint == Endpoint::Play {
                    return Err(Refusal::NoPlayer.into());
                }
                let player = name.map(|name| PlayerName::new(&name)).transpose().map_err(Refusal::from)?;
                Ok((player, None))
            }
            Access::Tokens(keys) => {
                let header = authorization(request)?;
                let asked = query(request.uri(), "token")?;
                let Holder { player, expires_at } = keys.holder(shown(header, asked.as_deref())?)?;
                Ok((Some(player), expires_at))
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
        format!(
            "players connect with a websocket (version 13) to /play{query}, others to /ws{}",
            page.unwrap_or_default()
        )
    }
}

/// Open mode checks no identity, so web pages of other origins must not play through a visitor's browser.
fn check_origin(request: &Request) -> Result<(), Refused> {
    let Some(origin) = origin_of(request.headers()) else {
        return Ok(());
    };
    if origin.is_some_and(|origin| origin.is_this_machine()) {
        return Ok(());
    }
    Err(refused(
        StatusCode::FORBIDDEN,
        "origin_refused",
        "without player tokens only pages of this machine may connect".into(),
        Some("Origin"),
    ))
}

/// The first known subprotocol of those that the client names; JSON if it names none.
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

/// The position from which a player resumes (`?from=`).
fn from(request: &Request) -> Result<Option<Position>, Refused> {
    let Some(text) = query(request.uri(), "from")? else { return Ok(None) };
    let wrong = || {
        let message = "from is the last position that you have heard of: a decimal number".into();
        refused(StatusCode::BAD_REQUEST, "bad_request", message, Some("from"))
    };
    text.parse().map(|position| Some(Position(position))).map_err(|_| wrong())
}

fn refused(status: StatusCode, code: &'static str, message: String, field: Option<&'static str>) -> Refused {
    Refused { status, code, message, field }
}

fn too_long() -> Refused {
    refused(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "too_large",
        format!("the request must not be longer than {HANDSHAKE_BYTES_MAX} bytes and {HEADERS_MAX} header lines"),
        None,
    )
}

/// The answer when `connections_max` is reached.
pub(crate) fn full() -> Vec<u8> {
    refused(
        StatusCode::SERVICE_UNAVAILABLE,
        "full",
        "as many players are connected as this server takes: come back later".into(),
        None,
    )
    .answer()
}

/// The answer when the authorizer says no.
pub(crate) fn forbidden() -> Vec<u8> {
    let message = "the authorizer does not let you in".into();
    refused(StatusCode::FORBIDDEN, "forbidden", message, None).answer()
}

/// The answer when the authorizer gives no valid answer, or none in time: without a decision the handshake fails.
pub(crate) fn undecided() -> Vec<u8> {
    let message = "the authorizer does not answer: come back later".into();
    refused(StatusCode::SERVICE_UNAVAILABLE, "authorizer_unavailable", message, None).answer()
}

/// The answer when the authorizer of the settings does not exist: a fault of the configuration.
pub(crate) fn no_authorizer() -> Vec<u8> {
    let message =
        "this server is configured with an authorizer that does not exist: its operator has to make it".into();
    refused(StatusCode::SERVICE_UNAVAILABLE, "authorizer_missing", message, None).answer()
}

/// The answer when connection events cannot be written to the journal fast enough.
pub(crate) fn overloaded() -> Vec<u8> {
    let message = "too many events of connections wait for the journal: come back later".into();
    refused(StatusCode::SERVICE_UNAVAILABLE, "throttled", message, None).answer()
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
    use fakemon_access::player_token::TokenKeys;

    const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
    const ASKS_TO_UPGRADE: &str = "Host: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn open() -> HandshakePolicy {
        HandshakePolicy { access: Access::Open, page: Some("http://127.0.0.1:7401/".into()) }
    }

    fn request(target: &str, more: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\n{ASKS_TO_UPGRADE}{more}\r\n").into_bytes()
    }

    fn with_host(line: &str) -> Vec<u8> {
        let request = String::from_utf8(request("/play?player=ana", "")).unwrap();
        request.replacen("Host: localhost\r\n", line, 1).into_bytes()
    }

    fn admitted(gate: &HandshakePolicy, bytes: &[u8]) -> Admitted {
        match gate.read(bytes) {
            Handshake::Admitted(admitted) => *admitted,
            Handshake::Incomplete => panic!("incomplete"),
            Handshake::Refused(answer) => panic!("{}", String::from_utf8_lossy(&answer)),
        }
    }

    fn refusal(gate: &HandshakePolicy, bytes: &[u8]) -> String {
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
        let mut ana = admitted(&open(), &[bytes.clone(), b"frames".to_vec()].concat());
        assert_eq!((ana.player.as_ref().unwrap().as_str(), ana.request_bytes), ("Ana María", bytes.len()));
        assert_eq!((ana.subprotocol, ana.from), (Subprotocol::Json, None));
        let answer = String::from_utf8(ana.answer("0a")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
        let answer = answer.to_lowercase();
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
        assert!(answer.contains("x-fakemon-connection-id: 0a\r\n"), "{answer}");
        assert!(!answer.contains("sec-websocket-protocol"), "{answer}");
    }

    #[test]
    fn handshakes_of_browsers_and_proxies_are_taken() {
        let cookies = format!("Cookie: {}\r\n", "x".repeat(8_400));
        let lines: String = (0..120).map(|index| format!("X-{index}: y\r\n")).collect();
        for more in [&cookies, &lines] {
            assert!(admitted(&open(), &request("/play?player=ana", more)).player.is_some());
        }
        let request = String::from_utf8(request("/play?player=ana", "")).unwrap();
        for (one, several) in [
            ("Connection: keep-alive, Upgrade\r\n", "Connection: keep-alive\r\nConnection: Upgrade\r\n"),
            ("Connection: keep-alive, Upgrade\r\n", "Connection: UPGRADE\r\nConnection: keep-alive\r\n"),
            ("Upgrade: websocket\r\n", "Upgrade: h2c\r\nUpgrade: WebSocket\r\n"),
        ] {
            let request = request.replacen(one, several, 1);
            assert!(admitted(&open(), request.as_bytes()).player.is_some(), "{several}");
        }
    }

    #[test]
    fn subprotocols_are_agreed_on() {
        for (asked, got) in [
            ("Sec-WebSocket-Protocol: fakemon.v1.fb\r\n", "fakemon.v1.fb"),
            ("Sec-WebSocket-Protocol: soap, fakemon.v1.json, fakemon.v1.fb\r\n", "fakemon.v1.json"),
            ("Sec-WebSocket-Protocol: soap\r\nSec-WebSocket-Protocol: fakemon.v1.fb\r\n", "fakemon.v1.fb"),
        ] {
            let mut ana = admitted(&open(), &request("/play?player=ana", asked));
            assert_eq!(ana.subprotocol.name(), got);
            let answer = String::from_utf8(ana.answer("0a")).unwrap().to_lowercase();
            assert!(answer.contains(&format!("sec-websocket-protocol: {got}\r\n")), "{answer}");
        }
        let answer = refusal(&open(), &request("/play?player=ana", "Sec-WebSocket-Protocol: soap\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("fakemon.v1.fb"), "{answer}");
    }

    #[test]
    fn the_general_endpoint_takes_whoever_comes() {
        let nobody = admitted(&open(), &request("/ws", "User-Agent: probe/1\r\nSec-WebSocket-Protocol: soap\r\n"));
        assert_eq!((nobody.endpoint, &nobody.player, nobody.user_agent()), (Endpoint::General, &None, "probe/1"));
        let ana = admitted(&open(), &request("/ws?player=ana", ""));
        assert_eq!(ana.player.unwrap().as_str(), "ana");
        assert!(refusal(&open(), &request("/ws?player=%00", "")).starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn who_comes_back_says_where_they_were() {
        assert_eq!(admitted(&open(), &request("/play?player=ana&from=123", "")).from, Some(Position(123)));
        let answer = refusal(&open(), &request("/play?player=ana&from=x", ""));
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"field\":\"from\""), "{answer}");
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
            (request("/play?player=ana", &"Origin: http://localhost\r\n".repeat(2)), "403", "Origin"),
            (request("http://evil.example/play?player=ana", ""), "400", "\"field\":\"Host\""),
            (request("/play?player=ana", &"X: y\r\n".repeat(257)), "431", "256"),
            (request("/play?player=ana", "Host: localhost\r\n"), "400", "\"field\":\"Host\""),
            (with_host(""), "400", "\"field\":\"Host\""),
            (with_host("Host: [::1]evil\r\n"), "400", "\"field\":\"Host\""),
            (request("/play?player=ana", &long), "431", "32768"),
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
        for origin in ["http://localhost:7401", "http://LOCALHOST:5173", "http://127.0.0.1:7401", "http://[::1]:80"] {
            admitted(&open(), &request("/play?player=ana", &format!("Origin: {origin}\r\n")));
        }
        admitted(&open(), &request("http://localhost/play?player=ana", ""));
    }

    #[test]
    fn tokens_are_needed_where_they_are_configured() {
        use jsonwebtoken::{EncodingKey, Header, encode};
        let gate =
            HandshakePolicy { access: Access::Tokens(TokenKeys::new(Some(SECRET), None).unwrap()), page: None };
        let claims = serde_json::json!({"sub": "ana"});
        let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
        for (target, more) in [
            (format!("/play?token={token}"), String::new()),
            ("/play?player=ben".into(), format!("Authorization: bearer {token}\r\n")),
            ("/play".into(), format!("Authorization: Bearer {token}\r\nOrigin: https://game.example\r\n")),
        ] {
            assert_eq!(admitted(&gate, &request(&target, &more)).player.unwrap().as_str(), "ana");
        }
        for (target, more) in [
            ("/play?player=ana", ""),
            ("/ws?player=ana", ""),
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
