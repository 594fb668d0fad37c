//! How tools find the server that has a data directory open: its file `control` has the address of the control plane,
//! and a secret word, which proves that the caller may read that directory.
//!
//! ```text
//! DIR/control      http://127.0.0.1:7401 3f0c…     readable for its owner only; deleted when the server stops
//! ```

use anyhow::Context;
use fakemon_journal::files::{self, PRIVATE_FILE};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

const NAME: &str = "control";
const WORD_BYTES: usize = 16;

/// Contents of the control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// Address of the control plane.
    pub addr: SocketAddr,
    /// The secret that a caller has to send.
    pub word: LocalToken,
}

/// A secret: knowing it proves access to the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalToken(String);

impl LocalToken {
    /// Whether a caller sent the secret; compares in constant time.
    pub fn is(&self, said: &str) -> bool {
        self.0.as_bytes().ct_eq(said.as_bytes()).into()
    }

    /// Its text, in hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The control file; deleted when dropped.
#[derive(Debug)]
pub struct Left {
    path: PathBuf,
}

impl ControlFile {
    /// Makes a new random word.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new(addr: SocketAddr) -> anyhow::Result<ControlFile> {
        let mut bytes = [0; WORD_BYTES];
        let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
        read.context("/dev/urandom")?;
        let ip = match addr.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let word = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(ControlFile { addr: SocketAddr::new(ip, addr.port()), word: LocalToken(word) })
    }

    /// Writes the control file of a data directory that this process has open.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn leave(&self, dir: &Path) -> anyhow::Result<Left> {
        let path = dir.join(NAME);
        let text = format!("http://{} {}\n", self.addr, self.word.0);
        files::replace(&path, text.as_bytes(), PRIVATE_FILE).with_context(|| path.display().to_string())?;
        Ok(Left { path })
    }

    /// Reads the control file; none if there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or has another format.
    pub fn read(dir: &Path) -> anyhow::Result<Option<ControlFile>> {
        let path = dir.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let parsed = text.trim().strip_prefix("http://").and_then(|rest| {
            let (addr, word) = rest.split_once(' ')?;
            Some(ControlFile { addr: addr.parse().ok()?, word: LocalToken(word.to_owned()) })
        });
        parsed.map(Some).with_context(|| format!("{}: it does not say where a server answers", path.display()))
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // the next server writes its own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ControlFile::read(dir.path()).unwrap(), None);
        let contact = ControlFile::new("0.0.0.0:7401".parse().unwrap()).unwrap();
        fs::write(dir.path().join(NAME), "left by a killed server").unwrap();
        assert!(ControlFile::read(dir.path()).is_err());
        let left = contact.leave(dir.path()).unwrap();
        assert_eq!(ControlFile::read(dir.path()).unwrap().as_ref(), Some(&contact));
        assert_eq!(contact.addr, "127.0.0.1:7401".parse().unwrap());
        assert!(contact.word.is(contact.word.as_str()) && !contact.word.is("") && !contact.word.is("x"));
        drop(left);
        assert_eq!(ControlFile::read(dir.path()).unwrap(), None);
    }
}
