//! Implemented operations of each AWS service: a server is asked for every operation of AWS, and the page must agree.
//! `UPDATE_GOLDEN=1` rewrites the page.

use crate::aws::call;
use crate::partners::ask;
use crate::server::{Server, answer, fresh_data};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// Heading of the part that is generated from a server's answers.
const GENERATED: &str = "## Operations\n";
const WIDTH: usize = 98;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name)
}

/// An operation of AWS; with method and path for REST services.
struct Operation {
    service: String,
    name: String,
    at: Option<(String, String)>,
}

fn operations() -> Vec<Operation> {
    let text = fs::read_to_string(file("../aws/src/operations.txt")).unwrap();
    let operation = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (service, name) = (words.next().unwrap(), words.next().unwrap());
        Operation { service, name, at: words.next().zip(words.next()) }
    };
    text.lines().map(operation).collect()
}

/// Replaces the names in braces of a path.
fn filled(service: &str, template: &str) -> String {
    let arn = format!("arn%3Aaws%3A{service}%3Alocal%3A123456789012%3Ax");
    let part = |part: &str| match part.starts_with('{') {
        true if part.to_lowercase().contains("arn") => arn.clone(),
        true => "x".to_owned(),
        false => part.to_owned(),
    };
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Whether a server implements an operation; called without members, most answer with a validation error.
fn is_here(server: &Server, service: &str, name: &str, at: Option<&(String, String)>) -> bool {
    let (status, answer) = match (service, at) {
        (_, Some((method, template))) => ask(server, method, &filled(service, template), &[], ""),
        ("sts", None) => {
            let form = [("content-type", "application/x-www-form-urlencoded")];
            ask(server, "POST", "/", &form, &format!("Action={name}&Version=2011-06-15"))
        }
        ("events", None) => call(server, &format!("AWSEvents.{name}"), &json!({})),
        ("sqs", None) => call(server, &format!("AmazonSQS.{name}"), &json!({})),
        ("logs", None) => call(server, &format!("Logs_20140328.{name}"), &json!({})),
        other => panic!("nobody knows how to ask {other:?}"),
    };
    let said = answer.to_string();
    assert!(!said.contains("not_found") && status != 405, "{service} {name} is answered {status} {said}");
    let is_not = ["NotImplemented", "UnknownOperationException"];
    let is_here = !is_not.iter().any(|code| said.contains(code));
    assert!(is_here || said.contains(name), "{service} {name}: {said}");
    is_here
}

fn write_list(page: &mut String, what: &str, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let mut line = format!("{what}:");
    for (index, name) in names.iter().enumerate() {
        let word = if index + 1 < names.len() { format!("`{name}`,") } else { format!("`{name}`") };
        if line.len() + 1 + word.len() > WIDTH {
            writeln!(page, "{line}").unwrap();
            line = word;
        } else {
            line = format!("{line} {word}");
        }
    }
    writeln!(page, "{line}\n").unwrap();
}

#[test]
fn the_page_of_services_says_what_a_server_carries_out() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut services: BTreeMap<usize, (String, Vec<String>, Vec<String>)> = BTreeMap::new();
    let mut order = Vec::new();
    for Operation { service, name, at } in operations() {
        let place = order.iter().position(|known| *known == service).unwrap_or_else(|| {
            order.push(service.clone());
            order.len() - 1
        });
        let (_, here, not) = services.entry(place).or_insert_with(|| (service.clone(), Vec::new(), Vec::new()));
        if is_here(&server, &service, &name, at.as_ref()) { here.push(name) } else { not.push(name) }
    }
    let mut generated = GENERATED.to_owned();
    for (service, here, not) in services.values() {
        writeln!(generated, "\n### {service}: {} of {}\n", here.len(), here.len() + not.len()).unwrap();
        write_list(&mut generated, "Here", here);
        write_list(&mut generated, "Not here", not);
        generated.truncate(generated.trim_end().len());
        generated.push('\n');
    }
    let path = file("services.md");
    let page = fs::read_to_string(&path).unwrap();
    let (prose, _) = page.split_once(GENERATED).expect("the page has its heading");
    let expected = format!("{prose}{generated}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(&path, expected).unwrap(); // the binary still contains the old page
    }
    assert!(page == expected, "services.md is not what a server says: UPDATE_GOLDEN=1 writes it");
    let long = page.lines().find(|line| line.chars().count() > WIDTH + 1);
    assert_eq!(long, None, "lines of the page must fit a terminal");
    assert!(answer(&["help", "services"]).contains(page.trim()), "`fakemon help services` is the page");
    assert_eq!(answer(&["services"]), page);
    let told: Vec<Value> = services
        .values()
        .map(|(service, here, not)| json!({ "service": service, "here": here, "not_here": not }))
        .collect();
    for arguments in [&["services", "--json"][..], &["help", "services", "--json"]] {
        assert_eq!(serde_json::from_str::<Value>(&answer(arguments)).unwrap(), json!({ "services": told }));
    }
}

#[test]
fn what_is_not_here_is_told_by_name_in_the_form_that_a_client_reads() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (status, told) = call(&server, "Logs_20140328.CreateExportTask", &json!({}));
    assert_eq!((status, &told["__type"]), (501, &json!("NotImplemented")));
    assert!(told["message"].as_str().unwrap().contains("fakemon services"), "{told}");
    let (status, told) = call(&server, "Logs_20140328.MakeTea", &json!({}));
    assert_eq!((status, &told["__type"]), (400, &json!("UnknownOperationException")));
    let (status, told) = ask(&server, "GET", "/restapis", &[], "");
    assert_eq!((status, &told["Code"]), (501, &json!("NotImplemented")));
    assert!(told["message"].as_str().unwrap().contains("GetRestApis of Amazon API Gateway"), "{told}");
    assert_eq!(ask(&server, "GET", "/nothing", &[], "").0, 404);
    // A client of S3 gets XML, not the page.
    let (status, told) = ask(&server, "GET", "/?x-id=ListBuckets", &[], "");
    let Value::String(told) = told else { panic!("no XML: {told}") };
    assert!(status == 501 && told.contains("<Error><Code>NotImplemented</Code><Message>ListBuckets"), "{told}");
    let signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    for (method, path) in [("GET", "/"), ("PUT", "/bucket"), ("GET", "/bucket/key")] {
        let (status, told) = ask(&server, method, path, &[("authorization", signed)], "");
        assert!(status == 501 && told.to_string().contains("<Error>"), "{method} {path}: {status} {told}");
    }
}

#[test]
fn a_client_of_a_service_that_is_not_spoken_reads_so_in_its_own_form() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for (target, operation) in [
        ("DynamoDB_20120810.ListTables", "ListTables"),
        ("AWSStepFunctions.ListStateMachines", "ListStateMachines"),
        ("Kinesis_20131202.ListStreams", "ListStreams"),
        ("secretsmanager.ListSecrets", "ListSecrets"),
        ("AmazonSSM.GetParameter", "GetParameter"),
    ] {
        let (status, told) = call(&server, target, &json!({}));
        assert_eq!((status, &told["__type"]), (501, &json!("NotImplemented")), "{target}: {told}");
        let message = told["message"].as_str().unwrap();
        let service = target.split('.').next().unwrap();
        assert!([operation, service, "fakemon services"].iter().all(|part| message.contains(part)), "{message}");
    }
    assert_eq!(call(&server, "nonsense", &json!({})).0, 400);
    let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let signed = |service: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        )
    };
    for (service, action, version, around) in [
        ("sns", "ListTopics", "2010-03-31", "<ErrorResponse"),
        ("iam", "ListUsers", "2010-05-08", "<ErrorResponse"),
        ("monitoring", "ListMetrics", "2010-08-01", "<ErrorResponse"),
        ("ec2", "DescribeVpcs", "2016-11-15", "<Response><Errors><Error>"),
    ] {
        let headers = [form, ("authorization", &*signed(service))];
        let (status, told) = ask(&server, "POST", "/", &headers, &format!("Action={action}&Version={version}"));
        let Value::String(told) = told else { panic!("no XML: {told}") };
        let said = format!("{action} of {service} is not implemented");
        let parts = [around, "<Code>NotImplemented</Code>", &said, "fakemon services"];
        assert!(status == 501 && parts.iter().all(|part| told.contains(part)), "{service}: {status} {told}");
    }
    let path = "/service/GraniteServiceVersion20100801/operation/ListMetrics";
    let mut response = ureq::post(format!("http://{}{path}", server.control))
        .config()
        .http_status_as_error(false)
        .build()
        .header("smithy-protocol", "rpc-v2-cbor")
        .header("content-type", "application/cbor")
        .send_empty()
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (501, &"application/cbor".parse().unwrap())
    );
    let body = response.body_mut().read_to_vec().unwrap();
    let beginning = b"\xA2\x79\0\x06__type\x79\0\x0ENotImplemented\x79\0\x07message\x79\0";
    assert!(body.starts_with(beginning), "{body:?}");
    let told = String::from_utf8_lossy(&body);
    assert!(told.contains("ListMetrics of the service GraniteServiceVersion20100801"), "{told:?}");
}

#[test]
fn tools_ask_who_calls_before_anything_else() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let asked = "Action=GetCallerIdentity&Version=2011-06-15";
    let (status, xml) = ask(&server, "POST", "/", &[form], asked);
    let Value::String(xml) = xml else { panic!("no XML: {xml}") };
    assert_eq!(status, 200);
    for part in [
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">",
        "<GetCallerIdentityResult><Account>123456789012</Account>",
        "<Arn>arn:aws:iam::123456789012:root</Arn>",
        "<UserId>123456789012</UserId>",
        "<ResponseMetadata><RequestId>",
    ] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    let (_, told) = ask(&server, "POST", "/", &[form, ("accept", "application/json")], asked);
    assert_eq!(told["GetCallerIdentityResponse"]["GetCallerIdentityResult"]["Account"], "123456789012");
    let (status, xml) = ask(&server, "POST", "/", &[form], "Action=MakeTea&Version=2011-06-15");
    assert!(status == 400 && xml.to_string().contains("<Code>InvalidAction</Code>"), "{xml}");
}

/// Clients keep their connections: a request whose body nothing looks at is answered, and so is the one behind it.
#[test]
fn a_connection_outlives_a_large_request_for_what_is_not_here() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut stream = TcpStream::connect(server.control).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let body = "x".repeat(200_000);
    for (line, status) in [("POST /restapis", "501"), ("PATCH /nowhere", "404"), ("PUT /metrics", "405")] {
        let head = format!("{line} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", server.control, body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
        let (mut first, mut length) = (String::new(), 0);
        assert!(answers.read_line(&mut first).unwrap() > 0, "{line}: the connection is closed");
        assert_eq!(first.split(' ').nth(1), Some(status), "{line}");
        loop {
            let mut header = String::new();
            answers.read_line(&mut header).unwrap();
            if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if header == "\r\n" {
                break;
            }
        }
        answers.read_exact(&mut vec![0; length]).unwrap();
    }
}
