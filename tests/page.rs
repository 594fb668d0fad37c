//! The page's script, run by node in a document that is just enough for it.

use std::process::Command;

#[test]
fn the_page_keeps_pictures_checks_names_and_lets_clicks_through() {
    if Command::new("node").arg("--version").output().is_err() {
        return eprintln!("left out: no node here (`make test` installs it)");
    }
    let file = |path: &str| format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    let files = ["tests/page.js", "server/control/src/page/page.js", "server/control/src/page/page.css"].map(file);
    let output = Command::new("node").args(files).output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("as it should be"), "{said}{wrong}");
}
