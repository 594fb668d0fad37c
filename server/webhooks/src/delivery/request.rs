//! From an event to a request: path, query, headers, body.

use super::authorization::Additions;
use super::connection::Outgoing;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use fakemon_delivery::{Failed, FailureCode};
use fakemon_engine::wall_clock;
use fakemon_http::standard_webhooks;
use fakemon_pattern::raw::with_texts;
use fakemon_resource::resource::{ApiDestination, HttpParameters};
use http_body_util::Full;

/// The header `User-Agent`.
const USER_AGENT: &str = "Fakemon/EventBus/ApiDestinations";

/// Id and time of a signed request.
pub(super) struct Stamp {
    /// The event's id.
    pub id: String,
    /// The attempt's time, in seconds since 1970.
    pub at_s: u64,
}

impl Stamp {
    /// For a request without an event of the journal: an id of its own.
    pub(super) fn of_question() -> Stamp {
        Stamp { id: fakemon_aws::uuid(), at_s: wall_clock().seconds() }
    }
}

/// Content of a request.
pub(crate) struct Content<'c> {
    /// Path, headers and query parameters of the target.
    pub parameters: Option<&'c HttpParameters>,
    pub body: &'c str,
    pub(super) stamp: Stamp,
}

/// Builds the request for a body.
pub(crate) fn build(
    destination: &ApiDestination,
    additions: &Additions,
    content: &Content<'_>,
) -> Result<Outgoing, Failed> {
    let Content { parameters, body, stamp } = content;
    let wrong = |what: String| Failed::permanently(FailureCode::InvalidParameter, what);
    let empty = HttpParameters::default();
    let parameters = parameters.unwrap_or(&empty);
    // Parameters of the connection override those of the target.
    let is_added = |name: &String| additions.query.iter().any(|(added, _)| added == name);
    let mut query: Vec<(String, String)> =
        parameters.query.clone().into_iter().filter(|(name, _)| !is_added(name)).collect();
    query.extend(additions.query.clone());
    let url = with_query(&with_path(&destination.endpoint, &parameters.path), &query);
    let uri: Uri = url.parse().map_err(|error| wrong(format!("{}: {error}", destination.endpoint)))?;
    let method = Method::from_bytes(destination.http_method.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let has_body = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    let body = match additions.body.as_slice() {
        _ if !has_body => String::new(),
        [] => (*body).to_owned(),
        // A body that is not an object has no members.
        texts => with_texts(body, texts).unwrap_or_else(|| (*body).to_owned()),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let signed = match additions.signers.as_slice() {
        [] => Vec::new(),
        signers => standard_webhooks::headers(signers, &stamp.id, stamp.at_s, &body).into(),
    };
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|error| wrong(format!("its path: {error}")))?;
    let host = super::connection::host(&uri);
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(|error| wrong(error.to_string()))?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-1048575"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    let given = parameters.headers.iter().chain(additions.headers.iter().map(|(n, v)| (n, v)));
    for (name, value) in given.filter(|(name, _)| !is_removed(name)) {
        let name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_bytes(value.as_bytes())) else {
            return Err(wrong("a header of the target or its connection is not valid".into())); // its value may be secret
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    for (name, value) in signed {
        headers.insert(name, HeaderValue::from_str(&value).map_err(|error| wrong(error.to_string()))?);
    }
    Ok(Outgoing { uri, request })
}

/// Headers that neither a target nor a connection may set, as with the service: they belong to the transport.
const REMOVED: [&str; 34] = [
    "a-im",
    "accept-charset",
    "accept-datetime",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-md5",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authorization",
    "range",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "warning",
];

/// Whether a header of a target or a connection is left out.
pub(super) fn is_removed(name: &str) -> bool {
    REMOVED.iter().any(|removed| removed.eq_ignore_ascii_case(name))
}

/// An endpoint with its scheme: `https` if it has none.
pub(crate) fn absolute(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}

/// Replaces the stars of a path by values, in order.
fn with_path(endpoint: &str, values: &[String]) -> String {
    let mut values = values.iter();
    let mut filled = String::with_capacity(endpoint.len());
    for part in endpoint.split_inclusive('*') {
        match part.strip_suffix('*') {
            Some(before) => {
                filled.push_str(before);
                filled.push_str(&values.next().map_or(String::new(), |value| encoded(value)));
            }
            None => filled.push_str(part),
        }
    }
    filled
}

/// Appends query parameters to a URL.
pub(super) fn with_query(url: &str, query: &[(String, String)]) -> String {
    match (query.is_empty(), url.contains('?')) {
        (true, _) => url.to_owned(),
        (false, true) => format!("{url}&{}", form(query)),
        (false, false) => format!("{url}?{}", form(query)),
    }
}

/// `name=value&name=value`.
pub(crate) fn form(pairs: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| format!("{}={}", encoded(name), encoded(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_http::standard_webhooks::Signer;
    use fakemon_model::ids::Timestamp;

    #[test]
    fn stars_queries_headers_and_members_are_filled_in() {
        let destination = ApiDestination {
            name: "d".into(),
            uuid: String::new(),
            description: None,
            connection: "c".into(),
            connection_arn: String::new(),
            endpoint: "http://example.org/a/*/b/*?x=1".into(),
            http_method: "POST".into(),
            rate_limit_per_second: 1,
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
        };
        let parameters = HttpParameters {
            path: vec!["1/2".into(), "z".into()],
            headers: [("x-a".to_owned(), "b".to_owned())].into(),
            query: [("q".to_owned(), "r s".to_owned())].into(),
        };
        let additions = Additions {
            headers: vec![("authorization".into(), "Basic hush".into())],
            body: vec![("more".into(), "m".into())],
            ..Additions::default()
        };
        let content = |parameters, body| {
            let stamp = Stamp { id: "msg_1".into(), at_s: 1_614_265_330 };
            Content { parameters, body, stamp }
        };
        let built = build(&destination, &additions, &content(Some(&parameters), r#"{"id":1}"#)).unwrap();
        assert_eq!(built.request.uri().to_string(), "/a/1%2F2/b/z?x=1&q=r%20s");
        assert_eq!(built.request.headers()["host"], "example.org");
        assert_eq!(built.request.headers()["x-a"], "b");
        assert!(!format!("{:?}", built.request).contains("hush"));
        let wrong = Additions { headers: vec![("x".into(), "hush\n".into())], ..Additions::default() };
        let error = build(&destination, &wrong, &content(None, "{}")).err().unwrap();
        assert!(!error.message.contains("hush"));
        assert!(!built.request.headers().contains_key("webhook-signature"));
        let signers = vec![Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()];
        let signed = Additions { signers, body: vec![("more".into(), "m".into())], ..Additions::default() };
        let built = build(&destination, &signed, &content(None, r#"{"id":1}"#)).unwrap();
        assert_eq!(built.request.headers()["webhook-id"], "msg_1");
        // Signature of `msg_1.1614265330.{"id":1,"more":"m"}`: the sent body is what is signed.
        let signature = "v1,PzQidB2bbIwL3Lr33xm4WFsXgGOS4unuFblxgOoThYw=";
        assert_eq!(built.request.headers()["webhook-signature"], signature);
    }

    fn destination() -> ApiDestination {
        ApiDestination {
            name: "d".into(),
            uuid: String::new(),
            description: None,
            connection: "c".into(),
            connection_arn: String::new(),
            endpoint: "http://example.org/a".into(),
            http_method: "POST".into(),
            rate_limit_per_second: 1,
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
        }
    }

    fn built(parameters: &HttpParameters, additions: &Additions, body: &str) -> Outgoing {
        let stamp = Stamp { id: "msg_1".into(), at_s: 1 };
        build(&destination(), additions, &Content { parameters: Some(parameters), body, stamp }).unwrap()
    }

    fn pairs<C: FromIterator<(String, String)>>(pairs: &[(&str, &str)]) -> C {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_a_connection_says_stands_over_what_a_target_says() {
        let parameters = HttpParameters {
            path: Vec::new(),
            headers: pairs(&[("X-Who", "target"), ("x-own", "1")]),
            query: pairs(&[("key", "target"), ("own", "1")]),
        };
        let additions = Additions {
            headers: pairs(&[("x-who", "connection")]),
            query: pairs(&[("key", "connection")]),
            ..Additions::default()
        };
        let request = built(&parameters, &additions, "{}").request;
        assert_eq!(request.uri().to_string(), "/a?own=1&key=connection");
        let who: Vec<&str> = request.headers().get_all("x-who").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!((who, &request.headers()["x-own"]), (vec!["connection"], &HeaderValue::from_static("1")));
    }

    #[test]
    fn headers_that_say_how_a_request_is_carried_are_left_out() {
        let theirs = [
            "Content-Length",
            "HOST",
            "Transfer-Encoding",
            "Expect",
            "Date",
            "Via",
            "Upgrade",
            "User-Agent",
            "Range",
        ];
        let named = |name: &&str| ((*name).to_owned(), "1".to_owned());
        let parameters = HttpParameters { headers: theirs.iter().map(named).collect(), ..HttpParameters::default() };
        let additions = Additions { headers: theirs.iter().map(named).collect(), ..Additions::default() };
        let request = built(&parameters, &additions, r#"{"a":1}"#).request;
        for name in ["content-length", "transfer-encoding", "expect", "date", "via", "upgrade"] {
            assert!(!request.headers().contains_key(name), "{name}");
        }
        assert_eq!(request.headers()["host"], "example.org");
        assert_eq!(request.headers()["user-agent"], USER_AGENT);
        assert_eq!(request.headers()["range"], "bytes=0-1048575");
    }
}
