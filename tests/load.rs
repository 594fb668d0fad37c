//! `fakemon load` and the demo world against a real server: the generator's checks pass on a correct server, and fail
//! on contradictions.

use crate::server::{Server, answer, fakemon, fresh_data, refusal};
use serde_json::Value;
use std::time::{Duration, Instant};

fn load(server: &Server, arguments: &[&str]) -> Vec<String> {
    let (play, control) = (format!("ws://{}", server.play), format!("http://{}", server.control));
    let fixed = ["load", "--url", &play, "--control", &control, "--json", "--warmup", "0.2", "--reserve", "300"];
    fixed.iter().chain(arguments).map(ToString::to_string).collect()
}

fn report(server: &Server, arguments: &[&str]) -> Value {
    let arguments = load(server, arguments);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    serde_json::from_str(&answer(&arguments)).expect("--json prints JSON")
}

#[test]
fn every_scenario_ends_with_answers_that_agree() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for arguments in [
        &["--scenario", "hot", "--rate", "max", "--connections", "50", "--in-flight", "4", "--duration", "1"][..],
        &["--scenario", "hot", "--rate", "2000", "--connections", "50", "--duration", "1", "--subprotocol", "fb"],
        &["--scenario", "realistic", "--rate", "2000", "--connections", "50", "--duration", "1", "--threads", "2"],
    ] {
        let report = report(&server, arguments);
        assert!(report["decided_per_second"].as_f64() > Some(100.0), "{report}");
        assert!(report["fakemon_captured"].as_u64() > Some(0), "{report}");
        let outcomes = report["outcomes"].as_object().expect("outcomes are counted by name");
        let decided: u64 = outcomes.values().filter_map(Value::as_u64).sum();
        let others = ["throttled", "repeated"].iter().filter_map(|name| report[name].as_u64()).sum::<u64>();
        assert_eq!(report["sent"].as_u64(), Some(decided + others), "{report}");
        assert_eq!(report["checked"]["captures"], report["fakemon_captured"], "{report}");
        for nothing in ["unanswered", "contradictions", "broken_connections"] {
            assert_eq!(report[nothing], 0, "{report}");
        }
    }
    assert!(server.stop().success());
    answer(&["verify", "--data", &data.path().to_string_lossy()]);
}

#[test]
fn a_server_that_dies_under_load_makes_the_run_fail() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let arguments = load(&server, &["--rate", "max", "--connections", "20", "--duration", "20"]);
    let running = std::thread::spawn(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        fakemon(&arguments)
    });
    let start = Instant::now();
    while !server.get("/metrics").1.contains("outcome=\"already_captured\"} 1") {
        assert!(start.elapsed() < Duration::from_secs(20), "the load does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill();
    let output = running.join().expect("the load ends by itself");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is printed all the same");
    assert_eq!(report["broken_connections"], 20, "{report}");
}

#[test]
fn only_this_machine_is_loaded() {
    let (code, line) = refusal(&["load", "--url", "ws://192.0.2.1:7400"]);
    assert!(code != 0 && line.contains("--allow-remote"), "{line}");
}

#[test]
fn a_demo_world_lives() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--demo"]);
    let value = |name: &str| {
        let (_, text) = server.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        line.unwrap_or_default()
    };
    let start = Instant::now();
    while value("fakemon_connections") < 40.0 || value("fakemon_players") < 3.0 || value("fakemon_wild") < 20.0 {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing lives here");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(server.stop().success());
}
