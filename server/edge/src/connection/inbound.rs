//! From frames to messages: joins fragments (bounded), checks that text is UTF-8 (fragment by fragment, so that
//! invalid text fails early), reads close frames. At rest it holds nothing but an empty pointer.

use crate::connection::frame::{self, CloseCode, Frame, Kind, TOO_BIG, Violation, protocol};
use std::borrow::Cow;

/// A message or control frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard<'b> {
    /// A text message.
    Text(Cow<'b, str>),
    /// A binary message.
    Binary(Cow<'b, [u8]>),
    /// A ping: these bytes are to be sent back.
    Ping(&'b [u8]),
    /// The answer to a ping.
    Pong,
    /// A close frame, with its code if there was one.
    Close(Option<CloseCode>),
}

/// The reader of one connection.
#[derive(Default)]
pub(crate) struct Inbound {
    partial: Option<Box<Partial>>,
}

struct Partial {
    is_text: bool,
    bytes: Vec<u8>,
    /// Bytes at the start of `bytes` that are known to be UTF-8.
    valid: usize,
}

const NOT_UTF8: Violation = Violation { code: CloseCode::Invalid, reason: "text must be UTF-8" };

impl Inbound {
    /// Takes the next message out of `buffer`, from `at` on; none if it is not whole yet. `at` moves past the bytes
    /// taken.
    #[inline]
    pub(crate) fn next<'b>(
        &mut self,
        buffer: &'b mut [u8],
        at: &mut usize,
        message_bytes_max: usize,
    ) -> Result<Option<Heard<'b>>, Violation> {
        let (frame, start) = loop {
            let start = *at;
            let Some(frame) = frame::read(&mut buffer[start..], message_bytes_max)? else {
                return Ok(None);
            };
            *at += frame.payload.end;
            let is_part = matches!(frame.kind, Kind::Continue | Kind::Text | Kind::Binary)
                && (self.partial.is_some() || frame.kind == Kind::Continue || !frame.last);
            if !is_part {
                break (frame, start);
            }
            let payload = &buffer[start..][frame.payload.clone()];
            if let Some(message) = self.take_part(&frame, payload, message_bytes_max)? {
                return Ok(Some(message));
            }
        };
        let payload = &buffer[start..][frame.payload];
        Ok(Some(match frame.kind {
            Kind::Text => Heard::Text(Cow::Borrowed(std::str::from_utf8(payload).map_err(|_| NOT_UTF8)?)),
            Kind::Binary | Kind::Continue => Heard::Binary(Cow::Borrowed(payload)),
            Kind::Ping => Heard::Ping(payload),
            Kind::Pong => Heard::Pong,
            Kind::Close => Heard::Close(goodbye(payload)?),
        }))
    }

    fn take_part(
        &mut self,
        frame: &Frame,
        payload: &[u8],
        message_bytes_max: usize,
    ) -> Result<Option<Heard<'static>>, Violation> {
        let partial = match (&mut self.partial, frame.kind) {
            (Some(partial), Kind::Continue) => partial,
            (Some(_), _) => return Err(protocol("a message begins before the one before has ended")),
            (None, Kind::Continue) => return Err(protocol("a continuation of nothing")),
            (empty, kind) => {
                empty.insert(Box::new(Partial { is_text: kind == Kind::Text, bytes: Vec::new(), valid: 0 }))
            }
        };
        if partial.bytes.len() + payload.len() > message_bytes_max {
            return Err(TOO_BIG);
        }
        partial.bytes.extend_from_slice(payload);
        if partial.is_text {
            partial.check_text(frame.last)?;
        }
        if !frame.last {
            return Ok(None);
        }
        let partial = self.partial.take().expect("it was just filled");
        Ok(Some(if partial.is_text {
            let text = String::from_utf8(partial.bytes).map_err(|_| NOT_UTF8)?;
            Heard::Text(Cow::Owned(text))
        } else {
            Heard::Binary(Cow::Owned(partial.bytes))
        }))
    }
}

impl Partial {
    /// A character may be cut by the end of a fragment, but not by the end of the message.
    fn check_text(&mut self, is_last: bool) -> Result<(), Violation> {
        match std::str::from_utf8(&self.bytes[self.valid..]) {
            Ok(_) => self.valid = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !is_last => self.valid += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

/// 1014, which IANA registered after the package below was written.
const BAD_GATEWAY: CloseCode = CloseCode::Bad(1014);

fn goodbye(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(protocol("a close code has two bytes")),
        [high, low, reason @ ..] => (CloseCode::from(u16::from_be_bytes([*high, *low])), reason),
    };
    if !code.is_allowed() && code != BAD_GATEWAY {
        return Err(protocol("this close code must not be sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(NOT_UTF8),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::masked;
    use super::*;
    use rand::{RngExt, SeedableRng};
    use std::io::{Read, Write};

    const LIMIT: usize = 100_000;

    /// Everything that is heard when the bytes come in pieces cut at these places.
    fn heard(bytes: &[u8], cuts: &[usize]) -> (Vec<Heard<'static>>, Option<Violation>) {
        let (mut inbound, mut rest, mut all) = (Inbound::default(), Vec::new(), Vec::new());
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let mut from = 0;
        for end in ends {
            rest.extend_from_slice(&bytes[from..end]);
            from = end;
            let mut at = 0;
            loop {
                match inbound.next(&mut rest, &mut at, LIMIT) {
                    Ok(Some(heard)) => all.push(owned(heard)),
                    Ok(None) => break,
                    Err(violation) => return (all, Some(violation)),
                }
            }
            rest.drain(..at);
        }
        (all, None)
    }

    fn owned(heard: Heard<'_>) -> Heard<'static> {
        match heard {
            Heard::Text(text) => Heard::Text(Cow::Owned(text.into_owned())),
            Heard::Binary(bytes) => Heard::Binary(Cow::Owned(bytes.into_owned())),
            Heard::Ping(bytes) => Heard::Ping(bytes.to_vec().leak()),
            Heard::Pong => Heard::Pong,
            Heard::Close(code) => Heard::Close(code),
        }
    }

    fn frames(parts: &[(u8, &[u8])]) -> Vec<u8> {
        parts.iter().flat_map(|(first, payload)| masked(*first, payload, [0x5A, 0, 0xFF, 0x13])).collect()
    }

    #[test]
    fn the_same_is_heard_wherever_the_bytes_are_cut() {
        let bytes = frames(&[
            (0x81, "¡hola!".as_bytes()),
            (0x02, b"bin"),
            (0x89, b"between"),
            (0x00, b"a"),
            (0x80, b"ry"),
            (0x01, &"ñ".as_bytes()[..1]),
            (0x80, &"ñ".as_bytes()[1..]),
            (0x8A, b""),
            (0x88, &[0x03, 0xE8, b'b', b'y', b'e']),
        ]);
        let expected = heard(&bytes, &[]);
        assert_eq!(
            expected,
            (
                vec![
                    Heard::Text("¡hola!".into()),
                    Heard::Ping(b"between"),
                    Heard::Binary(Cow::Borrowed(b"binary")),
                    Heard::Text("ñ".into()),
                    Heard::Pong,
                    Heard::Close(Some(CloseCode::Normal)),
                ],
                None
            )
        );
        for first in 0..bytes.len() {
            assert_eq!(heard(&bytes, &[first]), expected, "cut at {first}");
            for second in (first..bytes.len()).step_by(7) {
                assert_eq!(heard(&bytes, &[first, second]), expected, "cut at {first} and {second}");
            }
        }
        let everywhere: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(heard(&bytes, &everywhere), expected);
    }

    #[test]
    fn every_close_code_that_may_be_sent_is_heard() {
        for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
            let (said, violation) = heard(&frames(&[(0x88, &u16::to_be_bytes(code))]), &[]);
            assert_eq!(violation, None, "{code}");
            let Some(Heard::Close(Some(heard))) = said.last() else { panic!("{code}: {said:?}") };
            assert_eq!(u16::from(*heard), code);
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            let (_, violation) = heard(&frames(&[(0x88, &u16::to_be_bytes(code))]), &[]);
            assert_eq!(violation.map(|violation| violation.code), Some(CloseCode::Protocol), "{code}");
        }
    }

    #[test]
    fn violations_have_their_codes() {
        let big = vec![b'x'; LIMIT / 2 + 1];
        for (parts, code) in [
            (&[(0x80, &b"x"[..])][..], CloseCode::Protocol),
            (&[(0x01, b"x"), (0x81, b"y")], CloseCode::Protocol),
            (&[(0x81, b"\xFF")], CloseCode::Invalid),
            (&[(0x01, b"ok \xF0"), (0x00, b"\x28")], CloseCode::Invalid),
            (&[(0x01, b"\xC3"), (0x80, b"")], CloseCode::Invalid),
            (&[(0x02, &big), (0x80, &big)], CloseCode::Size),
            (&[(0x88, b"x")], CloseCode::Protocol),
            (&[(0x88, &[0x03, 0xED])], CloseCode::Protocol),
            (&[(0x88, &[0x00, 0x00])], CloseCode::Protocol),
            (&[(0x88, &[0x03, 0xE8, 0xFF])], CloseCode::Invalid),
        ] {
            let (_, violation) = heard(&frames(parts), &[]);
            assert_eq!(violation.map(|violation| violation.code), Some(code), "{parts:?}");
        }
    }

    #[test]
    fn garbage_never_panics() {
        let seed = std::env::var("FAKEMON_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
        eprintln!("seed {seed}: set FAKEMON_SEED to run it again");
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let sane = frames(&[(0x81, b"{\"type\":\"look\"}"), (0x02, b"bin"), (0x80, b"ary"), (0x89, b"ping")]);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = match rng.random_bool(0.5) {
                true => (0..rng.random_range(0..200)).map(|_| rng.random()).collect(),
                false => sane.clone(),
            };
            for _ in 0..rng.random_range(0..4) {
                if let Some(index) = bytes.len().checked_sub(1).map(|last| rng.random_range(0..=last)) {
                    bytes[index] = rng.random();
                }
            }
            let mut cuts: Vec<usize> = (0..3).map(|_| rng.random_range(0..=bytes.len())).collect();
            cuts.sort_unstable();
            let (in_pieces, at_once) = (heard(&bytes, &cuts), heard(&bytes, &[]));
            assert_eq!(in_pieces, at_once, "seed {seed}");
        }
    }

    /// Serves an echo for protocol test suites (the Autobahn cases, run by kosoku or others) until the test is
    /// stopped.
    #[test]
    #[ignore = "runs until it is stopped: FAKEMON_ECHO=127.0.0.1:9001 cargo test -- --ignored echo"]
    fn echo() {
        let address = std::env::var("FAKEMON_ECHO").unwrap_or("127.0.0.1:9001".into());
        for stream in std::net::TcpListener::bind(address).unwrap().incoming() {
            std::thread::spawn(|| echo_one(stream.unwrap()));
        }
    }

    fn echo_one(mut stream: std::net::TcpStream) -> Option<()> {
        use tungstenite::handshake::{machine::TryParse, server};
        let (mut rest, mut chunk) = (Vec::new(), vec![0; 1 << 20]);
        let request = loop {
            let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
            rest.extend_from_slice(&chunk[..read]);
            if let Some((size, request)) = server::Request::try_parse(&rest).ok()? {
                rest.drain(..size);
                break request;
            }
        };
        let response = server::create_response(&request).ok()?;
        let mut out = Vec::new();
        server::write_response(&mut out, &response).ok()?;
        let mut inbound = Inbound::default();
        loop {
            let mut at = 0;
            let is_over = loop {
                match inbound.next(&mut rest, &mut at, 64 << 20) {
                    Ok(Some(Heard::Text(text))) => frame::write(&mut out, Kind::Text, text.as_bytes()),
                    Ok(Some(Heard::Binary(bytes))) => frame::write(&mut out, Kind::Binary, &bytes),
                    Ok(Some(Heard::Ping(bytes))) => frame::write(&mut out, Kind::Pong, bytes),
                    Ok(Some(Heard::Pong)) => {}
                    Ok(Some(Heard::Close(code))) => {
                        frame::write_close(&mut out, code, "");
                        break true;
                    }
                    Ok(None) => break false,
                    Err(violation) => {
                        frame::write_close(&mut out, Some(violation.code), violation.reason);
                        break true;
                    }
                }
            };
            rest.drain(..at);
            stream.write_all(&out).ok()?;
            out.clear();
            if is_over {
                stream.shutdown(std::net::Shutdown::Write).ok()?;
                while stream.read(&mut chunk).ok()? > 0 {}
                return Some(());
            }
            let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
            rest.extend_from_slice(&chunk[..read]);
        }
    }
}
