//! Where a command writes: to stdout, or into a file beside the wanted one (`FILE.part`) that takes its name once it
//! is whole and on the disk. Whatever interrupts it, nobody mistakes a part for all.
//!
//! The name `-` is stdout, for every option that writes a file ([`voice`] decides): stdout then has that alone,
//! without the answer of the command.

use super::interrupt::{Begun, Half, begin};
use crate::printed::{Printed, Stdout};
use anyhow::{Context, ensure};
use fakemon_journal::files::{self, SHARED_FILE};
use flate2::write::GzEncoder;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Buffer of writes, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A text that a command reads: a pattern, an event, a schema.
const TEXT_BYTES_MAX: u64 = 16 << 20;
/// The name of a file that stands for stdout, or for stdin where a file is read.
pub(super) const STANDARD: &str = "-";

/// Whether a name stands for stdout or stdin.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == STANDARD
}

/// The text of a file, or of stdin. `option` is what names it on the command line.
pub(super) fn read_text(option: &str, path: &Path) -> anyhow::Result<String> {
    let text = match is_standard(path) {
        true => files::read_text_of(&mut io::stdin(), TEXT_BYTES_MAX),
        // A pipe is fine: who runs the command writes into it.
        false => File::open(path).and_then(|mut file| files::read_text_of(&mut file, TEXT_BYTES_MAX)),
    };
    text.with_context(|| format!("{option} {}: it cannot be read", path.display()))
}

/// What stdout carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// The answer of the command.
    Answer,
    /// What an option writes to the file `-`; the command says nothing else.
    File,
}

/// Who may write to stdout, of a command with options that write files.
///
/// # Errors
/// When two would: two options with `-`, or one with `-` beside `--json`.
pub(super) fn voice(files: &[(&str, Option<&Path>)], json: bool) -> anyhow::Result<Voice> {
    let mut to_stdout = files.iter().filter(|(_, file)| file.is_some_and(is_standard)).map(|(option, _)| option);
    let Some(first) = to_stdout.next() else { return Ok(Voice::Answer) };
    ensure!(!json, "{first} {STANDARD} and --json both write to stdout: give {first} a file");
    if let Some(second) = to_stdout.next() {
        anyhow::bail!("{first} {STANDARD} and {second} {STANDARD} both write to stdout: give one of them a file");
    }
    Ok(Voice::File)
}

/// Writes a small file at once, whole or not at all; or to stdout. `option` is what names it on the command line.
pub(super) fn write_whole(option: &str, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = match is_standard(path) {
        true => crate::printed::stdout().write_all(bytes),
        false => files::replace(path, bytes, SHARED_FILE),
    };
    written.with_context(|| unwritable(option, path))
}

fn unwritable(option: &str, path: &Path) -> String {
    format!("{option} {}: it cannot be written", path.display())
}

/// Where an export goes; taken away when dropped before it is finished.
pub(super) struct Output {
    option: &'static str,
    /// As the command line names it.
    path: PathBuf,
    sink: Option<Sink>,
    /// Of a file: its temporary and its final path.
    names: Option<(PathBuf, PathBuf)>,
    /// An interrupt deletes the file too.
    _begun: Option<Begun>,
}

enum Sink {
    Stdout(BufWriter<Stdout>),
    Terminal(BufWriter<Printed<Stdout>>),
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    Zstd(Box<zstd::Encoder<'static, BufWriter<File>>>),
}

const OPEN: &str = "it is there until it is finished";

impl Output {
    pub(super) fn stdout() -> Output {
        let sink = match io::stdout().is_terminal() {
            true => Sink::Terminal(BufWriter::with_capacity(BUFFER_BYTES, Printed::new(Stdout::default()))),
            false => Sink::Stdout(BufWriter::with_capacity(BUFFER_BYTES, Stdout::default())),
        };
        Output { option: "--out", path: STANDARD.into(), sink: Some(sink), names: None, _begun: None }
    }

    /// An uncompressed file; `option` names it on the command line.
    pub(super) fn file(option: &'static str, path: &Path) -> anyhow::Result<Output> {
        Output::create(option, path, |file| Ok(Sink::Plain(file)))
    }

    /// A file, compressed by its extension.
    pub(super) fn compressed_file(path: &Path) -> anyhow::Result<Output> {
        Output::create("--out", path, |file| {
            Ok(match path.extension().and_then(|kind| kind.to_str()) {
                Some("gz") => Sink::Gzip(Box::new(GzEncoder::new(file, flate2::Compression::fast()))),
                Some("zst") => Sink::Zstd(Box::new(zstd::Encoder::new(file, 1)?)),
                _ => Sink::Plain(file),
            })
        })
    }

    fn create(
        option: &'static str,
        path: &Path,
        sink: impl FnOnce(BufWriter<File>) -> io::Result<Sink>,
    ) -> anyhow::Result<Output> {
        let fail = || unwritable(option, path);
        // A link stays one, and what is no file (a pipe, a device) is written to as it is.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&target).is_ok_and(|what| !what.is_file()) {
            let file = File::options().write(true).open(&target).with_context(fail)?;
            let sink = sink(BufWriter::with_capacity(BUFFER_BYTES, file)).with_context(fail)?;
            return Ok(Output { option, path: path.to_owned(), sink: Some(sink), names: None, _begun: None });
        }
        let mut part = OsString::from(&target);
        part.push(".part");
        let part = PathBuf::from(part);
        let begun = begin(Half::Part(part.clone()));
        let file = File::create(&part).with_context(fail)?;
        let sink = sink(BufWriter::with_capacity(BUFFER_BYTES, file));
        let sink = sink.with_context(fail)?;
        let path = path.to_owned();
        Ok(Output { option, path, sink: Some(sink), names: Some((part, target)), _begun: Some(begun) })
    }

    /// Finishes the output; returns its size in bytes, 0 unless it is a named file.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        self.settle().with_context(|| unwritable(self.option, &self.path))
    }

    fn settle(&mut self) -> io::Result<u64> {
        let into_file = |file: BufWriter<File>| file.into_inner().map_err(io::IntoInnerError::into_error);
        let file = match self.sink.take().expect(OPEN) {
            Sink::Stdout(mut out) => return out.flush().map(|()| 0),
            Sink::Terminal(mut out) => return out.flush().map(|()| 0),
            Sink::Plain(file) => into_file(file)?,
            Sink::Gzip(encoder) => into_file(encoder.finish()?)?,
            Sink::Zstd(encoder) => into_file(encoder.finish()?)?,
        };
        let Some((part, path)) = self.names.clone() else { return Ok(0) }; // a pipe or a device has no size
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(part, &path)?;
        self.names = None;
        files::sync_folder(files::folder_of(&path))?; // else a power cut could undo the rename
        Ok(bytes)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.sink.as_mut().expect(OPEN) {
            Sink::Stdout(out) => out.write(bytes),
            Sink::Terminal(out) => out.write(bytes),
            Sink::Plain(out) => out.write(bytes),
            Sink::Gzip(out) => out.write(bytes),
            Sink::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.sink.as_mut().expect(OPEN) {
            Sink::Stdout(out) => out.flush(),
            Sink::Terminal(out) => out.flush(),
            Sink::Plain(out) => out.flush(),
            Sink::Gzip(out) => out.flush(),
            Sink::Zstd(out) => out.flush(),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.names {
            let _ = fs::remove_file(part); // the error was reported already
        }
    }
}
