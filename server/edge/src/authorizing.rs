//! Handshakes that an authorizer decides: the edge queues a question, the control plane sends it to the authorizer
//! and answers through the switchboard. No edge thread blocks; a handshake without an answer in time is rejected.

use super::handshake::{Admitted, Endpoint};
use crate::connections::ConnectionId;
use crossbeam::queue::ArrayQueue;
use fakemon_model::event::PlayerName;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Handshakes that wait for an authorizer at once.
const WAITING_MAX: usize = 1_024;

/// The control plane enforces the timeout; the edge waits this much longer for its answer.
const MARGIN_MS: u32 = 1_000;

/// The authorizer of each endpoint: names of API destinations.
#[derive(Clone, Debug)]
pub struct Authorizers {
    /// Decides about `/play`; none: all handshakes that the access settings admit.
    pub play: Option<Arc<str>>,
    /// Decides about `/ws`; none: all handshakes that the access settings admit.
    pub general: Option<Arc<str>>,
    /// How long a handshake waits for the answer.
    pub timeout: Duration,
}

impl Default for Authorizers {
    fn default() -> Authorizers {
        Authorizers { play: None, general: None, timeout: Duration::from_secs(2) }
    }
}

impl Authorizers {
    /// After this time, in milliseconds, the answer must have been lost.
    pub(crate) fn patience_ms(&self) -> u32 {
        u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX).saturating_add(MARGIN_MS)
    }

    /// The authorizer of an endpoint.
    pub(crate) fn at(&self, endpoint: Endpoint) -> Option<&Arc<str>> {
        match endpoint {
            Endpoint::Play => self.play.as_ref(),
            Endpoint::General => self.general.as_ref(),
        }
    }
}

/// A handshake that waits for an authorizer.
pub struct Question {
    /// The connection that waits.
    pub connection_id: ConnectionId,
    /// The authorizer: the name of an API destination.
    pub authorizer: Arc<str>,
    /// The endpoint that the client asked for.
    pub endpoint: Endpoint,
    /// The player, as far as the edge knows.
    pub player: Option<PlayerName>,
    /// The client's address; none if the socket is closed.
    pub source_ip: Option<IpAddr>,
    /// Headers of the handshake, one entry per value; bounded by the size of a handshake.
    pub headers: Vec<(String, String)>,
    /// Its query string, still percent-encoded.
    pub query: String,
    _place: Place,
}

/// The authorizer's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accept the connection.
    Allow {
        /// The player, if the authorizer names one; replaces that of the edge.
        player: Option<PlayerName>,
        /// Data that the authorizer attaches to the connection: the text of a JSON object.
        context: Option<Arc<str>>,
    },
    /// Reject it (403).
    Deny,
    /// No valid answer, or none in time: reject it.
    Undecided,
    /// The settings name an authorizer that does not exist: reject it.
    Missing,
}

/// Questions on their way to authorizers.
#[derive(Clone)]
pub struct Questions(Arc<Waiting>);

struct Waiting {
    questions: ArrayQueue<Question>,
    /// Handshakes that wait. Relaxed: a bound that guards no other data.
    places: Arc<AtomicUsize>,
    bell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// One of the handshakes that may wait; free again when the question has been answered.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Questions {
    fn default() -> Questions {
        let (questions, places) = (ArrayQueue::new(WAITING_MAX), Arc::default());
        Questions(Arc::new(Waiting { questions, places, bell: OnceLock::new() }))
    }
}

impl Questions {
    /// Sets the callback for new questions; it must not block. Only the first one set is kept.
    pub fn on_question(&self, ring: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.bell.set(Box::new(ring)); // the first stays
    }

    /// The next question. Hold it until it is answered: its drop frees one of the `WAITING_MAX` places.
    pub fn next(&self) -> Option<Question> {
        self.0.questions.pop()
    }

    /// Queues a question; false if `WAITING_MAX` handshakes wait already.
    pub(crate) fn ask(
        &self,
        connection_id: ConnectionId,
        authorizer: &Arc<str>,
        admitted: &Admitted,
        source_ip: Option<IpAddr>,
    ) -> bool {
        if self.0.places.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.0.places.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let headers = admitted.request.headers().iter();
        let header = |(name, value): (&tungstenite::http::HeaderName, &tungstenite::http::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let question = Question {
            connection_id,
            authorizer: authorizer.clone(),
            endpoint: admitted.endpoint,
            player: admitted.player.clone(),
            source_ip,
            headers: headers.map(header).collect(),
            query: admitted.request.uri().query().unwrap_or_default().to_owned(),
            _place: Place(self.0.places.clone()),
        };
        let is_asked = self.0.questions.push(question).is_ok();
        if is_asked && let Some(ring) = self.0.bell.get() {
            ring();
        }
        is_asked
    }
}
