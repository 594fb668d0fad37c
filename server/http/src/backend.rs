//! What handlers act on: the engine, and the ways to it.

use crate::desk::Order;
use fakemon_engine::Engine;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Mutex, mpsc};

/// The engine, and the ways to it.
pub struct Backend {
    pub engine: Engine,
    /// Orders for the engine client of this thread.
    pub orders: mpsc::Sender<Order>,
    /// One change of the bus at a time.
    pub changing: Arc<Mutex<()>>,
    /// Whether new work is refused, because the server stops.
    pub draining: AtomicBool,
    /// Whether a signal asked the process to stop.
    pub is_asked_to_stop: fn() -> bool,
}

impl Backend {
    pub fn new(engine: Engine, orders: mpsc::Sender<Order>, is_asked_to_stop: fn() -> bool) -> Backend {
        Backend { engine, orders, changing: Arc::default(), draining: AtomicBool::new(false), is_asked_to_stop }
    }

    pub fn is_stopping(&self) -> bool {
        self.draining.load(Ordering::Acquire) || (self.is_asked_to_stop)()
    }
}
