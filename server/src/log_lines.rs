//! Log lines to stderr. No thread blocks on it or fails because of it: lines go through a bounded queue to a thread
//! that writes them. If stderr is full, closed or slow, lines are dropped and counted, and the count is logged as
//! soon as possible.

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use fakemon_sync::failure::no_thread;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const WAITING_MAX: usize = 8_192;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

static QUEUE: OnceLock<Sender<Order>> = OnceLock::new();
/// Lines dropped and not reported yet. Relaxed: a count that guards no other data.
static LOST: AtomicU64 = AtomicU64::new(0);

enum Order {
    Write(Vec<u8>),
    /// Answers when all lines before it are written.
    Tell(Sender<()>),
}

/// Makes writers of log lines; each line is queued as a whole.
#[derive(Clone, Copy)]
pub(crate) struct LogLines;

impl LogLines {
    /// Starts the writing thread.
    pub(crate) fn start() -> io::Result<LogLines> {
        let (queue, orders) = bounded(WAITING_MAX);
        if QUEUE.set(queue).is_ok() {
            let thread = std::thread::Builder::new().name("log".into());
            thread.spawn(move || write_all(&orders, &mut io::stderr())).map_err(no_thread)?;
        }
        Ok(LogLines)
    }
}

impl MakeWriter<'_> for LogLines {
    type Writer = LogLines;

    fn make_writer(&self) -> LogLines {
        LogLines
    }
}

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let sent = QUEUE.get().map(|queue| queue.try_send(Order::Write(line.to_vec())));
        if !matches!(sent, Some(Ok(()))) {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line that is none of the log, and does not wait for it.
pub(crate) fn say(line: &str) {
    let _ = LogLines.write(format!("{line}\n").as_bytes()); // a line that finds no room is counted
}

/// Waits until all lines are written, but not for long.
pub(crate) fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (tell, told) = bounded(1);
    if let Err(TrySendError::Disconnected(_) | TrySendError::Full(_)) = queue.try_send(Order::Tell(tell)) {
        return;
    }
    let _ = told.recv_timeout(LAST_LINES); // after the timeout no reader is expected
}

fn write_all(orders: &Receiver<Order>, stderr: &mut impl Write) {
    for order in orders {
        match order {
            Order::Write(line) => write(&line, stderr),
            Order::Tell(written) => drop(written.send(())),
        }
    }
}

fn write(line: &[u8], stderr: &mut impl Write) {
    let lost = LOST.load(Ordering::Relaxed);
    if lost > 0 && writeln!(stderr, "fakemon: {lost} log lines were lost, for stderr was full or not read").is_ok() {
        LOST.fetch_sub(lost, Ordering::Relaxed); // not set to 0: more may be lost meanwhile
    }
    if stderr.write_all(line).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes as long as there is room, then fails like a full disk.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() + bytes.len() > self.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_told_when_there_is_some() {
        let mut disk = Disk(Vec::new(), 8);
        write(b"first\n", &mut disk);
        write(b"second\n", &mut disk);
        write(b"third\n", &mut disk);
        disk.1 = 1_000;
        write(b"fourth\n", &mut disk);
        write(b"fifth\n", &mut disk);
        let written = String::from_utf8(disk.0).unwrap();
        let expected = "first\nfakemon: 2 log lines were lost, for stderr was full or not read\nfourth\nfifth\n";
        assert_eq!(written, expected);
    }
}
