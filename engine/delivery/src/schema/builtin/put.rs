//! Samples of the events that are put on a bus: by the player edge, by the engine about itself, and by clients as
//! commands.

use super::Learned;
use fakemon_model::envelope::{
    COMMAND_REFUSED, SOURCE_CAPTURE, SOURCE_CONNECTION, SOURCE_ENGINE, SOURCE_MESSAGES, SOURCE_WORLD,
};
use serde_json::{Value, json};

/// The detail-type of the event that a discoverer puts when a shape changes.
pub const SCHEMA_DRIFT: &str = "fakemon.schema_drift";

/// All samples.
pub(super) fn put() -> Vec<Learned> {
    let place = json!({ "lat": 40.5, "lon": -3.5 });
    let with = |more: Value| {
        let mut detail = place.clone();
        if let (Some(detail), Value::Object(more)) = (detail.as_object_mut(), more) {
            detail.extend(more);
        }
        detail
    };
    let drift = json!({ "registry": "r", "schema": "s", "version": "2", "bus": "b", "source": "shop", "detail_type": "sold",
                        "event_id": "e", "changes": [{ "path": "$.detail.unit", "change": "is new: integer" }] });
    vec![
        Learned {
            source: SOURCE_WORLD,
            detail_type: "fakemon.spawn",
            description: "a command: put a fakémon into the world",
            details: vec![
                with(json!({ "species": "sparkit" })),
                with(json!({ "species": "sparkit", "fakemon_id": "1", "lifetime_s": 60, "catch_rate": 0.5 })),
                with(json!({ "species": "sparkit", "fakemon_id": 1 })),
            ],
        },
        Learned {
            source: "fakemon.game",
            detail_type: "fakemon.capture_attempt",
            description: "a command: throw a ball",
            details: vec![
                with(json!({ "player": "ash", "attempt_id": "1", "fakemon_id": "1" })),
                with(json!({ "player": "ash", "attempt_id": 1, "fakemon_id": 1 })),
            ],
        },
        Learned {
            source: SOURCE_CAPTURE,
            detail_type: COMMAND_REFUSED,
            description: "a command is not carried out",
            // The members that are there when they are known: which member is wrong, and the ids of the command.
            details: vec![
                json!({ "event_id": "e", "reason": "r", "message": "m" }),
                json!({ "event_id": "e", "reason": "r", "message": "m", "field": "detail.lat", "player": "ash",
                        "fakemon_id": "1", "attempt_id": "1", "position": "1" }),
            ],
        },
        Learned {
            source: SOURCE_ENGINE,
            detail_type: SCHEMA_DRIFT,
            description: "events look different from what their discovered schema said",
            details: vec![drift],
        },
    ]
    .into_iter()
    .chain(of_players())
    .chain(of_the_general_endpoint())
    .chain(said())
    .collect()
}

/// Connections of players. The authorizer decides whether there is a context.
fn of_players() -> [Learned; 2] {
    let samples = |detail: Value| {
        let mut with_context = detail.clone();
        with_context["context"] = json!({});
        vec![detail, with_context]
    };
    [
        Learned {
            source: SOURCE_CONNECTION,
            detail_type: "fakemon.connected",
            description: "a player connected",
            details: samples(json!({ "connection_id": "c", "player": "ash" })),
        },
        Learned {
            source: SOURCE_CONNECTION,
            detail_type: "fakemon.disconnected",
            description: "a player's connection ended",
            details: samples(json!({ "connection_id": "c", "player": "ash", "reason": "closed" })),
        },
    ]
}

/// Connections to the general endpoint, messages without a route of their own, and disconnections.
fn of_the_general_endpoint() -> [Learned; 3] {
    // Members that are present only if the client has a name, the authorizer adds a context, or the message is an
    // object.
    let samples = |detail: Value, sometimes: Value| {
        let mut full = detail.clone();
        if let (Some(full), Value::Object(sometimes)) = (full.as_object_mut(), sometimes) {
            full.extend(sometimes);
        }
        vec![detail, full]
    };
    [
        Learned {
            source: SOURCE_MESSAGES,
            detail_type: "$connect",
            description: "somebody connected to the general endpoint",
            details: samples(
                json!({ "connection_id": "c", "event_type": "CONNECT", "route_key": "$connect", "source_ip": null,
                        "user_agent": "u" }),
                json!({ "player": "ash", "source_ip": "127.0.0.1", "context": {} }),
            ),
        },
        Learned {
            source: SOURCE_MESSAGES,
            detail_type: "$default",
            description: "somebody said something that names no route",
            details: samples(
                json!({ "connection_id": "c", "event_type": "MESSAGE", "route_key": "$default", "message_id": "m",
                        "body": "b", "is_base64": false }),
                json!({ "player": "ash", "message": {}, "context": {} }),
            ),
        },
        Learned {
            source: SOURCE_MESSAGES,
            detail_type: "$disconnect",
            description: "a connection to the general endpoint ended",
            details: samples(
                json!({ "connection_id": "c", "event_type": "DISCONNECT", "route_key": "$disconnect",
                        "reason": "closed" }),
                json!({ "player": "ash", "context": {} }),
            ),
        },
    ]
}

/// The engine's notices; see [`notices`](crate::notices).
fn said() -> impl Iterator<Item = Learned> {
    let of_target = json!({ "bus": "b", "rule": "r", "target": "t", "arn": "a", "count": 1 });
    let and = |more: Value| {
        let mut detail = of_target.clone();
        detail
            .as_object_mut()
            .into_iter()
            .for_each(|detail| detail.extend(more.as_object().cloned().unwrap_or_default()));
        detail
    };
    let recovery = json!({ "end": "crash", "events_replayed": 1, "took_ms": 1 });
    let all = [
        (
            "fakemon.started",
            "the engine is open",
            json!({ "version": "0", "cores": 1, "position": "1", "recovery": recovery, "count": 1 }),
        ),
        ("fakemon.stopping", "the engine is asked to stop", json!({ "position": "1", "count": 1 })),
        (
            "fakemon.recovered",
            "the engine was opened after a crash",
            json!({ "events_replayed": 1, "from_position": "1", "to_position": "2", "took_ms": 1, "count": 1 }),
        ),
        (
            "fakemon.slow_sync",
            "groups took long to write and sync",
            json!({ "syncs": 1, "worst_ms": 1, "threshold_ms": 1, "position": "1", "count": 1 }),
        ),
        (
            "fakemon.disk_space",
            "free space passed a threshold",
            json!({ "state": "low", "before": "ok", "free_bytes": 1, "total_bytes": 1, "threshold_bytes": 1,
                    "directory": "d", "count": 1 }),
        ),
        ("fakemon.shedding_started", "throws are throttled", json!({ "throttled": 1, "attempts": 1, "count": 1 })),
        (
            "fakemon.shedding_ended",
            "throws are not throttled any more",
            json!({ "throttled": 1, "attempts": 1, "lasted_ms": 1, "count": 1 }),
        ),
        (
            "fakemon.target_dead",
            "nothing reaches a target any more",
            and(json!({ "error_code": "e", "error_message": "m", "attempts": 1,
                        "failing_since": "2026-03-01T20:00:00Z", "backlog": 1 })),
        ),
        ("fakemon.target_recovered", "a target took an event again", and(json!({ "dead_ms": 1, "backlog": 1 }))),
        (
            "fakemon.dead_letter",
            "events for a target were given up",
            and(json!({ "dead_letters": 1, "lost": 1, "error_code": "e" })),
        ),
        (
            "fakemon.connection_deauthorized",
            "a connection is not let in any more",
            json!({ "connection": "c", "reason": "r", "count": 1 }),
        ),
        (
            "fakemon.schedule_missed",
            "due times passed while nobody was there",
            json!({ "schedule": "a", "missed": 1, "first": "2026-03-01T20:00:00Z", "last": "2026-03-01T20:00:00Z",
                    "caught_up": 0 }),
        ),
    ];
    all.into_iter().map(|(detail_type, description, detail)| Learned {
        source: SOURCE_ENGINE,
        detail_type,
        description,
        details: vec![detail],
    })
}
