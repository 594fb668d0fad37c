//! Stdout for answers. Foreign texts — names, details, errors — may contain characters that a terminal takes for
//! commands, that reverse the direction of text, or that are invisible; they are written as `\u009b`, which in JSON
//! is the same text. This covers every command, because all of them print through it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Stdout, for answers.
pub(crate) fn stdout() -> Printed<Stdout> {
    Printed::new(Stdout::default())
}

static READER_LEFT: AtomicBool = AtomicBool::new(false);

/// Whether the reader of stdout left before the end, as `head` does. A pipe or a socket that broke elsewhere is
/// another thing: there, something is lost.
pub(crate) fn reader_left() -> bool {
    READER_LEFT.load(Ordering::Relaxed)
}

/// Stdout as it is, whose errors say where they happened.
#[derive(Default)]
pub(crate) struct Stdout(());

fn told<T>(done: io::Result<T>) -> io::Result<T> {
    done.map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            READER_LEFT.store(true, Ordering::Relaxed);
        }
        io::Error::new(error.kind(), format!("stdout cannot be written: {error}"))
    })
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        told(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        told(io::stdout().flush())
    }
}

/// Whether a terminal may not simply show a character: it moves the cursor, begins a command, reverses the direction
/// of text, or is invisible, so that two names look the same.
pub(crate) fn is_unsafe(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t') || is_format(letter)
}

/// Characters that only control how others are shown: Unicode's category Cf, its line and paragraph separators, and
/// the fillers that are letters by category only. The joiners U+200C and U+200D are allowed: Persian, the languages
/// of India, and emoji of several people need them.
fn is_format(letter: char) -> bool {
    matches!(
        letter,
        '\u{AD}'
            | '\u{600}'..='\u{605}'
            | '\u{61C}'
            | '\u{6DD}'
            | '\u{70F}'
            | '\u{890}'..='\u{891}'
            | '\u{8E2}'
            | '\u{115F}'..='\u{1160}'
            | '\u{180E}'
            | '\u{200B}'
            | '\u{200E}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0001}'
            | '\u{E0020}'..='\u{E007F}'
    )
}

/// A text on one line, without such characters.
pub(crate) fn escaped(text: &str) -> String {
    let mut printed = Printed::new(Vec::with_capacity(text.len()));
    printed.write_all(text.as_bytes()).expect("memory takes everything");
    String::from_utf8_lossy(&printed.out).into_owned()
}

/// Writes such characters as JSON writes them.
pub(crate) struct Printed<W> {
    out: W,
    /// The first bytes of a character whose end is still to come.
    begun: Vec<u8>,
}

impl<W: Write> Printed<W> {
    pub(crate) fn new(out: W) -> Printed<W> {
        Printed { out, begun: Vec::new() }
    }

    fn write_text(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, letter)) = rest.char_indices().find(|(_, letter)| is_unsafe(*letter)) {
            self.out.write_all(&rest.as_bytes()[..at])?;
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(self.out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + letter.len_utf8()..];
        }
        self.out.write_all(rest.as_bytes())
    }

    fn write_chunks(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.write_text(chunk.valid())?;
            match chunk.invalid() {
                begun if chunks.peek().is_none() && is_begun(begun) => self.begun = begun.to_vec(),
                invalid => self.out.write_all(invalid)?, // not UTF-8: a terminal shows a replacement
            }
        }
        Ok(())
    }
}

/// Whether more bytes could complete these to a character.
fn is_begun(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

impl<W: Write> Write for Printed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // ASCII has few unsafe characters, and most texts have nothing else.
        let is_plain = |byte: &u8| matches!(byte, b'\t' | b'\n' | b' '..=b'~');
        match self.begun.is_empty() && bytes.iter().all(is_plain) {
            true => self.out.write_all(bytes)?,
            false => {
                let mut all = std::mem::take(&mut self.begun);
                all.extend_from_slice(bytes);
                self.write_chunks(&all)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_wherever_it_is_cut() {
        let text = "a\u{9b}2J b\u{9d}0;x\u{7} c\u{7f} \u{1b}[2J é €\u{202e}evil\u{2066} 🎈\u{85}\r\n\tend";
        let expected =
            "a\\u009b2J b\\u009d0;x\\u0007 c\\u007f \\u001b[2J é €\\u202eevil\\u2066 🎈\\u0085\\u000d\n\tend";
        assert_eq!(escaped(text), expected);
        for cut in 0..=text.len() {
            let mut printed = Printed::new(Vec::new());
            printed.write_all(&text.as_bytes()[..cut]).unwrap();
            printed.write_all(&text.as_bytes()[cut..]).unwrap();
            assert_eq!(String::from_utf8(printed.out).unwrap(), expected, "{cut}");
        }
    }

    #[test]
    fn in_json_the_text_stays_the_same() {
        let text = "\u{9b}\u{202e}\u{7f}\u{2028}\u{200f}\u{61c}\u{200b}\u{ad}\u{feff}\u{e0041}\u{2060}\u{1d173}";
        let json = serde_json::to_string(text).unwrap();
        assert!(escaped(&json).is_ascii());
        assert_eq!(serde_json::from_str::<String>(&escaped(&json)).unwrap(), text);
        let joined = "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645} 👩\u{200d}🚀";
        assert_eq!(escaped(joined), joined, "scripts are written with joiners");
    }
}
