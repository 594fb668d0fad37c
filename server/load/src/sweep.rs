//! Reads sockets that are all written to at once, one after the other in the order of the writing, without asking the
//! kernel which are ready: an epoll of both ends' sockets on one machine costs the writer a lock and a wake-up for
//! each, which readers elsewhere would not.

use std::collections::VecDeque;
use std::time::Duration;

/// Sockets without anything, one after the other: then the writer is not further.
const EMPTY_MAX: usize = 64;
/// How long the writer is left alone then.
const PAUSE: Duration = Duration::from_micros(200);

/// Of sockets by number, those on which a message is due in this round.
pub(super) struct Sweep {
    sockets: usize,
    due: VecDeque<usize>,
}

impl Sweep {
    pub(super) fn of(sockets: usize) -> Sweep {
        Sweep { sockets, due: (0..sockets).collect() }
    }

    /// Reads as far as the writer is; `read` says whether something was there. Rests if there was nothing.
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
