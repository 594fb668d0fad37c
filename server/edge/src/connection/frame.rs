//! Frames of RFC 6455 in a buffer: found and unmasked in place, without a copy. Whatever breaks the protocol is a
//! [`Violation`] with the code that the connection is closed with.

use std::io::Cursor;
use std::ops::Range;
use tungstenite::protocol::frame::FrameHeader;
pub(crate) use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Longest payload of a control frame, in bytes (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The close code, for programs.
    pub(crate) code: CloseCode,
    /// The text of the close frame, for people.
    pub(crate) reason: &'static str,
}

/// Opcode of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Continues a fragmented message.
    Continue,
    /// Text message, or its first fragment.
    Text,
    /// Binary message, or its first fragment.
    Binary,
    /// Closes the connection.
    Close,
    /// Asks for a pong with the same payload.
    Ping,
    /// Answers a ping.
    Pong,
}

/// A whole frame of a client, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// FIN: the message ends with this frame.
    pub(crate) last: bool,
    /// Its payload, in the buffer.
    pub(crate) payload: Range<usize>,
}

/// Finds the frame at the start of the buffer and unmasks it; none if it is not whole yet. The next frame starts
/// where its payload ends.
#[inline]
pub(crate) fn read(buffer: &mut [u8], message_bytes_max: usize) -> Result<Option<Frame>, Violation> {
    let mut cursor = Cursor::new(&*buffer);
    let header = FrameHeader::parse(&mut cursor).map_err(|_| protocol("unknown opcode"))?;
    let Some((header, length)) = header else {
        return Ok(None);
    };
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(protocol("reserved bits are set, and no extension was agreed on"));
    }
    let mask = header.mask.ok_or(protocol("a client must mask its frames"))?;
    let kind = match header.opcode {
        OpCode::Data(Data::Continue) => Kind::Continue,
        OpCode::Data(Data::Text) => Kind::Text,
        OpCode::Data(Data::Binary) => Kind::Binary,
        OpCode::Control(Control::Close) => Kind::Close,
        OpCode::Control(Control::Ping) => Kind::Ping,
        OpCode::Control(Control::Pong) => Kind::Pong,
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
            return Err(protocol("unknown opcode"));
        }
    };
    let is_control = matches!(kind, Kind::Close | Kind::Ping | Kind::Pong);
    if is_control && (!header.is_final || length > CONTROL_BYTES_MAX) {
        return Err(protocol("a control frame must be whole and at most 125 bytes long"));
    }
    let bytes_max = if is_control { CONTROL_BYTES_MAX } else { message_bytes_max as u64 };
    if length > bytes_max {
        return Err(TOO_BIG);
    }
    let length = length as usize;
    let start = cursor.position() as usize;
    let Some(payload) = buffer.get_mut(start..start + length) else {
        return Ok(None);
    };
    unmask(payload, mask);
    Ok(Some(Frame { kind, last: header.is_final, payload: start..start + length }))
}

/// A message is longer than the settings allow.
pub(crate) const TOO_BIG: Violation =
    Violation { code: CloseCode::Size, reason: "the message is longer than this server takes" };

/// The protocol is broken.
pub(crate) const fn protocol(reason: &'static str) -> Violation {
    Violation { code: CloseCode::Protocol, reason }
}

#[inline]
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends a whole message or control frame, as a server writes it: not masked.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let opcode = match kind {
        Kind::Continue => OpCode::Data(Data::Continue),
        Kind::Text => OpCode::Data(Data::Text),
        Kind::Binary => OpCode::Data(Data::Binary),
        Kind::Close => OpCode::Control(Control::Close),
        Kind::Ping => OpCode::Control(Control::Ping),
        Kind::Pong => OpCode::Control(Control::Pong),
    };
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    header.format(payload.len() as u64, out).expect("a vector takes all that is written to it");
    out.extend_from_slice(payload);
}

/// Appends a close frame.
pub(crate) fn write_close(out: &mut Vec<u8>, code: Option<CloseCode>, reason: &str) {
    let mut payload = Vec::with_capacity(2 + reason.len());
    if let Some(code) = code {
        payload.extend_from_slice(&u16::from(code).to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    payload.truncate(CONTROL_BYTES_MAX as usize);
    write(out, Kind::Close, &payload);
}

/// A frame as a client writes it, for tests.
#[cfg(test)]
pub(crate) fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, Kind::Binary, payload);
    let header = bytes.len() - payload.len();
    bytes[0] = first;
    bytes[1] |= 0x80;
    unmask(&mut bytes[header..], mask);
    bytes.splice(header..header, mask);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_when_its_last_byte_is_there_and_not_before() {
        for length in [0, 1, 7, 8, 9, 125, 126, 127, 1000, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|index| (index * 31 % 251) as u8).collect();
            let bytes = masked(0x82, &payload, [1, 2, 3, 250]);
            for cut in (0..bytes.len()).filter(|cut| *cut < 300 || *cut > bytes.len() - 20) {
                let mut part = bytes[..cut].to_vec();
                assert_eq!(read(&mut part, 65_536), Ok(None), "{length} {cut}");
                assert_eq!(part, &bytes[..cut], "nothing is unmasked twice");
            }
            let mut whole = bytes.clone();
            whole.extend_from_slice(b"next");
            let frame = read(&mut whole, 65_536).unwrap().unwrap();
            assert_eq!((frame.kind, frame.last), (Kind::Binary, true));
            assert_eq!(frame.payload.end, bytes.len());
            assert_eq!(&whole[frame.payload], payload);
        }
    }

    #[test]
    fn violations_have_their_codes() {
        let mask = [9, 9, 9, 9];
        for (mut bytes, code) in [
            (vec![0x81, 0x01, b'x'], CloseCode::Protocol),
            (masked(0xC1, b"x", mask), CloseCode::Protocol),
            (masked(0xA1, b"x", mask), CloseCode::Protocol),
            (masked(0x91, b"x", mask), CloseCode::Protocol),
            (masked(0x83, b"x", mask), CloseCode::Protocol),
            (masked(0x8B, b"x", mask), CloseCode::Protocol),
            (masked(0x09, b"x", mask), CloseCode::Protocol),
            (masked(0x89, &[0; 126], mask), CloseCode::Protocol),
            (masked(0x81, &[0; 1001], mask), CloseCode::Size),
            (vec![0x81, 0xFF, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0], CloseCode::Size),
        ] {
            assert_eq!(read(&mut bytes, 1000).unwrap_err().code, code);
        }
    }
}
