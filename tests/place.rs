//! A data directory whose locks, files or folders are deleted or replaced under a running server: no second server
//! starts in it, and the first one writes nothing into what stands in its place.

use crate::player::Player;
use crate::server::{Server, answer, fresh_data, refusal};
use serde_json::json;
use std::fs;
use std::path::Path;

/// Captures something; returns the answer.
fn capture(server: &Server, attempt: u64) -> serde_json::Value {
    let detail =
        json!({ "species": "sparkit", "lat": crate::player::SOL.0, "lon": crate::player::SOL.1, "catch_rate": 1 });
    let (spawned, _) = server.try_spawn(&detail).unwrap();
    Player::connect(server.play, "ana").unwrap().attempt(attempt, spawned).unwrap()
}

fn serve(data: &Path) -> (i32, String) {
    let path = data.to_str().unwrap();
    refusal(&["serve", "--data", path, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--cores", "1"])
}

#[test]
fn no_second_server_starts_once_the_locks_are_deleted() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for part in ["journal", "bus", "snapshot", "index"] {
        fs::remove_file(data.path().join(part).join("LOCK")).unwrap();
    }
    let (code, line) = serve(data.path());
    assert!(code == 1 && line.contains("another process has it open"), "{line}");
    let (code, line) = refusal(&["index", "--data", data.path().to_str().unwrap()]);
    assert!(code == 1 && line.contains("another process has it open"), "{line}");
    capture(&server, 1);
    assert!(server.stop().success());
    answer(&["verify", "--data", data.path().to_str().unwrap()]);
}

#[test]
fn a_server_whose_directory_was_replaced_stops_and_leaves_the_new_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = Server::start(&data, &[]);
    capture(&first, 1);
    fs::remove_dir_all(&data).unwrap();
    let second = Server::start(&data, &[]);
    let caught = capture(&second, 2);
    let (status, said) = first.wait_for_failure();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("was deleted or replaced") && said.contains(data.to_str().unwrap()), "{said}");
    let again = capture(&second, 2);
    assert_eq!((&caught["outcome"], &caught["position"]), (&again["outcome"], &again["position"]));
    assert!(second.stop().success());
    answer(&["verify", "--data", data.to_str().unwrap()]);
    let third = Server::start(&data, &[]);
    assert_eq!(capture(&third, 2)["position"], caught["position"]);
    assert!(third.stop().success());
}

#[test]
fn a_server_whose_directory_was_deleted_says_so_and_makes_nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    capture(&server, 1);
    fs::remove_dir_all(&data).unwrap();
    let (status, said) = server.wait_for_failure();
    assert!(status.code() == Some(1) && said.contains("was deleted or replaced"), "{said}");
    assert!(!data.exists(), "it was made again");
}
