//! Access keys that may call the AWS API, from a file of `access_key_id secret_access_key` lines. `#` begins a
//! comment.

use anyhow::{Context as _, bail, ensure};
use aws_credential_types::Credentials;
use fakemon_journal::files::read_text;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The largest file of keys, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The longest id and the longest secret, in bytes.
const WORD_BYTES_MAX: usize = 128;
/// Shorter secrets, in bytes, can be guessed offline from one recorded request.
const SECRET_BYTES_ADVISED: usize = 16;

/// Access keys by id; at least one. Secrets are never shown: not by `Debug`, and not in errors.
#[derive(Clone)]
pub struct AccessKeys(Arc<HashMap<String, Credentials>>);

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKeys({} keys)", self.0.len())
    }
}

impl AccessKeys {
    /// Reads keys from a file.
    pub fn read(path: &Path) -> anyhow::Result<AccessKeys> {
        AccessKeys::parse(&read_text(path, FILE_BYTES_MAX)?)
    }

    /// Parses keys.
    pub fn parse(text: &str) -> anyhow::Result<AccessKeys> {
        let mut keys = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let Some((id, secret)) = read_line(line).with_context(|| format!("line {number}"))? else { continue };
            if secret.len() < SECRET_BYTES_ADVISED {
                tracing::warn!("access key {id}: its secret is short and can be guessed; take 40 random characters");
            }
            let key = Credentials::new(id, secret, None, None, "access_keys_file");
            ensure!(keys.insert(id.to_owned(), key).is_none(), "line {number}: access key {id} is there twice");
        }
        ensure!(!keys.is_empty(), "it holds no key: {SHAPE}");
        Ok(AccessKeys(Arc::new(keys)))
    }

    /// The key of an id.
    pub fn find(&self, id: &str) -> Option<&Credentials> {
        self.0.get(id)
    }
}

const SHAPE: &str = "write one `access_key_id secret_access_key` a line";

/// Parses the id and the secret of a line; none if it is empty. Errors do not quote the line: it may contain a
/// secret.
fn read_line(line: &str) -> anyhow::Result<Option<(&str, &str)>> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let (id, secret) = match (words.next(), words.next(), words.next()) {
        (None, ..) => return Ok(None),
        (Some(id), Some(secret), None) => (id, secret),
        _ => bail!("{SHAPE}"),
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    ensure!(id.len() <= WORD_BYTES_MAX && id.bytes().all(fits), "an id has 1 to {WORD_BYTES_MAX} letters and digits");
    let fits = secret.len() <= WORD_BYTES_MAX && secret.bytes().all(|b| b.is_ascii_graphic());
    ensure!(fits, "a secret has 1 to {WORD_BYTES_MAX} ASCII characters");
    Ok(Some((id, secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_is_read_without_its_comments() {
        let keys = AccessKeys::parse("# of the team\n\nAKIA1 s3cr/et+=  # ana\r\n\tAKIA2\tother\n").unwrap();
        assert_eq!(keys.find("AKIA1").unwrap().secret_access_key(), "s3cr/et+=");
        assert_eq!(keys.find("AKIA2").unwrap().secret_access_key(), "other");
        assert!(keys.find("AKIA3").is_none());
    }

    #[test]
    fn mistakes_are_told_by_line_and_secrets_never() {
        for (text, expected) in [
            ("# nothing\n", "no key"),
            ("AKIA1 hush\nhush", "line 2: write one"),
            ("AKIA1 hush hush", "line 1: write one"),
            ("AKIA/1 hush", "line 1: an id"),
            ("AKIA1 hush\u{e9}", "line 1: a secret"),
            ("AKIA1 hush\nAKIA1 hush2", "line 2: access key AKIA1 is there twice"),
        ] {
            let error = format!("{:#}", AccessKeys::parse(text).unwrap_err());
            assert!(error.contains(expected) && !error.contains("hush"), "{error}");
        }
        let shown = format!("{:?}", AccessKeys::parse("AKIA1 hush").unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
