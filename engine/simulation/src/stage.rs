//! The stage: everything that happens on the one thread except the writes of the journal, which run everything else
//! in between.

use crate::clients::{Crowd, fakemon_id};
use crate::memory_log::{Crash, Fault, Machine};
use crate::memory_rows::MemoryRows;
use crate::model::Model;
use crate::node::{EDGES_MAX, Life, Site, Writer};
use crate::shape::Shape;
use fakemon_capture::recovery::recover;
use fakemon_model::dice::Dice;
use fakemon_model::ids::{Position, Timestamp};
use std::cell::RefCell;
use std::rc::Rc;

const MS: u64 = 1_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

/// Everything but the threads that write.
pub(crate) struct Stage {
    pub(crate) dice: Dice,
    pub(crate) shape: Shape,
    pub(crate) site: Site,
    pub(crate) crowd: Crowd,
    pub(crate) model: Model,
    pub(crate) life: Option<Life>,
    /// An earlier life that goes on without its lock.
    pub(crate) zombie: Option<Life>,
    /// Fakémon that were put into the world, by their numbers.
    pub(crate) spawned: usize,
    pub(crate) steps: u64,
}

/// What the thread that runs everything does next.
pub(crate) enum Next {
    Step,
    Commit,
    CommitOfZombie,
    Crash(Crash),
    End,
}

impl Stage {
    /// Starts a life with as many shards and edges as the dice say.
    pub(crate) fn start(&mut self) -> Result<Writer, String> {
        let (shards, edges) = (1 + self.dice.below(4), 1 + self.dice.below(EDGES_MAX));
        let (life, writer) = self.site.start(shards, edges, &mut self.model)?;
        self.life = Some(life);
        Ok(writer)
    }

    pub(crate) fn next(&mut self) -> Next {
        let crashed = self.site.machine.borrow().crashed;
        let failed = self.life.as_ref().is_none_or(Life::has_failed);
        if let Some(crash) = crashed.or(failed.then_some(Crash::Stop)) {
            return Next::Crash(crash);
        }
        if self.crowd.is_done() || self.steps >= self.shape.steps_max {
            return Next::End;
        }
        if self.shape.crashes > 0 && self.dice.below(self.shape.crashes) == 0 {
            return Next::Crash(self.dice.of(&[Crash::Kill, Crash::Kill, Crash::PowerCut, Crash::Suspend]));
        }
        match self.dice.below(100) {
            0..14 => Next::Commit,
            14..17 if self.zombie.is_some() => Next::CommitOfZombie,
            _ => Next::Step,
        }
    }

    /// One step of a thread or a player.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        if self.zombie.is_some() && self.dice.below(8) == 0 {
            return self.step_of_zombie();
        }
        let batch = 1 + self.dice.below(self.shape.batch);
        let now_ns = self.site.time.passed_ns();
        let Stage { dice, site, crowd, model, spawned, shape, .. } = self;
        let Some(life) = self.life.as_mut().filter(|life| !life.has_failed()) else { return };
        let (shard, edge) = (dice.below(life.shards()), dice.below(life.edges()));
        match dice.below(100) {
            0..26 => (0..batch).for_each(|_| crowd.act(model, *spawned, now_ns)),
            26..44 => {
                let arriving = (0..batch).map_while(|_| crowd.arrives()).collect::<Vec<_>>();
                arriving.iter().filter_map(|up| life.arrives(up, model)).for_each(|down| crowd.reply(down));
            }
            44..60 => life.decide(shard, batch, dice, model),
            60..66 => life.change_world(shard, batch, dice),
            66..78 => life.poll(edge, crowd, model, site.log.durable()),
            78..86 => drop((0..4 * batch).take_while(|_| crowd.receives()).count()),
            86..89 => {
                life.follow_world();
                life.follow_bus();
            }
            89..91 if dice.below(shape.snapshots) == 0 => life.follow_snapshot(dice.below(4) == 0),
            91..94 => life.read(),
            94..97 => {
                let number = dice.below(shape.fakemon.min(*spawned + 1));
                let lifetime_s = dice.of(&[1, 2, 60, 3_600]);
                if life.spawn(fakemon_id(number), lifetime_s, dice.of(&[10_000, 10_000, 3_000, 0])) {
                    *spawned = (*spawned).max(number + 1);
                }
                if dice.below(8) == 0 {
                    let _ = life.put(); // refused when there is no room
                }
            }
            97 if dice.below(4) == 0 => life.restart_edge(edge),
            97..99 => site.time.pass((1 + dice.below(16)) as u64 * MS),
            _ if shape.clock_jumps => self.jump(),
            _ => {}
        }
    }

    /// The wall clock is set, forward or back.
    fn jump(&mut self) {
        let by = (1 + self.dice.below(100)) as u64 * HOUR_NS;
        let wall = self.site.time.wall();
        let set = if self.dice.below(2) == 0 { wall.plus_ns(by) } else { Timestamp(wall.0.saturating_sub(by)) };
        self.site.time.set_wall(set);
        self.site.machine.borrow_mut().count(Fault::ClockJump);
    }

    fn step_of_zombie(&mut self) {
        let Stage { dice, site, crowd, model, zombie, .. } = self;
        let Some(zombie) = zombie else { return };
        let (shard, edge) = (dice.below(zombie.shards()), dice.below(zombie.edges()));
        match dice.below(2) {
            0 => zombie.decide(shard, 8, dice, model),
            _ => zombie.poll(edge, crowd, model, site.log.durable()),
        }
    }

    /// The zombie decides what waits.
    pub(crate) fn wake_zombie(&mut self) {
        let Stage { dice, model, zombie, .. } = self;
        if let Some(zombie) = zombie {
            (0..zombie.shards()).for_each(|shard| zombie.decide(shard, 64, dice, model));
        }
    }

    /// The node is gone, as the crash says; some time passes until it is started again.
    pub(crate) fn after(&mut self, crash: Crash) {
        let fault = match crash {
            Crash::Kill => Some(Fault::Kill),
            Crash::PowerCut => Some(Fault::PowerCut),
            Crash::Suspend => Some(Fault::Suspend),
            Crash::Stop => None, // counted as what stopped it
        };
        fault.into_iter().for_each(|fault| self.site.machine.borrow_mut().count(fault));
        let life = self.life.take();
        self.zombie = life.filter(|_| crash == Crash::Suspend);
        self.crowd.loses_node();
        self.site.log.after(crash);
        self.site.rows.after_crash(&mut self.dice);
        match crash {
            Crash::PowerCut => self.site.bus.after_power_cut(self.dice.below(self.site.bus.unsynced() + 1), 0),
            Crash::Kill | Crash::Stop | Crash::Suspend => self.site.bus.after_kill(),
        }
        self.site.time.pass(self.dice.below(5_000) as u64 * MS);
        if self.shape.clock_jumps && self.dice.below(2) == 0 {
            self.jump();
        }
    }

    /// A step of every thread, and of every message; whether the node has failed.
    pub(crate) fn round(&mut self) -> bool {
        let Stage { dice, site, crowd, model, .. } = self;
        let Some(life) = &mut self.life else { return true };
        loop {
            let arriving = (0..16).map_while(|_| crowd.arrives()).collect::<Vec<_>>();
            arriving.iter().filter_map(|up| life.arrives(up, model)).for_each(|down| crowd.reply(down));
            for shard in 0..life.shards() {
                life.change_world(shard, 256, dice);
                life.decide(shard, 4_096, dice, model);
            }
            life.read();
            if arriving.is_empty() {
                break;
            }
        }
        life.follow_world();
        site.time.pass(MS);
        life.has_failed() || site.machine.borrow().crashed.is_some()
    }

    /// Every edge answers, and every answer arrives.
    pub(crate) fn poll_all(&mut self) {
        let Stage { site, crowd, model, .. } = self;
        if let Some(life) = &mut self.life {
            (0..life.edges()).for_each(|edge| life.poll(edge, crowd, model, site.log.durable()));
        }
        while crowd.receives() {}
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.crowd.is_silent() && self.life.as_ref().is_some_and(Life::is_idle)
    }

    /// Everything that can be checked when nothing is on its way.
    pub(crate) fn check_all(&mut self, machine: &Rc<RefCell<Machine>>) {
        let Some(life) = &mut self.life else { return };
        let seen = life.wild();
        let log = life.log();
        let truth = self.model.read(log);
        self.model.check_world(&truth, seen);
        self.model.check_answers(&truth);
        self.model.check_collections(&truth, log);
        let no_rows = MemoryRows::new(machine.clone(), None);
        let shards = 1 + self.dice.below(4);
        self.model.check_recovered(&truth, recover(log, &*self.site.rows, shards));
        if log.first() == Position(1) {
            self.model.check_recovered(&truth, recover(log, &no_rows, shards));
        }
    }
}
