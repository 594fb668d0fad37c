//! Where the load goes: parsed once, and only to this machine unless the user says that another one is theirs.

use anyhow::{Context, bail};
use std::net::{SocketAddr, ToSocketAddrs};

/// An address that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where to connect.
    pub(crate) addr: SocketAddr,
    /// `host:port`, for the `Host` header.
    pub(crate) authority: String,
}

impl Target {
    /// Parses `scheme://host:port`. Anything but loopback needs `allow_remote`.
    pub(crate) fn parse(url: &str, scheme: &str, allow_remote: bool) -> anyhow::Result<Target> {
        let Some(rest) = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
            bail!("{url}: give {scheme}://HOST:PORT (TLS is not part of what the generator measures)");
        };
        let authority = rest.split('/').next().unwrap_or(rest).to_owned();
        let addr = authority
            .to_socket_addrs()
            .with_context(|| format!("{url}: give {scheme}://HOST:PORT"))?
            .next()
            .with_context(|| format!("{url}: the host has no address"))?;
        if !addr.ip().is_loopback() && !allow_remote {
            bail!("{url} is another machine: give --allow-remote if it is yours and meant to be loaded");
        }
        Ok(Target { addr, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loaded_unless_the_user_says_so() {
        let parse = |url, remote| Target::parse(url, "ws", remote).map_err(|error| format!("{error:#}"));
        assert_eq!(parse("ws://127.0.0.1:7400/play", false).unwrap().authority, "127.0.0.1:7400");
        assert!(parse("ws://[::1]:1", false).is_ok());
        assert!(parse("ws://192.0.2.1:7400", false).unwrap_err().contains("--allow-remote"));
        assert!(parse("ws://192.0.2.1:7400", true).is_ok());
        for wrong in ["wss://127.0.0.1:1", "127.0.0.1:1", "ws://127.0.0.1", "ws://"] {
            assert!(parse(wrong, true).unwrap_err().contains("ws://HOST:PORT"), "{wrong}");
        }
    }
}
