//! Where connections sit: a seat has a number and a generation, and both together name one connection for ever. An
//! answer or a readiness that comes late finds the next generation in the seat, and goes nowhere.
//!
//! ```text
//! 63          32 31           0
//! [ generation ] [   seat     ]     as mio token, as engine token
//! ```

use fakemon_model::ids::Timestamp;

/// Generations of a seat: so many that no two connections of one start meet, and fewer than would meet a token that
/// is no seat's.
const GENERATIONS: u32 = u32::MAX - 1;

/// One connection, for ever.
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
pub(crate) struct Seats<T> {
    seats: Vec<Seat<T>>,
    free: Vec<u32>,
    /// Of a seat that is taken for the first time.
    first_generation: u32,
}

struct Seat<T> {
    generation: u32,
    taken: Option<T>,
}

impl<T> Default for Seats<T> {
    fn default() -> Self {
        Seats { seats: Vec::new(), free: Vec::new(), first_generation: 0 }
    }
}

impl<T> Seats<T> {
    /// Seats whose generations begin at the fraction of the second: of two starts within one second, too, no two
    /// connections have the same name.
    pub(crate) fn since(now: Timestamp) -> Seats<T> {
        let first_generation = (now.0 % 1_000_000_000) as u32;
        Seats { first_generation, ..Seats::default() }
    }

    /// Takes a seat for what `make` makes, if it makes something.
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

    /// Who sits there, if it is still the same.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: SeatId) -> Option<&mut T> {
        let seat = self.seats.get_mut(id.seat())?;
        seat.taken.as_mut().filter(|_| seat.generation == id.generation())
    }

    /// Frees the seat; whoever comes next is somebody else.
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

    /// How many seats there are, taken or free.
    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// Who sits in this seat now.
    pub(crate) fn sitting(&self, seat: usize) -> Option<SeatId> {
        let found = self.seats.get(seat)?;
        found.taken.as_ref().map(|_| SeatId::new(seat, found.generation))
    }

    /// All who sit.
    pub(crate) fn all(&self) -> Vec<SeatId> {
        (0..self.seats.len()).filter_map(|seat| self.sitting(seat)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_reused_a_name_never() {
        let mut seats = Seats::default();
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
        let mut later = Seats::since(Timestamp(1_000_000_007));
        assert_ne!(later.insert(|_| Ok::<_, ()>("ana")), Ok(ana));
        assert_eq!((seats.len(), seats.taken()), (2, 2));
        assert_eq!(seats.all(), [eve, ben]);
    }
}
