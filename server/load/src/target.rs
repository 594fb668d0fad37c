//! The target of the load: parsed once, and on this machine unless `allow_remote` is given.

use anyhow::{Context, bail, ensure};
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

/// An address that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The addresses of the host, in the order of preference.
    addrs: Vec<SocketAddr>,
    /// `host:port`, for the `Host` header.
    pub authority: String,
}

impl Target {
    /// Parses `scheme://host:port`. Anything but loopback needs `allow_remote`.
    pub fn parse(url: &str, scheme: &str, allow_remote: bool) -> anyhow::Result<Target> {
        let Some(rest) = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
            bail!("{url}: give {scheme}://HOST:PORT (TLS is not part of what the generator measures)");
        };
        let authority = rest.split('/').next().unwrap_or(rest).to_owned();
        let is_plain = !authority.contains('@'); // and it is not repeated: it may hold a password
        ensure!(is_plain, "the address must not hold a user or a password: give {scheme}://HOST:PORT");
        let addrs = authority.to_socket_addrs().with_context(|| format!("{url}: give {scheme}://HOST:PORT"))?;
        let addrs: Vec<SocketAddr> = addrs.collect();
        ensure!(!addrs.is_empty(), "{url}: the host has no address");
        if !addrs.iter().all(|addr| addr.ip().is_loopback()) && !allow_remote {
            bail!("{url} is another machine: give --allow-remote if it is yours and meant to be loaded");
        }
        Ok(Target { addrs, authority })
    }

    /// A target with one address.
    pub fn of(addr: SocketAddr) -> Target {
        Target { addrs: vec![addr], authority: addr.to_string() }
    }

    /// Connects to the first address that answers: `localhost` is often `::1` before it is `127.0.0.1`.
    ///
    /// # Errors
    /// The error of the last address.
    pub fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(&*self.addrs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_several_addresses_is_reached_at_the_one_that_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let addrs = ["::1", "127.0.0.1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).to_vec();
        let target = Target { addrs, authority: format!("localhost:{port}") };
        assert_eq!(target.connect().unwrap().peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[test]
    fn only_this_machine_is_loaded_unless_the_user_says_so() {
        let parse = |url, remote| Target::parse(url, "ws", remote).map_err(|error| format!("{error:#}"));
        assert_eq!(parse("ws://127.0.0.1:7400/play", false).unwrap().authority, "127.0.0.1:7400");
        assert!(parse("ws://[::1]:1", false).is_ok());
        assert!(parse("ws://192.0.2.1:7400", false).unwrap_err().contains("--allow-remote"));
        assert!(parse("ws://192.0.2.1:7400", true).is_ok());
        for wrong in ["wss://127.0.0.1:1", "127.0.0.1:1", "ws://127.0.0.1", "ws://", "ws://ash:pika@127.0.0.1:1"] {
            assert!(parse(wrong, true).unwrap_err().contains("ws://HOST:PORT"), "{wrong}");
        }
    }
}
