//! A slab of connections: a seat has a number and a generation, and both together identify one connection for ever. A
//! late answer or readiness finds another generation in the seat, and is dropped.
//!
//! ```text
//! 63          32 31           0
//! [ generation ] [   seat     ]     as mio token, as engine token
//! ```

use fakemon_model::ids::Timestamp;

/// Generations of a seat: enough that no two connections of one start share an id, and below `u32::MAX`, which tokens
/// that belong to no seat use.
const GENERATIONS: u32 = u32::MAX - 1;

/// Id of one connection; never reused by this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SeatId(pub(crate) u64);

impl SeatId {
    fn new(seat: usize, generation: u32) -> SeatId {
        SeatId(u64::from(generation) << 32 | seat as u64)
    }

    fn seat(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Seats, reused.
pub(crate) struct Slots<T> {
    seats: Vec<Seat<T>>,
    free: Vec<u32>,
    /// Generation of a seat's first connection.
    first_generation: u32,
}

struct Seat<T> {
    generation: u32,
    taken: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { seats: Vec::new(), free: Vec::new(), first_generation: 0 }
    }
}

impl<T> Slots<T> {
    /// Seats whose generations begin at the nanoseconds of the second: connections of two starts within one second
    /// get different ids too.
    pub(crate) fn since(now: Timestamp) -> Slots<T> {
        let first_generation = (now.0 % 1_000_000_000) as u32;
        Slots { first_generation, ..Slots::default() }
    }

    /// Takes a free seat for the value that `make` returns; after an error the seat stays free.
    pub(crate) fn insert<E>(&mut self, make: impl FnOnce(SeatId) -> Result<T, E>) -> Result<SeatId, E> {
        let seat = self.free.pop().map_or(self.seats.len(), |seat| seat as usize);
        let generation = self.seats.get(seat).map_or(self.first_generation, |seat| seat.generation);
        let id = SeatId::new(seat, generation);
        let made = make(id).inspect_err(|_| {
            if seat < self.seats.len() {
                self.free.push(seat as u32);
            }
        })?;
        match self.seats.get_mut(seat) {
            Some(seat) => seat.taken = Some(made),
            None => self.seats.push(Seat { generation, taken: Some(made) }),
        }
        Ok(id)
    }

    /// The connection with this id, if it is still open.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: SeatId) -> Option<&mut T> {
        let seat = self.seats.get_mut(id.seat())?;
        seat.taken.as_mut().filter(|_| seat.generation == id.generation())
    }

    /// Frees the seat; its next connection gets another id.
    pub(crate) fn remove(&mut self, id: SeatId) -> Option<T> {
        let seat = self.seats.get_mut(id.seat())?;
        if seat.generation != id.generation() {
            return None;
        }
        let taken = seat.taken.take()?;
        seat.generation = seat.generation.wrapping_add(1) % GENERATIONS;
        self.free.push(id.seat() as u32);
        Some(taken)
    }

    /// Number of seats, taken or free.
    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Number of seats taken.
    pub(crate) fn taken(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// The id of the connection in this seat now.
    pub(crate) fn sitting(&self, seat: usize) -> Option<SeatId> {
        let found = self.seats.get(seat)?;
        found.taken.as_ref().map(|_| SeatId::new(seat, found.generation))
    }

    /// The ids of all connections.
    pub(crate) fn all(&self) -> Vec<SeatId> {
        (0..self.seats.len()).filter_map(|seat| self.sitting(seat)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_reused_a_name_never() {
        let mut seats = Slots::default();
        let ana = seats.insert(|_| Ok::<_, ()>("ana")).unwrap();
        let ben = seats.insert(|_| Ok::<_, ()>("ben")).unwrap();
        assert_eq!(seats.remove(ana), Some("ana"));
        assert!(seats.insert(|_| Err(())).is_err());
        let eve = seats.insert(|_| Ok::<_, ()>("eve")).unwrap();
        assert_eq!(eve.seat(), ana.seat());
        assert_eq!(seats.get_mut(ana), None);
        assert_eq!(seats.remove(ana), None);
        assert_eq!(seats.get_mut(eve), Some(&mut "eve"));
        assert_eq!(seats.get_mut(ben), Some(&mut "ben"));
        let mut later = Slots::since(Timestamp(1_000_000_007));
        assert_ne!(later.insert(|_| Ok::<_, ()>("ana")), Ok(ana));
        assert_eq!((seats.len(), seats.taken()), (2, 2));
        assert_eq!(seats.all(), [eve, ben]);
    }
}
