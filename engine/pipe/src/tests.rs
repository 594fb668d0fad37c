//! The pure parts of pipes: plans from parameters, or what is wrong; when a batch is due; when a record is given up;
//! states.

use super::delivery::{elements, moment};
use super::plan::{Batching, From, Limits, Plan, Source};
use super::record::Record;
use super::{PipeStatus, check, state_name};
use fakemon_delivery::{Failed, FailureCode};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_resource::resource::{DesiredState, Pipe, PipeChange, Tags};
use serde_json::{Value, json};
use std::time::Duration;

const QUEUE: &str = "arn:aws:sqs:local:123456789012:q";
const JOURNAL: &str = "arn:aws:fakemon:local:123456789012:journal";

fn pipe(source: &str, source_parameters: Value, target: &str, target_parameters: Value) -> Pipe {
    Pipe {
        name: "p".into(),
        description: None,
        desired_state: DesiredState::Running,
        change: PipeChange::Created,
        revision: 0,
        source: source.into(),
        source_parameters,
        enrichment: None,
        enrichment_parameters: Value::Null,
        target: target.into(),
        target_parameters,
        role_arn: String::new(),
        kept: serde_json::Map::new(),
        runs_since: Some(Timestamp(7)),
        region: "local".into(),
        created_at: Timestamp(1),
        modified_at: Timestamp(1),
        tags: Tags::new(),
    }
}

#[test]
fn streams_begin_where_their_parameters_say() {
    let from = |parameters: Value| {
        let stream = json!({ "KinesisStreamParameters": parameters });
        match Plan::of(&pipe(JOURNAL, stream, QUEUE, Value::Null)).map(|plan| plan.source) {
            Ok(Source::Journal { bus: None, from }) => Ok(from),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.0),
        }
    };
    assert_eq!(from(json!({})), Ok(From::Since(Timestamp(7))));
    assert_eq!(from(json!({ "StartingPosition": "TRIM_HORIZON" })), Ok(From::Position(Position(0))));
    assert_eq!(from(json!({ "StartingPosition": "4711" })), Ok(From::Position(Position(4711))));
    let at = json!({ "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1.5 });
    assert_eq!(from(at), Ok(From::Since(Timestamp(1_500_000_000))));
    for (wrong, says) in [
        (json!({ "StartingPosition": "FIRST" }), "StartingPosition must be LATEST"),
        (json!({ "StartingPosition": "AT_TIMESTAMP" }), "StartingPositionTimestamp must be a moment"),
        (json!({ "MaximumRetryAttempts": -2 }), "MaximumRetryAttempts is -2: it must be -1 to 10000"),
        (json!({ "MaximumBatchingWindowInSeconds": 301 }), "it must be 0 to 300"),
        (json!({ "OnPartialBatchItemFailure": "SKIP" }), "must be AUTOMATIC_BISECT"),
        (json!({ "DeadLetterConfig": { "Arn": format!("{QUEUE}.fifo") } }), "must be the ARN of a standard queue"),
    ] {
        let found = from(wrong).unwrap_err();
        assert!(found.contains(says), "{says}: {found}");
    }
    let limits_of_streams = json!({ "SqsQueueParameters": { "MaximumRetryAttempts": 1 } });
    assert!(check(&pipe(QUEUE, limits_of_streams, QUEUE, Value::Null), true).is_err());
}

#[test]
fn a_batch_goes_when_it_is_full_or_its_window_closes() {
    let second = Duration::from_secs(1);
    let batching = Batching { size: 3, window: second };
    assert!(!batching.is_due(0, 0, second));
    assert!(!batching.is_due(2, 0, second / 2));
    assert!(batching.is_due(3, 0, Duration::ZERO));
    assert!(batching.is_due(1, 6 << 20, Duration::ZERO));
    assert!(batching.is_due(1, 0, second));
    assert!(Batching { size: 3, window: Duration::ZERO }.is_due(1, 0, Duration::ZERO));
}

#[test]
fn a_record_is_given_up_after_its_retries_or_its_age() {
    let (for_now, never) =
        (Failed::for_now(FailureCode::ErrorFromTarget, "m"), Failed::permanently(FailureCode::ErrorFromTarget, "m"));
    let day = Duration::from_secs(86_400);
    let limits = Limits { retries_max: Some(2), age_max: Some(day), bisect: false };
    let (at, soon, late) = (Timestamp(0), Timestamp(1), Timestamp(86_400 * 1_000_000_000));
    assert_eq!(limits.exhausted(&for_now, 1, at, soon), None);
    assert_eq!(limits.exhausted(&for_now, 2, at, soon), Some(Some("MaximumRetryAttempts")));
    assert_eq!(limits.exhausted(&for_now, 0, at, late), Some(Some("MaximumRecordAgeInSeconds")));
    assert_eq!(limits.exhausted(&never, 0, at, soon), Some(None));
    let endless = Limits { retries_max: None, age_max: None, bisect: false };
    assert_eq!(endless.exhausted(&for_now, u32::MAX, at, Timestamp(u64::MAX)), None);
}

#[test]
fn a_state_says_what_was_asked_and_whether_it_came_to_be() {
    let said = |change, desired_state, status: Option<PipeStatus>| {
        let pipe = Pipe { change, desired_state, ..pipe(QUEUE, Value::Null, QUEUE, Value::Null) };
        state_name(&pipe, status.as_ref())
    };
    let (run, stand) = (DesiredState::Running, DesiredState::Stopped);
    let failed = || Some(PipeStatus::Failed("why".into()));
    assert_eq!(said(PipeChange::Created, run, None).0, "CREATING");
    assert_eq!(said(PipeChange::Updated, stand, None).0, "UPDATING");
    assert_eq!(said(PipeChange::Started, run, None).0, "STARTING");
    assert_eq!(said(PipeChange::Stopped, stand, None).0, "STOPPING");
    assert_eq!(said(PipeChange::Stopped, stand, Some(PipeStatus::Stopped)).0, "STOPPED");
    assert_eq!(said(PipeChange::Created, run, failed()), ("CREATE_FAILED", Some("why".into())));
    assert_eq!(said(PipeChange::Updated, run, failed()).0, "UPDATE_FAILED");
    assert_eq!(said(PipeChange::Started, run, failed()).0, "START_FAILED");
    let trouble = Some(PipeStatus::Running { trouble: Some("x".repeat(600)) });
    let (state, reason) = said(PipeChange::Created, run, trouble);
    assert_eq!((state, reason.map(|reason| reason.len())), ("RUNNING", Some(512)));
}

#[test]
fn what_a_record_carries_is_text_for_targets_and_json_for_templates() {
    let shape = Plan::of(&pipe(QUEUE, Value::Null, QUEUE, Value::Null)).map(|plan| plan.shape()).unwrap();
    let line =
        |id: Option<&str>, data: &str| Record::line(3, id.map(str::to_owned), "tick", data, Timestamp(1), &shape);
    let json: Value = serde_json::from_str(line(Some("9"), r#"{"n":1.50}"#).decoded()).unwrap();
    assert_eq!((&json["data"]["n"], &json["eventId"]), (&json!(1.5), &json!("9")));
    assert!(line(None, r#"{"n":1.50}"#).decoded().contains("1.50"), "numbers stay as they were written");
    for text in ["{broken", "12", "plain \"text\""] {
        let record = line(None, text);
        assert_eq!(serde_json::from_str::<Value>(record.decoded()).unwrap()["data"], text);
        assert_eq!(*record.decoded(), record.raw);
    }
    assert_eq!(line(Some("9"), "x").key, line(Some("9"), "x").key, "the same record has the same key again");
    assert_ne!(line(Some("9"), "x").key, line(Some("8"), "x").key);
}

#[test]
fn an_enrichment_answers_a_list_one_value_or_nothing() {
    let texts = |answered| elements(answered).map(|found| found.iter().map(|one| one.get()).collect::<Vec<_>>());
    assert_eq!(texts(" [1, {\"a\":2}] ").unwrap(), ["1", "{\"a\":2}"]);
    assert_eq!(texts("{\"a\":1}").unwrap(), ["{\"a\":1}"]);
    for nothing in ["", "\"\"", "{}", "[]", "null"] {
        assert!(texts(nothing).unwrap().is_empty(), "{nothing}");
    }
    assert!(texts("<html>").is_err_and(|failed| !failed.retriable));
}

#[test]
fn moments_are_read_as_people_and_machines_write_them() {
    assert_eq!(moment("1970-01-01T00:00:01Z"), Some(Timestamp(1_000_000_000)));
    assert_eq!(moment("1700000000"), moment("1700000000000"));
    assert_eq!(moment("soon"), None);
}
