//! Many messages in one call: `POST /@connections?batch`, one JSON object per line. Each names a connection (`id`) or
//! several (`ids`), and has one message: `text`, any `json`, or `base64` for a binary frame.
//!
//! ```json
//! {"id": "68f3…", "text": "hello"}
//! {"ids": ["68f3…", "68f4…"], "json": {"type": "raid", "at": "Sol"}}
//! ```
//!
//! The answer counts the messages that reached their connection, that were refused, and whose connection is closed,
//! and lists the first thousand of the latter two by line: `{"line": 2, "id": "68f4…", "status": 410}`. If a line is
//! invalid, the answer names it and nothing is sent.

use super::{MESSAGE_BYTES_MAX, Refused, bad};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fakemon_edge::{ConnectionId, OutgoingMessage, Said, Undelivered};
use fakemon_pattern::typed;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Messages of one call.
const LETTERS_MAX: usize = 65_536;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'l> {
    #[serde(borrow, default)]
    id: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    ids: Vec<Cow<'l, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    json: Option<&'l RawValue>,
    #[serde(borrow, default)]
    base64: Option<Cow<'l, str>>,
}

/// A parsed call.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    letters: Vec<OutgoingMessage>,
    /// The line of each letter.
    lines: Vec<u32>,
    /// Lines with an id that no connection can have.
    strangers: Vec<(u32, String)>,
}

impl Batch {
    /// Parses a body.
    pub(super) fn read(body: &[u8]) -> Result<Batch, Refused> {
        let mut batch = Batch::default();
        for (number, text) in (1..).zip(body.split(|byte| *byte == b'\n')) {
            if !text.trim_ascii().is_empty() {
                batch.take(number, text).map_err(|Refused(status, code, message)| {
                    Refused(status, code, format!("line {number}: {message}"))
                })?;
            }
        }
        Ok(batch)
    }

    fn take(&mut self, number: u32, text: &[u8]) -> Result<(), Refused> {
        let line: Line<'_> = typed::from_slice(text).map_err(|error| bad(error.to_string()))?;
        let (range, is_text) = self.message(&line)?;
        if line.id.is_none() && line.ids.is_empty() {
            return Err(bad("give id, or ids"));
        }
        for id in line.id.iter().chain(&line.ids) {
            match id.parse::<ConnectionId>() {
                Ok(connection) => {
                    self.letters.push(OutgoingMessage { connection, is_text, range: range.clone() });
                    self.lines.push(number);
                }
                Err(()) => self.strangers.push((number, id.chars().take(64).collect())),
            }
        }
        match self.letters.len() + self.strangers.len() <= LETTERS_MAX {
            true => Ok(()),
            false => Err(bad(format!("one call has at most {LETTERS_MAX} messages: make another call"))),
        }
    }

    /// Appends the message of a line; its range in `bytes`, and whether it is text.
    fn message(&mut self, line: &Line<'_>) -> Result<(Range<usize>, bool), Refused> {
        let start = self.bytes.len();
        let is_text = match (&line.text, line.json, &line.base64) {
            (Some(text), None, None) => {
                self.bytes.extend_from_slice(text.as_bytes());
                true
            }
            (None, Some(json), None) => {
                self.bytes.extend_from_slice(json.get().as_bytes());
                true
            }
            (None, None, Some(base64)) => {
                let decoded = STANDARD.decode_vec(base64.as_bytes(), &mut self.bytes);
                decoded.map_err(|error| bad(format!("base64: {error}")))?;
                false
            }
            _ => return Err(bad("give one of text, json and base64")),
        };
        match self.bytes.len() - start <= MESSAGE_BYTES_MAX {
            true => Ok((start..self.bytes.len(), is_text)),
            false => Err(super::too_large()),
        }
    }

    /// The letters for the switchboard, and their bytes.
    pub(super) fn letters(&self) -> (Arc<[u8]>, Vec<OutgoingMessage>) {
        (self.bytes.as_slice().into(), self.letters.clone())
    }

    /// The answer to the call.
    pub(super) fn answer(&self, said: &Said) -> Value {
        let told = |undelivered: &Undelivered| {
            let index = undelivered.index as usize;
            let status = if undelivered.is_gone { StatusCode::GONE } else { StatusCode::TOO_MANY_REQUESTS };
            let id = self.letters[index].connection.to_string();
            json!({ "line": self.lines[index], "id": id, "status": status.as_u16() })
        };
        let strangers = self.strangers.iter().take(1_000);
        let strangers =
            strangers.map(|(line, id)| json!({ "line": line, "id": id, "status": StatusCode::GONE.as_u16() }));
        json!({
            "reached": said.reached,
            "refused": said.refused,
            "gone": said.gone as usize + self.strangers.len(),
            "undelivered": said.undelivered.iter().map(told).chain(strangers).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000000000000000000000";

    #[test]
    fn a_line_is_a_message_for_one_or_for_several() {
        let body = format!(
            "{{\"id\":\"{ID}\",\"text\":\"hi \\u00f1\"}}\r\n\n{{\"ids\":[\"{ID}\",\"x\"],\"json\":{{\"a\":[1] }}}}\n\
             {{\"id\":\"{ID}\",\"base64\":\"/wA=\"}}"
        );
        let batch = Batch::read(body.as_bytes()).unwrap();
        let (bytes, letters) = batch.letters();
        let heard: Vec<_> = letters.iter().map(|letter| (&bytes[letter.range.clone()], letter.is_text)).collect();
        assert_eq!(heard, [("hi ñ".as_bytes(), true), (b"{\"a\":[1] }", true), (&[0xFF, 0], false)]);
        let undelivered = vec![Undelivered { index: 2, is_gone: false }];
        let answer = batch.answer(&Said { reached: 2, refused: 1, undelivered, ..Said::default() });
        assert_eq!(
            answer,
            json!({ "reached": 2, "refused": 1, "gone": 1, "undelivered":
                    [{ "line": 4, "id": ID, "status": 429 }, { "line": 3, "id": "x", "status": 410 }] })
        );
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let long = format!("{{\"id\":\"{ID}\",\"text\":\"{}\"}}", "x".repeat(MESSAGE_BYTES_MAX + 1));
        for (line, status, what) in [
            ("{", 400, "it ends inside of an object"),
            ("7", 400, "must be an object, not 7"),
            (r#"{"text":"x"}"#, 400, "give id, or ids"),
            (r#"{"id":"x"}"#, 400, "give one of text, json and base64"),
            (r#"{"id":"x","text":"a","json":1}"#, 400, "give one of"),
            (r#"{"id":"x","base64":"!"}"#, 400, "base64"),
            (r#"{"id":"x","tekst":"a"}"#, 400, "tekst"),
            (&long, 413, "at most 131072 bytes"),
        ] {
            let Refused(got, _, message) = Batch::read(format!("\n{line}").as_bytes()).unwrap_err();
            assert_eq!(got.as_u16(), status, "{line:.40}");
            assert!(message.starts_with("line 2: ") && message.contains(what), "{message}");
        }
    }
}
