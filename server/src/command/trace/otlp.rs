//! Spans as OpenTelemetry's JSON encoding of OTLP has them: `ExportTraceServiceRequest`. The trace id follows from the
//! first cause, the span ids from their place in the tree, so that exporting twice is exporting once.

use crate::load::{Http, Target};
use anyhow::ensure;
use fakemon_engine::trace::{Span, Trace};
use serde_json::{Value, json};

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;

/// The request that exports them.
pub(super) fn spans(tree: &Trace, spans: &[Span]) -> Value {
    let trace_id = format!("66616b656d6f6e00{:016x}", tree.root.recorded.position.0);
    let span = |span: &Span| {
        let attributes = span.attributes.iter();
        let attributes = attributes.map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }));
        json!({
            "traceId": trace_id,
            "spanId": format!("{:016x}", span.id),
            "parentSpanId": span.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default(),
            "name": span.name,
            "kind": INTERNAL,
            "startTimeUnixNano": span.from.0.to_string(),
            "endTimeUnixNano": span.to.0.to_string(),
            "attributes": attributes.collect::<Vec<_>>(),
        })
    };
    json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "fakemon" } }] },
        "scopeSpans": [{
            "scope": { "name": "fakemon", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]})
}

/// Sends them to a collector.
pub(super) fn send(endpoint: &str, request: &Value) -> anyhow::Result<()> {
    let target = Target::parse(endpoint, "http", true)?;
    let mut http = Http::connect(&target)?;
    http.post("/v1/traces", &request.to_string())?;
    let answer = http.receive()?;
    ensure!((200..300).contains(&answer.status), "the collector answered {}: {}", answer.status, answer.body.trim());
    Ok(())
}
