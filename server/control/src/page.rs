//! The page: status, metrics, and a world to play in. Three small files, compiled in; live metrics come from
//! `/figures`, the world over the players' websocket, like that of any player.

use super::{Shared, metrics};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use fakemon_access::player_token::Access;
use fakemon_aws::services;
use fakemon_engine::Durability;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Content security policy: no foreign content, no framing; the players' websocket is on another port.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// `/`: the page.
pub(super) async fn index(uri: Uri, headers: HeaderMap) -> Response {
    if let Some(service) = services::client_of(&headers, &uri) {
        return services::unserved(&service, &uri); // not a browser: a client of S3, say, that lists its buckets
    }
    asset("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// `/page.css`.
pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// `/page.js`.
pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

fn asset(content_type: &'static str, body: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}

/// What the page shows and needs; made at most ten times a second, for all who ask.
pub(super) async fn figures(State(shared): State<Arc<Shared>>) -> Result<impl IntoResponse, Infallible> {
    let json = shared.figures.get(async { Ok::<_, Infallible>(now(&shared).to_string().into()) }).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json))
}

fn now(shared: &Shared) -> Value {
    let metrics = shared.engine.metrics();
    let edge = (shared.options.read_edge)();
    let options = &shared.options;
    let engine = shared.engine.options();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": shared.started.elapsed().as_secs(),
        "draining": shared.draining.load(Ordering::Acquire),
        "failure": shared.engine.failure(),
        "play": {
            "scheme": if options.play_tls { "wss" } else { "ws" },
            "host": options.play.ip().to_string(),
            "port": options.play.port(),
            "token": matches!(options.access, Access::Tokens(_)),
        },
        "world": {
            "demo": options.demo_centre.map(|(lat, lon)| json!({ "lat": lat, "lon": lon })),
            "reach_m": engine.reach_m,
            "species": engine.species.iter().map(|species| species.name.as_str()).collect::<Vec<_>>(),
        },
        "synced": engine.durability == Durability::Synced,
        "cores": engine.cores,
        "connections": edge.connections,
        "wild": metrics.wild,
        "players": metrics.players,
        "attempts": metrics.attempts.iter().sum::<u64>(),
        "captured": metrics.attempts[0],
        "throttled": metrics.throttled,
        "position": metrics.position.0,
        "attempt_ms": percentiles_ms(&metrics.total_ns),
        "sync_ms": percentiles_ms(&metrics.sync_ns),
        "memory_bytes": metrics::resident_bytes(),
    })
}

fn percentiles_ms(histogram: &Histogram<u64>) -> Value {
    let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    match histogram.is_empty() {
        true => Value::Null,
        false => json!({ "p50": ms(0.5), "p99": ms(0.99) }),
    }
}
