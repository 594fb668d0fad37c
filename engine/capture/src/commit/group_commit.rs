//! Group commit by natural batching: one thread takes every turn that waits, writes them as one block, syncs once,
//! and releases their answers. While it syncs, the next group gathers; there is no timer.

use crate::commit::commit_queue::{CommitQueue, Name};
use crate::completion_queue::{Outboxes, Release};
use crate::decision::record::short_ns;
use crate::decision::turn::Turn;
use crate::metrics::GroupFigures;
use crate::options::Durability;
use crate::population::StateHash;
use fakemon_fbs::journal::{BlockHead, BlockWriter, PlayerNamed, SectionDraft, SpeciesNamed};
use fakemon_fbs::snapshot::Caught;
use fakemon_journal::{BlockLog, Link, Progress, Store};
use fakemon_model::ids::{Ahead, PlayerId, Position, ShardId, Timestamp};
use fakemon_model::limits::{GROUP_EVENTS_MAX, GROUP_TEXT_BYTES_MAX};
use fakemon_resource::Resources;
use fakemon_sync::clock::Clock;
use fakemon_sync::failure::Failure;
use parking_lot::Mutex;
use std::sync::Arc;

/// The thread that writes the journal.
pub struct Committer<L = Store> {
    pub store: Arc<L>,
    pub desk: Arc<CommitQueue>,
    pub progress: Arc<Progress>,
    pub outboxes: Arc<Outboxes>,
    pub figures: Arc<Mutex<GroupFigures>>,
    pub resources: Arc<Resources>,
    pub failure: Arc<Failure>,
    pub clock: Clock,
    pub durability: Durability,
    pub link: Link,
    pub writer: BlockWriter,
    pub previous_sync_ns: u32,
    /// Of the newest block: how far its times are ahead of the wall clock, and since which position.
    pub ahead: Ahead,
    pub ahead_since: Position,
    /// How many turns of each shard are written.
    pub turns_of_shards: Vec<u64>,
}

/// Closes the desk when the committer ends, however it does.
struct Closing(Arc<CommitQueue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<L: BlockLog> Committer<L> {
    /// Commits until the desk is stopped and empty, or a write fails.
    pub fn run(mut self) {
        let _closing = Closing(self.desk.clone());
        let (mut turns, mut value) = (Vec::new(), Vec::new());
        loop {
            self.desk.wait();
            match self.commit_waiting(&mut turns, &mut value) {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => return self.failure.set(reason),
            }
        }
    }

    /// Commits one group of what waits; false if nothing does. `turns` and `value` are room that is used again.
    ///
    /// # Errors
    /// The reason, as one line. The desk is closed then: no event of the group was acknowledged, and none will be,
    /// because after a failed sync the content of the disk is unknown. Recovery at the next start finds it out.
    pub fn commit_waiting(&mut self, turns: &mut Vec<Turn>, value: &mut Vec<u8>) -> Result<bool, String> {
        self.take_group(turns);
        if turns.is_empty() {
            return Ok(false);
        }
        self.commit(turns, value).inspect_err(|_| self.desk.close())?;
        Ok(true)
    }

    /// Takes everything that waits, up to the size of a group. Names are taken last and written first, because a
    /// shard can name a player only after the player was announced.
    fn take_group(&self, turns: &mut Vec<Turn>) {
        turns.clear();
        turns.push(Turn::of_names(SectionDraft::default(), StateHash::default()));
        let (mut events, mut text_bytes) = (0, 0);
        // No turn is larger than TURN_ATTEMPTS_MAX, so the last one that is taken still fits.
        while events < GROUP_EVENTS_MAX - fakemon_model::limits::TURN_ATTEMPTS_MAX
            && text_bytes < GROUP_TEXT_BYTES_MAX
            && self.desk.take(1, turns) == 1
        {
            events += turns.last().map_or(0, Turn::len);
            text_bytes += turns.last().map_or(0, |turn| turn.section.text_bytes());
        }
        turns[0] = self.take_names();
        turns.retain(|turn| !turn.is_empty());
    }

    fn take_names(&self) -> Turn {
        let (mut section, mut facts) = (SectionDraft::default(), StateHash::default());
        for name in self.desk.take_names() {
            match name {
                Name::Player(player, name) => {
                    facts.add(StateHash::named(u64::from(player.0), &name));
                    section.push_player_named(PlayerNamed { player: player.0, name });
                }
                Name::Species(species, name) => {
                    facts.add(StateHash::named(u64::from(species.0) << 32, &name));
                    section.push_species_named(SpeciesNamed { species: species.0, name });
                }
                Name::Opened(opened) => section.push_opened(opened),
            }
        }
        Turn::of_names(section, facts)
    }

    fn commit(&mut self, turns: &mut Vec<Turn>, value: &mut Vec<u8>) -> Result<(), String> {
        let first = self.link.next;
        let count: usize = turns.iter().map(Turn::len).sum();
        let handed_over = self.clock.now();
        self.check_order(turns); // those that only answer have their numbers too
        if count > 0 {
            turns.iter().for_each(|turn| self.link.state.add(turn.facts));
            self.clock.look();
            let ahead = self.clock.ahead();
            if ahead != self.ahead {
                (self.ahead, self.ahead_since) = (ahead, first);
            }
            let head = BlockHead {
                ahead_ns: ahead.0,
                ahead_since: self.ahead_since.0,
                first_position: first.0,
                count: u32::try_from(count).expect("a group is bounded far below"),
                committed_ns: handed_over.0,
                previous_sync_ns: self.previous_sync_ns,
                state_hash: self.link.state.0,
            };
            self.write(head, turns, value)?;
        }
        let durable_at = self.clock.now();
        self.previous_sync_ns = short_ns(handed_over, durable_at);
        self.progress.set_committed(self.link.next);
        let mut figures = self.figures.lock();
        figures.record(count, value.len(), self.previous_sync_ns, first);
        drop(figures);
        self.release(first, turns, durable_at);
        Ok(())
    }

    fn write(&mut self, head: BlockHead, turns: &mut [Turn], value: &mut Vec<u8>) -> Result<(), String> {
        let first = self.link.next;
        let sections: Vec<SectionDraft> = turns.iter_mut().map(|turn| std::mem::take(&mut turn.section)).collect();
        let mut captures = Vec::new();
        let mut section_first = first;
        for (turn, section) in turns.iter_mut().zip(&sections) {
            turn.first = section_first;
            for capture in &turn.captures {
                let position = Position(section_first.0 + u64::from(capture.offset));
                captures.push((PlayerId(capture.player), position, by_wall(&capture.caught, self.ahead)));
            }
            section_first.0 += section.len() as u64;
        }
        assert_eq!(section_first.0, first.0 + u64::from(head.count), "the events of a group stand side by side");
        let block = self.writer.write(head, &sections);
        self.link.append(block, section_first.0 - first.0, value);
        assert_eq!(self.link.next, section_first, "the next block begins where this one ends");
        self.store.append(first, value, captures.into_iter(), self.durability)?;
        // Without a sync nothing is promised.
        match self.durability {
            Durability::Synced => self.store.acknowledge(self.link.next),
            Durability::Unsynced => Ok(()),
        }
    }

    /// The turns of each shard arrive in the order in which it decided them, without a gap. This is the last place to
    /// check, before anything is written: a journal that breaks the order would never open again.
    fn check_order(&mut self, turns: &[Turn]) {
        for (ShardId(shard), number) in turns.iter().filter_map(|turn| turn.of_shard) {
            let expected = &mut self.turns_of_shards[usize::from(shard)];
            assert_eq!(number, *expected, "turn {number} of shard {shard} came in the place of turn {expected}");
            *expected += 1;
        }
    }

    fn release(&self, first: Position, turns: &mut Vec<Turn>, durable_at: Timestamp) {
        // An answer that leaves before its events are on the disk can be taken back by a power cut.
        assert_eq!(self.progress.committed(), self.link.next, "answers are released when their events are durable");
        let archived = self.progress.snapshot();
        for turn in turns.drain(..) {
            self.resources.apply(&turn.changes);
            let first = turn.first.max(first);
            for (client, answers) in turn.answers {
                self.outboxes.release(client, Release::Turn { first, durable_at, answers }, archived);
            }
        }
    }
}

/// What players see of a capture is its time by the wall clock.
fn by_wall(caught: &Caught, ahead: Ahead) -> Caught {
    let captured_at = ahead.to_wall(Timestamp(caught.captured_at_ns()));
    Caught::new(caught.fakemon_id(), captured_at.0, caught.species())
}
