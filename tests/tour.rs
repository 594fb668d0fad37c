//! What the README shows, run as it stands there by clients that others wrote.

use crate::server::{Server, fresh_data};
use std::process::Command;

#[test]
fn boto3_takes_the_tour_of_the_readme() {
    let has_clients = Command::new("python3").args(["-c", "import boto3, websockets"]).output();
    if !has_clients.is_ok_and(|output| output.status.success()) {
        return eprintln!("left out: no boto3 and websockets here (`make test` installs them)");
    }
    let data = fresh_data();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let tour = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tour.py");
    let addresses = [format!("http://{}", server.control), format!("ws://{}", server.play)];
    let mut python = Command::new("python3");
    python.arg(tour).args(addresses).env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    let output = python.output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("as it should be"), "{said}{wrong}\n{}", server.log());
}
