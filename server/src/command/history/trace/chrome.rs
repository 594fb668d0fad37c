//! Spans in the trace event format of Chrome, which Perfetto reads too: complete events, in microseconds, each event
//! of the tree on a line of its own with its stages below.

use fakemon_history::trace::Span;
use serde_json::{Map, Value, json};

/// The contents of the file.
pub(super) fn events(spans: &[Span]) -> Value {
    let start = spans.iter().map(|span| span.from).min().unwrap_or_default();
    let event = |span: &Span| {
        let of_event = span.attributes.iter().any(|(key, _)| *key == "fakemon.position");
        let line = if of_event { span.id } else { span.parent.unwrap_or(span.id) };
        let args = span.attributes.iter().map(|(key, value)| ((*key).to_owned(), value.as_str().into()));
        json!({
            "name": span.name,
            "cat": "fakemon",
            "ph": "X",
            "ts": span.from.ns_since(start) as f64 / 1e3,
            "dur": span.to.ns_since(span.from) as f64 / 1e3,
            "pid": 1,
            "tid": line,
            "args": args.collect::<Map<String, Value>>(),
        })
    };
    json!({
        "traceEvents": spans.iter().map(event).collect::<Vec<_>>(),
        "displayTimeUnit": "ns",
        "otherData": { "begins_at": start.to_string() },
    })
}
