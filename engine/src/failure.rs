//! Why the engine stopped by itself. The first reason stays; everyone can ask for it or wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Failure {
    happened: AtomicBool,
    reason: Mutex<Option<String>>,
    told: Condvar,
}

impl Failure {
    pub(crate) fn set(&self, reason: String) {
        let mut held = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            tracing::error!("{reason}");
            *held = Some(reason);
        }
        self.happened.store(true, Ordering::SeqCst);
        self.told.notify_all();
    }

    #[inline]
    pub(crate) fn happened(&self) -> bool {
        self.happened.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Option<String> {
        let held = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.told.wait_timeout_while(held, timeout, |reason| reason.is_none());
        wait.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}
