//! The general endpoint, `/ws`: clients send any messages, in text or in binary frames, and each becomes an event on
//! the bus of the game. Its detail-type is its route key; rules do the rest, and answer through `@connections`. The
//! endpoint itself answers only messages that it rejects, in API Gateway's shape:
//!
//! ```json
//! {"message": "Limit exceeded", "connectionId": "…", "requestId": "…"}
//! ```

use super::connection::{Connection, FrameWriter};
use super::figures::{Counters, count};
use crate::connection::frame::Kind;
use crate::connection::inbound::Heard;
use crate::connection::rate::Rates;
use crate::connection_events::{ConnectionEvents, Message};
use crate::connections::ConnectionId;
use crate::handshake::route::{self, RouteSelection};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// Settings of the general endpoint.
pub(crate) struct General {
    pub(crate) route: RouteSelection,
    /// Rate limit of each connection; none: unlimited.
    pub(crate) rates: Option<Rates>,
    pub(crate) message_bytes_max: usize,
    pub(crate) idle_ms: u32,
}

impl General {
    /// Puts a message onto the bus, or answers why it is rejected.
    pub(crate) fn take(
        &self,
        id: ConnectionId,
        connection: &mut Connection,
        (voice, herald, counters): (&mut FrameWriter, &mut ConnectionEvents, &Counters),
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
                // A text that cannot be embedded in the detail as JSON is there as a string only.
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
