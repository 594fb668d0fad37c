//! `GET /stream?player=NAME`: the events of a player, as server-sent events. Each has an id; a client that reconnects
//! with `Last-Event-ID` (browsers do, `curl -H` can) continues exactly after that event, because the journal has them
//! all. Without it the stream begins now; `?from=POSITION` begins there.
//!
//! Two events are of the stream itself. The first, if some of the requested events are missing (deleted by retention,
//! or the position is of another journal, because the server runs on an older copy); the last, when the player's
//! token expires:
//!
//! ```text
//! event: fakemon.stream_incomplete      data: {"complete":false,"position":"4711"}      continues after this position
//! event: fakemon.stream_expired         data: {"code":4401,"message":"the token has expired: …"}
//! ```
//!
//! ```text
//! journal ── hub: one reader for all ──► a bounded queue for each player's stream
//!       └─── catching up: each stream by itself, up to where the hub was when it was opened
//! ```

use super::Shared;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Sse};
use fakemon_access::player_token::{Access, Holder, only_authorization, shown};
use fakemon_engine::{ReadError, Tail, wall_clock};
use fakemon_http::places::become_stream;
use fakemon_http::refusal::{InQuery, Refusal};
use fakemon_http::tasks;
use fakemon_model::envelope::EventKey;
use fakemon_model::event::{Outcome, PlayerName};
use fakemon_model::ids::{PlayerId, Position, Timestamp};
use fakemon_sync::seldom::Seldom;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

static ENDED: Seldom = Seldom::new("a stream ends, and its client comes again where it was");

/// Events that wait for one client. A client further behind is disconnected; it reconnects and continues.
const WAITING_MAX: usize = 1_024;
/// Their bytes; a single event may have more.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// The same of all clients together.
const ALL_WAITING_BYTES_MAX: usize = 256 << 20;
/// Records that a client who missed something looks through at once.
const READ_MAX: u64 = 100_000;
/// Records that the hub reads at once.
const TURN_RECORDS_MAX: u64 = 8_192;
/// Streams that read what they missed at the same time; others wait their turn, so that however many come again at
/// once, there is processor time for everything else.
const READERS_MAX: usize = 2;
/// How often the hub looks for what is new.
const EVERY: Duration = Duration::from_millis(5);
/// Interval of comments, so that proxies do not close an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Interval of checks whether a token has expired: the wall clock may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An event as clients get it.
struct Told {
    id: String,
    detail_type: String,
    json: String,
}

impl Told {
    /// What it takes of memory, about.
    fn bytes(&self) -> usize {
        size_of::<Told>() + self.id.len() + self.detail_type.len() + self.json.len()
    }
}

/// How many bytes wait for one client, and for all.
#[derive(Clone, Default)]
struct Account {
    one: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Account {
    /// An account of another client.
    fn of_another(&self) -> Account {
        Account { one: Arc::default(), all: self.all.clone() }
    }

    /// Counts an event that is about to wait; none if there is no room for it.
    fn enter(&self, told: Arc<Told>) -> Option<UnsentEvent> {
        let bytes = told.bytes();
        let before = self.one.fetch_add(bytes, Ordering::Relaxed);
        let of_all = self.all.fetch_add(bytes, Ordering::Relaxed);
        let waiting = UnsentEvent { told, bytes, account: self.clone() };
        let has_room = before == 0 || before + bytes <= WAITING_BYTES_MAX;
        (has_room && of_all + bytes <= ALL_WAITING_BYTES_MAX).then_some(waiting)
    }
}

/// An event that waits for one client, and is counted as long.
struct UnsentEvent {
    told: Arc<Told>,
    bytes: usize,
    account: Account,
}

impl Drop for UnsentEvent {
    fn drop(&mut self) {
        self.account.one.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Who listens, by player.
pub(super) struct Hub {
    listeners: Mutex<Listeners>,
    readers: Arc<Semaphore>,
    /// The account that those of clients are made from.
    account: Account,
}

impl Default for Hub {
    fn default() -> Hub {
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        Hub { listeners: Mutex::default(), readers, account: Account::default() }
    }
}

#[derive(Default)]
struct Listeners {
    /// All events before it were sent, or are about to be.
    next: Position,
    runs: bool,
    by_player: HashMap<PlayerName, Followed>,
    /// Followed players who have a number; events of all others cost only a lookup. Shared with the reader.
    numbers: Arc<HashMap<PlayerId, PlayerName>>,
    /// Players with a number up to this were matched with followed ones.
    numbered: u32,
}

/// A player with open streams.
struct Followed {
    number: Option<PlayerId>,
    listeners: Vec<Listener>,
}

struct Listener {
    /// The stream reads the events before it from the journal.
    since: Position,
    tell: mpsc::Sender<UnsentEvent>,
    account: Account,
    /// It did not take something: it gets nothing behind that, and comes again where it was.
    is_behind: bool,
}

impl Hub {
    fn held(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock()
    }

    /// What comes for a player behind what they know, from which position on the hub tells it, and whether the hub
    /// has to be started.
    fn listen(
        &self,
        player: &PlayerName,
        known: Position,
        account: Account,
        tail: &Tail,
    ) -> (mpsc::Receiver<UnsentEvent>, Position, bool) {
        let mut held = self.held();
        let begins = !std::mem::replace(&mut held.runs, true);
        if begins {
            held.next = tail.end();
            held.numbered = tail.players();
        }
        let (tell, told) = mpsc::channel(WAITING_MAX);
        let joined_at = held.next;
        held.add(player, Listener { since: joined_at.max(known), tell, account, is_behind: false }, tail);
        (told, joined_at, begins)
    }
}

impl Listeners {
    fn add(&mut self, player: &PlayerName, listener: Listener, tail: &Tail) {
        if let Some(followed) = self.by_player.get_mut(player) {
            return followed.listeners.push(listener);
        }
        let number = tail.player_id(player);
        if let Some(number) = number {
            Arc::make_mut(&mut self.numbers).insert(number, player.clone());
        }
        self.by_player.insert(player.clone(), Followed { number, listeners: vec![listener] });
    }

    /// Adds followed players who got their number since the last call.
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

    fn tell(&mut self, position: Position, player: &PlayerName, told: &Arc<Told>) {
        let listeners = self.by_player.get_mut(player).map(|followed| &mut followed.listeners);
        for listener in listeners.into_iter().flatten() {
            if listener.since <= position && !listener.is_behind {
                let waiting = listener.account.enter(told.clone());
                listener.is_behind = waiting.is_none_or(|waiting| listener.tell.try_send(waiting).is_err());
            }
        }
    }

    /// Removes streams that were closed.
    fn tidy(&mut self) {
        let numbers = &mut self.numbers;
        self.by_player.retain(|_, followed| {
            followed.listeners.retain(|listener| !listener.is_behind && !listener.tell.is_closed());
            let is_followed = !followed.listeners.is_empty();
            if let Some(number) = followed.number.filter(|_| !is_followed) {
                Arc::make_mut(numbers).remove(&number);
            }
            is_followed
        });
        self.runs = !self.by_player.is_empty();
    }
}

/// Sends new events to all streams, until none is open.
async fn run(shared: Arc<Shared>) {
    let tail = shared.engine.tail();
    let mut is_behind = false;
    loop {
        match is_behind {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(EVERY).await,
        }
        if shared.is_stopping() {
            return *shared.streams.held() = Listeners::default(); // open streams would delay the shutdown
        }
        let (reading, tail) = (shared.clone(), tail.clone());
        let told = tokio::task::spawn_blocking(move || tell(&reading.streams, &tail)).await;
        match told {
            Ok(Ok(true)) => {
                let (read, end) = (shared.streams.held().next, shared.engine.position());
                is_behind = end.0.saturating_sub(read.0) >= TURN_RECORDS_MAX;
                continue;
            }
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tracing::error!("streams end: the journal cannot be read: {error}"),
            Err(error) => tracing::error!("streams end: {error}"),
        }
        // Dropping the senders ends all streams; the next stream starts a new hub.
        return *shared.streams.held() = Listeners::default();
    }
}

/// One turn of the hub; false if no stream is open.
fn tell(hub: &Hub, tail: &Tail) -> Result<bool, ReadError> {
    let (from, end, numbers) = {
        let mut held = hub.held();
        let from = held.next;
        // Said before it is read: who comes meanwhile begins behind it.
        held.next = Position(tail.end().0.min(from.0.saturating_add(TURN_RECORDS_MAX)).max(from.0));
        held.look_for_numbers(tail); // a player with an attempt before `next` has one
        (from, held.next, held.numbers.clone())
    };
    let mut news = Vec::new();
    let is_wanted = &mut |player: PlayerId, _: Outcome| numbers.contains_key(&player);
    tail.read_wanted(from, end.0 - from.0, is_wanted, &mut |seen| {
        let player = match seen.attempt() {
            Some((player, _)) => numbers.get(&player).cloned(),
            None => seen.player().filter(|player| hub.held().by_player.contains_key(player)),
        };
        if let Some(player) = player {
            news.push((seen.position(), player, Arc::new(told(seen))));
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

/// An event as the lines of a stream. Line breaks are escaped in the detail-type; in JSON they occur only between
/// tokens, where a space means the same.
fn told(seen: &fakemon_engine::Seen<'_>) -> Told {
    let is_break = |c| matches!(c, '\r' | '\n');
    Told { id: seen.id(), detail_type: escaped(seen.detail_type()), json: seen.json().replace(is_break, " ") }
}

/// Escapes control characters as JSON does.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_control() => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Whom and from where.
struct Asked {
    player: Option<String>,
    token: Option<String>,
    from: Option<Position>,
}

impl Asked {
    /// Each name is there once, as with the websocket.
    fn read(pairs: Vec<(String, String)>) -> Result<Asked, Refusal> {
        let one = |name: &'static str| {
            let mut values = pairs.iter().filter(|(of, _)| of == name).map(|(_, value)| value.clone());
            match (values.next(), values.next()) {
                (_, Some(_)) => {
                    Err(Refusal::field("bad_query", name, format!("{name} is there twice: leave one of them")))
                }
                (value, None) => Ok(value),
            }
        };
        let wrong = |_| {
            let message = "from must be a position of the journal: a whole number";
            Refusal::field("bad_query", "from", message)
        };
        let from = one("from")?.map(|text| text.parse().map(Position).map_err(wrong)).transpose()?;
        Ok(Asked { player: one("player")?, token: one("token")?, from })
    }
}

/// Opens a stream.
pub(super) async fn open(
    State(shared): State<Arc<Shared>>,
    InQuery(pairs): InQuery<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    let asked = Asked::read(pairs)?;
    let (player, expires_at) = who(&shared.options.access, &asked, &headers)?;
    let tail = shared.engine.tail();
    let asked_for = beginning(&asked, &headers)?;
    // A position beyond the durable end is of another journal: the client knows no event of this one.
    let known = asked_for.filter(|position| *position <= tail.end());
    become_stream(&player)?;
    let account = shared.streams.account.of_another();
    let (live, joined_at, begins) = shared.streams.listen(&player, known.unwrap_or_default(), account.clone(), &tail);
    if begins {
        tasks::watched(&shared.engine, "streams", run(shared.clone()));
    }
    let begin = known.unwrap_or(joined_at);
    let is_complete = asked_for.is_none() || known.is_some() && is_kept(&tail, begin).await;
    let catching = CatchingUp {
        tail,
        player,
        next: begin,
        end: joined_at,
        reach: READ_MAX,
        found: Vec::new().into_iter(),
        account,
        readers: shared.streams.readers.clone(),
    };
    let open = Open { first: (!is_complete).then(|| incomplete(begin)), catching, live, expires_at };
    let stream = futures_lite::stream::unfold(Some(open), |open| async move {
        let mut open = open?;
        let (event, goes_on) = open.next().await?;
        Some((Ok::<_, Infallible>(event), goes_on.then_some(open)))
    });
    // Asks proxies not to buffer, which would delay events.
    let headers = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    Ok((headers, Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))))
}

/// An open stream.
struct Open {
    /// The event about the stream itself that comes first.
    first: Option<Event>,
    catching: CatchingUp,
    live: mpsc::Receiver<UnsentEvent>,
    expires_at: Option<Timestamp>,
}

impl Open {
    /// The next event, and whether more may follow; none at the end.
    async fn next(&mut self) -> Option<(Event, bool)> {
        if let Some(event) = self.first.take() {
            return Some((event, true));
        }
        tokio::select! {
            biased;
            () = expired(self.expires_at) => {
                let data = json!({ "code": 4401, "message": "the token has expired: connect again with a new one" });
                Some((Event::default().event("fakemon.stream_expired").data(data.to_string()), false))
            }
            waiting = told_next(&mut self.catching, &mut self.live) => waiting.map(|waiting| {
                let Told { id, detail_type, json } = &*waiting.told;
                (Event::default().id(id).event(detail_type).data(json), true)
            }),
        }
    }
}

async fn told_next(catching: &mut CatchingUp, live: &mut mpsc::Receiver<UnsentEvent>) -> Option<UnsentEvent> {
    match catching.next().await {
        Ok(Some(waiting)) => Some(waiting),
        Ok(None) => live.recv().await,
        Err(why) => {
            ENDED.say(|| tracing::warn!("a stream ends, and its client comes again where it was: {why}"));
            None
        }
    }
}

/// Completes when a token has expired; never for a token without expiry.
async fn expired(at: Option<Timestamp>) {
    let Some(at) = at else { return std::future::pending().await };
    loop {
        let left_ns = at.0.saturating_sub(wall_clock().0);
        if left_ns == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_nanos(left_ns).min(LOOK_AGAIN)).await;
    }
}

/// Whether the journal still has all events from a position on.
async fn is_kept(tail: &Tail, begin: Position) -> bool {
    let tail = tail.clone();
    let first = tokio::task::spawn_blocking(move || tail.begin()).await;
    matches!(first, Ok(Ok(first)) if first <= begin.max(Position(1)))
}

/// The event that says that some requested events are missing. Its id is a position, so that a client that reconnects
/// asks for events that exist.
fn incomplete(begin: Position) -> Event {
    let position = begin.0.saturating_sub(1).to_string();
    let data = json!({ "complete": false, "position": position }).to_string();
    Event::default().id(position).event("fakemon.stream_incomplete").data(data)
}

/// The first position that the client asks for: after the last event that it has, or `from`.
fn beginning(asked: &Asked, headers: &HeaderMap) -> Result<Option<Position>, Refusal> {
    let Some(last) = headers.get("last-event-id") else { return Ok(asked.from) };
    let last = last.to_str().unwrap_or_default().trim();
    let position = EventKey::of_id(last).map(EventKey::position).or_else(|| last.parse().ok().map(Position));
    let wrong =
        || Refusal::field("bad_request", "Last-Event-ID", "Last-Event-ID is the id of an event, or a position");
    position.map(|position| Some(Position(position.0.saturating_add(1)))).ok_or_else(wrong)
}

/// The player, and the expiry of their token: as with the websocket.
fn who(access: &Access, asked: &Asked, headers: &HeaderMap) -> Result<(PlayerName, Option<Timestamp>), Refusal> {
    match access {
        Access::Open => {
            let missing = || Refusal::field("missing_field", "player", "say whose stream: /stream?player=NAME");
            let name = asked.player.as_deref().ok_or_else(missing)?;
            let name =
                PlayerName::new(name).map_err(|error| Refusal::field("bad_request", "player", error.to_string()));
            Ok((name?, None))
        }
        Access::Tokens(keys) => {
            let header =
                only_authorization(headers).map_err(|why| Refusal::field("bad_request", "Authorization", why))?;
            let holder = shown(header, asked.token.as_deref()).and_then(|token| keys.holder(token));
            let Holder { player, expires_at } =
                holder.map_err(|error| Refusal::unauthorized("token", error.to_string()))?;
            Ok((player, expires_at))
        }
    }
}

/// The events between a client's last one and the opening of the stream.
struct CatchingUp {
    tail: Tail,
    player: PlayerName,
    next: Position,
    end: Position,
    /// Records that are looked through at once.
    reach: u64,
    found: std::vec::IntoIter<UnsentEvent>,
    account: Account,
    readers: Arc<Semaphore>,
}

impl CatchingUp {
    async fn next(&mut self) -> Result<Option<UnsentEvent>, String> {
        loop {
            if let Some(waiting) = self.found.next() {
                return Ok(Some(waiting));
            }
            if self.next >= self.end {
                return Ok(None);
            }
            let reads = self.readers.clone().acquire_owned().await.map_err(|error| error.to_string())?;
            let (tail, player, account) = (self.tail.clone(), self.player.clone(), self.account.clone());
            let (from, most) = (self.next, self.reach.min(self.end.0 - self.next.0));
            let read = tokio::task::spawn_blocking(move || {
                let _reads = reads; // until it has read, even if its client is gone
                some(&tail, &player, from, most, &account)
            });
            let read = read.await.map_err(|error| error.to_string())?;
            let (next, stopped_at, found) = read.map_err(|error| format!("the journal cannot be read: {error}"))?;
            if found.is_empty() && stopped_at.is_some() {
                return Err("too much waits for clients that read slowly".into());
            }
            // Where retention let go of the beginning, it goes on with what there is.
            self.next = stopped_at.unwrap_or(if next > from { next } else { self.end });
            self.reach = match stopped_at {
                Some(at) => (2 * (at.0 - from.0)).clamp(WAITING_MAX as u64, READ_MAX),
                None => (4 * self.reach).min(READ_MAX),
            };
            self.found = found.into_iter();
        }
    }
}

/// What a player missed from a position on, as much as may wait for them: the position behind all that was looked at,
/// the position of the first event that found no room, and the events.
fn some(
    tail: &Tail,
    player: &PlayerName,
    from: Position,
    most: u64,
    account: &Account,
) -> Result<(Position, Option<Position>, Vec<UnsentEvent>), ReadError> {
    let (number, stopped_at, mut found) = (tail.player_id(player), Cell::new(None), Vec::new());
    // What stands behind the first event without room is passed over, which costs little.
    let is_wanted = &mut |attempter: PlayerId, _: Outcome| number == Some(attempter) && stopped_at.get().is_none();
    let next = tail.read_wanted(from, most, is_wanted, &mut |seen| {
        if stopped_at.get().is_some() || seen.player().as_ref() != Some(player) {
            return;
        }
        let has_room = found.len() < WAITING_MAX;
        match account.enter(Arc::new(told(seen))).filter(|_| has_room) {
            Some(waiting) => found.push(waiting),
            None => stopped_at.set(Some(seen.position())),
        }
    })?;
    Ok((next, stopped_at.get(), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_clients_is_bounded_for_each_and_for_all() {
        let told = |bytes| Arc::new(Told { id: String::new(), detail_type: String::new(), json: "x".repeat(bytes) });
        let hub = Hub::default();
        let one = hub.account.of_another();
        let large = one.enter(told(2 * WAITING_BYTES_MAX)).expect("a single event waits, however large");
        assert!(one.enter(told(1)).is_none());
        let other = hub.account.of_another();
        let small: Vec<_> = std::iter::from_fn(|| other.enter(told(WAITING_BYTES_MAX / 8))).collect();
        assert_eq!(small.len(), 7);
        drop(large);
        assert!(one.enter(told(1)).is_some());
        drop(small);
        let event = told(WAITING_BYTES_MAX);
        let all: Vec<_> = std::iter::from_fn(|| hub.account.of_another().enter(event.clone())).collect();
        assert!((250..256).contains(&all.len()), "{}", all.len());
        drop(all);
        assert_eq!(hub.account.all.load(Ordering::Relaxed), 0);
    }
}
