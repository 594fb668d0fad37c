//! Bodies that are not supported: compressed, or JSON in another encoding than UTF-8. All endpoints reject them with
//! 415, before they are parsed as something else.

use super::aws;
use super::gate;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fakemon_aws::ApiError;
use fakemon_http::refusal::Refusal;

/// Rejects a request whose body is encoded.
pub(super) async fn pass(request: Request, next: Next) -> Response {
    let Some(why) = unreadable(request.headers()) else { return next.run(request).await };
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    match gate::is_own(request.uri().path()) {
        true => Refusal::new(status, "unsupported_media_type", why).into_response(),
        false => {
            let error = ApiError { status, ..ApiError::new("UnsupportedMediaTypeException", why) };
            aws::answer_error(request.uri(), request.headers(), error)
        }
    }
}

/// Why a body is not supported, if it is not.
fn unreadable(headers: &HeaderMap) -> Option<String> {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
    if let Some(coding) = text(header::CONTENT_ENCODING)
        && !coding.is_empty()
        && !coding.eq_ignore_ascii_case("identity")
    {
        return Some(format!("bodies with content-encoding {coding} are not read here: send it uncompressed"));
    }
    let content_type = text(header::CONTENT_TYPE)?;
    let mut parameters = content_type.split(';').map(str::trim);
    let media_type = parameters.next()?.to_ascii_lowercase();
    if !media_type.ends_with("/json") && !media_type.ends_with("+json") && !media_type.contains("x-amz-json") {
        return None;
    }
    let charset = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })?;
    let is_known = ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
    (!is_known).then(|| format!("JSON with charset {charset} is not read here: send it in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_bodies_and_foreign_charsets_of_json_cannot_be_read() {
        let why = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            unreadable(&headers).is_some()
        };
        for value in ["gzip", "br", "GZIP", "identity, gzip", "aws-chunked"] {
            assert!(why("content-encoding", value), "{value}");
        }
        assert!(!why("content-encoding", "identity"));
        for value in [
            "application/json; charset=iso-8859-1",
            "application/x-amz-json-1.1; charset=utf-16",
            "application/cloudevents+json;charset=\"latin1\"",
        ] {
            assert!(why("content-type", value), "{value}");
        }
        for value in ["application/json; charset=UTF-8", "application/json", "text/plain; charset=latin1", "x"] {
            assert!(!why("content-type", value), "{value}");
        }
    }
}
