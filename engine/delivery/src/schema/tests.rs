//! The built-in schemas, compared with everything that the engine emits.

use super::*;
use serde_json::{Value, json};

#[test]
fn our_own_schemas_are_there_and_speak_of_our_events() {
    let names: Vec<&str> = our_schemas().iter().map(|ours| ours.name.as_str()).collect();
    for name in [
        "fakemon.capture@fakemon.capture_succeeded",
        "fakemon.world@fakemon.spawn",
        "fakemon.play",
        "fakemon.journal",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let succeeded = our_schemas().iter().find(|ours| ours.name.ends_with("capture_succeeded")).unwrap();
    let schema = Schema::read(succeeded.kind, &succeeded.content).unwrap();
    assert_eq!(schema.speaks_of(), Some(("fakemon.capture", "fakemon.capture_succeeded")));
    let mut detail = json!({ "attempt_id": "1", "player": "ash", "fakemon_id": "42", "species": "sparkit", "lat": 1, "lon": 2.5,
        "received_at": "2026-11-24T12:00:00Z", "queued_at": "2026-11-24T12:00:00Z", "decided_at": "2026-11-24T12:00:00Z",
        "captured_at": "2026-11-24T12:00:00Z", "position": "9", "shard": 0 });
    let check = |detail: &Value| {
        let event = EventParts {
            source: "fakemon.capture",
            detail_type: "fakemon.capture_succeeded",
            detail,
            resources: &[],
        };
        schema.check_event(&event).map_err(|violation| violation.to_string())
    };
    assert_eq!(check(&detail), Ok(()));
    detail["lat"] = 91.into();
    assert_eq!(check(&detail), Err("$.detail.lat is 91, must be at most 90".into()));
}

#[test]
fn whatever_the_engine_says_has_a_schema() {
    // Each row of the table of notices, each kind of record, each command and its refusal.
    let table = include_str!("../notices.rs").split("use crate").next().unwrap();
    let said = table.lines().filter_map(|line| line.strip_prefix("//! | `")?.split_once('`'));
    let said: Vec<(&str, &str)> = said.map(|(detail_type, _)| ("fakemon.engine", detail_type)).collect();
    assert!(said.len() > 12, "{said:?}");
    let others = [
        ("fakemon.engine", "fakemon.engine_opened"),
        ("fakemon.engine", "fakemon.resource_changed"),
        ("fakemon.capture", "fakemon.capture_attempt"),
        ("fakemon.capture", "fakemon.capture_succeeded"),
        ("fakemon.capture", "fakemon.capture_failed"),
        ("fakemon.capture", "fakemon.player_named"),
        ("fakemon.capture", "fakemon.command_refused"),
        ("fakemon.game", "fakemon.capture_attempt"),
        ("fakemon.world", "fakemon.appeared"),
        ("fakemon.world", "fakemon.vanished"),
        ("fakemon.world", "fakemon.species_named"),
        ("fakemon.world", "fakemon.spawn"),
    ];
    for (source, detail_type) in said.into_iter().chain(others) {
        let name = schema_name(source, detail_type);
        assert!(our_schemas().iter().any(|ours| ours.name == name), "{name} has no schema");
    }
}
