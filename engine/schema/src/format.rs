//! Formats of strings and numbers that are checked; all other formats are for people only.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A format of a string or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    DateTime,
    Date,
    Uuid,
    Ipv4,
    Ipv6,
    Email,
    Uri,
    Int32,
    Int64,
}

impl Format {
    const ALL: [(Format, &str); 9] = [
        (Format::DateTime, "date-time"),
        (Format::Date, "date"),
        (Format::Uuid, "uuid"),
        (Format::Ipv4, "ipv4"),
        (Format::Ipv6, "ipv6"),
        (Format::Email, "email"),
        (Format::Uri, "uri"),
        (Format::Int32, "int32"),
        (Format::Int64, "int64"),
    ];

    pub(crate) fn named(name: &str) -> Option<Format> {
        Format::ALL.iter().find(|(_, known)| *known == name).map(|(format, _)| *format)
    }

    pub(crate) fn name(self) -> &'static str {
        Format::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// Whether it is a format of numbers.
    pub(crate) fn is_of_numbers(self) -> bool {
        matches!(self, Format::Int32 | Format::Int64)
    }

    /// Whether a text has the format; formats of numbers accept every text.
    pub(crate) fn fits_text(self, text: &str) -> bool {
        match self {
            Format::DateTime => is_date_time(text.as_bytes()),
            Format::Date => is_date(text.as_bytes()),
            Format::Uuid => is_uuid(text.as_bytes()),
            Format::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Format::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Format::Email => text.split_once('@').is_some_and(|(who, place)| {
                !who.is_empty() && !place.is_empty() && !text.contains(char::is_whitespace) && !place.contains('@')
            }),
            Format::Uri => text.split_once(':').is_some_and(|(scheme, rest)| {
                let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
                let first = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
                first && scheme.bytes().all(letters) && !rest.is_empty() && !text.contains(char::is_whitespace)
            }),
            Format::Int32 | Format::Int64 => true,
        }
    }

    /// Whether a number has the format; formats of texts accept every number.
    pub(crate) fn fits_number(self, number: f64) -> bool {
        match self {
            Format::Int32 => (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number),
            Format::Int64 => (-9.223_372_036_854_776e18..=9.223_372_036_854_776e18).contains(&number),
            _ => true,
        }
    }

    /// The format that a text shows: only formats that no other text looks like.
    pub(crate) fn shown_by(text: &str) -> Option<Format> {
        [Format::DateTime, Format::Date, Format::Uuid].into_iter().find(|format| format.fits_text(text))
    }
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
}

fn is_date(text: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return false };
    let (year, month) = (digits(&[*y1, *y2, *y3, *y4]), digits(&[*m1, *m2]));
    let (Some(year), Some(month), Some(day)) = (year, month, digits(&[*d1, *d2])) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// RFC 3339.
fn is_date_time(text: &[u8]) -> bool {
    let Some((date, rest)) = text.split_at_checked(10) else { return false };
    let Some((time, mut rest)) = rest.split_at_checked(9) else { return false };
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] = time else { return false };
    let below = |a: &u8, b: &u8, bound: u32| digits(&[*a, *b]).is_some_and(|number| number < bound);
    if !is_date(date) || !below(h1, h2, 24) || !below(m1, m2, 60) || !below(s1, s2, 61) {
        return false;
    }
    if let [b'.', fraction @ ..] = rest {
        let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => below(h1, h2, 24) && below(m1, m2, 60),
        _ => false,
    }
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_from_what_only_looks_like_them() {
        let fits = |format: Format, good: &[&str], bad: &[&str]| {
            good.iter().for_each(|text| assert!(format.fits_text(text), "{} {text}", format.name()));
            bad.iter().for_each(|text| assert!(!format.fits_text(text), "{} {text}", format.name()));
            assert_eq!(Format::named(format.name()), Some(format));
        };
        fits(
            Format::DateTime,
            &["2026-11-24T12:00:00Z", "2024-02-29T23:59:60.123456789+05:30"],
            &[
                "2026-11-24",
                "2026-02-29T00:00:00Z",
                "2026-11-24T24:00:00Z",
                "2026-11-24T12:00:00",
                "2026-11-24T12:00:00.Z",
            ],
        );
        fits(Format::Date, &["2024-02-29"], &["2023-02-29", "2024-13-01", "2024-1-1", "2024-01-00"]);
        fits(Format::Uuid, &["66616b65-0000-8000-8000-00000000000f"], &["66616b65-0000-8000-8000-00000000000g", "a"]);
        fits(Format::Ipv4, &["127.0.0.1"], &["127.0.0", "256.0.0.1"]);
        fits(Format::Ipv6, &["::1"], &["127.0.0.1", "1"]);
        fits(Format::Email, &["ash@example.org"], &["ash", "@", "a b@c", "a@b@c"]);
        fits(Format::Uri, &["https://example.org", "urn:x"], &["example", "1:x", "a b:c", ":"]);
        assert!(Format::Int32.fits_number(2_147_483_647.0) && !Format::Int32.fits_number(2_147_483_648.0));
        assert_eq!(Format::shown_by("2026-11-24T12:00:00Z"), Some(Format::DateTime));
        assert_eq!(Format::shown_by("12"), None);
    }
}
