//! Reads sockets to which the same message is sent, one after the other in the order of the writes, without epoll:
//! with both ends on one machine, epoll costs the writer a lock and a wake-up per socket, which readers on another
//! machine would not.

use std::collections::VecDeque;
use std::time::Duration;

/// Empty sockets in a row after which the reader has caught up with the writer.
const EMPTY_MAX: usize = 64;
/// Pause after that.
const PAUSE: Duration = Duration::from_micros(200);

/// The sockets, by number, on which a message is due in this round.
pub(super) struct Sweep {
    sockets: usize,
    due: VecDeque<usize>,
}

impl Sweep {
    pub(super) fn of(sockets: usize) -> Sweep {
        Sweep { sockets, due: (0..sockets).collect() }
    }

    /// Reads until it has caught up with the writer; `read` returns false for an empty socket. Pauses if all were
    /// empty.
    pub(super) fn go_on(&mut self, mut read: impl FnMut(usize) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let (mut empty, mut any) = (Vec::new(), false);
        while empty.len() < EMPTY_MAX
            && let Some(number) = self.due.pop_front()
        {
            match read(number)? {
                true => any = true,
                false => empty.push(number),
            }
        }
        empty.into_iter().rev().for_each(|number| self.due.push_front(number));
        if self.due.is_empty() {
            self.due.extend(0..self.sockets);
        }
        if !any {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}
