//! What is written is read again.

use super::*;
use crate::archive::Recorded;
use fakemon_model::event::{Event, Put};
use fakemon_model::ids::{EventKey, PlayerId, Position, ShardId, SpeciesId, Timestamp};

struct Nobody;

impl Names for Nobody {
    fn player(&self, _: PlayerId) -> Option<&str> {
        Some("Zoë\n\"")
    }

    fn species(&self, _: SpeciesId) -> Option<&str> {
        None
    }
}

#[test]
fn an_event_is_read_as_it_was() {
    let put = Put {
        at: Timestamp(1),
        time: Timestamp(u64::MAX),
        bus: "b".into(),
        source: "s\u{1}".into(),
        detail_type: "ünï".into(),
        detail: r#"{"a":"\"\\"}"#.into(),
        resources: vec!["x".into(), String::new()],
        region: String::new(),
        cause: Some(Position(7)),
        hops: 3,
        schedule: Some("rule/b/ünï".into()),
        by: Some("b r t attempt".into()),
        origin: Some(EventKey(12)),
        trace: Some("Root=1-5759e988".into()),
    };
    let gone = Event::Changed { at: Timestamp(5), key: "bus/x".into(), value: None };
    let named = Event::PlayerNamed { player: PlayerId(9), name: "\u{202e}💥 \\ \" ".into() };
    for event in [
        Event::Put(Box::new(put.clone())),
        Event::Put(Box::new(Put { cause: None, schedule: None, by: None, origin: None, trace: None, ..put })),
        gone,
        named,
    ] {
        let (position, shard, committed_at) = (Position(u64::MAX), ShardId(3), Timestamp(0));
        let recorded = Recorded { position, shard, committed_at, event };
        let mut line = Vec::new();
        write_event(&mut line, &recorded, &Nobody).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(Line::read(&line).unwrap(), Line::Event(position, shard, recorded.event));
    }
}

#[test]
fn a_wrong_line_names_the_member() {
    for (line, expected) in [
        ("", "no line of a journal"),
        ("nonsense", "no line of a journal"),
        ("{}", "position is missing"),
        (r#"{"position":"x","shard":0}"#, "position must be"),
        (r#"{"position":"1","shard":0}"#, "kind is missing"),
        (r#"{"position":"1","shard":0,"kind":"weather"}"#, "kind weather"),
        (r#"{"position":"1","shard":0,"kind":"player_named","player":1}"#, "name is missing"),
        (r#"{"end":{"position":"1","hash":"zz"}}"#, "end.hash"),
        (r#"{"export":{"format":2,"whole":true,"first_position":"1","end_position":"2"}}"#, "newer fakemon"),
    ] {
        let error = Line::read(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}
