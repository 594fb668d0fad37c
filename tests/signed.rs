//! Signatures: with access keys, requests that change anything need one, and others are rejected in AWS's words.
//! Requests are made by hand, and by boto3 if it is installed.

use crate::server::{Server, fresh_data, refusal};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, SystemTime};

const ID: &str = "AKIAFAKEMON";
const SECRET: &str = "hush/this+is/the-secret-of-ana";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

/// A server with one key.
fn keyed(data: &tempfile::TempDir, more: &[&str]) -> Server {
    let keys = data.path().join("access.keys");
    std::fs::write(&keys, format!("# of the tests\n{ID} {SECRET} # ana\n")).unwrap();
    let arguments = [&["--access-keys-file", keys.to_str().unwrap()], more].concat();
    Server::start(&data.path().join("world"), &arguments)
}

/// A request before it is signed.
#[derive(Clone)]
struct Draft {
    id: &'static str,
    secret: &'static str,
    service: &'static str,
    at: SystemTime,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Draft {
    fn to(service: &'static str, target: &str, body: &Value) -> Draft {
        let headers = vec![("x-amz-target", target.to_owned())];
        let (at, path) = (SystemTime::now(), "/".into());
        Draft { id: ID, secret: SECRET, service, at, path, headers, body: body.to_string() }
    }

    fn list_buses() -> Draft {
        Draft::to("events", "AWSEvents.ListEventBuses", &json!({}))
    }

    fn put_event() -> Draft {
        let detail = json!({ "species": "sparkit", "lat": 1, "lon": 1 });
        let event = json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": detail });
        Draft { path: "/events".into(), headers: Vec::new(), ..Draft::to("events", "", &event) }
    }

    fn at(offset_s: i64) -> Draft {
        let offset = Duration::from_secs(offset_s.unsigned_abs());
        let now = SystemTime::now();
        Draft { at: if offset_s < 0 { now - offset } else { now + offset }, ..Draft::list_buses() }
    }

    /// The request as it goes over the wire.
    fn signed(&self) -> String {
        let identity = Credentials::new(self.id, self.secret, None, None, "test").into();
        let settings = SigningSettings::default();
        let params = v4::SigningParams::builder().identity(&identity).region("eu-south-2").name(self.service);
        let params = params.time(self.at).settings(settings).build().unwrap().into();
        let body = match self.headers.iter().any(|(_, value)| value == "UNSIGNED-PAYLOAD") {
            true => SignableBody::UnsignedPayload,
            false => SignableBody::Bytes(self.body.as_bytes()),
        };
        let headers = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers = headers.chain([("host", "fakemon.example")]);
        let request = SignableRequest::new("POST", self.path.as_str(), headers, body).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let mut text = self.unsigned();
        for (name, value) in instructions.headers() {
            text.insert_str(text.find("\r\n\r\n").unwrap(), &format!("\r\n{name}: {value}"));
        }
        text
    }

    fn unsigned(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = self.body.len();
        format!(
            "POST {} HTTP/1.1\r\nhost: fakemon.example\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{}",
            self.path, self.body
        )
    }
}

/// Status, head and JSON of the answer to a request.
fn ask(server: &Server, request: &str) -> (u16, String, Value) {
    let answer = server.raw(request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn a_path_is_signed_as_it_was_sent_and_who_calls_is_told_to_whoever_signs() {
    let data = fresh_data();
    let server = keyed(&data, &[]);
    for path in ["/%40connections/x", "/@connections/x", "/prod/%40connections/x"] {
        let draft = Draft { path: path.into(), headers: Vec::new(), ..Draft::to("execute-api", "", &json!({})) };
        assert_eq!(
            ask(&server, &draft.signed()).0,
            410,
            "{path}: the signature is good, the connection is not there"
        );
        assert_eq!(ask(&server, &draft.unsigned()).0, 403, "{path}");
    }
    let form = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
    let body = "Action=GetCallerIdentity&Version=2011-06-15".to_owned();
    let draft = Draft { headers: form, body, ..Draft::to("sts", "", &json!({})) };
    assert_eq!((ask(&server, &draft.signed()).0, ask(&server, &draft.unsigned()).0), (200, 403));
}

#[test]
fn whoever_signs_for_the_service_that_is_called_is_answered_and_whoever_does_not_hears_why() {
    let data = fresh_data();
    let server = keyed(&data, &[]);
    for service in ["events", "sqs", "logs", "scheduler", "pipes", "schemas", "execute-api", "apigateway"] {
        let (status, _, answer) = ask(&server, &Draft { service, ..Draft::put_event() }.signed());
        assert_eq!(status, 200, "what is not AWS's is signed for any service: {answer}");
        let (status, _, answer) = ask(&server, &Draft { service, ..Draft::list_buses() }.signed());
        assert_eq!(status, if service == "events" { 200 } else { 400 }, "{answer}");
    }
    let (_, _, answer) = ask(&server, &Draft::list_buses().signed());
    let arn = answer["EventBuses"][0]["Arn"].as_str().unwrap();
    assert!(arn.contains(":eu-south-2:"), "the region is that of the signature: {arn}");
    let (good, query) = (Draft::list_buses(), Draft { path: "/?b=%20x&a=1".into(), ..Draft::list_buses() });
    assert_eq!(ask(&server, &query.signed()).0, 200);
    assert_eq!(ask(&server, &Draft::at(-14 * 60).signed()).0, 200);
    assert_eq!(ask(&server, &Draft::at(14 * 60).signed()).0, 200);

    let (missing, incomplete) = ("MissingAuthenticationTokenException", "IncompleteSignatureException");
    let (unknown, invalid) = ("UnrecognizedClientException", "InvalidSignatureException");
    let other = |from: &str, to: &str| good.signed().replacen(from, to, 1);
    let long = Draft { path: format!("/?{}", "%20".repeat(5_000)), ..good.clone() };
    let payload = ("x-amz-content-sha256", "UNSIGNED-PAYLOAD".to_owned());
    let payload = Draft { headers: [good.headers.clone(), vec![payload]].concat(), ..good.clone() };
    for (request, code, message) in [
        (good.unsigned(), missing, "Request is missing Authentication Token"),
        (
            other("authorization: AWS4-HMAC-SHA256", "authorization: Bearer"),
            incomplete,
            "Unsupported AWS 'algorithm'",
        ),
        (other("SignedHeaders=", "Signed="), incomplete, "Authorization header requires 'SignedHeaders' parameter."),
        (other("Signature=", "S="), incomplete, "Authorization header requires 'Signature' parameter."),
        (other("x-amz-date:", "x-date:"), incomplete, "requires existence of a 'X-Amz-Date' header."),
        (other("/aws4_request", ""), incomplete, "Credential must have exactly 5 slash-delimited elements"),
        (
            Draft { id: "AKIANOBODY", ..good.clone() }.signed(),
            unknown,
            "The security token included in the request is invalid.",
        ),
        (other("x-amz-date:", "x-amz-security-token: t\r\nx-amz-date:"), unknown, "security token"),
        (Draft { secret: "guessed", ..good.clone() }.signed(), invalid, MISMATCH),
        (other("\r\n\r\n{}", "\r\n\r\n[]"), invalid, MISMATCH),
        (other("ListEventBuses", "ListEndpointss"), invalid, MISMATCH),
        (other("host: fakemon", "host: fakemen"), invalid, MISMATCH),
        (other("POST /", "POST /?a=1"), invalid, MISMATCH),
        (other("/eu-south-2/", "/eu-south-1/"), invalid, MISMATCH),
        (other("Signature=", "Signature=0"), invalid, MISMATCH),
        (other(";x-amz-target", ""), invalid, "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization."),
        (other("=host;", "="), invalid, "'Host' must be a 'SignedHeader' in the AWS Authorization."),
        (other("=host;", "=absent;host;"), invalid, MISMATCH),
        (payload.signed(), invalid, MISMATCH),
        (Draft::at(-16 * 60).signed(), invalid, "Signature expired: "),
        (Draft::at(16 * 60).signed(), invalid, "Signature not yet current: "),
        (
            Draft { service: "sqs", ..good.clone() }.signed(),
            invalid,
            "Credential should be scoped to correct service: 'events'.",
        ),
        (
            Draft { service: "s3", ..Draft::to("events", "", &json!({})) }.signed(),
            invalid,
            "Credential should be scoped to one of the services",
        ),
        (long.signed(), invalid, "have at most"),
    ] {
        let (status, head, answer) = ask(&server, &request);
        assert_eq!((status, &answer["__type"]), (400, &json!(code)), "{request}\n{answer}");
        assert!(answer["message"].as_str().unwrap().contains(message), "{message}: {answer}");
        assert!(head.contains(&format!("x-amzn-errortype: {code}")), "{head}");
    }
    assert_eq!(ask(&server, &good.signed()).0, 200, "the server is undisturbed");
}

#[test]
fn what_only_reads_stays_open_everything_else_is_closed_and_no_secret_is_logged() {
    let data = fresh_data();
    let server = keyed(&data, &["--log-level", "trace"]);
    for path in ["/", "/page.css", "/page.js", "/figures", "/metrics", "/healthz", "/readyz"] {
        assert_eq!(server.get(path).0, 200, "{path}");
    }
    for path in ["/?Action=ListQueues", "/123456789012/q?Action=DeleteQueue&Version=2012-11-05"] {
        let (status, xml) = server.get(path);
        assert!(status == 403 && xml.contains("<Code>MissingAuthenticationToken</Code>"), "{path}: {status} {xml}");
    }
    let (status, _, answer) = ask(&server, &Draft::put_event().unsigned());
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("not_signed")), "{answer}");
    let (status, _, answer) = ask(&server, &Draft::put_event().signed());
    assert_eq!(status, 200, "{answer}");
    for path in ["/123456789012/queue", "/@connections/1", "/nowhere", "/metrics"] {
        let (status, _, answer) = ask(&server, &Draft { path: path.into(), ..Draft::put_event() }.unsigned());
        assert_eq!((status, &answer["__type"]), (403, &json!("MissingAuthenticationTokenException")), "{path}");
    }
    let list = Draft { secret: "guessed", ..Draft::to("sqs", "AmazonSQS.ListQueues", &json!({})) };
    let (status, head, answer) = ask(&server, &list.signed());
    assert_eq!((status, &answer["message"]), (400, &json!(MISMATCH)));
    assert!(head.contains("x-amzn-query-error: SignatureDoesNotMatch;Sender"), "{head}");
    let log = server.log();
    assert!(log.contains("not let in") && !log.contains(SECRET), "{log}");
}

#[test]
fn a_file_of_keys_that_cannot_be_one_is_told_by_its_setting() {
    let data = fresh_data();
    let (world, keys) = (data.path().join("world"), data.path().join("access.keys"));
    for (text, expected) in
        [("", "it holds no key"), ("AKIA1 hush-hush-hush-hush\nhush", "line 2: write one `access_key_id")]
    {
        std::fs::write(&keys, text).unwrap();
        let arguments = ["serve", "--data", world.to_str().unwrap(), "--access-keys-file", keys.to_str().unwrap()];
        let (code, line) = refusal(&arguments);
        assert!(code == 1 && line.contains("aws.access_keys_file") && line.contains(expected), "{line}");
        assert!(!line.contains("hush") && !world.exists(), "{line}");
    }
}

/// Calls as users write them; the last line confirms that all succeeded.
const BOTO3: &str = r#"
import boto3, sys
from botocore.config import Config
from botocore.exceptions import ClientError

url, key, secret = sys.argv[1:]
def client(service, key, secret):
    config = Config(retries={"total_max_attempts": 1})
    return boto3.client(service, endpoint_url=url, region_name="eu-west-1", aws_access_key_id=key,
                        aws_secret_access_key=secret, config=config)

events, sqs, logs = (client(service, key, secret) for service in ("events", "sqs", "logs"))
queue = sqs.create_queue(QueueName="sold")["QueueUrl"]
arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]["QueueArn"]
events.put_rule(Name="sold", EventPattern='{"source":["shop"]}')
events.put_targets(Rule="sold", Targets=[{"Id": "queue", "Arn": arn}])
events.put_events(Entries=[{"Source": "shop", "DetailType": "sold", "Detail": '{"what": "ball \u00e9"}'}])
message = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"][0]
assert "ball" in message["Body"], message
logs.create_log_group(logGroupName="/aws/events/all")

def code(service, call, key, secret):
    try:
        getattr(client(service, key, secret), call)()
    except ClientError as error:
        return error.response["Error"]["Code"]
for service, call, codes in (
    ("events", "list_event_buses", ["InvalidSignatureException", "UnrecognizedClientException"]),
    ("sqs", "list_queues", ["SignatureDoesNotMatch", "InvalidClientTokenId"]),
):
    found = [code(service, call, key, "guessed"), code(service, call, "AKIANOBODY", secret)]
    assert found == codes, found
print("as it should be")
"#;

#[test]
fn boto3_signs_as_the_server_checks() {
    let has_boto3 = Command::new("python3").args(["-c", "import boto3"]).output();
    if !has_boto3.is_ok_and(|output| output.status.success()) {
        return eprintln!("left out: no boto3 here (pip install boto3)");
    }
    let data = fresh_data();
    let server = keyed(&data, &[]);
    let url = format!("http://{}", server.control);
    let mut python = Command::new("python3");
    python.args(["-c", BOTO3, &url, ID, SECRET]).env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    let output = python.output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("as it should be"), "{said}{wrong}\n{}", server.log());
}
