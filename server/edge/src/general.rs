//! The general endpoint, `/ws`: whoever connects says what they like, in text or in binary frames, and each message
//! becomes an event on the bus of the game. Its detail-type is its route key; rules do the rest, and answer through
//! `@connections`. Nobody is answered here, but for what is not taken, in API Gateway's shape:
//!
//! ```json
//! {"message": "Limit exceeded", "connectionId": "…", "requestId": "…"}
//! ```

use super::connection::{Connection, Voice};
use super::figures::{Counters, count};
use super::frame::Kind;
use super::herald::{Herald, Message};
use super::inbound::Heard;
use super::rate::Rates;
use super::route::{self, RouteSelection};
use super::switchboard::ConnectionId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// How the general endpoint is set up.
pub(crate) struct General {
    pub(crate) route: RouteSelection,
    /// Of each connection by itself.
    pub(crate) rates: Option<Rates>,
    pub(crate) message_bytes_max: usize,
    pub(crate) idle_ms: u32,
}

impl General {
    /// Takes what somebody said, or tells them that it is not taken.
    pub(crate) fn take(
        &self,
        id: ConnectionId,
        connection: &mut Connection,
        (voice, herald, counters): (&mut Voice, &mut Herald, &Counters),
        heard: &Heard<'_>,
    ) {
        let Some(session) = connection.session() else { return };
        session.visit.messages += 1;
        let request_id = format!("{id}.{}", session.visit.messages);
        let is_too_often = self.rates.as_ref().is_some_and(|rates| rates.take(&session.visit.allowance).is_err());
        if is_too_often || !herald.has_room() {
            count(&counters.throttled, 1);
            let error =
                json!({ "message": "Limit exceeded", "connectionId": id.to_string(), "requestId": request_id });
            return voice.say_frame(connection, Kind::Text, error.to_string().as_bytes());
        }
        match heard {
            Heard::Text(text) => {
                let selected = self.route.select(text);
                // What can be no part of a detail is there as its text alone.
                let message = selected.as_ref().map(|selected| selected.message);
                let key = selected.and_then(|selected| selected.key);
                let route_key = key.as_deref().unwrap_or(route::DEFAULT);
                let said = Message { id: &request_id, route_key, body: text, is_base64: false, message };
                herald.said(id, session, &said);
            }
            Heard::Binary(bytes) => {
                let (body, route_key) = (&*STANDARD.encode(bytes), route::DEFAULT);
                herald.said(
                    id,
                    session,
                    &Message { id: &request_id, route_key, body, is_base64: true, message: None },
                );
            }
            Heard::Ping(_) | Heard::Pong | Heard::Close(_) => {}
        }
    }
}
