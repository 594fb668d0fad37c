//! Yardsticks, measured in the same run on the same machine: the time of one sync of the disk, and the messages per
//! second that the kernel carries when no program parses them. Without them a figure says more about the machine than
//! about the server.

use crate::sweep::Sweep;
use anyhow::Context;
use hdrhistogram::Histogram;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::fs::{fdatasync, ftruncate};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes of a sync: a small group of attempts.
const SYNC_BYTES: usize = 4_096;
/// The file is written through again and again, as the journal's log files are.
const FILE_BYTES: u64 = 16 << 20;
/// Approximate length of an attempt in its frame.
const MESSAGE_BYTES: usize = 110;

/// An empty histogram of the yardsticks.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("valid bounds")
}

/// Adds the times of `write` + `fdatasync` on the file system of `dir`.
pub(crate) fn measure_sync(dir: &Path, time: Duration, sync_ns: &mut Histogram<u64>) -> anyhow::Result<()> {
    let path = dir.join(format!("fakemon-load-baseline-{}", std::process::id()));
    let file = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let measured = measure_file(&file, time, sync_ns).with_context(|| format!("cannot sync {}", path.display()));
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    measured
}

fn measure_file(file: &File, time: Duration, sync_ns: &mut Histogram<u64>) -> anyhow::Result<()> {
    let block = [0x5A; SYNC_BYTES];
    ftruncate(file, FILE_BYTES)?;
    for offset in (0..FILE_BYTES).step_by(SYNC_BYTES) {
        file.write_all_at(&block, offset)?;
    }
    file.sync_all()?;
    let (start, mut offset) = (Instant::now(), 0);
    while start.elapsed() < time {
        let before = Instant::now();
        file.write_all_at(&block, offset)?;
        fdatasync(file)?;
        sync_ns.saturating_record(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
        offset = (offset + SYNC_BYTES as u64) % FILE_BYTES;
    }
    Ok(())
}

/// Messages per second that are echoed over `connections` with `in_flight` messages on each: one thread sends and one
/// echoes.
pub(crate) fn measure_echo(connections: usize, in_flight: usize, time: Duration) -> anyhow::Result<f64> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("cannot listen for the echo baseline")?;
    let addr = listener.local_addr()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo(listener, connections, &stop));
        let measured = bounce(addr, connections, in_flight, time);
        stop.store(true, Relaxed);
        echo.join().map_err(|_| anyhow::anyhow!("the echo thread panicked"))??;
        measured
    })
}

/// The kernel's cost of sending one message to many sockets.
pub(crate) struct FanOut {
    /// Messages per second.
    pub(crate) per_second: f64,
    /// Time from the first write to the last receipt, the median.
    pub(crate) last_ns: u64,
}

/// Writes a message to each of the sockets, one after the other, while another thread reads; again and again.
pub(crate) fn measure_fan_out(connections: usize, time: Duration) -> anyhow::Result<FanOut> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("cannot listen for the baseline")?;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..connections {
        let writing = std::net::TcpStream::connect(listener.local_addr()?)?;
        writing.set_nodelay(true)?;
        near.push(writing);
        let (reading, _) = listener.accept()?;
        reading.set_nonblocking(true)?;
        far.push(reading);
    }
    let message = [0x5A; MESSAGE_BYTES];
    let (received, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_all(&mut far, &received, &is_over));
        let (start, mut rounds) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            let round = Instant::now();
            for socket in &mut near {
                socket.write_all(&message)?;
            }
            while received.load(Relaxed) < (rounds.len() + 1) * connections * MESSAGE_BYTES {
                std::thread::yield_now();
            }
            rounds.push(u64::try_from(round.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        let per_second = (rounds.len() * connections) as f64 / start.elapsed().as_secs_f64();
        is_over.store(true, Relaxed);
        reader.join().map_err(|_| anyhow::anyhow!("the reading thread panicked"))??;
        rounds.sort_unstable();
        Ok(FanOut { per_second, last_ns: rounds[rounds.len() / 2] })
    })
}

fn read_all(sockets: &mut [std::net::TcpStream], received: &AtomicUsize, is_over: &AtomicBool) -> anyhow::Result<()> {
    let (mut sweep, mut buffer) = (Sweep::of(sockets.len()), vec![0; 64 * 1_024]);
    while !is_over.load(Relaxed) {
        sweep.go_on(|number| match sockets[number].read(&mut buffer) {
            Ok(read) => {
                received.fetch_add(read, Relaxed);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("the baseline broke"),
        })?;
    }
    Ok(())
}

/// Echoes all input.
fn echo(listener: std::net::TcpListener, connections: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, Token(usize::MAX), Interest::READABLE)?;
    let mut streams: Vec<TcpStream> = Vec::with_capacity(connections);
    let mut events = Events::with_capacity(4_096);
    let mut buffer = vec![0; 256 * 1_024];
    while !stop.load(Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        for event in &events {
            let Some(stream) = streams.get_mut(event.token().0) else {
                while let Ok((mut stream, _)) = listener.accept() {
                    poll.registry().register(&mut stream, Token(streams.len()), Interest::READABLE)?;
                    streams.push(stream);
                }
                continue;
            };
            if let Ok(read) = stream.read(&mut buffer) {
                // The messages in flight on one connection are far smaller than its send buffer.
                let _ = stream.write(&buffer[..read]);
            }
        }
    }
    Ok(())
}

/// Sends all messages of a connection in one write, waits for all of them, sends again.
fn bounce(addr: SocketAddr, connections: usize, in_flight: usize, time: Duration) -> anyhow::Result<f64> {
    let mut poll = Poll::new()?;
    let burst = vec![0x5A; MESSAGE_BYTES * in_flight];
    let mut streams = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = std::net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        streams.push((stream, 0));
    }
    let mut events = Events::with_capacity(4_096);
    let mut buffer = vec![0; 256 * 1_024];
    let mut messages = 0;
    let start = Instant::now();
    for (stream, _) in &mut streams {
        stream.write_all(&burst)?;
    }
    while start.elapsed() < time {
        poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        for event in &events {
            let (stream, received) = &mut streams[event.token().0];
            match stream.read(&mut buffer) {
                Ok(read) => *received += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("the echo baseline broke"),
            }
            if *received >= burst.len() {
                *received = 0;
                messages += in_flight;
                stream.write_all(&burst)?;
            }
        }
    }
    Ok(messages as f64 / start.elapsed().as_secs_f64())
}
