//! Recorded and generated cases lie outside of the repository: `FAKEMON_VECTORS` names their folder.

use super::*;
use serde_json::Value as Json;
use std::path::PathBuf;

fn vectors(file: &str) -> Option<String> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
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

/// The text of a member as it is written in a line of JSON: numbers must not be read and written again.
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
            // Places can be compared where the text of the pattern was recorded as it was sent.
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
