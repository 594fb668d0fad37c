//! A minimal HTTP/1.1 client for the control plane: one kept connection, requests, answers. Sending and receiving are
//! separate, so that one thread can have a request in flight on each of many connections.

use super::target::Target;
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ANSWER_BYTES_MAX: usize = 16 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the control plane.
pub struct Http {
    stream: TcpStream,
    authority: String,
    bytes: Vec<u8>,
    prepared: String,
}

/// An HTTP answer: status and body.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body as JSON, null if it is empty; an error unless the status is 2xx.
    pub fn json(&self, asked: &str) -> anyhow::Result<Value> {
        ensure!((200..300).contains(&self.status), "{asked} was answered {}: {}", self.status, self.body);
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.body).with_context(|| format!("{asked} was answered: {}", self.body))
    }
}

impl Http {
    pub fn connect(target: &Target) -> anyhow::Result<Http> {
        let stream = target
            .connect()
            .with_context(|| format!("cannot connect to the control plane at {}", target.authority))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Http { stream, authority: target.authority.clone(), bytes: Vec::new(), prepared: String::new() })
    }

    /// Writes a request that goes with the next [`flush`](Http::flush), together with others.
    pub fn prepare_post(&mut self, path: &str, body: &str) {
        let Http { prepared, authority, .. } = self;
        let request = write!(
            prepared,
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        request.expect("text grows as long as there is memory");
    }

    /// Sends the prepared requests.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(self.prepared.as_bytes()).context("cannot send to the control plane")?;
        self.prepared.clear();
        Ok(())
    }

    /// Sets how long an answer is waited for.
    pub fn be_patient(&mut self, patience: Duration) -> anyhow::Result<()> {
        Ok(self.stream.set_read_timeout(Some(patience))?)
    }

    pub fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.get_with(path, &[])
    }

    /// GET with more headers: names and values.
    pub fn get_with(&mut self, path: &str, headers: &[(String, String)]) -> anyhow::Result<Answer> {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.authority);
        self.stream.write_all(request.as_bytes())?;
        self.receive()
    }

    /// Sends a POST with a JSON body.
    pub fn post(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        self.request("POST", path, body)
    }

    /// Sends a request, with a JSON body if it is not empty.
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
        self.send(method, path, "", body)
    }

    /// Calls an operation of the AWS API, and returns its answer.
    pub fn call(&mut self, operation: &str, request: &Value) -> anyhow::Result<Value> {
        self.post_as(operation, request)?;
        self.receive()?.json(operation)
    }

    /// Sends a request for an operation of the AWS API.
    pub fn post_as(&mut self, operation: &str, request: &Value) -> anyhow::Result<()> {
        self.send("POST", "/", &format!("X-Amz-Target: {operation}\r\n"), &request.to_string())
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> anyhow::Result<()> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Type: application/json\r\nContent-Length: \
             {}\r\n\r\n{body}",
            self.authority,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).context("cannot send to the control plane")
    }

    /// The answer to the oldest request that has none.
    pub fn receive(&mut self) -> anyhow::Result<Answer> {
        loop {
            if let Some((answer, taken)) = parse(&self.bytes)? {
                self.bytes.drain(..taken);
                return Ok(answer);
            }
            ensure!(self.bytes.len() < ANSWER_BYTES_MAX, "the control plane's answer has no end");
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk).context("the control plane does not answer")? {
                0 => bail!("the control plane closed the connection"),
                read => self.bytes.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

/// An answer with a `Content-Length` and how many bytes it takes; none while it is incomplete.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Answer, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head =
        std::str::from_utf8(&bytes[..end]).context("the control plane answered with a head that is no text")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("the control plane answered: {}", head.escape_debug()))?;
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let length = headers
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .filter(|length| *length <= ANSWER_BYTES_MAX);
    let length = if status == 204 { Some(0) } else { length };
    let length = length.context("the control plane answered without a usable Content-Length")?;
    let (start, end) = (end + 4, end + 4 + length);
    Ok(bytes.get(start..end).map(|body| {
        let body = String::from_utf8_lossy(body).into_owned();
        (Answer { status, body }, end)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_wherever_it_is_cut() {
        let bytes = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\nx: y\r\n\r\n{}HTTP/1.1 200";
        let whole = bytes.len() - 12;
        for cut in 0..whole {
            assert!(parse(&bytes[..cut]).unwrap().is_none());
        }
        let (answer, taken) = parse(bytes).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_str(), taken), (429, "{}", whole));
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().0.body, "");
        assert!(parse(b"garbage\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").is_err());
    }
}
