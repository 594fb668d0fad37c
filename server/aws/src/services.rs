//! Which operations of AWS are implemented here. `operations.txt` lists those of the supported services, from the
//! models of AWS's own SDKs: an operation that is not implemented is answered with its name and a pointer to the list
//! of those that are. `fakemon services` prints that page; a test asks a server for every operation and compares.
//!
//! ```text
//! logs GetLogEvents                         of the JSON and the query protocol: service, operation
//! apigateway GetApiKey GET /apikeys/{…}     of services with paths of their own: method and path as well
//! ```

use crate::query::{self, Dialect};
use crate::{ApiError, rest, uuid};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fakemon_http::refusal::Refusal;
use serde_json::json;
use std::sync::LazyLock;

/// The version of EC2's protocol, whose errors have another format.
const EC2_VERSION: &str = "2016-11-15";
/// Namespace of AWS's errors that belong to no service.
const FAULTS: Dialect = Dialect { namespace: "http://webservices.amazon.com/AWSFault/2005-15-09" };

/// An operation of AWS.
struct Listed {
    service: &'static str,
    name: &'static str,
    at: Option<(&'static str, &'static str)>,
}

static OPERATIONS: LazyLock<Vec<Listed>> = LazyLock::new(|| {
    let operation = |line: &'static str| {
        let mut words = line.split(' ');
        let (service, name) = (words.next()?, words.next()?);
        Some(Listed { service, name, at: words.next().zip(words.next()) })
    };
    include_str!("operations.txt").lines().filter_map(operation).collect()
});

/// The names of services, as AWS writes them.
fn full_name(service: &str) -> &'static str {
    match service {
        "events" => "Amazon EventBridge",
        "sqs" => "Amazon SQS",
        "logs" => "Amazon CloudWatch Logs",
        "sts" => "AWS STS",
        "scheduler" => "Amazon EventBridge Scheduler",
        "pipes" => "Amazon EventBridge Pipes",
        "schemas" => "Amazon EventBridge Schemas",
        "apigateway" => "Amazon API Gateway",
        "apigatewaymanagementapi" => "the management API of Amazon API Gateway",
        _ => "AWS",
    }
}

fn not_implemented(what: &str) -> ApiError {
    ApiError {
        status: StatusCode::NOT_IMPLEMENTED,
        code: "NotImplemented",
        message: format!("{what} is not implemented here: `fakemon services` lists what is"),
    }
}

/// The error for an operation that is not implemented: one of AWS, or an unknown one.
pub fn not_here(service: &str, name: &str) -> ApiError {
    match OPERATIONS.iter().find(|one| one.service == service && one.name == name) {
        Some(one) => not_implemented(&format!("{} of {}", one.name, full_name(service))),
        None => {
            ApiError::new("UnknownOperationException", format!("{} has no operation `{name}`", full_name(service)))
        }
    }
}

/// Whether a path matches a template: a name in braces matches one part, with a plus all that follow.
fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(part), Some(said)) if part.starts_with('{') && !said.is_empty() => {
                if part.ends_with("+}") {
                    return true;
                }
            }
            (Some(part), Some(said)) if part == said => {}
            _ => return false,
        }
    }
}

/// A body that no operation looks at. It is read all the same: an answer before its end would end the connection, and
/// the client's next request on it.
type Unread = Result<Bytes, BytesRejection>;

/// Answers what no path here is for: in AWS's words where AWS's clients ask.
pub async fn elsewhere(method: Method, uri: Uri, headers: HeaderMap, _: Unread) -> Response {
    of_no_path(&method, &uri, &headers)
}

fn of_no_path(method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let is_at = |(at_method, at): (&str, &str)| {
        let (path, query) = at.split_once('?').unwrap_or((at, ""));
        at_method == method.as_str() && fits(path, uri.path()) && uri.query().unwrap_or_default().contains(query)
    };
    // Of two operations at one path, prefer the one that names a query.
    let named = OPERATIONS.iter().filter(|one| one.at.is_some_and(is_at));
    let named = named.max_by_key(|one| one.at.is_some_and(|(_, at)| at.contains('?')));
    if let Some(one) = named {
        return rest::answer(Err(not_here(one.service, one.name)));
    }
    if let Some((service, operation)) = rpc(uri).filter(|_| is_rpc(headers)) {
        return unserved_rpc(service, operation, headers);
    }
    match client_of(headers, uri) {
        Some(service) => unserved(&service, uri),
        None => Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; see /").into_response(),
    }
}

/// The same where a path is known, and its method is not.
pub async fn other_method(method: Method, uri: Uri, headers: HeaderMap, _: Unread) -> Response {
    let answer = of_no_path(&method, &uri, &headers);
    if answer.status() != StatusCode::NOT_FOUND {
        return answer;
    }
    let message = "this path does not answer to this method; see the header allow";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).into_response()
}

/// The service in the credential scope of a signature.
fn service_in(headers: &HeaderMap) -> Option<String> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())?;
    let scope = authorization.strip_prefix("AWS4-HMAC-SHA256")?.split("Credential=").nth(1);
    let scope = scope.and_then(|rest| rest.split([',', ' ']).next());
    Some(scope.and_then(|scope| scope.split('/').nth(3)).unwrap_or_default().to_owned())
}

/// The service that a client of AWS calls: from its signature, or S3 if the query names the operation.
pub fn client_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let signed = service_in(headers);
    signed.or_else(|| operation_in(uri).map(|_| "s3".to_owned()))
}

/// The operation that the query names: `x-id=ListBuckets`.
fn operation_in(uri: &Uri) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == "x-id").map(|(_, value)| value.into_owned())
}

/// Answers a client of an unsupported service; S3's clients read XML.
pub fn unserved(service: &str, uri: &Uri) -> Response {
    let operation = operation_in(uri).unwrap_or_else(|| format!("this path of the service {service}"));
    let error = not_implemented(&operation);
    if service != "s3" {
        return rest::answer(Err(error));
    }
    let escaped = error.message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{escaped}</Message>\
         <RequestId>{}</RequestId></Error>",
        error.code,
        uuid()
    );
    let mut response = (error.status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Answers a target of an unsupported service; none if it is no target at all.
pub fn unserved_target(target: &str, headers: &HeaderMap) -> Option<Response> {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let (service, operation) = target.rsplit_once('.').filter(|(service, name)| is_name(service) && is_name(name))?;
    let error = not_implemented(&format!("{operation} of {}", called(service, headers)));
    // The error is the same in both versions of the protocol; answer in the client's.
    let is_older = headers.get(header::CONTENT_TYPE).is_none_or(|value| value != "application/x-amz-json-1.0");
    let kind = if is_older { "application/x-amz-json-1.1" } else { "application/x-amz-json-1.0" };
    let body = json!({ "__type": error.code, "message": error.message }).to_string();
    Some(told(&error, kind, body.into_bytes()))
}

/// Answers a form of an unsupported service, in the XML of faults; EC2 has another format.
pub fn unserved_form(action: &str, version: &str, headers: &HeaderMap) -> Response {
    let service = service_in(headers).unwrap_or_default();
    let service = if service.is_empty() { format!("the service of version {version}") } else { service };
    let error = not_implemented(&format!("{action} of {service}"));
    if version != EC2_VERSION {
        return query::refused(FAULTS, headers, &error, error.code);
    }
    let mut body = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let fault = json!({ "Code": error.code, "Message": error.message });
    query::write_element(&mut body, "Response", &json!({ "Errors": { "Error": fault }, "RequestID": uuid() }));
    told(&error, "text/xml", body.into_bytes())
}

/// Name of a service: from the signature of a request, else from its target or path.
fn called(name: &str, headers: &HeaderMap) -> String {
    service_in(headers)
        .filter(|signed| !signed.is_empty())
        .map_or_else(|| format!("the service {name}"), |signed| format!("the service {signed} ({name})"))
}

/// The operation of a path of the protocol RPC v2: `/service/GraniteServiceVersion20100801/operation/ListMetrics`.
fn rpc(uri: &Uri) -> Option<(&str, &str)> {
    // The endpoint's own path may come before it.
    let (_, rest) = uri.path().split_once("/service/")?;
    rest.split_once("/operation/").filter(|(service, name)| !service.is_empty() && !name.contains('/'))
}

fn is_rpc(headers: &HeaderMap) -> bool {
    headers.get("smithy-protocol").is_some_and(|protocol| protocol == "rpc-v2-cbor")
}

/// Answers the RPC v2 protocol in CBOR: a map of two texts.
fn unserved_rpc(service: &str, operation: &str, headers: &HeaderMap) -> Response {
    let error = not_implemented(&format!("{operation} of {}", called(service, headers)));
    let mut body = vec![0xA2];
    for part in ["__type", error.code, "message", &error.message] {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        body.push(0x79); // a text with a length of two bytes
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(&part.as_bytes()[..length.into()]);
    }
    let mut response = told(&error, "application/cbor", body);
    response.headers_mut().insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    response
}

fn told(error: &ApiError, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = (error.status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-amzn-errortype", HeaderValue::from_static(error.code));
    headers.insert("x-amzn-requestid", HeaderValue::from_str(&uuid()).expect("hexadecimal"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_templates_part_by_part() {
        for (template, path, is) in [
            ("/restapis", "/restapis", true),
            ("/restapis", "/restapis/x", false),
            ("/restapis/{id}", "/restapis/x", true),
            ("/restapis/{id}", "/restapis/", false),
            ("/restapis/{id}/stages", "/restapis/x/stages", true),
            ("/restapis/{id}/stages", "/restapis/x/models", false),
            ("/a/{rest+}", "/a/b/c", true),
        ] {
            assert_eq!(fits(template, path), is, "{template} {path}");
        }
    }

    #[test]
    fn an_operation_of_aws_that_is_not_here_is_named_with_the_page() {
        let error = not_here("logs", "CreateExportTask");
        assert_eq!((error.status, error.code), (StatusCode::NOT_IMPLEMENTED, "NotImplemented"));
        assert!(error.message.contains("CreateExportTask of Amazon CloudWatch Logs"), "{}", error.message);
        assert_eq!(not_here("logs", "MakeTea").code, "UnknownOperationException");
        assert!(OPERATIONS.len() > 300);
    }
}
