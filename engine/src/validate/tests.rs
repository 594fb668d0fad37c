//! What is refused, field by field, and what is not.

use super::validate;
use fakemon_capture::options::Options;
use fakemon_model::ids::Timestamp;
use fakemon_resource::Registry;
use fakemon_resource::inbound::{Period, Quota, Throttle, UsagePlan};
use fakemon_resource::resource::{
    Archive, Bus, Change, InputTransformer, Queue, Resource, Retry, Rule, SchemaVersion, Target,
};
use std::collections::BTreeMap;

const QUEUE: &str = "arn:aws:sqs:local:123456789012:q";

fn refused(change: impl Into<Option<Resource>>, registry: &Registry) -> Option<&'static str> {
    let change = Change::Put(change.into().expect("a resource"));
    validate(&change, registry, &Options::default()).err().map(|error| error.field)
}

/// The two buses, and a rule `r` on `default`.
fn world() -> Registry {
    let mut registry = Registry::new();
    registry.apply(&Change::Put(Resource::Rule(Rule::new("default", "r", r#"{"source":["shop"]}"#))));
    registry
}

#[test]
fn what_no_rule_can_be_is_refused() {
    let rule =
        |bus: &str, name: &str, pattern: &str| refused(Resource::Rule(Rule::new(bus, name, pattern)), &world());
    assert_eq!(rule("default", "sold", r#"{"source":["shop"]}"#), None);
    assert_eq!(rule("default", "sold", r#"{"source":"shop"}"#), Some("pattern"));
    assert_eq!(rule("default", "sold", "not JSON"), Some("pattern"));
    assert_eq!(rule("default", "a/b", r#"{"source":["shop"]}"#), Some("name"));
    assert_eq!(rule("nowhere", "sold", r#"{"source":["shop"]}"#), Some("bus"));
    let timed = |bus: &str, schedule: &str| {
        let rule = Rule { pattern: None, schedule: Some(schedule.into()), ..Rule::new(bus, "timed", "") };
        refused(Resource::Rule(rule), &world())
    };
    assert_eq!(timed("default", "rate(5 minutes)"), None);
    assert_eq!(timed("default", "every day"), Some("schedule"));
    assert_eq!(timed("fakemon", "rate(5 minutes)"), Some("schedule"));
    let nothing = Rule { pattern: None, ..Rule::new("default", "nothing", "") };
    assert_eq!(refused(Resource::Rule(nothing), &world()), Some("pattern"));
}

#[test]
fn what_no_target_can_be_is_refused() {
    let new = || Target::new("default", "r", "t", QUEUE);
    let target = |target: Target| refused(Resource::Target(target), &world());
    assert_eq!(target(new()), None);
    let transformer = |template: &str| {
        let paths = BTreeMap::from([("unit".to_owned(), "$.detail.unit".to_owned())]);
        Some(InputTransformer { paths, template: template.to_owned() })
    };
    assert_eq!(target(Target { transformer: transformer(r#"{"sold":<unit>}"#), ..new() }), None);
    for (wrong, field) in [
        (Target { rule: "none".into(), ..new() }, "rule"),
        (Target { id: String::new(), ..new() }, "id"),
        (Target { arn: "q".into(), ..new() }, "arn"),
        (Target { arn: "arn:aws:lambda:local:123456789012:function:f".into(), ..new() }, "arn"),
        (Target { arn: "arn:aws:events:local:123456789012:api-destination/none/1".into(), ..new() }, "arn"),
        (Target { arn: format!("{QUEUE}.fifo"), ..new() }, "given"),
        (Target { input: Some("{".into()), ..new() }, "input"),
        (Target { input_path: Some("detail".into()), ..new() }, "input_path"),
        (Target { input: Some("{}".into()), input_path: Some("$.detail".into()), ..new() }, "input"),
        (Target { transformer: transformer("<other>"), ..new() }, "transformer"),
        (Target { retry: Some(Retry { attempts_max: 186, age_s_max: 60 }), ..new() }, "retry"),
        (Target { retry: Some(Retry { attempts_max: 1, age_s_max: 1 }), ..new() }, "retry"),
        (Target { dead_letter_arn: Some("dead".into()), ..new() }, "dead_letter_arn"),
        (Target { dead_letter_arn: Some(format!("{QUEUE}.fifo")), ..new() }, "dead_letter_arn"),
    ] {
        assert_eq!(target(wrong.clone()), Some(field), "{wrong:?}");
    }
    let elsewhere = Target { arn: "arn:aws:lambda:local:123456789012:function:f".into(), ..new() };
    let options = Options { unserved_targets: true, ..Options::default() };
    assert_eq!(validate(&Change::Put(Resource::Target(elsewhere)), &world(), &options), Ok(()));
}

#[test]
fn other_resources_are_looked_at_too() {
    let registry = world();
    let queue = |name: &str, setting: &str, value: &str| {
        let attributes = BTreeMap::from([(setting.to_owned(), value.to_owned())]);
        refused(Resource::Queue(Queue { attributes, ..Queue::new(name) }), &registry)
    };
    assert_eq!(queue("q", "VisibilityTimeout", "30"), None);
    assert_eq!(queue("q", "VisibilityTimeout", "soon"), Some("attributes"));
    assert_eq!(queue("q", "ContentBasedDeduplication", "true"), Some("attributes"));
    assert_eq!(queue("q.fifo", "ContentBasedDeduplication", "true"), None);
    assert_eq!(queue("q q", "VisibilityTimeout", "30"), Some("name"));
    let policy = format!(r#"{{"deadLetterTargetArn":"{QUEUE}","maxReceiveCount":3}}"#);
    assert_eq!(queue("other", "RedrivePolicy", &policy), Some("attributes"), "there is no queue q");
    assert_eq!(refused(Resource::Bus(Bus::new("aws.partner/shop/x")), &registry), Some("name"));
    let archive = |bus: &str, pattern: &str| {
        refused(
            Resource::Archive(Archive {
                name: "all".into(),
                bus: bus.into(),
                source_arn: String::new(),
                description: None,
                pattern: Some(pattern.into()),
                retention_days: 0,
                created_at: Timestamp(0),
            }),
            &registry,
        )
    };
    assert_eq!(archive("default", r#"{"source":["shop"]}"#), None);
    assert_eq!(archive("default", "{}"), Some("pattern"));
    assert_eq!(archive("nowhere", r#"{"source":["shop"]}"#), Some("bus"));
    let version = SchemaVersion {
        registry: "discovered-schemas".into(),
        schema: "s".into(),
        version: 1,
        kind: "JSONSchemaDraft4".into(),
        content: r#"{"type":7}"#.into(),
        created_at: Timestamp(0),
        bindings: BTreeMap::new(),
    };
    assert_eq!(refused(Resource::SchemaVersion(version), &registry), Some("content"));
}

#[test]
fn what_is_deleted_is_of_a_kind_that_there_is() {
    let delete = |key: &str| validate(&Change::Delete(key.into()), &world(), &Options::default());
    for fine in ["rule/default/r", "rule/default/gone", "schedule/default/s@17", "schedule-group/default"] {
        assert_eq!(delete(fine), Ok(()), "{fine}");
    }
    for wrong in ["bus/default", "bus/fakemon", "rules/default/r", "rule", ""] {
        assert_eq!(delete(wrong).map_err(|error| error.field), Err("key"), "{wrong}");
    }
}

#[test]
fn what_the_api_refuses_the_engine_refuses_too() {
    let registry = world();
    let tags = |count: usize, key: &str, value: &str| {
        let mut tags: BTreeMap<String, String> = (1..count).map(|n| (n.to_string(), String::new())).collect();
        tags.insert(key.to_owned(), value.to_owned());
        [
            refused(Resource::Bus(Bus { tags: tags.clone(), ..Bus::new("shop") }), &registry),
            refused(Resource::Queue(Queue { tags: tags.clone(), ..Queue::new("q") }), &registry),
            refused(Resource::Rule(Rule { tags, ..Rule::new("default", "r2", r#"{"source":["shop"]}"#) }), &registry),
        ]
    };
    assert_eq!(tags(50, "k", "v"), [None; 3]);
    assert_eq!(tags(51, "k", "v"), [Some("tags"); 3]);
    for (key, value) in [("aws:k", "v"), ("AWS:k", "v"), ("", "v"), (&"k".repeat(129), "v"), ("k", &"v".repeat(257))]
    {
        assert_eq!(tags(1, key, value), [Some("tags"); 3], "{key}");
    }
    assert_eq!(tags(1, "fakemon:schema-enforcement", "maybe")[0], Some("tags"));
    let dead = Bus { dead_letter_arn: Some("arn:aws:sns:local:123456789012:t".into()), ..Bus::new("shop") };
    assert_eq!(refused(Resource::Bus(dead), &registry), Some("dead_letter_arn"));
    let schedule = |target: serde_json::Value| {
        let schedule = serde_json::json!({ "group": "default", "name": "s", "region": "local", "description": null,
            "expression": "rate(1 hours)", "zone": "UTC", "start": null, "end": null, "window_minutes": 0,
            "enabled": true, "delete_when_over": false, "kms_key_arn": null, "target": target.to_string(),
            "created_at": 0, "modified_at": 0, "client_token": null });
        refused(Resource::Schedule(serde_json::from_value(schedule).unwrap()), &registry)
    };
    let bus = "arn:aws:events:local:123456789012:event-bus/default";
    let said = |source: &str| {
        schedule(serde_json::json!({ "Arn": bus, "RoleArn": "arn:aws:iam::1:role/r",
            "EventBridgeParameters": { "Source": source, "DetailType": "t" } }))
    };
    assert_eq!(said("shop"), None);
    assert_eq!([said("fakemon.capture"), said("aws.ec2")], [Some("target"); 2]);
    let plan = |throttle: Option<(f64, u32)>, quota: Option<(u64, u32)>| {
        let plan = UsagePlan {
            id: "p".into(),
            name: "p".into(),
            description: None,
            throttle: throttle.map(|(rate_per_s, burst)| Throttle { rate_per_s, burst }),
            quota: quota.map(|(limit, offset_days)| Quota { limit, offset_days, period: Period::Week }),
            stages: Vec::new(),
            product_code: None,
            created_at: Timestamp(0),
            tags: BTreeMap::new(),
        };
        refused(Resource::UsagePlan(plan), &registry)
    };
    assert_eq!(plan(Some((1.0, 1)), Some((1, 6))), None);
    for (throttle, quota, field) in [
        (Some((f64::NAN, 1)), None, "throttle"),
        (Some((-1.0, 1)), None, "throttle"),
        (Some((1e10, 1)), None, "throttle"),
        (Some((1.0, 0)), None, "throttle"),
        (None, Some((0, 0)), "quota"),
        (None, Some((1, 7)), "quota"),
    ] {
        assert_eq!(plan(throttle, quota), Some(field), "{throttle:?} {quota:?}");
    }
}

#[test]
fn a_filter_of_a_pipe_compiles() {
    let pipe = |pattern: &str| {
        let filter = serde_json::json!({ "FilterCriteria": { "Filters": [{ "Pattern": pattern }] } });
        let pipe = serde_json::json!({ "name": "p", "region": "local", "description": null, "role_arn": "r",
            "desired_state": "RUNNING", "change": "Created", "revision": 1, "runs_since": null, "source": QUEUE,
            "source_parameters": filter, "enrichment": null, "enrichment_parameters": null, "target": QUEUE,
            "target_parameters": null, "kept": {}, "tags": {}, "created_at": 0, "modified_at": 0 });
        refused(Resource::Pipe(serde_json::from_value(pipe).unwrap()), &world())
    };
    assert_eq!(pipe(r#"{"body":{"kind":["a"]}}"#), None);
    for wrong in ["{", "[]", r#"{"body":"a"}"#, r#"{"body":[{"prefix":7}]}"#] {
        assert_eq!(pipe(wrong), Some("pipe"), "{wrong}");
    }
}
