//! Connections with client credentials are authorized once they have their first token. It is fetched here, after the
//! request that created them was answered.

use super::Webhooks;
use fakemon_delivery::Failed;
use fakemon_http::{Backend, desk};
use fakemon_resource::resource::{AUTHORIZING, Change, Connection, Resource};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Interval of checks for waiting connections, and so of retries.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Connections authorized at the same time.
const AT_ONCE_MAX: usize = 16;
/// After this many failures a connection stays unauthorized.
const TRIES_MAX: u32 = 3;

/// Fetches tokens until the runtime ends.
pub(crate) async fn run(backend: Arc<Backend>, hooks: Arc<Webhooks>) {
    let mut tries: HashMap<String, u32> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let registry = backend.engine.registry();
        let waits = |connection: &&Connection| connection.state == AUTHORIZING;
        let waiting: Vec<Connection> =
            registry.connections.values().filter(waits).take(AT_ONCE_MAX).cloned().collect();
        drop(registry);
        tries.retain(|name, _| waiting.iter().any(|connection| connection.name == *name));
        let mut asked = JoinSet::new();
        for connection in waiting {
            let hooks = hooks.clone();
            asked.spawn(async move {
                let got = hooks.authorizations.of(&hooks.engine, &connection, &hooks, true).await;
                (connection, got.map(drop))
            });
        }
        while let Some(Ok((connection, got))) = asked.join_next().await {
            let tried = tries.entry(connection.name.clone()).or_default();
            *tried += 1;
            if got.as_ref().is_ok() || got.as_ref().is_err_and(|failed| !failed.retriable) || *tried >= TRIES_MAX {
                note(&backend, &connection, got).await;
            }
        }
    }
}

/// Stores the outcome for a connection, unless it was changed or deleted meanwhile.
async fn note(backend: &Backend, asked: &Connection, got: Result<(), Failed>) {
    let _one_at_a_time = backend.changing.lock().await;
    let held = backend.engine.registry().connections.get(&asked.name).cloned();
    let Some(mut connection) = held.filter(|held| held == asked) else { return };
    let now = backend.engine.now();
    match got {
        Ok(()) => connection.state = "AUTHORIZED".into(),
        Err(failed) => {
            connection.state = "DEAUTHORIZED".into();
            connection.state_reason = Some(failed.message);
        }
    }
    connection.modified_at = now;
    let change = vec![Change::Put(Resource::Connection(connection))];
    if desk::change(&backend.orders, change).await.is_err() {
        tracing::debug!(connection = asked.name, "what became of it is not noted: it is asked for again");
    }
}
