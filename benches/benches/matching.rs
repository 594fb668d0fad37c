//! Events per second that one thread matches: five rules of each kind, and a thousand exact ones, on events like
//! those of the city-lots benchmark (GeoJSON, about 770 bytes). Beside it, on the same events and rules in the same
//! run, crate `quamina`.
//!
//! `cargo bench --profile dev --bench matching`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fakemon_pattern::pattern::{Matcher, Pattern, Scratch};
use quamina::Quamina;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;

const EVENTS: usize = 2_000;

const STREETS: [&str; 10] = [
    "CRANLEIGH",
    "SOUTH VAN NESS",
    "BARTLETT",
    "20TH AVENUE",
    "GOLD MINE",
    "POTRERO",
    "MAPES",
    "FULTON",
    "OCEAN",
    "NOE",
];

/// A lot: properties, and a polygon of random length.
fn event(random: &mut impl Rng) -> String {
    let number = random.random_range(1..2_000);
    let street = STREETS[random.random_range(0..STREETS.len())];
    let block = random.random_range(1..8_000);
    let lot = random.random_range(1..200);
    let mut polygon = String::new();
    for point in 0..12 {
        let (lat, lon) = (random.random_range(0..9_999_999), random.random_range(0..9_999_999));
        let comma = if point > 0 { ", " } else { "" };
        polygon.push_str(&format!("{comma}[ -122.4{lon:07}42, 37.8{lat:07}13, 0.0 ]"));
    }
    format!(
        "{{ \"type\": \"Feature\", \"properties\": {{ \"MAPBLKLOT\": \"{block:04}{lot:03}\", \"BLKLOT\": \"{block:04}{lot:03}\", \
         \"BLOCK_NUM\": \"{block:04}\", \"LOT_NUM\": \"{lot:03}\", \"FROM_ST\": \"{number}\", \"TO_ST\": \"{number}\", \
         \"STREET\": \"{street}\", \"ST_TYPE\": \"ST\", \"ODD_EVEN\": \"E\" }}, \"geometry\": {{ \"type\": \"Polygon\", \
         \"coordinates\": [ [ {polygon} ] ] }} }}"
    )
}

fn rules(kind: &str) -> Vec<String> {
    let property = |name: &str, condition: &str| format!("{{\"properties\":{{\"{name}\":[{condition}]}}}}");
    let each = |make: &dyn Fn(usize) -> String, count: usize| (0..count).map(make).collect::<Vec<_>>();
    match kind {
        "exact" => each(&|n| property("MAPBLKLOT", &format!("\"{:07}\"", 1_430_022 + n)), 5),
        "exact, 1,000 rules" => each(&|n| property("MAPBLKLOT", &format!("\"{:07}\"", 1_430_022 + n * 7)), 1_000),
        "wildcard" => each(&|n| property("STREET", &format!("{{\"wildcard\":\"*{}*\"}}", &STREETS[n][1..4])), 5),
        "numeric" => {
            each(&|n| format!("{{\"geometry\":{{\"coordinates\":[{{\"numeric\":[\"=\",-122.40{n}]}}]}}}}"), 5)
        }
        _ => each(&|n| property("STREET", &format!("{{\"anything-but\":[\"{}\"]}}", STREETS[n])), 5),
    }
}

fn matching(criterion: &mut Criterion) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let events: Vec<String> = (0..EVENTS).map(|_| event(&mut random)).collect();
    let bytes: usize = events.iter().map(String::len).sum();
    eprintln!("{EVENTS} events of {} bytes on average", bytes / EVENTS);
    for kind in ["exact", "exact, 1,000 rules", "wildcard", "numeric", "anything-but"] {
        let rules = rules(kind);
        let patterns: Vec<Pattern> = rules.iter().map(|rule| Pattern::parse(rule).expect("valid")).collect();
        let matcher = Matcher::new((0..).zip(&patterns)).expect("few");
        let mut scratch = Scratch::default();
        let mut group = criterion.benchmark_group(kind);
        group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(20);
        group.bench_function("fakemon", |bencher| {
            bencher.iter(|| {
                events
                    .iter()
                    .map(|event| matcher.matches(event.as_bytes(), &mut scratch).map_or(0, <[u32]>::len))
                    .sum::<usize>()
            });
        });
        let mut quamina = Quamina::new();
        let accepted = (0u32..).zip(&rules).all(|(rule, text)| quamina.add_pattern(rule, text).is_ok());
        if accepted {
            group.bench_function("quamina", |bencher| {
                bencher.iter(|| {
                    let matched = events.iter().map(|event| quamina.matches_for_event(event.as_bytes()));
                    black_box(matched.map(|rules| rules.map_or(0, |rules| rules.len())).sum::<usize>())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, matching);
criterion_main!(benches);
