//! Parser of an answer without end: server-sent events (the WHATWG's rules), or lines. Bytes in, events out; every
//! buffer is bounded.

use fakemon_pipe::Heard;
use std::time::Duration;

/// Longest event or line, in bytes.
const HEARD_BYTES_MAX: usize = 1 << 20;
/// The shortest and the longest wait before the next connection that a stream may ask for.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Format of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `text/event-stream`
    Events,
    /// One value on each line.
    Lines,
}

impl Dialect {
    /// The format for a content type.
    pub(crate) fn of(content_type: &str) -> Dialect {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("text/event-stream") { Dialect::Events } else { Dialect::Lines }
    }
}

/// The parser of one answer.
pub(super) struct EventStream {
    dialect: Dialect,
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed after it belongs to the same line break.
    returned: bool,
    begun: bool,
    /// The event or line is too long: it is skipped.
    overlong: bool,
    data: String,
    kind: String,
    last_id: Option<String>,
    /// The wait before the next connection, if the stream named one.
    pub retry: Option<Duration>,
}

impl EventStream {
    pub(crate) fn new(dialect: Dialect, last_id: Option<String>) -> EventStream {
        EventStream {
            dialect,
            line: Vec::new(),
            returned: false,
            begun: false,
            overlong: false,
            data: String::new(),
            kind: String::new(),
            last_id,
            retry: None,
        }
    }

    /// Parses bytes; appends the events that they complete to `heard`.
    pub(crate) fn read(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) {
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => self.end_line(heard),
                _ if self.line.len() >= HEARD_BYTES_MAX => self.overlong = true,
                other => self.line.push(*other),
            }
        }
    }

    fn end_line(&mut self, heard: &mut Vec<Heard>) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = if self.begun { &*line } else { line.strip_prefix('\u{FEFF}').unwrap_or(&line) };
        self.begun = true;
        match self.dialect {
            Dialect::Events => self.event_line(line, heard),
            Dialect::Lines => {
                let overlong = std::mem::take(&mut self.overlong);
                if !line.trim().is_empty() && !overlong {
                    heard.push(Heard { id: None, kind: "message".into(), data: line.to_owned() });
                }
            }
        }
    }

    fn event_line(&mut self, line: &str, heard: &mut Vec<Heard>) {
        if line.is_empty() {
            return self.end_event(heard);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" if self.data.len() + value.len() > HEARD_BYTES_MAX => self.overlong = true,
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => self.kind = value.to_owned(),
            "id" if !value.contains('\0') && value.len() <= 1_024 => self.last_id = Some(value.to_owned()),
            "retry" => {
                let wait = value.parse().ok().map(Duration::from_millis);
                self.retry = wait.map(|wait| wait.clamp(RETRY_MIN, RETRY_MAX)).or(self.retry);
            }
            _ => {}
        }
    }

    fn end_event(&mut self, heard: &mut Vec<Heard>) {
        let (mut data, kind) = (std::mem::take(&mut self.data), std::mem::take(&mut self.kind));
        let overlong = std::mem::take(&mut self.overlong);
        if data.pop().is_some() && !overlong {
            let kind = if kind.is_empty() { "message".into() } else { kind };
            heard.push(Heard { id: self.last_id.clone(), kind, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a text, however its bytes are split.
    fn heard(dialect: Dialect, text: &str) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for size in [1, 2, 7, text.len()] {
            let (mut stream, mut heard) = (EventStream::new(dialect, None), Vec::new());
            text.as_bytes().chunks(size).for_each(|bytes| stream.read(bytes, &mut heard));
            all.push(heard);
        }
        assert!(all.iter().all(|heard| *heard == all[0]), "{all:?}");
        let text = |heard: Heard| (heard.id.unwrap_or_default(), heard.kind, heard.data);
        all.remove(0).into_iter().map(text).collect()
    }

    fn is(id: &str, kind: &str, data: &str) -> (String, String, String) {
        (id.into(), kind.into(), data.into())
    }

    #[test]
    fn server_sent_events_are_read_as_the_standard_says() {
        let text = "\u{FEFF}: hello\r\n\r\nid: 1\r\ndata: a\r\ndata:b\r\n\r\nevent: sold\rdata\r\rid\ndata: {\"x\":1}\n\n\
                    event: nothing\n\nid: 3\ndata:  c\n\ndata: not ended\n";
        assert_eq!(
            heard(Dialect::Events, text),
            [
                is("1", "message", "a\nb"),
                is("1", "sold", ""),
                is("", "message", "{\"x\":1}"),
                is("3", "message", " c")
            ]
        );
        let mut stream = EventStream::new(Dialect::Events, Some("7".into()));
        let mut heard = Vec::new();
        stream.read(b"retry: 250\nretry: soon\ndata: x\n\n", &mut heard);
        assert_eq!((heard[0].id.as_deref(), stream.retry), (Some("7"), Some(Duration::from_millis(250))));
    }

    #[test]
    fn lines_are_values_and_what_is_too_long_is_left_out() {
        assert_eq!(
            heard(Dialect::Lines, "{\"a\":1}\n\n2\r\nopen"),
            [is("", "message", "{\"a\":1}"), is("", "message", "2")]
        );
        for (dialect, before, behind) in [(Dialect::Lines, "", "\n"), (Dialect::Events, "data: ", "\n\n")] {
            let (mut stream, mut heard) = (EventStream::new(dialect, None), Vec::new());
            let long = format!("{before}{}{behind}{before}short{behind}", "x".repeat(HEARD_BYTES_MAX + 1));
            stream.read(long.as_bytes(), &mut heard);
            assert_eq!(heard.iter().map(|heard| heard.data.as_str()).collect::<Vec<_>>(), ["short"], "{dialect:?}");
            assert!(stream.line.capacity() <= 2 * HEARD_BYTES_MAX);
        }
        assert_eq!(Dialect::of("Text/Event-Stream; charset=utf-8"), Dialect::Events);
        assert_eq!(Dialect::of("application/x-ndjson"), Dialect::Lines);
    }
}
