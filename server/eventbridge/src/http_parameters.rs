//! Request parameters of targets and connections, checked as the service does: what no request can carry is rejected
//! here, not when the first event is delivered. Headers of the transport (`Content-Length`, `Host` and the like) are
//! accepted and left out of requests, as with the service.

use fakemon_aws::request::Request;
use serde_json::{Map, Value};

/// The longest name or value, in characters.
const CHARS_MAX: usize = 512;
const HEADER_KEY: &str = "^[!#$%&'*+-.^_`|~0-9a-zA-Z]+$";
const HEADER_VALUE: &str = r"^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$";
const QUERY_KEY: &str = r"[^\x00-\x1F\x7F]+";
const QUERY_VALUE: &str = r"[^\x00-\x09\x0B\x0C\x0E-\x1F\x7F]+";
const PATH: &str = r"^(?!\s*$).+";

/// Part of a request that a text is for.
#[derive(Clone, Copy)]
enum Kind {
    HeaderKey,
    HeaderValue,
    QueryKey,
    QueryValue,
    Path,
}

impl Kind {
    fn pattern(self) -> &'static str {
        match self {
            Kind::HeaderKey => HEADER_KEY,
            Kind::HeaderValue => HEADER_VALUE,
            Kind::QueryKey => QUERY_KEY,
            Kind::QueryValue => QUERY_VALUE,
            Kind::Path => PATH,
        }
    }

    fn fits(self, text: &str) -> bool {
        let control = |c: char| c.is_ascii_control();
        match self {
            // The token of RFC 9110: the service's pattern contains one range too many.
            Kind::HeaderKey => is_token(text),
            Kind::HeaderValue => !text.is_empty() && text.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')),
            Kind::QueryKey => !text.is_empty() && !text.contains(control),
            Kind::QueryValue => !text.is_empty() && !text.contains(|c| control(c) && c != '\n' && c != '\r'),
            Kind::Path => !text.trim().is_empty() && !text.contains('\n'),
        }
    }
}

/// Whether a text is the name of a header.
pub(crate) fn is_token(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(fits)
}

/// `HttpParameters` of a target.
pub(super) fn check_target(request: &Request<'_>, at: &str, http: &Value) {
    for (number, value) in (1..).zip(http["PathParameterValues"].as_array().into_iter().flatten()) {
        check_text(request, &format!("{at}.pathParameterValues.{number}.member"), value, Kind::Path, false);
    }
    check_map(
        request,
        &format!("{at}.headerParameters"),
        &http["HeaderParameters"],
        Kind::HeaderKey,
        Kind::HeaderValue,
    );
    let query = &http["QueryStringParameters"];
    check_map(request, &format!("{at}.queryStringParameters"), query, Kind::QueryKey, Kind::QueryValue);
}

fn check_map(request: &Request<'_>, at: &str, map: &Value, keys: Kind, values: Kind) {
    let Some(map) = map.as_object() else { return };
    let bounds = |kind: Kind| {
        format!(
            "[Member must have length less than or equal to {CHARS_MAX}, Member must have length greater than or equal to \
             0, Member must satisfy regular expression pattern: {}]",
            kind.pattern()
        )
    };
    let fits = |kind: Kind, text: &str| kind.fits(text) && text.chars().count() <= CHARS_MAX;
    let wrong = |what: String| {
        request.found(format!("Value '{}' at '{at}' failed to satisfy constraint: {what}", shown(map)));
    };
    if !map.keys().all(|key| fits(keys, key)) {
        wrong(format!("Map keys must satisfy constraint: {}", bounds(keys)));
    }
    if !map.values().all(|value| value.as_str().is_some_and(|text| fits(values, text))) {
        wrong(format!("Map value must satisfy constraint: {}", bounds(values)));
    }
}

fn shown(map: &Map<String, Value>) -> String {
    let pair = |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap_or("?"));
    format!("{{{}}}", map.iter().map(pair).collect::<Vec<_>>().join(", "))
}

/// `AuthParameters` of a connection: parameters added to every request, and to requests for a token.
pub(super) fn check_connection(request: &Request<'_>, parameters: &Value) {
    let of_invocation = ("authParameters.invocationHttpParameters", &parameters["InvocationHttpParameters"]);
    let of_token =
        ("authParameters.oAuthParameters.oAuthHttpParameters", &parameters["OAuthParameters"]["OAuthHttpParameters"]);
    for (at, held) in [of_invocation, of_token] {
        for (member, list, keys, values) in [
            ("HeaderParameters", "headerParameters", Kind::HeaderKey, Kind::HeaderValue),
            ("QueryStringParameters", "queryStringParameters", Kind::QueryKey, Kind::QueryValue),
        ] {
            for (number, pair) in (1..).zip(held[member].as_array().into_iter().flatten()) {
                let at = format!("{at}.{list}.{number}.member");
                check_text(request, &format!("{at}.key"), &pair["Key"], keys, false);
                check_text(request, &format!("{at}.value"), &pair["Value"], values, true);
            }
        }
    }
    let key = &parameters["ApiKeyAuthParameters"];
    if !key["ApiKeyName"].is_null() {
        check_text(
            request,
            "authParameters.apiKeyAuthParameters.apiKeyName",
            &key["ApiKeyName"],
            Kind::HeaderKey,
            false,
        );
    }
    let is_sent = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_ascii_control() && c != '\t');
    if key["ApiKeyValue"].as_str().is_some_and(|value| !is_sent(value)) {
        request.found(
            "Value at 'authParameters.apiKeyAuthParameters.apiKeyValue' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: ^[ \\t]*[^\\x00-\\x1F:\\x7F]+([ \\t]+[^\\x00-\\x1F:\\x7F]+)*[ \\t]*$"
                .into(),
        );
    }
}

/// Checks a text for its part of a request; errors do not quote a secret.
fn check_text(request: &Request<'_>, at: &str, value: &Value, kind: Kind, secret: bool) {
    let Some(text) = value.as_str() else { return request.required_at(at) };
    let shown = if secret { "Value".to_owned() } else { format!("Value '{text}'") };
    if !kind.fits(text) {
        request.found(format!(
            "{shown} at '{at}' failed to satisfy constraint: Member must satisfy regular expression pattern: {}",
            kind.pattern()
        ));
    }
    if text.chars().count() > CHARS_MAX {
        request.found(format!(
            "{shown} at '{at}' failed to satisfy constraint: Member must have length less than or equal to {CHARS_MAX}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(check: impl Fn(&Request<'_>)) -> String {
        let nothing = Map::new();
        let request = Request::new(&nothing);
        check(&request);
        request.check().err().map(|error| error.message).unwrap_or_default()
    }

    #[test]
    fn parameters_that_no_request_can_carry_are_refused() {
        let target = |http: Value| found(|request| check_target(request, "targets.1.member.httpParameters", &http));
        let fine = json!({
            "PathParameterValues": ["$.detail.topic", "a b"],
            "HeaderParameters": { "X-Own": "$.detail.n", "Content-Length": "7" },
            "QueryStringParameters": { "q u": "ü" },
        });
        assert_eq!(target(fine), "");
        for (http, says) in [
            (json!({ "PathParameterValues": [""] }), "pathParameterValues.1.member' failed"),
            (json!({ "PathParameterValues": ["a", " \t"] }), "pathParameterValues.2.member' failed"),
            (json!({ "HeaderParameters": { "Bad Name": "v" } }), "Map keys must satisfy constraint"),
            (json!({ "HeaderParameters": { "": "v" } }), "Map keys must satisfy constraint"),
            (json!({ "HeaderParameters": { "x": "a\nb" } }), "Map value must satisfy constraint"),
            (json!({ "HeaderParameters": { "x": "ü" } }), "Map value must satisfy constraint"),
            (json!({ "HeaderParameters": { "x": "v".repeat(513) } }), "Map value must satisfy constraint"),
            (json!({ "QueryStringParameters": { "a\u{7}": "v" } }), "Map keys must satisfy constraint"),
            (json!({ "QueryStringParameters": { "a": "\u{0}" } }), "Map value must satisfy constraint"),
        ] {
            let message = target(http.clone());
            assert!(message.contains(says), "{http}: {message}");
        }
    }

    #[test]
    fn a_connection_is_refused_without_its_secrets() {
        let connection = |parameters: Value| found(|request| check_connection(request, &parameters));
        let pair = |key: &str, value: &str| json!([{ "Key": key, "Value": value }]);
        for (parameters, says) in [
            (
                json!({ "InvocationHttpParameters": { "HeaderParameters": pair("Bad Name", "v") } }),
                "headerParameters.1.member.key",
            ),
            (
                json!({ "InvocationHttpParameters": { "HeaderParameters": pair("x", "hush\n") } }),
                "headerParameters.1.member.value",
            ),
            (
                json!({ "OAuthParameters": { "OAuthHttpParameters": { "HeaderParameters": pair("x", "hush\n") } } }),
                "oAuthHttpParameters",
            ),
            (json!({ "ApiKeyAuthParameters": { "ApiKeyName": "Bad Name", "ApiKeyValue": "hush" } }), "apiKeyName"),
            (json!({ "ApiKeyAuthParameters": { "ApiKeyName": "x", "ApiKeyValue": "hush\r\nx: y" } }), "apiKeyValue"),
        ] {
            let message = connection(parameters.clone());
            assert!(message.contains(says) && !message.contains("hush"), "{parameters}: {message}");
        }
        let fine = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "X-Api-Key", "ApiKeyValue": "schlüssel" } });
        assert_eq!(connection(fine), "");
    }
}
