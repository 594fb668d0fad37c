//! Handshakes that an authorizer decides: the edge asks, whoever carries requests to the authorizer takes the
//! questions and answers through the switchboard. The edge waits for nothing; who is not answered in time is not let
//! in.

use super::handshake::{Admitted, Endpoint};
use super::switchboard::ConnectionId;
use crossbeam::queue::ArrayQueue;
use fakemon_model::event::PlayerName;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Handshakes that wait for an authorizer at once.
const WAITING_MAX: usize = 1_024;

/// Whoever carries questions keeps the time; the edge waits a little longer.
const MARGIN_MS: u32 = 1_000;

/// Who is asked about whom. Names of API destinations.
#[derive(Clone, Debug)]
pub struct Authorizers {
    /// Asked about players.
    pub play: Option<Arc<str>>,
    /// Asked about all others.
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
    /// After so long an answer must have got lost.
    pub(crate) fn patience_ms(&self) -> u32 {
        u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX).saturating_add(MARGIN_MS)
    }

    /// Who decides at an endpoint.
    pub(crate) fn at(&self, endpoint: Endpoint) -> Option<&Arc<str>> {
        match endpoint {
            Endpoint::Play => self.play.as_ref(),
            Endpoint::General => self.general.as_ref(),
        }
    }
}

/// May they come in?
pub struct Question {
    /// The connection that waits.
    pub connection_id: ConnectionId,
    /// Who is to be asked: the name of an API destination.
    pub authorizer: Arc<str>,
    /// Where they want to go.
    pub endpoint: Endpoint,
    /// Who they are, as far as the edge knows.
    pub player: Option<PlayerName>,
    /// From where; none if the socket does not say any more.
    pub source_ip: Option<IpAddr>,
    /// Headers of the handshake: as many as fit into one.
    pub headers: Vec<(String, String)>,
    /// Its query, as it came.
    pub query: String,
    _place: Place,
}

/// What the authorizer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let them in.
    Allow {
        /// Who they are, if the authorizer knows better.
        player: Option<PlayerName>,
        /// What the authorizer wants to be remembered: the text of a JSON object.
        context: Option<Arc<str>>,
    },
    /// Do not.
    Deny,
    /// Nothing that counts, or nothing in time.
    Undecided,
}

/// Questions on their way to authorizers.
#[derive(Clone)]
pub struct Questions(Arc<Waiting>);

struct Waiting {
    questions: ArrayQueue<Question>,
    /// Handshakes that wait.
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
    /// Rings whenever there is a question. It must not block; the first to ask for it is rung.
    pub fn on_question(&self, ring: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.bell.set(Box::new(ring)); // the first stays
    }

    /// The next question. Hold it until it is answered: so many may wait at once.
    pub fn next(&self) -> Option<Question> {
        self.0.questions.pop()
    }

    /// Asks; false if too many wait.
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
