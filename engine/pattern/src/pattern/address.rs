//! IP addresses in patterns: a text that is an address equals every other spelling of it; a CIDR block is a range of
//! addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An address; versions are never equal, and do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Address {
    V4(u32),
    V6(u128),
}

/// The address in a text, if it is one. An IPv6 address that embeds an IPv4 address becomes that.
pub(super) fn address(text: &str) -> Option<Address> {
    if is_v4_shaped(text) {
        // Leading zeros are ignored, as by the service.
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok().filter(|part| *part < 256));
        let mut next = || parts.next().flatten();
        let bytes = [next()?, next()?, next()?, next()?];
        return Some(Address::V4(bytes.iter().fold(0, |address, byte| address << 8 | byte)));
    }
    if !is_v6_shaped(text) {
        return None;
    }
    let address: Ipv6Addr = text.parse().ok()?;
    Some(match address.to_ipv4_mapped() {
        Some(mapped) => Address::V4(Ipv4Addr::to_bits(mapped)),
        None => Address::V6(address.to_bits()),
    })
}

fn is_v4_shaped(text: &str) -> bool {
    let parts = text.split('.');
    parts.clone().count() == 4
        && parts.clone().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn is_v6_shaped(text: &str) -> bool {
    text.contains(':') && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
}

/// The first and the last address of a block; or the service's error message.
pub(super) fn block(cidr: &str) -> Result<(Address, Address), String> {
    // A trailing slash is ignored.
    let parts: Vec<&str> = cidr.trim_end_matches('/').split('/').collect();
    let &[ip, bits] = parts.as_slice() else {
        return Err("Malformed CIDR, one '/' required".into());
    };
    let bits: i32 = bits.parse().map_err(|_| "Malformed CIDR, mask bits must be an integer".to_owned())?;
    let bits = u32::try_from(bits).map_err(|_| "Malformed CIDR, mask bits must not be negative".to_owned())?;
    if !is_v4_shaped(ip) && !is_v6_shaped(ip) {
        return Err(format!("Nonstandard IP address: {ip}"));
    }
    match address(ip) {
        None => Err(format!("Invalid IP address: {ip}")),
        Some(Address::V4(_)) if bits > 31 => Err("IPv4 mask bits must be < 32".into()),
        Some(Address::V6(_)) if bits > 127 => Err("IPv6 mask bits must be < 128".into()),
        Some(Address::V4(address)) => {
            let inside = u32::MAX >> bits;
            Ok((Address::V4(address & !inside), Address::V4(address | inside)))
        }
        Some(Address::V6(address)) => {
            let inside = u128::MAX >> bits;
            Ok((Address::V6(address & !inside), Address::V6(address | inside)))
        }
    }
}
