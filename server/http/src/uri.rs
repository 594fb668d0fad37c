//! Normalizes the path of a request: characters that were percent-encoded without need are decoded
//! (`/%40connections/…`, as some SDKs write it), before any check or route sees it. Signatures are of the path as it
//! was sent, so that is kept beside it.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The URI as the client sent it.
#[derive(Clone, Debug)]
pub struct AsSent(pub Uri);

/// Normalizes the path of a request.
pub async fn plain(mut request: Request) -> Request {
    if let Some(uri) = respelled(request.uri()) {
        let sent = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(AsSent(sent));
    }
    request
}

/// The normalized URI; none if nothing changes.
fn respelled(uri: &Uri) -> Option<Uri> {
    let path = decoded(uri.path())?;
    let mut parts = uri.clone().into_parts();
    let with_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    parts.path_and_query = Some(PathAndQuery::try_from(with_query).ok()?);
    Uri::from_parts(parts).ok()
}

/// Decodes letters, digits and other characters that mean the same encoded or not. Slashes and percent signs do not.
fn decoded(path: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@:$!,".contains(&byte);
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (mut out, mut rest, mut changed) = (String::new(), path, false);
    while let Some(at) = rest.find('%') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let byte = match behind.as_bytes() {
            [_, high, low, ..] => {
                digit(high).zip(digit(low)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok())
            }
            _ => None,
        };
        match byte.filter(|byte| plain(*byte)) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &behind[3..];
                changed = true;
            }
            None => {
                out.push('%');
                rest = &behind[1..];
            }
        }
    }
    out.push_str(rest);
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_encoding_is_decoded_and_nothing_is_decoded_twice() {
        for (sent, plain) in [
            ("/%40connections/a%3Ab?x=%40", "/@connections/a:b?x=%40"),
            ("/prod/%40connections/x", "/prod/@connections/x"),
            ("/%65vents", "/events"),
            ("/a%2540b%2Fc%20%", "/a%2540b%2Fc%20%"),
            ("/a%4", "/a%4"),
        ] {
            let uri: Uri = sent.parse().unwrap();
            assert_eq!(respelled(&uri).unwrap_or(uri).to_string(), plain, "{sent}");
        }
    }
}
