//! Tasks that live as long as the control plane. One that panics, or ends by itself, is a failure of the server: it
//! logs the reason and stops, because nothing else would do the work of the task.

use fakemon_engine::Engine;
use futures_lite::FutureExt as _;
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

/// Starts a task that may end. A panic in it is a failure of the server.
pub fn watched(engine: &Engine, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    let engine = engine.clone();
    tokio::spawn(async move {
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            engine.fail(format!("the task `{name}` panicked: {}", words(&*panic)));
        }
    });
}

/// Starts a task that must run until the runtime ends, or until `may_end` is true.
pub fn kept(
    engine: &Engine,
    name: &'static str,
    may_end: impl Fn() -> bool + Send + 'static,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let kept = engine.clone();
    watched(engine, name, async move {
        task.await;
        if !may_end() {
            kept.fail(format!("the task `{name}` ended although nothing asked it to"));
        }
    });
}

/// The message of a panic.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it said nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_engine::Options;
    use std::time::Duration;

    /// The failure of the engine after a task like this.
    fn said_after(start: impl FnOnce(&Engine)) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path(), Options { cores: 1, pin: false, ..Options::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            start(&engine);
            tokio::task::yield_now().await;
        });
        drop(runtime);
        let said = engine.wait_for_failure(Duration::ZERO);
        engine.close();
        said
    }

    #[test]
    fn a_task_that_panics_or_ends_too_early_is_a_failure_with_its_name() {
        let said = said_after(|engine| watched(engine, "worker", async { panic!("boom") }));
        assert_eq!(said.unwrap(), "the task `worker` panicked: boom");
        let said = said_after(|engine| kept(engine, "worker", || false, async {}));
        assert_eq!(said.unwrap(), "the task `worker` ended although nothing asked it to");
        assert_eq!(said_after(|engine| kept(engine, "worker", || true, async {})), None);
        assert_eq!(said_after(|engine| kept(engine, "worker", || false, std::future::pending())), None);
        assert_eq!(said_after(|engine| watched(engine, "worker", async {})), None);
    }
}
