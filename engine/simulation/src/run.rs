//! One run: a node, its players and its faults, all from one seed, step by step, over several lives of the node; then
//! everything is answered, started a last time, and checked.

use crate::clients::Crowd;
use crate::memory_log::{ClosedLog, Crash, Machine};
use crate::memory_rows::MemoryRows;
use crate::mistakes::Mistake;
use crate::model::{Claim, Model, Violation};
use crate::node::{Site, Writer};
use crate::outcome::Outcome;
use crate::queues;
use crate::scene::Scene;
use crate::shape::Shape;
use crate::stage::{Next, Stage};
use fakemon_capture::options::Options;
use fakemon_capture::recovery::recover;
use fakemon_journal::{MemoryTables, Retention, SnapshotRows};
use fakemon_model::dice::Dice;
use fakemon_model::ids::{Position, Timestamp, mix};
use fakemon_sync::clock::SimulatedTime;
use fakemon_sync::failure::caught;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Once};

/// When simulated machines start: 2026-03-01.
const START: Timestamp = Timestamp(1_772_323_200_000_000_000);
/// Rounds after which every attempt must be answered, without faults.
const LAST_ROUNDS: usize = 60;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// All that happens follows from it.
    pub seed: u64,
    /// What the run is about.
    pub scene: Scene,
    /// The mistake that is made, if any.
    pub mistake: Option<Mistake>,
}

/// The line that runs it again.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulate --seed {}", self.seed)?;
        match self.scene {
            Scene::Small => {}
            Scene::Large => write!(f, " --large")?,
            Scene::Queues => write!(f, " --queues")?,
        }
        self.mistake.map_or(Ok(()), |mistake| write!(f, " --mistake {mistake}"))
    }
}

thread_local! {
    /// Whether a panic of this thread is an outcome, and nothing to print.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs without a word about panics.
fn quietly<R>(run: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                usual(panic);
            }
        }));
    });
    let before = IS_QUIET.replace(true);
    let ran = run();
    IS_QUIET.set(before);
    ran
}

/// Runs a plan. A panic is a violation too.
pub fn run(plan: Plan) -> Outcome {
    let machine = Rc::new(RefCell::new(Machine::new(mix(plan.seed ^ 1))));
    let ended = quietly(|| {
        caught(|| match plan.scene {
            Scene::Queues => queues::run(plan.seed, plan.mistake),
            Scene::Small | Scene::Large => Runner::new(plan, machine.clone()).run(),
        })
    });
    ended.unwrap_or_else(|panic| {
        let what = format!("it panicked: {panic}");
        let faults = machine.borrow().faults;
        let violations = vec![Violation { claim: Claim::NoPanic, what }];
        Outcome { violations, faults, lives: 1, ..Outcome::default() }
    })
}

struct Runner {
    stage: Rc<RefCell<Stage>>,
    machine: Rc<RefCell<Machine>>,
    writer: Option<Writer>,
    zombie: Option<Writer>,
    lives: u64,
}

impl Runner {
    fn new(plan: Plan, machine: Rc<RefCell<Machine>>) -> Runner {
        let mut dice = Dice(mix(plan.seed));
        let shape = Shape::draw(&mut dice, plan.scene);
        {
            let mut machine = machine.borrow_mut();
            machine.append_faults = shape.append_faults;
            machine.slow_syncs = shape.slow_syncs;
            machine.read_faults = shape.read_faults;
            machine.row_faults = shape.row_faults;
        }
        let retention = Retention { max_bytes: shape.keep_bytes, ..Retention::default() };
        let strides = (0..shape.habits.players).map(|_| dice.of(shape.strides)).collect();
        let site = Site {
            log: ClosedLog::new(machine.clone(), plan.mistake),
            rows: rows(&machine, plan.mistake),
            bus: tables(plan.mistake),
            machine: machine.clone(),
            time: Arc::new(SimulatedTime::starting_at(START)),
            options: Options { retention, ..Options::default() },
            mistake: plan.mistake,
            room: shape.room,
        };
        let crowd = Crowd::new(mix(plan.seed ^ 2), shape.habits, machine.clone());
        let (life, zombie) = (None, None);
        let model = Model::new(strides);
        let stage = Stage { dice, shape, site, crowd, model, life, zombie, spawned: 0, steps: 0 };
        Runner { stage: Rc::new(RefCell::new(stage)), machine, writer: None, zombie: None, lives: 0 }
    }

    fn run(mut self) -> Outcome {
        self.start();
        loop {
            let next = self.stage.borrow_mut().next();
            match next {
                Next::Step => self.stage.borrow_mut().step(),
                Next::Commit => drop(self.writer.as_mut().map(Writer::step)),
                Next::CommitOfZombie => drop(self.zombie.as_mut().map(Writer::step)),
                Next::Crash(crash) => self.crash(crash),
                Next::End => break,
            }
            if self.has_violations() || self.writer.is_none() {
                break;
            }
        }
        if !self.has_violations() && self.writer.is_some() {
            self.end();
        }
        self.outcome()
    }

    fn has_violations(&self) -> bool {
        !self.stage.borrow().model.violations.is_empty() || !self.machine.borrow().violations.is_empty()
    }

    fn outcome(self) -> Outcome {
        let mut stage = self.stage.borrow_mut();
        let mut machine = self.machine.borrow_mut();
        for what in std::mem::take(&mut machine.violations) {
            stage.model.violated(Claim::FollowersBehind, what);
        }
        let attempts = (0..stage.model.players()).map(|player| stage.model.sent_by(player) as u64).sum();
        Outcome {
            violations: std::mem::take(&mut stage.model.violations),
            attempts,
            answers: stage.model.answers,
            steps: stage.steps,
            lives: self.lives,
            faults: machine.faults,
            digest: mix(stage.model.digest.0 ^ mix(stage.steps)),
        }
    }

    /// Starts the node; a start that is refused is a violation.
    fn start(&mut self) {
        self.lives += 1;
        let mut stage = self.stage.borrow_mut();
        self.machine.borrow_mut().crashed = None;
        let started = stage.start();
        drop(stage);
        self.writer = match started {
            Ok(writer) => {
                self.let_others_run_during_syncs(&writer);
                Some(writer)
            }
            Err(error) => {
                self.stage.borrow_mut().model.violated(Claim::Recovers, error);
                None
            }
        };
    }

    fn let_others_run_during_syncs(&self, writer: &Writer) {
        let stage = Rc::downgrade(&self.stage);
        writer.log.while_syncing(move |slow| {
            if let Some(stage) = stage.upgrade() {
                let mut stage = stage.borrow_mut();
                let most = if slow { 40 } else { 3 };
                for _ in 0..stage.dice.below(most) {
                    stage.step();
                }
            }
        });
    }

    fn crash(&mut self, crash: Crash) {
        let writer = self.writer.take();
        let mut stage = self.stage.borrow_mut();
        stage.after(crash);
        drop(stage);
        self.zombie = writer.filter(|_| crash == Crash::Suspend);
        self.check_rot();
        self.start();
        if crash == Crash::Suspend {
            // The new process writes first; only then does the old one try.
            let _ = self.writer.as_mut().map(Writer::step);
            self.stage.borrow_mut().wake_zombie();
            let _ = self.zombie.as_mut().map(Writer::step);
        }
    }

    /// A start of a directory of which one bit changed is refused.
    fn check_rot(&self) {
        let mut stage = self.stage.borrow_mut();
        if stage.dice.below(4) > 0 {
            return;
        }
        let from = head_of(&stage.site);
        let Some(undo) = stage.site.log.rot(from) else { return };
        let log = stage.site.log.open();
        let refused = recover(&log, &*stage.site.rows, 1).is_err();
        undo();
        if !refused {
            stage.model.violated(Claim::DamageRefused, "a changed bit of a block was not noticed");
        }
    }

    /// Without faults: everything is answered; then the last start, and all checks.
    fn end(&mut self) {
        self.machine.borrow_mut().behave();
        self.stage.borrow_mut().crowd.behaves();
        if !self.settle() {
            let what = format!("{} attempts have no answer", self.stage.borrow_mut().crowd.insists());
            return self.stage.borrow_mut().model.violated(Claim::Answered, what);
        }
        let crash = {
            let mut stage = self.stage.borrow_mut();
            let (snapshot, flush) = (stage.dice.below(2) == 0, stage.dice.below(2) == 0);
            stage.life.as_mut().filter(|_| snapshot).into_iter().for_each(|life| life.follow_snapshot(flush));
            stage.dice.of(&[Crash::Kill, Crash::PowerCut])
        };
        self.crash(crash);
        if self.writer.is_none() {
            return;
        }
        {
            let stage = &mut *self.stage.borrow_mut();
            let one_in = if stage.shape.batch > 100 { 16 } else { 1 };
            stage.crowd.asks_again(&stage.model, one_in);
        }
        self.settle();
        if self.writer.is_some() {
            self.stage.borrow_mut().check_all(&self.machine);
        }
    }

    /// Steps of all threads in turn until nothing waits; false if something still does.
    fn settle(&mut self) -> bool {
        for _ in 0..LAST_ROUNDS {
            let failed = self.stage.borrow_mut().round();
            if failed {
                self.crash(Crash::Stop);
            }
            let Some(writer) = &mut self.writer else { return false };
            while writer.step() {}
            let stage = &mut *self.stage.borrow_mut();
            stage.zombie = None;
            stage.poll_all();
            if stage.crowd.insists() == 0 && stage.is_idle() {
                return true;
            }
        }
        false
    }
}

fn rows(machine: &Rc<RefCell<Machine>>, mistake: Option<Mistake>) -> Arc<MemoryRows> {
    #[expect(clippy::arc_with_non_send_sync, reason = "one thread; the parts share as they do on many")]
    Arc::new(MemoryRows::new(machine.clone(), mistake))
}

fn tables(mistake: Option<Mistake>) -> Arc<MemoryTables> {
    let tables = MemoryTables::default();
    if mistake == Some(Mistake::BusNotSynced) {
        tables.skip_syncs();
    }
    Arc::new(tables)
}

/// Where the tail of the journal begins that a start reads.
fn head_of(site: &Site) -> Position {
    let head = site.rows.head().ok().flatten();
    head.map_or(Position(1), |head| Position(head.position))
}
