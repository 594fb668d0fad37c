//! The README, run with common clients: its blocks as they are, and its claims.

use crate::server::{FAKEMON, Server, fresh_data};
use std::path::Path;
use std::process::Command;

/// Runs a script of these tests against a server, in a directory with `fakemon` on the path; the script reports
/// success.
fn take(script: &str, clients: &str, arguments: &[&str], directory: &Path, server: &Server) {
    let has_clients = Command::new("python3").args(["-c", &format!("import {clients}")]).output();
    if !has_clients.is_ok_and(|output| output.status.success()) {
        return eprintln!("left out: no {clients} here (`make test` installs them)");
    }
    let binaries = Path::new(FAKEMON).parent().unwrap().display();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
    let addresses = [format!("http://{}", server.control), format!("ws://{}", server.play)];
    let mut python = Command::new("python3");
    python.arg(in_repository(&format!("tests/{script}"))).args(arguments).args(addresses);
    python.current_dir(directory).env("PATH", path).env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    let output = python.output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("as it should be"), "{said}{wrong}\n{}", server.log());
}

fn in_repository(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_blocks_of_the_readme_work_one_after_the_other_on_a_fresh_directory() {
    let directory = fresh_data();
    let server = Server::start(&directory.path().join("fakemon-data"), &["--allow-private-targets"]);
    let readme = in_repository("README.md");
    take("readme.py", "boto3, websockets, awscli", &[&readme], directory.path(), &server);
}

#[test]
fn boto3_takes_the_tour_of_what_the_readme_says_in_words() {
    let directory = fresh_data();
    let server = Server::start(&directory.path().join("data"), &["--allow-private-targets"]);
    take("tour.py", "boto3, websockets", &[], directory.path(), &server);
}
