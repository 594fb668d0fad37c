//! `GET /stream?player=NAME`: what happens to a player, as server-sent events. Each carries its id; a client that comes
//! again with `Last-Event-ID` (browsers and `curl -H` do) goes on exactly where it broke off, for the journal has
//! everything. Without it the stream begins now; `?from=POSITION` begins there.
//!
//! Two events are of the stream itself. The first, where not all that was asked for is there any more (retention let go of
//! it, or the position is of another journal, because the server runs on an older copy); the last, where the player's
//! token expires:
//!
//! ```text
//! event: fakemon.stream_incomplete      data: {"complete":false,"position":"4711"}      goes on behind this position
//! event: fakemon.stream_expired         data: {"code":4401,"message":"the token has expired: …"}
//! ```
//!
//! ```text
//! journal ── hub: one reader for all ──► a bounded queue for each player's stream
//!       └─── catching up: each stream by itself, up to where the hub was when it came
//! ```

use super::places::become_stream;
use super::refusal::{InQuery, Refusal};
use super::{Shared, tasks};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Sse};
use fakemon_access::player_token::{Access, Holder, shown};
use fakemon_engine::envelope::EventKey;
use fakemon_engine::ids::{PlayerId, Position, Timestamp};
use fakemon_engine::model::{Outcome, PlayerName};
use fakemon_engine::{ReadError, Tail, wall_clock};
use hashbrown::HashMap;
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait for one client. One that is further behind is let go, and comes again where it was.
const WAITING_MAX: usize = 1_024;
/// Records that are read at once.
const READ_MAX: u64 = 100_000;
/// How often the hub looks for what is new.
const EVERY: Duration = Duration::from_millis(5);
/// So that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often it is looked whether a token has expired: clocks are set.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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

    /// What comes for a player behind what they know, from which position on the hub tells it, and whether the hub has to
    /// be started.
    fn listen(&self, player: &PlayerName, known: Position, tail: &Tail) -> (mpsc::Receiver<Told>, Position, bool) {
        let mut held = self.held();
        let begins = !std::mem::replace(&mut held.runs, true);
        if begins {
            held.next = tail.end();
            held.numbered = tail.players();
        }
        let (tell, told) = mpsc::channel(WAITING_MAX);
        let joined_at = held.next;
        held.add(player, Listener { since: joined_at.max(known), tell, is_behind: false }, tail);
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

/// Tells all who listen what is new, until nobody listens any more.
async fn run(shared: Arc<Shared>) {
    let tail = shared.engine.tail();
    loop {
        tokio::time::sleep(EVERY).await;
        if shared.is_stopping() {
            return *shared.streams.held() = Listeners::default(); // else they would hold up the end
        }
        let (reading, tail) = (shared.clone(), tail.clone());
        let told = tokio::task::spawn_blocking(move || tell(&reading.streams, &tail)).await;
        match told {
            Ok(Ok(true)) => continue,
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tracing::error!("streams end: the journal cannot be read: {error}"),
            Err(error) => tracing::error!("streams end: {error}"),
        }
        // Whoever listens learns of it, and the next stream begins anew.
        return *shared.streams.held() = Listeners::default();
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

/// An event as fields of a stream, which are lines: whatever would end one is escaped in the detail-type, and stands in
/// JSON only between tokens, where a space is as good.
fn told(seen: &fakemon_engine::Seen<'_>) -> Told {
    let is_break = |c| matches!(c, '\r' | '\n');
    Told { id: seen.id(), detail_type: escaped(seen.detail_type()), json: seen.json().replace(is_break, " ") }
}

/// Without control characters: as JSON writes them.
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
) -> Result<impl IntoResponse, Refusal> {
    let (player, expires_at) = who(&shared.options.access, &asked, &headers)?;
    let tail = shared.engine.tail();
    let asked_for = beginning(&asked, &headers)?;
    // A position that is not durable yet is of another journal: such a client knows nothing of this one.
    let known = asked_for.filter(|position| *position <= tail.end());
    become_stream(&player)?;
    let (live, joined_at, begins) = shared.streams.listen(&player, known.unwrap_or_default(), &tail);
    if begins {
        tasks::watched(&shared.engine, "streams", run(shared.clone()));
    }
    let begin = known.unwrap_or(joined_at);
    let is_complete = asked_for.is_none() || known.is_some() && is_kept(&tail, begin).await;
    let catching = CatchingUp { tail, player, next: begin, end: joined_at, found: Vec::new().into_iter() };
    let open = Open { first: (!is_complete).then(|| incomplete(begin)), catching, live, expires_at };
    let stream = futures_lite::stream::unfold(Some(open), |open| async move {
        let mut open = open?;
        let (event, goes_on) = open.next().await?;
        Some((Ok::<_, Infallible>(event), goes_on.then_some(open)))
    });
    // Proxies that gather what they pass on would hold events back.
    let headers = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    Ok((headers, Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))))
}

/// A stream that is open.
struct Open {
    /// What is to be said of the stream before all else.
    first: Option<Event>,
    catching: CatchingUp,
    live: mpsc::Receiver<Told>,
    expires_at: Option<Timestamp>,
}

impl Open {
    /// The next event, and whether others may follow; none at the end.
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
            told = told_next(&mut self.catching, &mut self.live) => told.map(|told| {
                (Event::default().id(told.id).event(told.detail_type).data(told.json), true)
            }),
        }
    }
}

async fn told_next(catching: &mut CatchingUp, live: &mut mpsc::Receiver<Told>) -> Option<Told> {
    match catching.next().await {
        Some(told) => Some(told),
        None => live.recv().await,
    }
}

/// Ends when a token has expired; one that never does is waited for for ever.
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

/// Whether retention has kept everything from a position on.
async fn is_kept(tail: &Tail, begin: Position) -> bool {
    let tail = tail.clone();
    let first = tokio::task::spawn_blocking(move || tail.begin()).await;
    matches!(first, Ok(Ok(first)) if first <= begin.max(Position(1)))
}

/// Says that not all is there that was asked for. With a position as its id, so that who comes again asks for what there
/// is.
fn incomplete(begin: Position) -> Event {
    let position = begin.0.saturating_sub(1).to_string();
    let data = json!({ "complete": false, "position": position }).to_string();
    Event::default().id(position).event("fakemon.stream_incomplete").data(data)
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

/// Whose stream it is, and until when: as with the websocket.
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
            let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let holder = shown(header, asked.token.as_deref()).and_then(|token| keys.holder(token));
            let Holder { player, expires_at } =
                holder.map_err(|error| Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", error.to_string()))?;
            Ok((player, expires_at))
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
