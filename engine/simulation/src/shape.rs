//! What is drawn from a seed before the first step: how many players, which faults and how often, how much room.

use crate::clients::Habits;
use crate::node::EDGES_MAX;
use crate::scene::Scene;
use fakemon_model::dice::Dice;

const MS: u64 = 1_000_000;

/// The shape of a run. Each kind of fault is off in some runs and frequent in others, so that faults meet in many
/// mixtures.
pub(crate) struct Shape {
    pub(crate) habits: Habits,
    /// Attempts or messages in one step, at most.
    pub(crate) batch: usize,
    /// Room in mailboxes, and turns that wait for the journal.
    pub(crate) room: (usize, usize),
    /// Distances between the attempt ids of a player, one of these.
    pub(crate) strides: &'static [u64],
    /// One turn of the snapshot in this many is taken.
    pub(crate) snapshots: usize,
    /// Bytes of blocks that retention keeps.
    pub(crate) keep_bytes: Option<u64>,
    /// Fakémon that appear, at most.
    pub(crate) fakemon: usize,
    /// One step in this many is a crash; 0: none is.
    pub(crate) crashes: usize,
    /// One append in this many meets a fault; 0: none does.
    pub(crate) append_faults: usize,
    /// One sync in this many takes long; 0: none does.
    pub(crate) slow_syncs: usize,
    /// One write of snapshot rows in this many fails; 0: none does.
    pub(crate) row_faults: usize,
    /// One read in this many fails; 0: none does.
    pub(crate) read_faults: usize,
    pub(crate) clock_jumps: bool,
    pub(crate) steps_max: u64,
}

impl Shape {
    /// The shape that comes next.
    pub(crate) fn draw(dice: &mut Dice, scene: Scene) -> Shape {
        match scene {
            Scene::Small => Shape::small(dice),
            Scene::Large | Scene::Queues => Shape::large(dice),
        }
    }

    fn small(dice: &mut Dice) -> Shape {
        let calm = dice.below(8) == 0;
        let mut faults = |rates: &[usize]| if calm { 0 } else { dice.of(rates) };
        let (drops, doubles, reconnects) = (faults(&[0, 20, 200]), faults(&[0, 10, 100]), faults(&[0, 10, 100]));
        let (crashes, append_faults) = (faults(&[0, 100, 300, 1_000]), faults(&[0, 8, 40]));
        let (read_faults, row_faults) = (faults(&[0, 0, 200]), faults(&[0, 0, 100]));
        let players = 2 + dice.below(7);
        let (attempts, open, repeats) = (40 + dice.below(100), 1 + dice.below(6), 2 + dice.below(6));
        let habits = Habits {
            players,
            edges: EDGES_MAX,
            attempts,
            open,
            repeats,
            wire: 64,
            patience_ns: 40 * MS,
            drops,
            doubles,
            reconnects,
        };
        Shape {
            habits,
            batch: 1 + dice.below(12),
            room: (2 + dice.below(30), 1 + dice.below(6)),
            strides: &[1, 1, 3, 1_000_003],
            snapshots: 1,
            keep_bytes: dice.of(&[None, Some(2_000), Some(4_000), Some(20_000)]),
            fakemon: 4 + dice.below(20),
            crashes,
            append_faults,
            slow_syncs: dice.of(&[0, 2, 8]),
            row_faults,
            read_faults,
            clock_jumps: dice.below(2) == 0,
            steps_max: 6_000,
        }
    }

    fn large(dice: &mut Dice) -> Shape {
        let habits = Habits {
            players: 32 + dice.below(32),
            edges: EDGES_MAX,
            attempts: 100_000,
            open: 256,
            repeats: 20,
            wire: 4_096,
            patience_ns: 4_000 * MS,
            drops: 1_000,
            doubles: 1_000,
            reconnects: 20_000,
        };
        Shape {
            habits,
            batch: 1_024,
            room: (4_096, 64),
            strides: &[1],
            snapshots: 50,
            keep_bytes: dice.of(&[None, Some(4 << 20)]),
            fakemon: 2_000,
            crashes: 600,
            append_faults: 800,
            slow_syncs: 8,
            row_faults: 0,
            read_faults: 0,
            clock_jumps: true,
            steps_max: 30_000,
        }
    }
}
