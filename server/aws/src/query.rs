//! The query protocol, the oldest of AWS's: a form with `Action` and `Version`, in the body or in the query of the
//! address, answered in XML. Older SDKs and command lines speak nothing else to some services, and STS knows no
//! other.
//!
//! - `Form`: a request
//! - `answered`, `refused`: answers, as XML; as JSON where the client asks for that

use crate::{ApiError, uuid};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Fields of a form, at most.
const FIELDS_MAX: usize = 10_000;

/// Whether the head of a request says that it is a form for an operation.
pub fn is_one(headers: &HeaderMap, uri: &Uri) -> bool {
    let in_address = uri.query().unwrap_or_default().split('&').any(|pair| pair.starts_with("Action="));
    !headers.contains_key("x-amz-target") && (in_address || is_form(headers))
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
}

/// A request: names and values, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// From the query of the address and the body, if they say which operation is meant.
    ///
    /// # Errors
    /// What is no form: a `%` without two hexadecimal digits, text that is not UTF-8, more fields than any operation
    /// has.
    pub fn read(headers: &HeaderMap, uri: &Uri, body: &[u8]) -> Result<Option<Form>, ApiError> {
        let body = if is_form(headers) { body } else { &[] };
        let both = [uri.query().unwrap_or_default().as_bytes(), body];
        let pairs = both.into_iter().flat_map(|pairs| pairs.split(|b| *b == b'&')).filter(|pair| !pair.is_empty());
        let fields: Vec<(String, String)> = pairs.take(FIELDS_MAX + 1).map(field).collect::<Result<_, _>>()?;
        if fields.len() > FIELDS_MAX {
            return Err(malformed(format!("it has more than {FIELDS_MAX} fields")));
        }
        let form = Form(fields);
        Ok(form.get("Action").is_some().then_some(form))
    }

    /// All fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

fn malformed(why: impl std::fmt::Display) -> ApiError {
    ApiError::new("MalformedQueryString", format!("The query string is malformed: {why}."))
}

/// A field of a form: `name=value`, in UTF-8, with `%` before the two digits of a byte and `+` for a space.
fn field(pair: &[u8]) -> Result<(String, String), ApiError> {
    let end = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
    Ok((decoded(&pair[..end])?, decoded(pair.get(end + 1..).unwrap_or_default())?))
}

fn decoded(text: &[u8]) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = rest.split_at_checked(2).filter(|(two, _)| two.iter().all(u8::is_ascii_hexdigit));
                let (two, behind) = digits.ok_or_else(|| malformed("a % is followed by two hexadecimal digits"))?;
                rest = behind;
                let two = std::str::from_utf8(two).expect("two digits in ASCII");
                u8::from_str_radix(two, 16).expect("two hexadecimal digits")
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| malformed("its text is not UTF-8"))
}

/// How a service writes its answers: the namespace of its XML.
#[derive(Clone, Copy)]
pub struct Dialect {
    pub namespace: &'static str,
}

/// An answer of an operation; null is written without a result element.
pub fn answered(dialect: Dialect, headers: &HeaderMap, action: &str, result: &Value) -> Response {
    let request_id = uuid();
    if wants_json(headers) {
        let (result_name, response_name) = (format!("{action}Result"), format!("{action}Response"));
        let body = json!({ response_name: { result_name: result, "ResponseMetadata": { "RequestId": request_id } } });
        return response(StatusCode::OK, "application/json", body.to_string(), &request_id);
    }
    let mut body = format!("<?xml version=\"1.0\"?>\n<{action}Response xmlns=\"{}\">", dialect.namespace);
    write_element(&mut body, &format!("{action}Result"), result);
    write_element(&mut body, "ResponseMetadata", &json!({ "RequestId": request_id }));
    body.push_str(&format!("</{action}Response>\n"));
    response(StatusCode::OK, "text/xml", body, &request_id)
}

/// An error, in XML, or in JSON if the client asks for it.
pub fn refused(dialect: Dialect, headers: &HeaderMap, error: &ApiError, code: &str) -> Response {
    let request_id = uuid();
    let kind = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    let told = json!({ "Type": kind, "Code": code, "Message": error.message });
    if wants_json(headers) {
        let body = json!({ "Error": told, "RequestId": request_id });
        return response(error.status, "application/json", body.to_string(), &request_id);
    }
    let mut body = format!("<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"{}\">", dialect.namespace);
    body.push_str("<Error>");
    for name in ["Type", "Code", "Message"] {
        write_element(&mut body, name, &told[name]);
    }
    body.push_str("<Detail/></Error>");
    write_element(&mut body, "RequestId", &request_id.as_str().into());
    body.push_str("</ErrorResponse>\n");
    response(error.status, "text/xml", body, &request_id)
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.trim_start().starts_with("application/json"))
}

fn response(status: StatusCode, media_type: &'static str, body: String, request_id: &str) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert("x-amzn-requestid", HeaderValue::from_str(request_id).expect("hexadecimal"));
    response
}

/// Writes an element: members of an object in order, elements of a list one after the other under the same name.
pub(super) fn write_element(out: &mut String, name: &str, value: &Value) {
    match value {
        Value::Array(elements) => return elements.iter().for_each(|element| write_element(out, name, element)),
        Value::Null => return,
        _ => {}
    }
    out.push_str(&format!("<{name}>"));
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| write_element(out, name, value)),
        Value::String(text) => write_text(out, text),
        other => out.push_str(&other.to_string()),
    }
    out.push_str(&format!("</{name}>"));
}

/// Escapes text for XML; a character that XML cannot contain becomes U+FFFD.
fn write_text(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"), // a bare one is read as a line feed
            '\t' | '\n' => out.push(c),
            c if c.is_ascii_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_stands_in_the_body_or_in_the_query() {
        let uri: Uri = "/?Action=ListQueues&Version=2012-11-05".parse().unwrap();
        assert_eq!(Form::read(&HeaderMap::new(), &uri, b"").unwrap().unwrap().get("Action"), Some("ListQueues"));
        let form = HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        )]);
        let root: Uri = "/".parse().unwrap();
        let read = Form::read(&form, &root, b"Action=SendMessage&MessageBody=a%26b+c%C3%A9").unwrap().unwrap();
        assert_eq!(read.get("MessageBody"), Some("a&b cé"));
        assert_eq!(Form::read(&HeaderMap::new(), &root, b"Action=SendMessage").unwrap(), None);
        assert_eq!(Form::read(&form, &root, b"a=b&&=").unwrap(), None);
        let many = format!("Action=A{}", "&a=".repeat(FIELDS_MAX));
        for malformed in ["Action=A&a=%zz", "Action=A&%=1", "Action=A&a=%4", "Action=A&a=%FF", "%80=1", &many] {
            let refused = Form::read(&form, &root, malformed.as_bytes()).unwrap_err();
            assert_eq!((refused.code, refused.status), ("MalformedQueryString", StatusCode::BAD_REQUEST));
        }
        assert_eq!(Form::read(&form, &root, b"Action=A&a=\xFF").unwrap_err().code, "MalformedQueryString");
    }

    #[test]
    fn values_become_elements_and_text_is_escaped() {
        let mut out = String::new();
        write_element(&mut out, "R", &json!({ "A": ["x", "<&\u{1}\r"], "B": { "C": 1 }, "N": null, "T": true }));
        assert_eq!(out, "<R><A>x</A><A>&lt;&amp;\u{FFFD}&#xD;</A><B><C>1</C></B><T>true</T></R>");
    }
}
