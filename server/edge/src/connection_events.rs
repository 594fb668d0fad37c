//! Connections, messages and disconnections as events on the bus of the game: each thread writes its own, all waiting
//! ones as one batch, the next batch when the last is durable.
//!
//! | endpoint | source | connected | message | disconnected |
//! |---|---|---|---|---|
//! | `/play` | `fakemon.connection` | `fakemon.connected` | — (attempts are events of their own) | `fakemon.disconnected` |
//! | `/ws` | `fakemon.connections` | `$connect` | the route key, else `$default` | `$disconnect` |
//!
//! A server that is killed writes no disconnections; its next start writes `fakemon.engine_opened`, which ends them
//! all.

use super::connection::Session;
use super::figures::CloseReason;
use super::handshake::Endpoint;
use crate::connections::ConnectionId;
use crate::handshake::route;
use fakemon_capture::command::SubmitError;
use fakemon_engine::Client;
use fakemon_model::envelope::{REGION, SOURCE_CONNECTION, SOURCE_MESSAGES};
use fakemon_model::ids::Token;
use fakemon_model::limits::{PUT_BYTES_MAX, PUT_EVENTS_MAX};
use fakemon_resource::{GAME_BUS, NewEvent};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Events that wait for the journal before messages are refused.
const MESSAGES_MAX: usize = 32_768;
/// Bytes of events that wait for the journal before messages are refused.
const MESSAGES_BYTES_MAX: usize = 16 << 20;
/// Events that wait for the journal; beyond them, connections to `/play` are counted as untold, not reported.
const WAITING_MAX: usize = 65_536;
/// Bytes of an event besides its detail, estimated.
const EVENT_BYTES: usize = 256;
/// Bytes of events in one batch.
const PUT_BYTES: usize = PUT_BYTES_MAX / 2;
/// Of what the herald hands over, one at a time; nothing else of its client is answered with `Written`.
const TOKEN: Token = Token(0);

/// Events that wait for the journal.
#[derive(Default)]
pub(crate) struct ConnectionEvents {
    waiting: VecDeque<NewEvent>,
    waiting_bytes: usize,
    /// A batch is on its way into the journal.
    is_writing: bool,
    untold: u64,
}

/// The detail of an event of a connection.
#[derive(Serialize)]
struct Detail<'d> {
    connection_id: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    player: Option<&'d str>,
    #[serde(flatten)]
    what: What<'d>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'d RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'d> {
    Connected,
    Disconnected { reason: &'d str },
    Connect { event_type: &'d str, route_key: &'d str, source_ip: Option<IpAddr>, user_agent: &'d str },
    Disconnect { event_type: &'d str, route_key: &'d str, reason: &'d str },
}

/// A message received at the general endpoint.
pub(crate) struct Message<'m> {
    pub(crate) id: &'m str,
    pub(crate) route_key: &'m str,
    /// The text, or the bytes in base64.
    pub(crate) body: &'m str,
    pub(crate) is_base64: bool,
    /// The body as JSON, if it is an object, so that patterns can match its members.
    pub(crate) message: Option<&'m RawValue>,
}

#[derive(Serialize)]
struct MessageDetail<'m> {
    connection_id: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    player: Option<&'m str>,
    event_type: &'m str,
    route_key: &'m str,
    message_id: &'m str,
    body: &'m str,
    is_base64: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'m RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'m RawValue>,
}

impl ConnectionEvents {
    /// Whether there is room for a message of the general endpoint. Connections there are accepted only if there is,
    /// so that each of them is reported.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < MESSAGES_MAX && self.waiting_bytes < MESSAGES_BYTES_MAX
    }

    /// Reports a new connection.
    pub(crate) fn connected(&mut self, id: ConnectionId, session: &Session, source_ip: Option<IpAddr>) {
        let (route_key, event_type) = (route::CONNECT, "CONNECT");
        let what = match session.endpoint {
            Endpoint::Play => What::Connected,
            Endpoint::General => {
                What::Connect { event_type, route_key, source_ip, user_agent: &session.visit.user_agent }
            }
        };
        let detail_type = if session.endpoint == Endpoint::Play { "fakemon.connected" } else { route_key };
        self.tell_of(id, session, detail_type, what);
    }

    /// Reports a closed connection.
    pub(crate) fn disconnected(&mut self, id: ConnectionId, session: &Session, reason: CloseReason) {
        let (route_key, event_type, reason) = (route::DISCONNECT, "DISCONNECT", reason.name());
        let what = match session.endpoint {
            Endpoint::Play => What::Disconnected { reason },
            Endpoint::General => What::Disconnect { event_type, route_key, reason },
        };
        let detail_type = if session.endpoint == Endpoint::Play { "fakemon.disconnected" } else { route_key };
        self.tell_of(id, session, detail_type, what);
    }

    fn tell_of(&mut self, id: ConnectionId, session: &Session, detail_type: &str, what: What<'_>) {
        if session.endpoint == Endpoint::Play && self.waiting.len() >= WAITING_MAX {
            self.untold += 1;
            return;
        }
        let (player, context) = (session.name.as_ref().map(|name| name.as_str()), session.visit.context());
        let detail = Detail { connection_id: &id.to_string(), player, what, context };
        self.tell(session.endpoint, detail_type, &detail);
    }

    /// Reports a message of the general endpoint.
    pub(crate) fn said(&mut self, id: ConnectionId, session: &Session, said: &Message<'_>) {
        let detail = MessageDetail {
            connection_id: &id.to_string(),
            player: session.name.as_ref().map(|name| name.as_str()),
            event_type: "MESSAGE",
            route_key: said.route_key,
            message_id: said.id,
            body: said.body,
            is_base64: said.is_base64,
            message: said.message,
            context: session.visit.context(),
        };
        self.tell(session.endpoint, said.route_key, &detail);
    }

    fn tell(&mut self, endpoint: Endpoint, detail_type: &str, detail: &impl Serialize) {
        let source = match endpoint {
            Endpoint::Play => SOURCE_CONNECTION,
            Endpoint::General => SOURCE_MESSAGES,
        };
        let detail = serde_json::to_string(detail).expect("texts and numbers can always be written");
        self.waiting_bytes += detail.len() + EVENT_BYTES;
        self.waiting.push_back(NewEvent {
            bus: GAME_BUS.into(),
            source: source.into(),
            detail_type: detail_type.into(),
            detail,
            resources: Vec::new(),
            time: None,
            region: REGION.into(),
            cause: None,
            hops: 0,
            by: None,
            origin: None,
            trace: None,
        });
    }

    /// The batch that was handed over is durable.
    pub(crate) fn written(&mut self) {
        self.is_writing = false;
    }

    /// Hands the next batch to the journal; what it cannot take now stays.
    pub(crate) fn write(&mut self, client: &mut Client) {
        if self.is_writing || self.waiting.is_empty() {
            return;
        }
        let (mut count, mut bytes) = (0, 0);
        for event in self.waiting.iter().take(PUT_EVENTS_MAX) {
            let more = event.detail.len() + EVENT_BYTES;
            if count > 0 && bytes + more > PUT_BYTES {
                break;
            }
            (count, bytes) = (count + 1, bytes + more);
        }
        let events: Vec<NewEvent> = self.waiting.range(..count).cloned().collect();
        match client.tell(TOKEN, events) {
            Ok(()) => self.is_writing = true,
            Err(SubmitError::Throttled(_)) => return,
            Err(_) => {} // it has stopped, or will never take these
        }
        drop(self.waiting.drain(..count));
        self.waiting_bytes -= bytes;
        if self.untold > 0 {
            tracing::warn!(events = self.untold, "the journal was full: not all who came and went are in it");
            self.untold = 0;
        }
    }

    /// Hands over all that waits, when the thread ends, without waiting for answers.
    pub(crate) fn write_all(&mut self, client: &mut Client) {
        loop {
            let before = self.waiting.len();
            self.is_writing = false;
            self.write(client);
            if self.waiting.is_empty() || self.waiting.len() == before {
                return;
            }
        }
    }
}
