//! Places of the control plane: bounds on the requests, long polls and streams in progress, in total and per client.
//! A request takes a place when its head has arrived. When it begins to wait for messages it becomes a poll, when it
//! streams a stream, so that neither uses up places for requests. Health checks have places of their own, so that no
//! load of clients can block them.

use crate::refusal::Refusal;
use axum::http::StatusCode;
use fakemon_model::event::PlayerName;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Requests for health and metrics in progress: each is short.
const HEALTH_MAX: usize = 64;
/// Pause that is asked of a client without a place, in milliseconds.
const COME_AGAIN_MS: u32 = 1_000;

/// Bounds on what is in progress, from the settings `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacesOptions {
    /// Requests in progress.
    pub requests_max: usize,
    /// Requests that wait for messages of a queue.
    pub polls_max: usize,
    /// Streams of events.
    pub streams_max: usize,
    /// Streams of one player.
    pub streams_per_player: usize,
    /// Share of each bound that one address may take, in percent. Loopback may take all: it is a proxy, or a back
    /// end.
    pub address_share_percent: usize,
}

/// Kind of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Health,
    Request,
    Poll,
    Stream,
}

const KINDS: usize = 4;

/// Clients for which places are counted, besides the total.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Client {
    Address(IpAddr),
    Player(PlayerName),
}

/// All places.
pub struct Places {
    options: PlacesOptions,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: [usize; KINDS],
    by_client: HashMap<(Client, Kind), usize>,
}

impl Places {
    pub fn new(options: PlacesOptions) -> Arc<Places> {
        Arc::new(Places { options, taken: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }

    /// Takes a place for a request or a health check.
    pub fn take(self: &Arc<Places>, kind: Kind, address: IpAddr) -> Result<Arc<Place>, Refusal> {
        let address = network(address);
        let seats = self.take_seats(kind, address, None)?;
        Ok(Arc::new(Place { places: Arc::clone(self), address, seats: Mutex::new(seats) }))
    }

    fn take_seats(&self, kind: Kind, address: IpAddr, player: Option<&PlayerName>) -> Result<Seats, Refusal> {
        let mut taken = self.held();
        let most = self.most(kind);
        if taken.all[kind as usize] >= most {
            return Err(full(kind, most));
        }
        let mut clients = Vec::new();
        if !address.is_loopback() && kind != Kind::Health {
            let share = (most * self.options.address_share_percent / 100).max(1);
            clients.push((Client::Address(address), share, "limits.address_share_percent"));
        }
        if let Some(player) = player {
            clients.push((
                Client::Player(player.clone()),
                self.options.streams_per_player,
                "limits.streams_per_player",
            ));
        }
        for (client, most, setting) in &clients {
            if taken.by_client.get(&(client.clone(), kind)).is_some_and(|taken| taken >= most) {
                return Err(too_many(kind, client, *most, setting));
            }
        }
        taken.all[kind as usize] += 1;
        let clients: Vec<Client> = clients.into_iter().map(|(client, ..)| client).collect();
        for client in &clients {
            *taken.by_client.entry((client.clone(), kind)).or_default() += 1;
        }
        Ok(Seats { kind, clients })
    }

    fn free(&self, seats: &Seats) {
        let mut taken = self.held();
        taken.all[seats.kind as usize] -= 1;
        for client in &seats.clients {
            let key = (client.clone(), seats.kind);
            let count = taken.by_client.get_mut(&key).expect("it was counted when the place was taken");
            *count -= 1;
            if *count == 0 {
                taken.by_client.remove(&key);
            }
        }
    }

    fn most(&self, kind: Kind) -> usize {
        match kind {
            Kind::Health => HEALTH_MAX,
            Kind::Request => self.options.requests_max,
            Kind::Poll => self.options.polls_max,
            Kind::Stream => self.options.streams_max,
        }
    }
}

/// The counters that include one place.
struct Seats {
    kind: Kind,
    clients: Vec<Client>,
}

/// The place of one request; freed when it is dropped.
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
    seats: Mutex<Seats>,
}

impl Place {
    /// Exchanges the place for one of another kind.
    pub(super) fn become_kind(&self, kind: Kind, player: Option<&PlayerName>) -> Result<(), Refusal> {
        let mut seats = self.seats.lock();
        if seats.kind != kind {
            let taken = self.places.take_seats(kind, self.address, player)?;
            self.places.free(&std::mem::replace(&mut *seats, taken));
        }
        Ok(())
    }

    pub fn kind(&self) -> Kind {
        self.seats.lock().kind
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.free(self.seats.get_mut());
    }
}

tokio::task_local! {
    /// The place of the request that this task executes.
    pub(super) static HERE: Arc<Place>;
}

/// Turns the place of this task's request into one for a long poll.
pub fn become_poll() -> Result<(), Refusal> {
    HERE.try_with(|place| place.become_kind(Kind::Poll, None)).unwrap_or(Ok(()))
}

/// Turns the place of this task's request into one for a stream of a player.
pub fn become_stream(player: &PlayerName) -> Result<(), Refusal> {
    HERE.try_with(|place| place.become_kind(Kind::Stream, Some(player))).unwrap_or(Ok(()))
}

/// The client that an address belongs to: in IPv6 a client has a whole network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

fn full(kind: Kind, most: usize) -> Refusal {
    let (what, setting) = match kind {
        Kind::Health => ("questions for health", "nothing: it is fixed"),
        Kind::Request => ("requests", "limits.requests_max"),
        Kind::Poll => ("requests that wait for messages", "limits.polls_max"),
        Kind::Stream => ("streams", "limits.streams_max"),
    };
    let message =
        format!("{most} {what} are in progress, which is all that there may be ({setting}): come again later");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "full", message).after_ms(COME_AGAIN_MS)
}

fn too_many(kind: Kind, client: &Client, most: usize, setting: &str) -> Refusal {
    let what = match kind {
        Kind::Stream => "streams",
        Kind::Poll => "requests that wait for messages",
        Kind::Request | Kind::Health => "requests",
    };
    let who = match client {
        Client::Address(_) => "one address",
        Client::Player(_) => "one player",
    };
    let message = format!("{most} {what} of {who} are in progress, which is all that it may have ({setting})");
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many", message).after_ms(COME_AGAIN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Arc<Places> {
        Places::new(PlacesOptions {
            requests_max: 4,
            polls_max: 2,
            streams_max: 6,
            streams_per_player: 2,
            address_share_percent: 50,
        })
    }

    fn refused<T>(result: Result<T, Refusal>) -> String {
        result.err().expect("it is refused").body().to_string()
    }

    #[test]
    fn one_address_leaves_places_to_others_and_all_leave_health_alone() {
        let places = places();
        let [one, other, loopback] = ["192.0.2.1", "192.0.2.2", "127.0.0.1"].map(|text| text.parse().unwrap());
        let mut held: Vec<_> = (0..2).map(|_| places.take(Kind::Request, one).unwrap()).collect();
        assert!(refused(places.take(Kind::Request, one)).contains("limits.address_share_percent"));
        held.push(places.take(Kind::Request, loopback).unwrap());
        held.push(places.take(Kind::Request, other).unwrap());
        assert!(refused(places.take(Kind::Request, loopback)).contains("limits.requests_max"));
        assert!(places.take(Kind::Health, one).is_ok());
        held.pop();
        assert!(places.take(Kind::Request, other).is_ok());
        drop(held);
        let taken = places.held();
        assert!(taken.all == [0; KINDS] && taken.by_client.is_empty(), "everything is given back");
    }

    #[test]
    fn what_waits_or_streams_gives_its_place_back_to_requests() {
        let places = places();
        let loopback: IpAddr = "::1".parse().unwrap();
        let (ash, misty) = (PlayerName::new("ash").unwrap(), PlayerName::new("misty").unwrap());
        let open = |player| {
            let place = places.take(Kind::Request, loopback).unwrap();
            place.become_kind(Kind::Stream, Some(player)).map(|()| place)
        };
        let mut streams: Vec<_> = (0..2).map(|_| open(&ash).ok().unwrap()).collect();
        assert!(refused(open(&ash)).contains("limits.streams_per_player"));
        streams.extend((0..2).map(|_| open(&misty).ok().unwrap()));
        let polls: Vec<_> = (0..2).map(|_| places.take(Kind::Request, loopback).unwrap()).collect();
        polls.iter().for_each(|poll| poll.become_kind(Kind::Poll, None).unwrap());
        let third = places.take(Kind::Request, loopback).unwrap();
        assert!(refused(third.become_kind(Kind::Poll, None)).contains("limits.polls_max"));
        assert_eq!(third.kind(), Kind::Request, "it has its place still");
        let requests: Vec<_> = (0..3).map(|_| places.take(Kind::Request, loopback).unwrap()).collect();
        drop((streams, polls, third, requests));
        assert_eq!(places.held().all, [0; KINDS]);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert!(of("::1").is_loopback() && of("::ffff:127.0.0.1").is_loopback());
    }
}
