//! `fakemon trace --otlp-endpoint` against collectors that answer as HTTP allows: in chunks, until they close, after
//! a `100 Continue`; and that accept only a part.

use crate::server::{Server, answer, fakemon, fresh_data, refusal};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// A collector that answers one request with these bytes; the request's path and body.
fn collector(answer: &'static str) -> (SocketAddr, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, (told, tells)) = (listener.local_addr().unwrap(), channel());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut first, mut length, mut line) = (String::new(), 0, String::new());
        reader.read_line(&mut first).unwrap();
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        let path = first.split(' ').nth(1).unwrap().to_owned();
        told.send((path, serde_json::from_slice(&body).unwrap())).unwrap();
    });
    (addr, tells)
}

fn journal(seed: &str) -> tempfile::TempDir {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--seed", seed]);
    server.post_event(&json!({ "source": "shop", "detail-type": "sold", "detail": {} }).to_string());
    assert!(server.stop().success());
    data
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

#[test]
fn collectors_are_understood_however_they_answer() {
    let data = journal("1");
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"partialSuccess\":{}}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (addr, requests) = collector(answer);
        let endpoint = format!("http://{addr}/base");
        let output = fakemon(&["trace", "--data", path(data.path()), "1", "--otlp-endpoint", &endpoint]);
        assert!(output.status.success(), "{answer:?}: {}", String::from_utf8_lossy(&output.stderr));
        let (path, body) = requests.recv().unwrap();
        assert_eq!(path, "/base/v1/traces");
        assert!(body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"].is_string(), "{body}");
    }
}

#[test]
fn what_a_collector_does_not_take_is_told() {
    let data = journal("1");
    for (answer, told) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 66\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"2\",\"errorMessage\":\"too old\"}}   ",
            "rejected 2 spans: too old",
        ),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", "503: busy"),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "302"),
    ] {
        let (addr, _requests) = collector(answer);
        let endpoint = format!("http://{addr}");
        let (code, line) = refusal(&["trace", "--data", path(data.path()), "1", "--otlp-endpoint", &endpoint]);
        assert!(code == 1 && line.contains(told), "{line}");
    }
    let (code, line) = refusal(&["trace", "--data", path(data.path()), "1", "--otlp-endpoint", "127.0.0.1:4318"]);
    assert!(code == 1 && line.contains("http://"), "{line}");
}

/// The id of the trace of an event.
fn trace_id(data: &Path, position: &str) -> String {
    let beside = fresh_data();
    let file = beside.path().join("spans.json");
    answer(&["trace", "--data", path(data), position, "--otlp", path(&file)]);
    let spans: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    spans["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"].as_str().unwrap().to_owned()
}

#[test]
fn a_trace_has_an_id_that_no_other_journal_has_and_its_copies_have() {
    let (one, other, beside) = (journal("7"), journal("7"), fresh_data());
    let id = trace_id(one.path(), "2");
    assert_eq!((id.len(), id.trim_start_matches('0').is_empty()), (32, false), "{id}");
    assert_eq!(trace_id(one.path(), "2"), id);
    assert_ne!(trace_id(one.path(), "3"), id);
    assert_ne!(trace_id(other.path(), "2"), id, "the same seed, and another journal");
    let (lines, again) = (beside.path().join("lines.jsonl"), beside.path().join("again"));
    answer(&["export", "--data", path(one.path()), "--format", "jsonl", "--out", path(&lines)]);
    answer(&["import", "--data", path(&again), path(&lines)]);
    assert_eq!(trace_id(&again, "2"), id);
}
