//! Puts fakémon into the world through the control plane, as a back end would: before the run, and during it as fast
//! as they are caught. One thread, many connections with one request each, so that spawns share their group commits.

use super::http::Http;
use super::target::Target;
use anyhow::ensure;
use fakemon_capture::command::Spawn;
use fakemon_workload::{Board, Nth, World};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Connections, each with one request in flight.
const CONNECTIONS: usize = 64;

/// Spawns fakémon through the control plane.
pub(crate) struct Spawner {
    connections: Vec<Http>,
    world: World,
    /// Fakémon spawned so far.
    spawned: u32,
    /// Upper bound of `spawned`.
    spawned_max: u32,
}

impl Spawner {
    pub(crate) fn new(control: &Target, world: World, spawned_max: u32) -> anyhow::Result<Spawner> {
        Ok(Spawner {
            connections: (0..CONNECTIONS).map(|_| Http::connect(control)).collect::<Result<_, _>>()?,
            world,
            spawned: 0,
            spawned_max,
        })
    }

    /// Spawns until `count` are in the world; reports the number to `progress`.
    pub(crate) fn spawn_until(
        &mut self,
        count: u32,
        board: &Board,
        progress: &mut dyn FnMut(u32),
    ) -> anyhow::Result<()> {
        while self.spawned < count.min(self.spawned_max) {
            self.spawn_some(count)?;
            board.spawned(self.spawned);
            progress(self.spawned);
        }
        Ok(())
    }

    /// Keeps `reserve` fakémon waiting for a slot of the board until `stop`.
    pub(crate) fn keep(mut self, reserve: u32, board: &Board, stop: &AtomicBool) -> anyhow::Result<()> {
        while !stop.load(Relaxed) {
            let missing = reserve.saturating_sub(board.reserve());
            if missing == 0 || self.spawned == self.spawned_max {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            self.spawn_some(self.spawned + missing)?;
            board.spawned(self.spawned);
        }
        Ok(())
    }

    /// Sends one request on each connection; throttled ones are retried.
    fn spawn_some(&mut self, until: u32) -> anyhow::Result<()> {
        let until = until.min(self.spawned_max).min(self.spawned + CONNECTIONS as u32);
        let mut waiting: Vec<Nth> = (self.spawned..until).map(Nth).collect();
        while !waiting.is_empty() {
            for (nth, connection) in waiting.iter().zip(&mut self.connections) {
                connection.post("/events", &event(&self.world.spawn(*nth)))?;
            }
            let mut throttled = Vec::new();
            for (nth, connection) in waiting.iter().zip(&mut self.connections) {
                let answer = connection.receive()?;
                match answer.status {
                    429 => throttled.push(*nth),
                    status => ensure!(status == 200, "the control plane refused a spawn ({status}): {}", answer.body),
                }
            }
            if !throttled.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            waiting = throttled;
        }
        self.spawned = until;
        Ok(())
    }
}

/// The event that puts a fakémon into the world.
fn event(spawn: &Spawn) -> String {
    let mut detail = json!({
        "species": spawn.species,
        "lat": spawn.place.lat(),
        "lon": spawn.place.lon(),
    });
    if let Some(id) = spawn.fakemon_id {
        detail["fakemon_id"] = json!(id.to_string());
    }
    if let Some(lifetime_s) = spawn.lifetime_s {
        detail["lifetime_s"] = json!(lifetime_s);
    }
    if let Some(catch_rate) = spawn.catch_rate {
        detail["catch_rate"] = json!(catch_rate.fraction());
    }
    json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": detail }).to_string()
}
