//! `GET /stream?player=NAME`: what happens to a player, as server-sent events. Each carries its id; a client that comes
//! again with `Last-Event-ID` (browsers and `curl -H` do) goes on exactly where it broke off, for the journal has
//! everything. Without it the stream begins now; `?from=POSITION` begins there.
//!
//! ```text
//! journal ── hub: one reader for all ──► a bounded queue for each player's stream
//!       └─── catching up: each stream by itself, up to where the hub was when it came
//! ```

use super::Shared;
use super::refusal::{InQuery, Refusal};
use crate::auth::Access;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use fakemon_engine::envelope::EventKey;
use fakemon_engine::ids::{PlayerId, Position};
use fakemon_engine::model::{Outcome, PlayerName};
use fakemon_engine::{ReadError, Tail};
use futures_lite::Stream;
use hashbrown::HashMap;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Streams at once.
const STREAMS_MAX: usize = 10_000;
/// Events that wait for one client. One that is further behind is let go, and comes again where it was.
const WAITING_MAX: usize = 1_024;
/// Records that are read at once.
const READ_MAX: u64 = 100_000;
/// How often the hub looks for what is new.
const EVERY: Duration = Duration::from_millis(5);
/// So that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a client is told.
#[derive(Clone)]
struct Told {
    id: String,
    detail_type: String,
    json: String,
}

/// Who listens, by player.
#[derive(Default)]
pub(super) struct Hub(Mutex<Listeners>);

#[derive(Default)]
struct Listeners {
    /// Everything before it was told, or is about to be.
    next: Position,
    runs: bool,
    count: usize,
    by_player: HashMap<PlayerName, Followed>,
    /// Of those who have a number, so that throws of all others cost no more than a look. Lent to who reads.
    numbers: Arc<HashMap<PlayerId, PlayerName>>,
    /// As far as players who have no number yet were looked for among those who got one.
    numbered: u32,
}

/// Whom somebody listens to.
struct Followed {
    number: Option<PlayerId>,
    listeners: Vec<Listener>,
}

struct Listener {
    /// What lies before it they read themselves.
    since: Position,
    tell: mpsc::Sender<Told>,
    /// It did not take something: it gets nothing behind that, and comes again where it was.
    is_behind: bool,
}

impl Hub {
    fn held(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes for a player, and from which position on; none if there are too many streams.
    fn listen(&self, player: &PlayerName, tail: &Tail) -> Option<(mpsc::Receiver<Told>, Position, bool)> {
        let mut held = self.held();
        if held.count >= STREAMS_MAX {
            return None;
        }
        let begins = !std::mem::replace(&mut held.runs, true);
        if begins {
            held.next = tail.end();
            held.numbered = tail.players();
        }
        let (tell, told) = mpsc::channel(WAITING_MAX);
        let since = held.next;
        held.add(player, Listener { since, tell, is_behind: false }, tail);
        Some((told, since, begins))
    }
}

impl Listeners {
    fn add(&mut self, player: &PlayerName, listener: Listener, tail: &Tail) {
        self.count += 1;
        if let Some(followed) = self.by_player.get_mut(player) {
            return followed.listeners.push(listener);
        }
        let number = tail.player_id(player);
        if let Some(number) = number {
            Arc::make_mut(&mut self.numbers).insert(number, player.clone());
        }
        self.by_player.insert(player.clone(), Followed { number, listeners: vec![listener] });
    }

    /// Players who got their number since it was looked last.
    fn look_for_numbers(&mut self, tail: &Tail) {
        let players = tail.players();
        for number in (self.numbered + 1..=players).map(PlayerId) {
            let Some(name) = tail.player_name(number) else { continue };
            if let Some(followed) = self.by_player.get_mut(&name) {
                followed.number = Some(number);
                Arc::make_mut(&mut self.numbers).insert(number, name);
            }
        }
        self.numbered = players;
    }

    fn tell(&mut self, position: Position, player: &PlayerName, told: &Told) {
        let listeners = self.by_player.get_mut(player).map(|followed| &mut followed.listeners);
        for listener in listeners.into_iter().flatten() {
            if listener.since <= position && !listener.is_behind {
                listener.is_behind = listener.tell.try_send(told.clone()).is_err();
            }
        }
    }

    /// Lets go of who does not listen any more.
    fn tidy(&mut self) {
        let (mut count, numbers) = (0, &mut self.numbers);
        self.by_player.retain(|_, followed| {
            followed.listeners.retain(|listener| !listener.is_behind && !listener.tell.is_closed());
            count += followed.listeners.len();
            let is_followed = !followed.listeners.is_empty();
            if let Some(number) = followed.number.filter(|_| !is_followed) {
                Arc::make_mut(numbers).remove(&number);
            }
            is_followed
        });
        self.count = count;
        self.runs = count > 0;
    }
}

/// Tells all who listen what is new, until nobody listens any more.
async fn run(shared: Arc<Shared>) {
    let tail = shared.engine.tail();
    loop {
        tokio::time::sleep(EVERY).await;
        if shared.is_stopping() {
            return *shared.streams.held() = Listeners::default(); // else they would hold up the end
        }
        let (shared, tail) = (shared.clone(), tail.clone());
        let told = tokio::task::spawn_blocking(move || tell(&shared.streams, &tail)).await;
        match told {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return,
            Ok(Err(error)) => return tracing::error!("streams end: the journal cannot be read: {error}"),
            Err(error) => return tracing::error!("streams end: {error}"),
        }
    }
}

/// One turn of the hub; whether anybody listens still.
fn tell(hub: &Hub, tail: &Tail) -> Result<bool, ReadError> {
    let (from, end, numbers) = {
        let mut held = hub.held();
        let from = held.next;
        // Said before it is read: who comes meanwhile begins behind it.
        held.next = Position(tail.end().0.min(from.0.saturating_add(READ_MAX)).max(from.0));
        held.look_for_numbers(tail); // whoever threw before `next` has one
        (from, held.next, held.numbers.clone())
    };
    let mut news = Vec::new();
    let is_wanted = &mut |player: PlayerId, _: Outcome| numbers.contains_key(&player);
    tail.read_wanted(from, end.0 - from.0, is_wanted, &mut |seen| {
        let player = match seen.throw() {
            Some((player, _)) => numbers.get(&player).cloned(),
            None => seen.player().filter(|player| hub.held().by_player.contains_key(player)),
        };
        if let Some(player) = player {
            news.push((seen.position(), player, told(seen)));
        }
    })?;
    drop(numbers);
    let mut held = hub.held();
    for (position, player, told) in news {
        held.tell(position, &player, &told);
    }
    held.tidy();
    Ok(held.runs)
}

fn told(seen: &fakemon_engine::Seen<'_>) -> Told {
    Told { id: seen.id(), detail_type: seen.detail_type().to_owned(), json: seen.json() }
}

/// Whom and from where.
#[derive(Deserialize)]
pub(super) struct Asked {
    player: Option<String>,
    token: Option<String>,
    from: Option<u64>,
}

/// Opens a stream.
pub(super) async fn open(
    State(shared): State<Arc<Shared>>,
    InQuery(asked): InQuery<Asked>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let player = who(&shared.options.access, &asked, &headers)?;
    let tail = shared.engine.tail();
    let (live, joined_at, begins) = shared.streams.listen(&player, &tail).ok_or_else(|| {
        let message = format!("{STREAMS_MAX} streams are open: come back later");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "full", message)
    })?;
    if begins {
        tokio::spawn(run(shared.clone()));
    }
    let begin = beginning(&asked, &headers)?.unwrap_or(joined_at);
    let catching = CatchingUp { tail, player, next: begin, end: joined_at, found: Vec::new().into_iter() };
    let stream = futures_lite::stream::unfold((catching, live), |(mut catching, mut live)| async move {
        let told = match catching.next().await {
            Some(told) => told,
            None => live.recv().await?,
        };
        let event = Event::default().id(told.id).event(told.detail_type).data(told.json);
        Some((Ok(event), (catching, live)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The position behind the last event that the client has.
fn beginning(asked: &Asked, headers: &HeaderMap) -> Result<Option<Position>, Refusal> {
    let Some(last) = headers.get("last-event-id") else { return Ok(asked.from.map(Position)) };
    let last = last.to_str().unwrap_or_default().trim();
    let position = EventKey::of_id(last).map(EventKey::position).or_else(|| last.parse().ok().map(Position));
    let wrong =
        || Refusal::field("bad_request", "Last-Event-ID", "Last-Event-ID is the id of an event, or a position");
    position.map(|position| Some(Position(position.0.saturating_add(1)))).ok_or_else(wrong)
}

/// Whose stream it is: as with the websocket.
fn who(access: &Access, asked: &Asked, headers: &HeaderMap) -> Result<PlayerName, Refusal> {
    match access {
        Access::Open => {
            let missing = || Refusal::field("missing_field", "player", "say whose stream: /stream?player=NAME");
            let name = asked.player.as_deref().ok_or_else(missing)?;
            PlayerName::new(name).map_err(|error| Refusal::field("bad_request", "player", error.to_string()))
        }
        Access::Tokens(keys) => {
            let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let bearer = bearer.and_then(|value| value.split_once(' ')).map(|(_, token)| token.trim());
            let token = asked.token.as_deref().or(bearer).unwrap_or_default();
            let refused = |error: crate::auth::Refusal| {
                Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", error.to_string())
            };
            keys.player(token).map_err(refused)
        }
    }
}

/// What happened between a client's last event and the moment it came.
struct CatchingUp {
    tail: Tail,
    player: PlayerName,
    next: Position,
    end: Position,
    found: std::vec::IntoIter<Told>,
}

impl CatchingUp {
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.found.next() {
                return Some(told);
            }
            if self.next >= self.end {
                return None;
            }
            let (tail, player, from) = (self.tail.clone(), self.player.clone(), self.next);
            let most = READ_MAX.min(self.end.0 - from.0);
            let read = tokio::task::spawn_blocking(move || {
                let mut found = Vec::new();
                let number = tail.player_id(&player);
                let is_wanted = &mut |thrower: PlayerId, _: Outcome| number == Some(thrower);
                let next = tail.read_wanted(from, most, is_wanted, &mut |seen| {
                    if seen.player().as_ref() == Some(&player) {
                        found.push(told(seen));
                    }
                });
                next.map(|next| (next, found))
            });
            match read.await {
                Ok(Ok((next, found))) => {
                    // Where retention let go of the beginning, it goes on with what there is.
                    self.next = if next > from { next } else { self.end };
                    self.found = found.into_iter();
                }
                Ok(Err(error)) => {
                    tracing::error!("a stream cannot catch up: {error}");
                    return None;
                }
                Err(_) => return None,
            }
        }
    }
}
