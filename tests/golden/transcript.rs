//! Transcripts: commands after a `$`, below each what it says. They are run by a shell, where the binary is on the
//! path, and must say the same again; what depends on the machine (how long something took, how large it is on this
//! disk) is not compared. A command that fails ends with `; echo "exit $?"`, so that its exit code is told too.

use crate::server::FAKEMON;
use regex::Regex;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where commands stand in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everywhere.
    Console,
    /// Between fences of `console`; everything else is for people.
    Markdown,
}

/// A piece of a text.
enum Piece {
    Words(String),
    Step { command: String, said: String },
}

/// Runs all commands of a file in a folder, and compares; `UPDATE_GOLDEN=1` writes what they say.
pub(super) fn check(file: &Path, kind: Kind, folder: &Path) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let (mut written, mut wrong, mut steps) = (String::new(), Vec::new(), 0);
    for piece in pieces(&text, kind) {
        let Piece::Step { command, said } = piece else {
            let Piece::Words(words) = piece else { unreachable!("it is no step") };
            written.push_str(&words);
            continue;
        };
        steps += 1;
        let found = run(&command, folder);
        let (expected, gap) = said.split_at(said.trim_end().len());
        let same = masked(expected) == masked(&found);
        if !same {
            wrong.push(format!("$ {command}\n{}", difference(expected, &found)));
        }
        let kept = if same { expected } else { &found };
        let (kept, gap) = match (kept.is_empty(), kind) {
            (true, _) => (String::new(), gap),
            (false, Kind::Console) => (format!("{kept}\n"), "\n"),
            (false, Kind::Markdown) => (format!("{kept}\n"), gap.strip_prefix('\n').unwrap_or(gap)),
        };
        written.push_str(&format!("$ {command}\n{kept}{gap}"));
    }
    assert!(steps > 0, "{}: no command in it", file.display());
    if update {
        return fs::write(file, format!("{}\n", written.trim_end())).unwrap();
    }
    let name = file.display();
    assert!(wrong.is_empty(), "{name}; UPDATE_GOLDEN=1 writes it anew:\n{}", wrong.join("\n"));
}

fn pieces(text: &str, kind: Kind) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut inside = kind == Kind::Console;
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        if kind == Kind::Markdown && line.starts_with("```") {
            inside = line.starts_with("```console");
            pieces.push(Piece::Words(line.to_owned()));
            continue;
        }
        match (line.strip_prefix("$ ").filter(|_| inside), pieces.last_mut()) {
            (Some(command), _) => {
                let mut command = command.trim_end().to_owned();
                while command.ends_with('\\') {
                    command.push('\n');
                    command.push_str(lines.next().expect("a command goes on after a backslash").trim_end());
                }
                pieces.push(Piece::Step { command, said: String::new() });
            }
            (None, Some(Piece::Step { said, .. })) if inside => said.push_str(line),
            _ => pieces.push(Piece::Words(line.to_owned())),
        }
    }
    pieces
}

/// What a command says, on both streams, in a shell.
fn run(command: &str, folder: &Path) -> String {
    let binaries = Path::new(FAKEMON).parent().expect("it lies in a folder").to_owned();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(binaries).chain(std::env::split_paths(&inherited))).unwrap();
    let ran = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(folder)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stdout).expect("answers are UTF-8");
    assert!(ran.status.success(), "`{command}`: {:?}\n{said}", ran.status);
    shown(&said.replace(super::path(folder), "/incident"))
}

/// One JSON value on one line is shown on several, so that a difference is found; nothing ends in blanks.
fn shown(said: &str) -> String {
    let one_line = said.trim_end();
    let value = (one_line.starts_with('{') && one_line.lines().count() == 1)
        .then(|| serde_json::from_str::<Value>(one_line).expect("what begins as JSON is JSON"));
    let said = value.map_or(said.to_owned(), |value| format!("{value:#}"));
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

/// Without what is another on every machine.
fn masked(text: &str) -> String {
    let patterns = [
        (r"[0-9.]+ s, [0-9.]+ million events/s", "… s, … million events/s"),
        (r"in [0-9.]+ ms\b", "in … ms"),
        (r#""(seconds|events_per_second|disk_bytes)": ?[0-9.e+-]+"#, r#""$1": …"#),
        (r"[0-9.,]+ [KMG]?i?B on disk", "… on disk"),
    ];
    patterns.iter().fold(text.to_owned(), |text, (pattern, instead)| {
        Regex::new(pattern).expect("it is a pattern").replace_all(&text, *instead).into_owned()
    })
}

/// What is no longer said, and what is instead, without the lines before and after that are the same.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = |(one, other): &(&&str, &&str)| masked(one) == masked(other);
    let before = expected.iter().zip(&found).take_while(same).count();
    let most = expected.len().min(found.len()) - before;
    let after = expected.iter().rev().zip(found.iter().rev()).take(most).take_while(same).count();
    let changed = |lines: &[&str], sign: &str| -> String {
        lines[before..lines.len() - after].iter().map(|line| format!("  {sign} {line}\n")).collect()
    };
    format!("  (from line {})\n{}{}", before + 1, changed(&expected, "-"), changed(&found, "+"))
}
