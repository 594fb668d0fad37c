//! What the program around the engine gives it to call: functions, enrichers, the way to players, HTTP. The engine
//! itself has no network; a target that nothing was set for keeps its events until something is.

use super::{Engine, thread};
use fakemon_delivery::local::{Function, LocalDelivery, LocalTarget, PlayerMessage, PlayerSink};
use fakemon_delivery::{Failed, ShapedEvent};
use fakemon_model::event::{Decision, PlayerName};
use fakemon_pipe::{Enricher, HttpCall};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Something is set already, and stays: what an engine calls does not change while it is open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is set already")]
pub struct AlreadySet(String);

impl Engine {
    /// From now on `function` gets the events of targets with the ARN
    /// `arn:aws:fakemon:local:123456789012:function/NAME`, in order and at least once, one call at a time, on a
    /// thread of its own. It may block; meanwhile its events wait. What it returns decides: delivered, tried again
    /// later, or given up. One that panics is tried again.
    ///
    /// # Errors
    /// When there is a function of this name.
    pub fn on_events<F>(&self, name: &str, function: F) -> Result<(), AlreadySet>
    where
        F: FnMut(&ShapedEvent) -> Result<(), Failed> + Send + 'static,
    {
        let function: Arc<Mutex<Function>> = Arc::new(Mutex::new(Box::new(function)));
        let what = format!("the function `{name}`");
        set_named(&self.parts().callees.functions, name, function.clone(), what)?;
        self.carry(name, LocalTarget::Function(name.to_owned(), function));
        Ok(())
    }

    /// From now on pipes with the enrichment `arn:aws:fakemon:local:123456789012:function/NAME` ask `enricher`: a
    /// JSON array of a batch in, a JSON array of what goes to the target out. One call at a time, on the thread of
    /// the pipe.
    ///
    /// # Errors
    /// When there is an enricher of this name.
    pub fn set_enricher<F>(&self, name: &str, enricher: F) -> Result<(), AlreadySet>
    where
        F: FnMut(&str) -> Result<String, Failed> + Send + 'static,
    {
        let enricher: Arc<Mutex<Enricher>> = Arc::new(Mutex::new(Box::new(enricher)));
        set_named(&self.parts().callees.enrichers, name, enricher, format!("the enricher `{name}`"))
    }

    /// From now on `client` speaks HTTP for pipes: enrichments, targets and streams that are API destinations. It
    /// must not block: it takes a request, and answers later. Before it is set, those pipes wait.
    ///
    /// # Errors
    /// When one is set.
    pub fn set_http_client(&self, client: impl Fn(HttpCall) + Send + Sync + 'static) -> Result<(), AlreadySet> {
        self.parts().callees.outside.set(Box::new(client)).map_err(|_| AlreadySet("the HTTP client".into()))
    }

    /// From now on `sink` brings events to players: those of targets whose ARN ends with `:players` (whom
    /// `detail.player` names) or `:player/NAME`. One call at a time, on a thread of its own. Before it is set, they
    /// wait.
    ///
    /// # Errors
    /// When one is set.
    pub fn set_player_sink<F>(&self, sink: F) -> Result<(), AlreadySet>
    where
        F: FnMut(&[PlayerMessage]) -> Vec<Option<Result<(), Failed>>> + Send + 'static,
    {
        let sink: Arc<Mutex<PlayerSink>> = Arc::new(Mutex::new(Box::new(sink)));
        self.parts().callees.postman.set(sink.clone()).map_err(|_| AlreadySet("the player sink".into()))?;
        self.carry("letters", LocalTarget::Players(sink));
        Ok(())
    }

    /// From now on `called` hears how attempts ended that came as events, once each is durable; of attempts of a
    /// [`Client`](crate::Client) that client hears. It is called on a thread that delivers: it must not block.
    ///
    /// # Errors
    /// When one is set.
    pub fn on_decision<F>(&self, called: F) -> Result<(), AlreadySet>
    where
        F: Fn(&PlayerName, &Decision) + Send + Sync + 'static,
    {
        self.0.bus.answered.set(Box::new(called)).map_err(|_| AlreadySet("what hears of decisions".into()))
    }

    pub(super) fn carry(&self, name: &str, carrier: LocalTarget) {
        let mut threads = self.0.threads.lock();
        let Some(threads) = threads.as_mut() else { return };
        let courier = self.0.bus.courier.clone();
        let (stop, failure) = (threads.stop_inside.clone(), self.shared().failure.clone());
        let (progress, opened_at) = (self.shared().progress.clone(), threads.opened_at);
        let inside = LocalDelivery { courier, carrier, progress, opened_at, stop, failure };
        threads.inside.push(thread(name, self.shared(), &threads.stop_inside, move || inside.run()));
    }
}

fn set_named<T>(held: &Mutex<HashMap<String, T>>, name: &str, new: T, what: String) -> Result<(), AlreadySet> {
    match held.lock().entry(name.to_owned()) {
        Entry::Occupied(_) => Err(AlreadySet(what)),
        Entry::Vacant(vacant) => {
            vacant.insert(new);
            Ok(())
        }
    }
}
