//! Websocket frames as a client writes and reads them (RFC 6455, section 5.2): built in place at the end of a buffer,
//! parsed in place from the bytes that were read. One frame is one message here; the server sends no fragments.
//!
//! ```text
//! client → server   1 byte FIN+opcode · 1 byte MASK+length (or 126 + 2 bytes) · 4 bytes mask · masked payload
//! server → client   1 byte FIN+opcode · 1 byte length (or 126 + 2 bytes, 127 + 8 bytes) · payload
//! ```

/// Longest message of the server, in bytes: ten times the largest page of a collection, so a longer one is an error.
const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

/// Kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// UTF-8: JSON.
    Text = 1,
    /// FlatBuffers.
    Binary = 2,
    /// Closes the connection.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

/// A frame of the server, in the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: Opcode,
    pub(crate) payload: &'a [u8],
}

/// Bytes that are not a valid frame of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the server sent a frame with reserved bits or an unknown opcode")]
    Opcode,
    #[error("the server sent a fragment of a message")]
    Fragment,
    #[error("the server sent a masked frame")]
    Masked,
    #[error("the server sent a frame of more than {PAYLOAD_BYTES_MAX} bytes")]
    TooLarge,
}

/// Masks for frames. They need not be secret here, only vary: there is no proxy between two processes of one machine
/// that a chosen mask could fool.
#[derive(Clone, Debug)]
pub(crate) struct Masks(u64);

impl Masks {
    pub(crate) fn new(seed: u64) -> Masks {
        Masks(seed | 1)
    }

    /// Xorshift: never 0, all four bytes move.
    fn next(&mut self) -> [u8; 4] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        [a, b, c, d]
    }
}

/// The shortest header with a mask, in bytes.
const HEADER_BYTES: usize = 6;

/// Appends a masked frame whose payload `write` appends. Payloads up to 65,535 bytes; nothing here sends more.
pub(crate) fn append(out: &mut Vec<u8>, opcode: Opcode, masks: &mut Masks, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    write(out);
    let length = out.len() - start - HEADER_BYTES;
    let mask = masks.next();
    let payload = match u8::try_from(length) {
        Ok(short @ ..126) => {
            out[start + 1] = 0x80 | short;
            start + HEADER_BYTES
        }
        _ => {
            let long = u16::try_from(length).expect("a client's message is below 64 KiB");
            out.extend_from_slice(&[0; 2]);
            out.copy_within(start + HEADER_BYTES..start + HEADER_BYTES + length, start + HEADER_BYTES + 2);
            out[start + 1] = 0x80 | 126;
            out[start + 2..start + 4].copy_from_slice(&long.to_be_bytes());
            start + HEADER_BYTES + 2
        }
    };
    out[start] = 0x80 | opcode as u8;
    out[payload - 4..payload].copy_from_slice(&mask);
    apply_mask(&mut out[payload..], mask);
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let value = u64::from_ne_bytes((&*word).try_into().expect("chunks of eight"));
        word.copy_from_slice(&(value ^ wide).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The first frame of `bytes` and how many bytes it takes; none while it is incomplete.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = opcode(*first)?;
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let (length, header) = match (second, rest) {
        (..=125, _) => (u64::from(*second), 2),
        (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10),
        _ => return Ok(None),
    };
    if length > PAYLOAD_BYTES_MAX {
        return Err(FrameError::TooLarge);
    }
    let end = header + usize::try_from(length).expect("checked: at most 16 MiB");
    Ok(bytes.get(header..end).map(|payload| (Frame { opcode, payload }, end)))
}

fn opcode(first: u8) -> Result<Opcode, FrameError> {
    match first {
        0x81 => Ok(Opcode::Text),
        0x82 => Ok(Opcode::Binary),
        0x88 => Ok(Opcode::Close),
        0x89 => Ok(Opcode::Ping),
        0x8A => Ok(Opcode::Pong),
        0x00..=0x02 | 0x80 => Err(FrameError::Fragment),
        _ => Err(FrameError::Opcode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::FrameHeader;

    #[test]
    fn tungstenite_reads_what_we_write() {
        let mut masks = Masks::new(7);
        for length in [0usize, 1, 7, 8, 125, 126, 127, 200, 65_535] {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut out = b"before".to_vec();
            append(&mut out, Opcode::Text, &mut masks, |out| out.extend_from_slice(&payload));
            let mut cursor = std::io::Cursor::new(&out[6..]);
            let (header, read) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            let mask = header.mask.unwrap();
            let start = 6 + usize::try_from(cursor.position()).unwrap();
            assert_eq!((read as usize, out.len() - start, header.is_final), (length, length, true));
            apply_mask(&mut out[start..], mask);
            assert_eq!(out[start..], payload);
        }
    }

    #[test]
    fn a_frame_is_read_wherever_it_is_cut() {
        for length in [0u32, 3, 125, 126, 65_535, 65_536] {
            let mut bytes = vec![0x82];
            match length {
                ..126 => bytes.push(length as u8),
                126..65_536 => bytes.extend([[126].as_slice(), &(length as u16).to_be_bytes()].concat()),
                _ => bytes.extend([[127].as_slice(), &u64::from(length).to_be_bytes()].concat()),
            }
            bytes.resize(bytes.len() + length as usize, 9);
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
            }
            bytes.push(0x81);
            let (frame, taken) = parse(&bytes).unwrap().unwrap();
            assert_eq!(
                (frame.opcode, frame.payload.len(), taken),
                (Opcode::Binary, length as usize, bytes.len() - 1)
            );
        }
    }

    #[test]
    fn what_no_server_may_send_is_an_error() {
        for (bytes, error) in [
            (&[0x81, 0x80, 0, 0, 0, 0][..], FrameError::Masked),
            (&[0x01, 0x00], FrameError::Fragment),
            (&[0x80, 0x00], FrameError::Fragment),
            (&[0xC1, 0x00], FrameError::Opcode),
            (&[0x83, 0x00], FrameError::Opcode),
            (&[0x82, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0], FrameError::TooLarge),
        ] {
            assert_eq!(parse(bytes), Err(error));
        }
    }
}
