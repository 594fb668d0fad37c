//! Overload: queues are bounded, the rest is `throttled` with a time to retry, and no accepted attempt is lost.

use crate::player::{Player, SOL, attempt_at, number};
use crate::server::{Server, fresh_data};
use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

const CROWD: usize = 16;
/// Attempts of each player, sent together.
const ATTEMPTS: u64 = 8_000;

#[test]
fn a_slow_journal_throttles_and_forgets_nothing() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let detail = json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 });
    let (fakemon, _) = server.try_spawn(&detail).unwrap();
    let (before, over) = (peak_memory_kib(server.pid()), AtomicBool::new(false));
    let cpu = starve_journal(server.pid());
    let answers: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| spin_on(&cpu, &over));
        let server = &server;
        let crowd: Vec<_> = (0..CROWD).map(|index| scope.spawn(move || insist(server, index, fakemon))).collect();
        let answers = crowd.into_iter().map(|player| player.join()).collect();
        over.store(true, Ordering::Relaxed);
        answers
    });
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let all = || answers.iter().flat_map(BTreeMap::values);
    assert_eq!(all().count() as u64, CROWD as u64 * ATTEMPTS, "each throw is answered");
    assert_eq!(all().filter(|answer| answer["outcome"] == "captured").count(), 1);
    let throttled: Vec<_> = all().filter(|answer| answer["reason"] == "throttled").collect();
    assert!(!throttled.is_empty(), "it took everything");
    for answer in throttled {
        assert!(answer["retry_after_ms"].as_u64() > Some(0) && answer.get("position").is_none(), "{answer}");
    }
    let grown_kib = peak_memory_kib(server.pid()).saturating_sub(before);
    assert!(grown_kib < 300 * 1024, "memory grew by {grown_kib} KiB");
    // A throttled id is not used up.
    for (index, answers) in answers.iter().enumerate() {
        let Some(throttled) = answers.values().find(|answer| answer["reason"] == "throttled") else { continue };
        let mut player = Player::connect(server.play, &format!("crowd-{index}")).unwrap();
        let again = player.attempt(number(throttled, "attempt_id"), fakemon).unwrap();
        assert!(again["position"].is_string(), "{again}");
    }
    assert!(server.stop().success());
}

/// Sends all attempts in one write, and reads all answers.
fn insist(server: &Server, index: usize, fakemon: u64) -> BTreeMap<u64, Value> {
    let mut player = Player::connect(server.play, &format!("crowd-{index}")).unwrap();
    let voice = player.socket.get_ref().try_clone().unwrap();
    let mut voice = WebSocket::from_raw_socket(voice, Role::Client, None);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for attempt in 0..ATTEMPTS {
                voice.write(Message::text(attempt_at(attempt, fakemon).to_string())).unwrap();
            }
            voice.flush().unwrap();
        });
        let mut answers = BTreeMap::new();
        for _ in 0..ATTEMPTS {
            let answer = player.hear().expect("it answers");
            assert_eq!(answers.insert(number(&answer, "attempt_id"), answer), None);
        }
        answers
    })
}

/// Slows the journal down on any machine: its thread gets only what is left of one processor. Returns that processor.
fn starve_journal(server: Pid) -> CpuSet {
    let tasks = std::fs::read_dir(format!("/proc/{server}/task")).unwrap().map(|task| task.unwrap().path());
    let is_journal = |path: &std::path::PathBuf| std::fs::read_to_string(path.join("comm")).unwrap() == "journal\n";
    let journal = tasks.into_iter().find(is_journal).expect("a thread is called journal");
    let journal = journal.file_name().unwrap().to_str().unwrap().parse().ok().and_then(Pid::from_raw);
    let allowed = sched_getaffinity(None).unwrap();
    let mut last = CpuSet::new();
    last.set((0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).expect("there is a processor"));
    sched_setaffinity(journal, &last).unwrap();
    setpriority_process(journal, 19).unwrap();
    last
}

/// Keeps a processor busy, so that threads of lower priority starve.
fn spin_on(cpu: &CpuSet, over: &AtomicBool) {
    sched_setaffinity(None, cpu).unwrap();
    while !over.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

fn peak_memory_kib(server: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.expect("the kernel says it")
}
