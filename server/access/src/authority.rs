//! Authorities, as the headers `host` and `origin` carry them: parsed once, so that case, brackets and the scheme's
//! default port make no difference, and so that a name that only begins like an address is not taken for one.
//!
//! ```text
//! localhost   LOCALHOST:7401   127.0.0.1:80   [::1]   [::1]:7401      http://localhost:5173, https://[::1]
//! ```

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};
use std::net::{IpAddr, Ipv6Addr};

/// A host, and its port if it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

/// The origin of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    authority: Authority,
    /// The default port of its scheme.
    default_port: u16,
}

impl Authority {
    /// The host that a request is for: its header `host`, and what its target says, where that is a whole address
    /// (`GET http://HOST/ HTTP/1.1`, RFC 9112, 3.2.2). None if neither says.
    ///
    /// # Errors
    /// What is wrong with it: who stands between may have read another host than we do.
    pub fn asked(target: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, &'static str> {
        let mut hosts = headers.get_all(HOST).iter();
        let (first, more) = (hosts.next(), hosts.next());
        if more.is_some() {
            return Err("a request has one header `host`, not more");
        }
        let parsed = |host: Option<&str>| host.and_then(Authority::parse);
        let named = first.map(|host| {
            parsed(host.to_str().ok()).ok_or("the header `host` is a name or an address, and if need be a port")
        });
        let aimed = target.authority().map(|authority| {
            parsed(Some(authority.as_str()))
                .ok_or("the host in the address is a name or an address, and if need be a port")
        });
        let default_port = default_port(target.scheme_str().unwrap_or("http"));
        match (named.transpose()?, aimed.transpose()?) {
            (Some(named), Some(aimed)) if !named.is(&aimed, default_port) => {
                Err("the header `host` and the address must name one host")
            }
            (named, aimed) => Ok(aimed.or(named)),
        }
    }

    fn is(&self, other: &Authority, default_port: u16) -> bool {
        let port = |authority: &Authority| authority.port.unwrap_or(default_port);
        self.host == other.host && port(self) == port(other)
    }

    /// From `HOST` or `HOST:PORT`; none if it is neither.
    pub fn parse(text: &str) -> Option<Authority> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::Address(address.parse::<Ipv6Addr>().ok()?.to_canonical()), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (Host::named(&text[..end])?, &text[end..])
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Authority { host, port })
    }

    /// Whether it names this machine and no other.
    pub fn is_this_machine(&self) -> bool {
        match &self.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }
}

/// Whether an address of a request, with its scheme or without, names a user or a password before its host. None of
/// ours may: such a secret would be shown wherever the address is; a connection, or a header, carries it.
pub fn has_user_info(url: &str) -> bool {
    let part_of = |text: &str| text.find(['/', '?', '#', '\\']).unwrap_or(text.len());
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if part_of(scheme) == scheme.len() => rest,
        _ => url,
    };
    rest[..part_of(rest)].contains('@')
}

impl Host {
    fn named(name: &str) -> Option<Host> {
        if let Ok(address) = name.parse() {
            return Some(Host::Address(address));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let name = name.strip_suffix('.').unwrap_or(name);
        (!name.is_empty() && name.bytes().all(is_name)).then(|| Host::Name(name.to_ascii_lowercase()))
    }
}

/// Where a page is from that a browser asks for; none if no browser says so. An origin that is none is no page's, and
/// neither are two.
pub fn origin_of(headers: &HeaderMap) -> Option<Option<Origin>> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let first = origins.next()?;
    let origin = first.to_str().ok().and_then(Origin::parse);
    Some(origin.filter(|_| origins.next().is_none()))
}

fn default_port(scheme: &str) -> u16 {
    let is_encrypted = ["https", "wss"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
    if is_encrypted { 443 } else { 80 }
}

impl Origin {
    /// Parses `SCHEME://AUTHORITY`; none for anything else, including `null`.
    pub fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        Some(Origin { authority: Authority::parse(authority)?, default_port: default_port(scheme) })
    }

    /// Whether the page is from this machine.
    pub fn is_this_machine(&self) -> bool {
        self.authority.is_this_machine()
    }

    /// Whether the page is from the requested host.
    pub fn is(&self, asked: &Authority) -> bool {
        self.authority.is(asked, self.default_port)
    }
}

/// The text in a part of a query: a plus is a space. None if it is not percent-encoded UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_however_it_is_written() {
        for text in ["localhost", "LOCALHOST:7401", "localhost.", "127.0.0.1:", "127.8.8.8", "[::1]", "[::1]:1"] {
            assert!(Authority::parse(text).unwrap().is_this_machine(), "{text}");
        }
        assert!(Authority::parse("[::ffff:127.0.0.1]").unwrap().is_this_machine());
        for text in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7401", "[::2]", "10.0.0.1"] {
            assert!(!Authority::parse(text).unwrap().is_this_machine(), "{text}");
        }
    }

    #[test]
    fn what_only_begins_like_an_authority_is_none() {
        for text in [
            "",
            ":1",
            "[::1]evil",
            "[::1",
            "[::1]1",
            "[x]",
            "::1",
            "a:b",
            "a:1:2",
            "a:70000",
            "a:+1",
            "a b",
            "a/b",
            "u@a",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
        for text in ["", "null", "localhost", "http://", "http://a/b"] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_address_of_a_request_counts_as_its_host() {
        let asked = |target: &str, hosts: &[&'static str]| {
            let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            Authority::asked(&target.parse().unwrap(), &headers(&lines))
        };
        let local = Authority::parse("localhost:1").unwrap();
        assert_eq!(asked("/x", &[]), Ok(None));
        assert_eq!(asked("/x", &["localhost:1"]), Ok(Some(local.clone())));
        assert_eq!(asked("http://LOCALHOST:1/x", &["localhost:1"]), Ok(Some(local)));
        assert!(asked("http://localhost/", &["localhost:80"]).is_ok());
        assert!(asked("wss://localhost/", &["localhost:443"]).is_ok());
        assert!(!asked("http://evil.example/", &[]).unwrap().unwrap().is_this_machine());
        for (target, hosts) in [
            ("http://evil.example/", &["localhost"][..]),
            ("http://localhost:2/", &["localhost:1"]),
            ("http://me@localhost/", &["localhost"]),
            ("evil.example:443", &["localhost"]),
            ("/", &["localhost", "localhost"]),
            ("/", &["[::1]evil"]),
        ] {
            assert!(asked(target, hosts).is_err(), "{target} {hosts:?}");
        }
    }

    #[test]
    fn two_origins_are_none() {
        let page = "http://localhost:1";
        assert!(origin_of(&headers(&[])).is_none());
        assert!(origin_of(&headers(&[("origin", page)])).unwrap().is_some());
        assert!(origin_of(&headers(&[("origin", "null")])).unwrap().is_none());
        assert!(origin_of(&headers(&[("origin", page), ("origin", page)])).unwrap().is_none());
    }

    #[test]
    fn an_origin_is_a_host_whatever_the_case_and_with_the_port_of_its_scheme() {
        let is = |origin, host| Origin::parse(origin).unwrap().is(&Authority::parse(host).unwrap());
        for (origin, host) in [
            ("http://LOCALHOST:5173", "localhost:5173"),
            ("http://localhost", "localhost:80"),
            ("http://localhost:80", "Localhost"),
            ("HTTPS://game.example", "game.example:443"),
            ("http://[::1]:7401", "[0:0::1]:7401"),
        ] {
            assert!(is(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:2", "localhost:1"),
            ("https://localhost", "localhost:80"),
            ("http://127.0.0.1:1", "localhost:1"),
            ("http://evil.example", "localhost"),
        ] {
            assert!(!is(origin, host), "{origin} {host}");
        }
    }
}
