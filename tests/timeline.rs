//! `fakemon timeline`: a journal made in the test, shown in a terminal, as JSON and as a page. Figures depend on the
//! machine, so only their shapes and sums are checked; the aggregation itself is tested beside its code, with made-up
//! times.

use crate::player::{Player, SOL};
use crate::server::{Server, answer, fresh_data, refusal};
use serde_json::{Value, json};
use std::path::Path;

/// Names that contain markup, or commands to a terminal.
const HOSTILE: [&str; 3] = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "&lt;b&gt;'{{7*7}}"];

fn json(data: &Path, more: &[&str]) -> Value {
    let arguments = [&["timeline", "--data", data.to_str().unwrap(), "--json"], more].concat();
    serde_json::from_str(&answer(&arguments)).expect("it is JSON")
}

fn sum(timeline: &Value, member: &str) -> u64 {
    let buckets = timeline["buckets"].as_array().unwrap();
    buckets.iter().map(|bucket| bucket[member].as_u64().unwrap()).sum()
}

/// A journal with attempts of players with hostile names, events with hostile texts, and two openings.
fn journal() -> tempfile::TempDir {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (fakemon, _) = server.spawn(json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 }));
    let fakemon = fakemon.parse().unwrap();
    for name in HOSTILE {
        let mut player = Player::connect(server.play, &percent_encoded(name)).expect("it accepts");
        (1..=4).for_each(|attempt| drop(player.attempt(attempt, fakemon).expect("it answers")));
    }
    let event = json!({ "source": "<b>\u{1b}[31mshop", "detail-type": "</table>", "detail": {} });
    assert_eq!(server.post_event(&event.to_string()).0, 200);
    assert!(server.stop().success());
    assert!(Server::start(data.path(), &[]).stop().success());
    data
}

fn percent_encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_journal_is_told_in_figures_that_add_up() {
    let data = journal();
    let timeline = json(data.path(), &[]);
    let whole = &timeline["whole"];
    assert_eq!((&whole["received"], &whole["decided"], &whole["durable"]), (&json!(12), &json!(12), &json!(12)));
    assert_eq!(whole["outcomes"]["captured"], 1);
    assert_eq!(whole["outcomes"]["already_captured"], 11);
    for member in ["events", "received", "decided", "durable", "put", "appeared"] {
        assert_eq!(Some(sum(&timeline, member)), whole[member].as_u64(), "{member}");
    }
    let info: Value =
        serde_json::from_str(&answer(&["info", "--json", "--data", data.path().to_str().unwrap()])).unwrap();
    assert_eq!(whole["events"], info["events"]);
    assert!((1..=120).contains(&timeline["buckets"].as_array().unwrap().len()));
    let stages = &whole["stages_ns"];
    for stage in ["queued", "decided", "written", "total"] {
        assert_eq!(stages[stage]["count"], 12, "{stage}: {stages}");
    }
    assert!(stages["total"]["max"].as_u64() >= stages["written"]["max"].as_u64(), "{stages}");
    assert_eq!(timeline["opened"].as_array().unwrap().len(), 2);
    let kinds: Vec<&Value> = timeline["gaps"].as_array().unwrap().iter().map(|gap| &gap["kind"]).collect();
    assert!(kinds.contains(&&json!("engine not open")), "{kinds:?}");
    let players = &timeline["hot_players"];
    assert_eq!((&players["different"], &players["top"][0]["throws"]), (&json!(3), &json!(4)));
    let fakemon = &timeline["hot_fakemon"]["top"][0];
    assert_eq!(
        (&fakemon["throws"], &fakemon["throws_max"], &fakemon["captured"]),
        (&json!(12), &json!(12), &json!(1))
    );
}

#[test]
fn a_range_holds_the_events_of_its_positions() {
    let data = journal();
    let all = json(data.path(), &[]);
    let last: u64 = all["last_position"].as_str().unwrap().parse().unwrap();
    let part = json(data.path(), &["--from", "3", "--to", "6", "--bucket", "1ms"]);
    let position = |member: &str| part[member].as_str().unwrap().parse::<u64>().unwrap();
    assert!(position("first_position") <= 3 && (6..last).contains(&position("last_position")), "{part}");
    assert!(part["whole"]["events"].as_u64() < all["whole"]["events"].as_u64());
    let again = json(data.path(), &["--from", part["begin"].as_str().unwrap(), "--to", "6", "--bucket", "1ms"]);
    assert_eq!(part, again, "a time names the same as the position of that time");
}

#[test]
fn charts_fit_a_terminal_and_command_nothing_in_it() {
    let data = journal();
    let text = answer(&["timeline", "--data", data.path().to_str().unwrap()]);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    let charts = text.lines().skip(1).take_while(|line| !line.starts_with("stalls"));
    charts.for_each(|line| assert!(line.chars().count() <= 80, "{line}"));
    for told in ["received/s", "already_captured", "answer p99", "undurable", "group size max", "hot players", "█"]
    {
        assert!(text.contains(told), "{told} is missing in {text}");
    }
}

#[test]
fn the_report_needs_nothing_else_and_takes_words_from_outside_as_text() {
    let (data, out) = (journal(), fresh_data());
    let file = out.path().join("report.html");
    let path = data.path().to_str().unwrap();
    answer(&["timeline", "--data", path, "--html", file.to_str().unwrap()]);
    let page = std::fs::read_to_string(file).unwrap();
    for name in HOSTILE {
        let escaped = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let escaped = escaped.replace('"', "&quot;").replace('\'', "&#39;");
        assert!(page.contains(&escaped) && !page.contains(name), "{name}");
    }
    assert!(page.contains("&lt;/table&gt;") && !page.contains("<b>\u{1b}") && !page.contains('\u{1b}'));
    assert_eq!(page.matches("<script").count(), page.matches("</script>").count());
    assert_eq!(page.matches("<script").count(), 2, "the data and the script of the page");
    assert_eq!(page.matches("<svg").count(), 8);
    for outside in ["http://", "https://", "src=", "url(", "@import", "<link"] {
        let found = page.replace(&"src=x".to_string(), "").contains(outside);
        assert!(!found, "{outside}");
    }
}

#[test]
fn ranges_that_make_no_sense_are_told_with_the_remedy() {
    let data = journal();
    let path = data.path().to_str().unwrap();
    let refused = |more: &[&str]| refusal(&[&["timeline", "--data", path], more].concat());
    let (begin, end) = ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    for (arguments, code, expected) in [
        (&["--from", "6", "--to", "3"][..], 1, "--to ("),
        (&["--from", end], 1, "the journal ends before"),
        (&["--to", begin], 1, "the journal begins after"),
        (&["--from", "1000000"], 1, "--from 1000000: the journal holds positions 1 to"),
        (&["--to", "0"], 1, "--to 0: the journal holds positions 1 to"),
        (&["--bucket", "1us"], 2, "from 1ms on"),
        (&["--bucket", "soon"], 2, "from 1ms on"),
        (&["--top", "0"], 2, "--top"),
        (&["--from", "yesterday"], 2, "neither a position nor a time"),
        (&["--html", "/nowhere/at/all.html"], 1, "--html /nowhere/at/all.html"),
    ] {
        let (found, line) = refused(arguments);
        assert!(found == code && line.contains(expected), "{arguments:?}: {found} {line}");
    }
    let inside = data.path().join("journal/report.html");
    let (code, line) = refused(&["--html", inside.to_str().unwrap()]);
    assert!(code == 1 && line.contains("outside of the data directory") && !inside.exists(), "{line}");
    let nothing = fresh_data();
    let (code, line) = refusal(&["timeline", "--data", nothing.path().to_str().unwrap()]);
    assert!(code == 1 && line.contains("no file FAKEMON"), "{line}");
}

#[test]
fn a_range_in_which_nothing_happened_says_where_the_next_events_are() {
    let data = journal();
    let timeline = json(data.path(), &[]);
    let gap = timeline["gaps"].as_array().unwrap().iter().find(|gap| gap["kind"] == "engine not open").unwrap();
    let at = |member: &str| gap[member].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let second_after = at("begin") + jiff::SignedDuration::from_micros(1);
    let before_end = at("end") - jiff::SignedDuration::from_micros(1);
    let (from, to) = (second_after.to_string(), before_end.to_string());
    let path = data.path().to_str().unwrap();
    let (code, line) = refusal(&["timeline", "--data", path, "--from", &from, "--to", &to]);
    let next = format!("the next is at position {}", gap["next_position"].as_str().unwrap());
    assert!(code == 1 && line.contains("nothing happened from") && line.contains(&next), "{line}");
}
