//! Foreign text is printed as text, never as a command to the terminal: by every command that prints.

use crate::aws::events;
use crate::player::{Player, SOL};
use crate::server::{Server, answer, fresh_data};
use serde_json::{Value, json};

/// Clears the screen, sets the window title, deletes, reverses the direction of text.
const HOSTILE: &str = "a\u{9b}2Jb\u{9d}0;x\u{7}c\u{7f}d\u{1b}[31me\u{202e}f\u{2066}g";

fn is_harmless(letter: char) -> bool {
    let turns = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !turns && (!letter.is_control() || matches!(letter, '\n' | '\t'))
}

#[test]
fn no_command_lets_others_command_the_terminal() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let event = json!({ "source": format!("shop{HOSTILE}"), "detail-type": format!("sold{HOSTILE}"),
                        "detail": { HOSTILE: HOSTILE }, "resources": [HOSTILE] });
    let (status, put) = server.post_event(&event.to_string());
    let pattern = json!({ "detail": { HOSTILE: [HOSTILE] } }).to_string();
    events(&server, "PutRule", json!({ "Name": "all", "EventPattern": pattern, "Description": HOSTILE }));
    let name = "\u{202e}eve\u{2066}";
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let fakemon = server.spawn(json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 })).0;
    let mut player = Player::connect(server.play, &encoded).expect("it is a name");
    let made = player.attempt(1, fakemon.parse().unwrap()).unwrap();
    let made = made["position"].as_str().unwrap().to_owned();
    assert!(server.stop().success());
    let put = put["position"].as_str().map_or("1", |position| position).to_owned();
    let commands: &[&[&str]] = &[
        &["log"],
        &["log", "--rule", "all"],
        &["timeline"],
        &["timeline", "--json"],
        &["topology"],
        &["topology", "--json"],
        &["topology", "--format", "dot"],
        &["explain", &made],
        &["explain", &made, "--json"],
        &["trace", &put],
        &["trace", &put, "--json"],
        &["trace", &made],
        &["replay"],
        &["replay", "--json"],
        &["replay", "--from", "1"],
        &["replay", "--from", "1", "--json"],
        &["replay", "--player", name],
        &["info"],
        &["verify"],
        &["rules", "lint"],
    ];
    for arguments in commands {
        let output = crate::server::fakemon(&[arguments, &["--data", dir][..]].concat());
        for said in [output.stdout, output.stderr] {
            let said = String::from_utf8(said).unwrap();
            let letter = said.chars().find(|letter| !is_harmless(*letter));
            assert_eq!(letter, None, "{arguments:?}: {}", said.escape_debug());
        }
    }
    // In JSON the escaped text is the same.
    if status == 200 {
        let log = answer(&["log", "--data", dir]);
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let event = lines.find(|line| line["source"] == format!("shop{HOSTILE}")).expect("it was put");
        assert_eq!(event["detail"], json!({ HOSTILE: HOSTILE }));
    }
}
