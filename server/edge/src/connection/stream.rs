//! A socket, plain or inside TLS: non-blocking reads and writes. TLS state is boxed, so that a plain connection stays
//! small.

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

/// Bytes that TLS may buffer for a socket that takes no more; beyond them the connection's own bound counts.
const TLS_HELD_BYTES_MAX: usize = 64 * 1024;

/// The socket of one connection.
pub(crate) enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<Tls>),
}

/// A socket and its TLS state.
pub(crate) struct Tls {
    socket: TcpStream,
    session: ServerConnection,
}

impl Stream {
    pub(crate) fn new(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Stream, rustls::Error> {
        let Some(config) = tls else {
            return Ok(Stream::Plain(socket));
        };
        let mut session = ServerConnection::new(config.clone())?;
        session.set_buffer_limit(Some(TLS_HELD_BYTES_MAX));
        Ok(Stream::Tls(Box::new(Tls { socket, session })))
    }

    /// The TCP socket.
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &mut tls.socket,
        }
    }

    /// The peer's address; none if the socket is closed. An IPv4 client of an IPv6 socket has its IPv4 address.
    pub(crate) fn source(&mut self) -> Option<SocketAddr> {
        let source = self.socket().peer_addr().ok()?;
        Some(SocketAddr::new(source.ip().to_canonical(), source.port()))
    }

    /// Reads what there is; 0 at the end, `WouldBlock` when there is nothing now.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }

    /// Whether a read that did not fill the buffer has emptied the socket, so that the next one need not be tried.
    pub(crate) fn short_read_is_last(&self) -> bool {
        matches!(self, Stream::Plain(_))
    }

    /// Writes as much as the socket takes; `WouldBlock` when it takes nothing.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    /// Whether TLS holds bytes for the socket.
    pub(crate) fn is_holding(&self) -> bool {
        matches!(self, Stream::Tls(tls) if tls.session.wants_write())
    }

    /// Hands to the socket what TLS still holds. True: nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Stream::Plain(_) => Ok(true),
            Stream::Tls(tls) => tls.flush(),
        }
    }

    /// Closes our half; what the peer still sends can be read.
    pub(crate) fn finish(&mut self) {
        if let Stream::Tls(tls) = self {
            tls.session.send_close_notify();
            let _ = tls.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }
}

impl Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            let taken = self.session.read_tls(&mut self.socket)?;
            let processed = self.session.process_new_packets();
            self.flush()?; // the handshake writes too, and an alert says why it failed
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            if taken == 0 {
                return Ok(0);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            let taken = self.session.writer().write(&bytes[written..])?;
            written += taken;
            if !self.flush()? && taken == 0 {
                break;
            }
        }
        match written {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            written => Ok(written),
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
