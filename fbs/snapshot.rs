//! Rows of the snapshot: fakémon, players, answers, and the head that says how far they reach.

use crate::Malformed;
use crate::generated::snapshot::fakemon::snapshot as wire;
pub use crate::generated::snapshot::fakemon::snapshot::{Answer, Caught, Fakemon, IdRange};
use crate::journal::{Opened, Outcome};
use flatbuffers::FlatBufferBuilder;

/// A player and the attempt ids that are used up.
#[derive(Clone, Debug, PartialEq)]
pub struct Player {
    /// The name.
    pub name: String,
    /// Used ids, ascending, apart.
    pub used: Vec<IdRange>,
}

impl Answer {
    /// That an attempt ended so.
    pub fn of(attempt_id: u64, fakemon_id: u64, position: u64, outcome: Outcome) -> Answer {
        Answer::new(attempt_id, fakemon_id, position << 3 | u64::from(outcome.0))
    }

    /// Where in the journal.
    pub fn position(&self) -> u64 {
        self.position_outcome() >> 3
    }

    /// How it ended; may be none of the known.
    pub fn outcome(&self) -> Outcome {
        Outcome((self.position_outcome() & 7) as u8)
    }
}

/// Where the rows stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// All events before it are in the rows.
    pub position: u64,
    /// Of the last block before `position`.
    pub block_hash: [u8; 32],
    /// Of the world at `position`.
    pub state_hash: u64,
    /// Names by number.
    pub species: Vec<String>,
    /// The last opening before `position`.
    pub opened: Option<Opened>,
    /// Some answers before `position` were given before the sync.
    pub ever_unsynced: bool,
    /// The newest time in the journal.
    pub last_ns: u64,
    /// The next id to give to a fakémon that comes without one.
    pub next_fakemon_id: u64,
}

/// The bytes of a head.
pub fn write_head(head: &Head) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let block_hash = fbb.create_vector(&head.block_hash);
    let names: Vec<_> = head.species.iter().map(|name| fbb.create_string(name)).collect();
    let species = fbb.create_vector(&names);
    let nothing = Opened { at_ns: 0, world_seed: 0, reach_mm: 0, cores: 0, durable: true };
    let opened = head.opened.unwrap_or(nothing);
    let args = wire::HeadArgs {
        position: head.position,
        block_hash: Some(block_hash),
        state_hash: head.state_hash,
        species: Some(species),
        opened_at_ns: opened.at_ns,
        world_seed: opened.world_seed,
        reach_mm: opened.reach_mm,
        cores: opened.cores,
        durable: opened.durable,
        ever_unsynced: head.ever_unsynced,
        last_ns: head.last_ns,
        next_fakemon_id: head.next_fakemon_id,
    };
    let root = wire::Head::create(&mut fbb, &args);
    fbb.finish_minimal(root);
    fbb.finished_data().to_vec()
}

/// A verified head.
pub fn read_head(bytes: &[u8]) -> Result<Head, Malformed> {
    let head = flatbuffers::root::<wire::Head<'_>>(bytes)?;
    let block_hash = head.block_hash().bytes().try_into();
    Ok(Head {
        position: head.position(),
        block_hash: block_hash.map_err(|_| Malformed::Value("the hash in the head is not 32 bytes long"))?,
        state_hash: head.state_hash(),
        ever_unsynced: head.ever_unsynced(),
        species: head.species().iter().map(str::to_owned).collect(),
        opened: (head.opened_at_ns() > 0).then(|| Opened {
            at_ns: head.opened_at_ns(),
            world_seed: head.world_seed(),
            reach_mm: head.reach_mm(),
            cores: head.cores(),
            durable: head.durable(),
        }),
        last_ns: head.last_ns(),
        next_fakemon_id: head.next_fakemon_id(),
    })
}

/// The bytes of a player's row.
pub fn write_player(player: &Player) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let name = fbb.create_string(&player.name);
    let used = fbb.create_vector(&player.used);
    let root = wire::Player::create(&mut fbb, &wire::PlayerArgs { name: Some(name), used: Some(used) });
    fbb.finish_minimal(root);
    fbb.finished_data().to_vec()
}

/// A verified player's row.
pub fn read_player(bytes: &[u8]) -> Result<Player, Malformed> {
    let player = flatbuffers::root::<wire::Player<'_>>(bytes)?;
    Ok(Player { name: player.name().to_owned(), used: player.used().iter().copied().collect() })
}

/// The bytes of a run of answers.
pub fn write_answers(answers: &[Answer]) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let answers = fbb.create_vector(answers);
    let root = wire::Answers::create(&mut fbb, &wire::AnswersArgs { answers: Some(answers) });
    fbb.finish_minimal(root);
    fbb.finished_data().to_vec()
}

/// A verified run of answers.
pub fn read_answers(bytes: &[u8]) -> Result<Vec<Answer>, Malformed> {
    Ok(flatbuffers::root::<wire::Answers<'_>>(bytes)?.answers().iter().copied().collect())
}

/// A row of fixed size from its bytes.
pub fn read_fakemon(bytes: &[u8]) -> Result<Fakemon, Malformed> {
    let row = bytes.try_into().map_err(|_| Malformed::Value("a fakémon's row has the wrong length"))?;
    Ok(Fakemon(row))
}

/// An entry of a collection from its bytes.
pub fn read_caught(bytes: &[u8]) -> Result<Caught, Malformed> {
    let row = bytes.try_into().map_err(|_| Malformed::Value("a collection's entry has the wrong length"))?;
    Ok(Caught(row))
}
