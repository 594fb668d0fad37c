//! Spans in OpenTelemetry's JSON encoding of OTLP: `ExportTraceServiceRequest`. The trace id is derived from the
//! first cause and its journal, the span ids from their place in the tree, so that exporting again gives the same
//! ids.

use anyhow::{Context, ensure};
use fakemon_access::authority::has_user_info;
use fakemon_history::trace::{Span, Trace};
use serde_json::{Value, json};
use std::time::Duration;
use ureq::Agent;

/// The path below a collector's address.
const TRACES: &str = "/v1/traces";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;

/// The request that exports the spans.
pub(super) fn spans(tree: &Trace, spans: &[Span]) -> Value {
    let trace_id = tree.id.map(|byte| format!("{byte:02x}")).concat();
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

/// Sends spans to a collector. An error, with the collector's message, unless it accepted all of them.
pub(super) fn send(endpoint: &str, request: &Value) -> anyhow::Result<()> {
    let address = address(endpoint)?;
    send_to(&address, request).with_context(|| format!("--otlp-endpoint {endpoint}"))
}

fn send_to(address: &str, request: &Value) -> anyhow::Result<()> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_TIMEOUT))
        .max_redirects(0)
        .build();
    let agent = Agent::new_with_config(config);
    let sent = agent.post(address).header("Content-Type", "application/json").send(request.to_string());
    let mut answer = sent.context("the collector does not answer")?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
    let body = body.context("the collector's answer cannot be read")?;
    ensure!(status.is_success(), "the collector answered {}: {}", status.as_u16(), body.trim());
    let partial = serde_json::from_str::<Value>(&body).unwrap_or_default()["partialSuccess"].take();
    let rejected = match &partial["rejectedSpans"] {
        Value::String(count) => count.parse().unwrap_or(1), // 64 bits are a string in this encoding
        count => count.as_u64().unwrap_or(0),
    };
    let said = partial["errorMessage"].as_str().unwrap_or_default();
    ensure!(rejected == 0, "the collector rejected {rejected} spans: {said}");
    if !said.is_empty() {
        tracing::warn!("the collector took all spans, and warns: {said}");
    }
    Ok(())
}

/// The URL for traces: the collector's address and path, then `/v1/traces` unless it ends with that.
fn address(endpoint: &str) -> anyhow::Result<String> {
    let has_scheme = ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme));
    ensure!(
        !has_user_info(endpoint), // and it is not repeated
        "--otlp-endpoint must not hold a user or a password: write the spans with --otlp FILE, and send that"
    );
    ensure!(has_scheme, "--otlp-endpoint {endpoint}: give http://HOST:PORT or https://HOST:PORT");
    let base = endpoint.trim_end_matches('/');
    Ok(if base.ends_with(TRACES) { base.to_owned() } else { format!("{base}{TRACES}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_endpoint_is_kept() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector/", "https://collector/v1/traces"),
            ("http://127.0.0.1:4318/api/otel", "http://127.0.0.1:4318/api/otel/v1/traces"),
            ("http://127.0.0.1:4318/v1/traces", "http://127.0.0.1:4318/v1/traces"),
        ] {
            assert_eq!(address(endpoint).unwrap(), expected);
        }
        assert!(address("collector:4318").is_err());
        let refused = address("http://ash:pika@127.0.0.1:4318").unwrap_err().to_string();
        assert!(refused.contains("password") && !refused.contains("pika"), "{refused}");
    }
}
