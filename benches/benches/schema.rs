//! Game events per second that one thread checks against their schemas on arrival: found by source and detail-type,
//! then checked. Beside it, in the same run, the work that is needed anyway: parsing the JSON of the detail.
//!
//! `cargo bench --profile dev --bench schema`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fakemon_delivery::schema::{Enforcer, EventParts, Verdict};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Resource};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::hint::black_box;

const EVENTS: usize = 2_000;
const SOURCE: &str = "fakemon.capture";
const DETAIL_TYPE: &str = "fakemon.capture_succeeded";

/// Details as the envelope writes them.
fn details() -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let at = "2026-11-24T12:00:00.123456789Z";
    let mut detail = |position: usize| {
        json!({
            "attempt_id": random.random_range(1..10_000).to_string(), "player": format!("player-{position}"),
            "fakemon_id": random.random_range(1..1_000_000).to_string(), "species": "sparkit",
            "lat": random.random_range(-90.0..90.0), "lon": random.random_range(-180.0..180.0),
            "received_at": at, "queued_at": at, "decided_at": at, "captured_at": at,
            "position": position.to_string(), "shard": 0,
        })
        .to_string()
    };
    (0..EVENTS).map(&mut detail).collect()
}

/// A registry whose game bus rejects events that violate their schema.
fn enforced() -> Registry {
    let mut registry = Registry::new();
    let mut bus = registry.buses["fakemon"].clone();
    bus.tags.insert("fakemon:schema-enforcement".into(), "reject".into());
    registry.apply(&Change::Put(Resource::Bus(bus)));
    registry
}

fn schema(criterion: &mut Criterion) {
    let (details, registry, enforcer) = (details(), enforced(), Enforcer::default());
    let parse = |text: &String| serde_json::from_str::<Value>(text).expect("valid");
    let check = |detail: &Value| {
        let event = EventParts { source: SOURCE, detail_type: DETAIL_TYPE, detail, resources: &[] };
        enforcer.check(&registry, "fakemon", &event) == Verdict::Fine
    };
    let parsed: Vec<Value> = details.iter().map(parse).collect();
    assert!(parsed.iter().all(check), "game events are what their schemas say");
    let mut group = criterion.benchmark_group("game events");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(20);
    group.bench_function("parsed", |bencher| {
        bencher.iter(|| details.iter().map(|text| usize::from(black_box(parse(text)).is_object())).sum::<usize>());
    });
    group.bench_function("checked", |bencher| bencher.iter(|| parsed.iter().filter(|detail| check(detail)).count()));
    group.bench_function("parsed and checked", |bencher| {
        bencher.iter(|| details.iter().filter(|text| check(&parse(text))).count());
    });
    group.finish();
}

criterion_group!(benches, schema);
criterion_main!(benches);
