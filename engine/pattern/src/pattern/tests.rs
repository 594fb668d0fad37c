//! Our own cases; random rules and events, compared with an evaluator that tries everything; hostile input. Recorded
//! and generated cases of others are outside the repository: `FAKEMON_VECTORS` names their folder.

use super::*;
use fakemon_model::dice::Dice;
use serde_json::Value as Json;
use std::path::PathBuf;

fn vectors(file: &str) -> Option<String> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("FAKEMON_VECTORS").map_or(beside, PathBuf::from);
    let text = std::fs::read_to_string(folder.join(file)).ok();
    if text.is_none() {
        eprintln!("skipped: there is no {file}; FAKEMON_VECTORS names its folder");
    }
    text
}

fn text_of(case: &Json, name: &str) -> String {
    match &case[format!("{name}_text")] {
        Json::String(text) => text.clone(),
        _ => case[name].to_string(),
    }
}

/// The text of a member as it is written in a line of JSON, because numbers must not be parsed and printed again.
fn raw_member(line: &str, name: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Case<'a> {
        #[serde(borrow)]
        pattern: &'a serde_json::value::RawValue,
        #[serde(borrow)]
        event: &'a serde_json::value::RawValue,
        pattern_text: Option<String>,
        event_text: Option<String>,
    }
    let case: Case<'_> = serde_json::from_str(line).unwrap();
    match name {
        "pattern" => case.pattern_text.unwrap_or_else(|| case.pattern.get().to_owned()),
        _ => case.event_text.unwrap_or_else(|| case.event.get().to_owned()),
    }
}

fn verdict(pattern: &str, event: &str) -> String {
    match Pattern::parse(pattern) {
        Err(_) => "error".into(),
        Ok(pattern) => match pattern.matches(event.as_bytes()) {
            Ok(true) => "match".into(),
            Ok(false) => "nomatch".into(),
            Err(error) => format!("bad event: {error}"),
        },
    }
}

#[test]
fn every_recorded_case_is_decided_as_recorded() {
    let Some(text) = vectors("aws_recorded_patterns.json") else { return };
    let cases: Vec<Json> = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let (pattern, event) = (text_of(case, "pattern"), text_of(case, "event"));
        let found = verdict(&pattern, &event);
        if found != case["expect"] {
            wrong.push(format!("{}: {found}", case["label"]));
        }
        let error = &case["error"]["Error"];
        if let (Some(raw), Err(InvalidPattern(said))) =
            (error["MessageRaw"].as_str().or(error["Message"].as_str()), Pattern::parse(&pattern))
        {
            let words = |text: &str| text.split("\n at").next().unwrap_or("").to_owned();
            if words(raw) != words(&said) {
                wrong.push(format!("{}: says {said} instead of {raw}", case["label"]));
            }
            // Positions can be compared if the text of the pattern was recorded as it was sent.
            let source = raw.split("(String)\"").nth(1).and_then(|rest| rest.rsplit_once("\"; line")).map(|(s, _)| s);
            if let Some(source) = source.filter(|source| !source.contains('<'))
                && let Err(InvalidPattern(said)) = Pattern::parse(source)
                && said != raw
            {
                wrong.push(format!("{}: place {said} instead of {raw}", case["label"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn what_is_no_json_is_described_as_recorded() {
    let Some(text) = vectors("snapshots/test_events_patterns.snapshot.json") else { return };
    let recorded: Json = serde_json::from_str(&text).unwrap();
    let cases = recorded.as_object().unwrap().iter().filter_map(|(name, case)| {
        let pattern = name.split_once("test_invalid_json_event_pattern[")?.1.strip_suffix(']')?;
        Some((pattern, case["recorded-content"]["invalid-pattern"]["Error"]["Message"].as_str()?))
    });
    let cases: Vec<(&str, &str)> = cases.collect();
    assert!(!cases.is_empty());
    for (pattern, message) in cases {
        assert_eq!(Pattern::parse(pattern).unwrap_err().0, message, "{pattern}");
    }
}

#[test]
fn what_is_no_json_is_described_with_its_place() {
    let values = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";
    let word = |word: &str| format!("Unrecognized token '{word}': was expecting {values}");
    let found = |shown: &str, expected: &str| format!("Unexpected character ({shown}): {expected}");
    let open = |kind: &str, pattern: &str, column: usize| {
        format!(
            "Unexpected end-of-input: expected close marker for {kind} (start marker at [Source: (String)\"{pattern}\"; \
             line: 1, column: {column}])"
        )
    };
    let comma = "was expecting comma to separate";
    for (pattern, reason, column) in [
        ("never mind", word("never"), 6),
        (r#"{"a":[tru]}"#, word("tru"), 10),
        (r#"{"a":[trueish]}"#, word("trueish"), 14),
        (r#"{"a":[ünd]}"#, word("ünd"), 10),
        ("{'a':[1]}", found("''' (code 39)", "was expecting double-quote to start field name"), 2),
        (r#"{"a":[1]"b":[2]}"#, found("'\"' (code 34)", &format!("{comma} Object entries")), 9),
        (r#"{"a":[1 2]}"#, found("'2' (code 50)", &format!("{comma} Array entries")), 9),
        (r#"{"a" [1]}"#, found("'[' (code 91)", "was expecting a colon to separate field name and value"), 6),
        (r#"{"a":[}"#, found("'}' (code 125)", &format!("expected a valid value {values}")), 7),
        (r#"{"a":[€]}"#, found("'€' (code 8364 / 0x20ac)", &format!("expected a valid value {values}")), 7),
        (r#"{"a":[01]}"#, "Invalid numeric value: Leading zeroes not allowed".into(), 9),
        (r#"{"a":[1.]}"#, found("']' (code 93)", "Decimal point not followed by a digit"), 9),
        (r#"{"a":["b"#, "Unexpected end-of-input: was expecting closing quote for a string value".into(), 9),
        (r#"{"a"#, "Unexpected end-of-input in field name".into(), 4),
        (r#"{"a":["\u12"]}"#, found("'\"' (code 34)", "expected a hex-digit for character escape sequence"), 12),
        (r#"{"a":["\q"]}"#, "Unrecognized character escape 'q' (code 113)".into(), 10),
        (r#"{"a":[1]"#, open("Object", r#"{"a":[1]"#, 1), 9),
        (r#"{"a":[1"#, open("Array", r#"{"a":[1"#, 6), 8),
    ] {
        let said = Pattern::parse(pattern).unwrap_err().0;
        let place = format!("\n at [Source: (String)\"{pattern}\"; line: 1, column: {column}]");
        assert_eq!(said, format!("Event pattern is not valid. Reason: {reason}{place}"), "{pattern}");
    }
}

#[test]
fn every_generated_case_is_decided_as_the_reference_does() {
    let Some(text) = vectors("pattern_cases.jsonl") else { return };
    let mut wrong = Vec::new();
    for line in text.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let (pattern, event) = (raw_member(line, "pattern"), raw_member(line, "event"));
        let found = verdict(&pattern, &event);
        if found != case["expect"] {
            wrong.push(format!("{} {}: {found}\n   {pattern}\n   {event}", case["label"], case["expect"]));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
}

#[test]
fn large_rule_sets_are_decided_as_the_reference_does() {
    #[derive(serde::Deserialize)]
    struct Set {
        label: String,
        rules: BTreeMap<String, Box<serde_json::value::RawValue>>,
        events: Vec<Box<serde_json::value::RawValue>>,
        matches: Vec<Vec<String>>,
    }
    let Some(text) = vectors("pattern_cases_multi.json") else { return };
    let sets: Vec<Set> = serde_json::from_str(&text).unwrap();
    let mut scratch = Scratch::default();
    for set in sets {
        let names: Vec<&String> = set.rules.keys().collect();
        let patterns: Vec<Pattern> = set.rules.values().map(|rule| Pattern::parse(rule.get()).unwrap()).collect();
        let matcher = Matcher::new((0..).zip(&patterns)).unwrap();
        for (event, expected) in set.events.iter().zip(&set.matches) {
            let matched = matcher.matches(event.get().as_bytes(), &mut scratch).unwrap();
            let mut matched: Vec<&String> = matched.iter().map(|rule| names[*rule as usize]).collect();
            let mut expected: Vec<&String> = expected.iter().collect();
            matched.sort();
            expected.sort();
            assert_eq!(matched, expected, "{}: {}", set.label, event.get());
        }
    }
}

#[test]
fn operators_say_what_they_are_documented_to_say() {
    let event = r#"{"source":"fakemon.capture","detail":{"player":"Ash","tries":3,"lat":40.5,"ip":"10.0.1.7","won":true,
        "tags":["rare","night"],"none":null,"path":"a/b/c.png","bag":[{"ball":"great","left":2},{"ball":"ultra","left":0}]}}"#;
    for (detail, matches) in [
        (r#""player":["Ash"]"#, true),
        (r#""player":["ash"]"#, false),
        (r#""player":[{"equals-ignore-case":"aSH"}]"#, true),
        (r#""player":[{"prefix":"As"}],"path":[{"suffix":".png"}]"#, true),
        (r#""player":[{"prefix":{"equals-ignore-case":"aS"}}]"#, true),
        (r#""path":[{"wildcard":"a/*/c.*"}]"#, true),
        (r#""path":[{"wildcard":"*/x/*"}]"#, false),
        (r#""tries":[3.0]"#, true),
        (r#""tries":["3"]"#, false),
        (r#""tries":[{"numeric":[">",2,"<=",3]}]"#, true),
        (r#""tries":[{"numeric":["<",3]}]"#, false),
        (r#""ip":[{"cidr":"10.0.0.0/8"}]"#, true),
        (r#""ip":[{"cidr":"10.0.0.0/24"}]"#, false),
        (r#""won":[true],"none":[null]"#, true),
        (r#""tags":["night"]"#, true),
        (r#""tags":[{"anything-but":["rare","night"]}]"#, false),
        (r#""tags":[{"anything-but":"rare"}]"#, true),
        (r#""player":[{"anything-but":{"prefix":"B"}}]"#, true),
        (r#""player":[{"anything-but":{"wildcard":"*s*"}}]"#, false),
        (r#""nothing":[{"exists":false}],"player":[{"exists":true}]"#, true),
        (r#""player":[{"exists":false}]"#, false),
        (r#""bag":{"ball":["great"],"left":[2]}"#, true),
        (r#""bag":{"ball":["great"],"left":[0]}"#, false),
        (r#""bag":{"ball":["ultra"],"left":[{"exists":false}]}"#, false),
        (r#""$or":[{"tries":[9]},{"won":[true]}]"#, true),
        (r#""$or":[{"tries":[9]},{"won":[false]}]"#, false),
    ] {
        let pattern = Pattern::parse(&format!(r#"{{"detail":{{{detail}}}}}"#)).unwrap();
        assert_eq!(pattern.matches(event.as_bytes()), Ok(matches), "{detail}");
        assert_eq!(pattern.explain(event.as_bytes()).unwrap().matches, matches, "{detail}");
    }
    assert_eq!(Pattern::parse(r#"{"detail.player":["Ash"]}"#).unwrap().matches(event.as_bytes()), Ok(true));
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const SCALARS: [&str; 9] = [r#""x""#, r#""xy""#, r#""yx""#, r#""X""#, "1", "1.5", "-2", "true", "null"];
const CONDITIONS: [&str; 14] = [
    r#""x""#,
    r#""xy""#,
    "1",
    "1.50",
    "true",
    "null",
    r#"{"prefix":"x"}"#,
    r#"{"suffix":"x"}"#,
    r#"{"wildcard":"*x*"}"#,
    r#"{"equals-ignore-case":"x"}"#,
    r#"{"anything-but":["x","xy"]}"#,
    r#"{"anything-but":1}"#,
    r#"{"numeric":[">",-3,"<",1.5]}"#,
    r#"{"exists":true}"#,
];

fn random_object(dice: &mut Dice, depth: usize, value: &impl Fn(&mut Dice, usize) -> String) -> String {
    let names = NAMES.iter().filter(|_| dice.below(3) > 0).copied().collect::<Vec<_>>();
    let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":{}", value(dice, depth))).collect();
    format!("{{{}}}", members.join(","))
}

fn random_value(dice: &mut Dice, depth: usize) -> String {
    match dice.below(if depth > 2 { 4 } else { 8 }) {
        0..4 => dice.of(&SCALARS),
        4 | 5 => return random_object(dice, depth + 1, &random_value),
        _ => {
            let count = dice.below(4);
            let elements: Vec<String> = (0..count).map(|_| random_value(dice, depth + 1)).collect();
            return format!("[{}]", elements.join(","));
        }
    }
    .to_owned()
}

fn random_pattern(dice: &mut Dice, depth: usize) -> String {
    loop {
        let object = random_object(dice, depth, &|dice, depth| {
            if depth < 2 && dice.below(2) == 0 {
                return random_pattern(dice, depth + 1);
            }
            let conditions: Vec<&str> = (0..=dice.below(2)).map(|_| dice.of(&CONDITIONS)).collect();
            format!("[{}]", conditions.join(","))
        });
        if object != "{}" {
            return object;
        }
    }
}

/// The values on all paths, for every way to choose one element of each array of objects.
fn ways(value: &Json, path: &str) -> Vec<Vec<(String, Json)>> {
    let both = |left: &[Vec<(String, Json)>], right: &[Vec<(String, Json)>]| -> Vec<Vec<(String, Json)>> {
        left.iter().flat_map(|left| right.iter().map(move |right| [left.clone(), right.clone()].concat())).collect()
    };
    match value {
        Json::Object(members) => members.iter().fold(vec![vec![]], |found, (name, value)| {
            both(&found, &ways(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }))
        }),
        Json::Array(elements) => {
            let nested = |element: &&Json| element.is_object() || element.is_array();
            let scalars = elements.iter().filter(|element| !nested(element));
            let scalars: Vec<(String, Json)> = scalars.map(|scalar| (path.to_owned(), scalar.clone())).collect();
            let mut chosen: Vec<_> = elements.iter().filter(nested).flat_map(|element| ways(element, path)).collect();
            if chosen.is_empty() {
                chosen.push(vec![]);
            }
            both(&[scalars], &chosen)
        }
        scalar => vec![vec![(path.to_owned(), scalar.clone())]],
    }
}

fn meets(conditions: &[Condition], value: &Json) -> bool {
    let text = value.to_string();
    let value = match value {
        Json::String(text) => Value::Text(text),
        Json::Number(_) => Value::Number(&text),
        _ => Value::Word(&text),
    };
    conditions.iter().any(|condition| condition.holds(value))
}

/// Whether a pattern matches, by trying everything.
fn matches_slowly(pattern: &Pattern, event: &str) -> bool {
    let ways = ways(&serde_json::from_str(event).unwrap(), "");
    pattern.branches().iter().any(|branch| {
        ways.iter().any(|way| {
            branch
                .iter()
                .all(|(path, conditions)| way.iter().any(|(at, value)| at == path && meets(conditions, value)))
        })
    })
}

#[test]
fn the_automaton_agrees_with_trying_everything() {
    let mut scratch = Scratch::default();
    let mut matched_ever = 0;
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let patterns: Vec<Pattern> =
            (0..40).map(|_| Pattern::parse(&random_pattern(&mut dice, 0)).unwrap()).collect();
        let matcher = Matcher::new((0..).zip(&patterns)).unwrap();
        for _ in 0..10 {
            let event = random_object(&mut dice, 0, &random_value);
            let slowly: Vec<u32> =
                (0..).zip(&patterns).filter(|(_, p)| matches_slowly(p, &event)).map(|(n, _)| n).collect();
            let matched = matcher.matches(event.as_bytes(), &mut scratch).unwrap();
            matched_ever += matched.len();
            let text = |rule: &u32| patterns[*rule as usize].text();
            assert_eq!(
                matched.iter().map(text).collect::<Vec<_>>(),
                slowly.iter().map(text).collect::<Vec<_>>(),
                "seed {seed}: {event}"
            );
        }
    }
    assert!(matched_ever > 2_000, "{matched_ever} matches are no test");
}

#[test]
fn values_by_path_are_decided_as_the_same_event_in_json() {
    let mut scratch = Scratch::default();
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let patterns: Vec<Pattern> =
            (0..20).map(|_| Pattern::parse(&random_pattern(&mut dice, 0)).unwrap()).collect();
        let matcher = Matcher::new((0..).zip(&patterns)).unwrap();
        let scalar = |dice: &mut Dice, _| dice.of(&SCALARS).to_owned();
        let event = random_object(&mut dice, 0, &|dice, depth| random_object(dice, depth, &scalar));
        let in_json = matcher.matches(event.as_bytes(), &mut scratch).unwrap().to_vec();
        let parsed: Json = serde_json::from_str(&event).unwrap();
        let values: Vec<(String, Json)> = ways(&parsed, "").remove(0);
        let leaves = values.iter().filter_map(|(path, value)| {
            let leaf = match value {
                Json::String(text) => Leaf::Text(text),
                Json::Number(number) => Leaf::Number(number.as_f64().unwrap()),
                Json::Bool(bool) => Leaf::Bool(*bool),
                _ => Leaf::Null,
            };
            Some((matcher.path(&path.split('.').collect::<Vec<_>>())?, leaf))
        });
        let leaves: Vec<_> = leaves.collect();
        assert_eq!(matcher.matches_leaves(&leaves, &mut scratch), in_json, "seed {seed}: {event}");
    }
}

#[test]
fn many_wildcards_are_decided_as_each_alone() {
    let texts = ["a", "ab", "abc", "b*c", "*", "c", "ba", "cab", "bb", "x", "a*b", "cc"];
    let wild = |text: &str| Pattern::parse(&format!(r#"{{"v":[{{"wildcard":"*{text}"}}]}}"#));
    let patterns: Vec<Pattern> = texts.iter().filter_map(|text| wild(text).ok()).collect();
    assert!(patterns.len() > 10);
    let matcher = Matcher::new((0..).zip(&patterns)).unwrap();
    for value in ["", "a", "ab", "xabc", "bxc", "cabbage", "aab", "bbcc"] {
        let event = format!(r#"{{"v":"{value}"}}"#);
        let alone = (0..).zip(&patterns).filter(|(_, pattern)| pattern.matches(event.as_bytes()).unwrap());
        let alone: Vec<u32> = alone.map(|(rule, _)| rule).collect();
        assert_eq!(matcher.matches(event.as_bytes(), &mut Scratch::default()).unwrap(), alone, "{value}");
    }
}

#[test]
fn hostile_events_and_patterns_cost_little() {
    let pattern = Pattern::parse(r#"{"x":{"a":[1],"b":[1]},"y":{"a":[2],"b":[1]},"z":[{"exists":false}]}"#).unwrap();
    let pairs = |first: usize| {
        (0..20_000).map(|n| format!(r#"{{"a":{},"b":{}}}"#, (n + first) % 2, n % 2)).collect::<Vec<_>>()
    };
    // No element has both: every combination is wrong, and there are 400 million.
    let event = format!(r#"{{"x":[{}],"y":[{}]}}"#, pairs(1).join(","), pairs(1).join(","));
    assert_eq!(pattern.matches(event.as_bytes()), Ok(false));
    let deep = |open: &str, close: &str| format!(r#"{{"x":{}1{}}}"#, open.repeat(5_000), close.repeat(5_000));
    assert!(pattern.matches(deep("[", "]").as_bytes()).is_err());
    assert!(pattern.matches(deep("{\"x\":", "}").as_bytes()).is_ok(), "nobody looks there");
    for broken in ["", "{", "[]", "{\"x\":}", "{\"x\":{\"a\":1}", "{\"x\" 1}", "{\"x\":1}}", "{\"x\":tru}", "\u{1}"] {
        assert!(pattern.matches(broken.as_bytes()).is_err(), "{broken}");
    }
    assert!(pattern.matches(b"{\"x\":\"\xFF\"}").is_err());
    let fields = |count: usize| (0..count).map(|n| format!("\"{n}\":[1]")).collect::<Vec<_>>().join(",");
    let met = |count: usize| (0..count).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(",");
    let nested = Pattern::parse(&format!(r#"{{"a":{{{}}}}}"#, fields(100))).unwrap();
    let event = format!(r#"{{"a":{}{{{}}}{}}}"#, "[".repeat(250), met(100), "]".repeat(250));
    let small_stack = std::thread::Builder::new().stack_size(1 << 20);
    let decided = small_stack.spawn(move || nested.matches(event.as_bytes())).unwrap().join().unwrap();
    assert_eq!(decided, Ok(true), "deep arrays, many fields");
    let absent = Pattern::parse(r#"{"a":{"x":[1],"y":[{"exists":false}]}}"#).unwrap();
    let (xs, ys) = (vec![r#"{"x":1}"#; 30_000].join(","), vec![r#"{"y":1}"#; 30_000].join(","));
    assert!(absent.matches(format!(r#"{{"a":[{ys},{xs}]}}"#).as_bytes()).is_ok());
    let repeated = Pattern::parse(&format!(r#"{{"a":{{{}}}}}"#, fields(20))).unwrap();
    let half =
        |odd: usize| (0..500).map(|n| format!("{{\"{}\":1}}", (n * 2 + odd) % 20)).collect::<Vec<_>>().join(",");
    let event = format!(r#"{{"a":[{}],"a":[{}],"a":[{}]}}"#, half(0), half(1), half(0));
    assert_eq!(repeated.matches(event.as_bytes()), Ok(false));
    let ten = (0..10).map(|n| format!("{{\"c{n}\":[1]}}")).collect::<Vec<_>>().join(",");
    let three = |n: usize| ten.replace('c', &format!("c{n}"));
    let many = format!(
        r#"{{"x":{{"$or":[{}]}},"y":{{"$or":[{}]}},"z":{{"$or":[{}]}},"a":{{"b":[{{"exists":true}}]}}}}"#,
        three(1),
        three(2),
        three(3)
    );
    let many = Pattern::parse(&many).unwrap();
    assert!(many.matches(format!(r#"{{"a":[{}]}}"#, vec![r#"{"b":1}"#; 50_000].join(",")).as_bytes()).is_err());
    let twice = Pattern::parse(r#"{"v":[1],"w":[2]}"#).unwrap();
    assert_eq!(twice.matches(br#"{"v":0,"v":1,"w":2}"#), Ok(true), "a name that comes twice has both values");
    for text in [
        format!(r#"{{"v":[{{"wildcard":"{}"}}]}}"#, "*a".repeat(60)),
        format!(r#"{{"$or":[{}]}}"#, vec![r#"{"$or":[{"a":[1]},{"b":[1]}]}"#; 600].join(",")),
        format!("{}[1]{}", r#"{"a":"#.repeat(2_000), "}".repeat(2_000)),
        format!(r#"{{"$or":[{}],"v":[{}]}}"#, vec![r#"{"a":[1]}"#; 900].join(","), vec!["1"; 800].join(",")),
    ] {
        assert!(Pattern::parse(&text).is_err());
    }
}
