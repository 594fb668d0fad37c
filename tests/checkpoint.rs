//! Checkpoints: copies of a data directory, beside a running server and without one. They are consistent: a server
//! starts from one, every tool reads it, and no event acknowledged before is missing.

use crate::dice::Dice;
use crate::player::{Player, SOL};
use crate::racer::Racer;
use crate::server::{Server, answer, fresh_data, refusal};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn checkpoint(data: &Path, to: &Path) -> Value {
    serde_json::from_str(&answer(&["checkpoint", "--json", "--data", path(data), "--to", path(to)])).unwrap()
}

#[test]
fn a_copy_under_load_holds_what_was_told_and_outlives_kills_of_both() {
    let (dir, mut dice) = (fresh_data(), Dice::new());
    let data = dir.path().join("data");
    let config = dir.path().join("fakemon.toml");
    fs::write(&config, "[journal]\nkeep_age = \"100ms\"\nsnapshot_every = \"50ms\"\n").unwrap();
    let server = Server::start(&data, &["--config", path(&config)]);
    let (newest, stop, mut noise, mut ana) =
        (AtomicU64::new(0), AtomicBool::new(false), Racer::new("noise"), Racer::new("ana"));
    let mut told = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| noise.race(server.play, || newest.load(Ordering::Relaxed)));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let detail = json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 });
                let spawned = server.try_spawn(&detail).map_or(0, |(id, _)| id);
                newest.store(spawned, Ordering::Relaxed);
            }
        });
        let mut player = Player::connect(server.play, &ana.name).unwrap();
        for copy in 0..4 {
            for attempt in copy * 50..(copy + 1) * 50 {
                let answer = player.attempt(attempt, newest.load(Ordering::Relaxed)).unwrap();
                ana.answers.insert(attempt, answer);
            }
            let to = dir.path().join(format!("copy-{copy}"));
            let report = checkpoint(&data, &to);
            assert_eq!(report["beside_a_server"], true);
            told.push((to, ana.answers.clone()));
        }
        stop.store(true, Ordering::Relaxed);
        rustix::process::kill_process(server.pid(), rustix::process::Signal::KILL).unwrap();
    });
    drop(server);
    for (copy, answers) in told {
        for _ in 0..2 {
            is_told_the_same(&copy, &answers, &mut dice);
            answer(&["verify", "--data", path(&copy)]);
        }
    }
    is_told_the_same(&data, &ana.answers, &mut dice);
    answer(&["verify", "--data", path(&data)]);
}

/// Starts a server on the copy, checks that it repeats the answers, and kills it.
fn is_told_the_same(data: &Path, answers: &BTreeMap<u64, Value>, dice: &mut Dice) {
    let server = Server::start(data, &[]);
    let mut player = Player::connect(server.play, "ana").unwrap();
    let all: Vec<_> = answers.iter().collect();
    let newest = all.iter().rev().take(10).copied();
    let some: Vec<_> = newest.chain((0..20).map(|_| *dice.one_of(&all))).collect();
    for (attempt, first) in some {
        assert_eq!(player.attempt(*attempt, 1).as_ref(), Some(first));
    }
    server.kill();
}

#[test]
fn a_closed_directory_is_copied_and_not_changed() {
    let dir = fresh_data();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    crate::export::lived_in(&data);
    let before = contents(&data);
    let report = checkpoint(&data, &copy);
    assert_eq!(report["beside_a_server"], false);
    assert!(contents(&data) == before, "the original changed");
    let said = |data: &Path, command: &str| answer(&[command, "--data", path(data)]);
    assert_eq!(said(&copy, "log"), said(&data, "log"));
    assert!(Server::start(&copy, &[]).stop().success());
    said(&copy, "verify");
    assert!(contents(&data) == before, "the copy's server changed the original");
}

/// All files with their bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => files.extend(contents(&entry.path())),
            false => drop(files.insert(path(&entry.path()).to_owned(), fs::read(entry.path()).unwrap())),
        }
    }
    files
}

#[test]
fn what_is_left_of_a_copy_that_was_killed_is_replaced_and_nothing_else_is() {
    let dir = fresh_data();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    crate::export::lived_in(&data);
    checkpoint(&data, &copy);
    let kill = || {
        fs::write(copy.join("FAKEMON"), "fakemon data directory, incomplete: a checkpoint\n").unwrap();
        fs::remove_dir_all(copy.join("bus")).unwrap();
        fs::remove_file(copy.join("journal/CURRENT")).unwrap();
    };
    kill();
    let server = Server::start(&data, &[]);
    checkpoint(&data, &copy);
    assert!(server.stop().success());
    answer(&["verify", "--data", path(&copy)]);
    kill();
    checkpoint(&data, &copy);
    assert_eq!(contents(&copy).len(), contents(&data).len() - locks(&data), "it is a whole copy");
    answer(&["verify", "--data", path(&copy)]);
    kill();
    fs::write(copy.join("thesis.tex"), "chapter one").unwrap();
    let (code, line) = refusal(&["checkpoint", "--data", path(&data), "--to", path(&copy)]);
    assert!(code == 1 && line.contains("not empty") && copy.join("thesis.tex").exists(), "{line}");
}

/// Files that a copy does not have: locks and logs of RocksDB itself.
fn locks(folder: &Path) -> usize {
    let is_left_out = |file: &&String| {
        let name = file.rsplit('/').next().unwrap_or_default();
        name == "LOCK" || name.starts_with("LOG") || name == "manifest.noted"
    };
    contents(folder).keys().filter(is_left_out).count()
}

#[test]
fn a_checkpoint_is_refused_where_it_would_do_harm() {
    let (dir, keys) = (fresh_data(), fresh_data());
    let (data, full) = (dir.path().join("data"), dir.path().join("full"));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.tex"), "chapter one").unwrap();
    let file = keys.path().join("keys");
    fs::write(&file, "AKIDEXAMPLE wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n").unwrap();
    let server = Server::start(&data, &["--access-keys-file", path(&file)]);
    let (code, line) = refusal(&["checkpoint", "--data", path(&data), "--to", path(&full)]);
    assert!(code == 1 && line.contains("not empty"), "{line}");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    // Only a caller who can read the data directory may say where the server writes.
    let evil = dir.path().join("evil");
    let body = json!({ "to": evil, "word": "0123456789abcdef0123456789abcdef" }).to_string();
    let request = format!(
        "POST /checkpoint HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(server.raw(&request).starts_with("HTTP/1.1 403"));
    assert!(!evil.exists());
    // With access keys the directory's word is enough.
    assert_eq!(checkpoint(&data, &dir.path().join("copy"))["beside_a_server"], true);
    assert!(server.stop().success());
    let (code, line) = refusal(&["checkpoint", "--data", path(&full), "--to", path(&evil)]);
    assert!(code == 1 && line.contains("not a fakemon data directory"), "{line}");
}
