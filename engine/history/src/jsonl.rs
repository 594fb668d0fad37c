//! A whole journal as JSON lines: what `fakemon export --format jsonl` writes and `fakemon import` reads. A stable
//! format: members may be added, none is removed or changes its meaning.
//!
//! ```text
//! {"export":{"format":1,"whole":true,"first_position":"1","end_position":"4712"}}             the first line
//! {"block":{"first_position":"1","count":3,"committed_ns":"1772395200000000000",
//!   "previous_sync_ns":0,"state_hash":"16 hex digits","hash":"64 hex digits","sections":[[0,2],[1,1]]}}
//! {"position":"1","shard":0,"kind":"engine_opened",…}                                       `count` events of the block
//! …
//! {"end":{"position":"4712","blocks":57,"hash":"64 hex digits"}}                            the last line
//! ```
//!
//! Numbers of 64 bits are decimal strings, smaller ones are numbers. Times are nanoseconds since 1970 by the wall
//! clock, places ten-millionths of a degree. A block whose records are ahead of the wall clock, because that was set,
//! says so: `ahead_ns` with a sign, and `ahead_since`, the first position from which on it was so. `sections` are
//! pairs of a shard and how many events it decided in one turn. An export with filters says `"whole":false`, and
//! which; it holds the events that pass and the blocks they are in, and cannot be imported. Events by `kind`, all
//! with `position` and `shard`:
//!
//! | kind | members |
//! |---|---|
//! | `attempt` | `player`, `attempt_id`, `fakemon_id`, `species`, `outcome`, `lat_e7`, `lon_e7`, `received_ns`, `queued_after_ns`, `decided_after_ns` |
//! | `appeared` | `fakemon_id`, `species`, `lat_e7`, `lon_e7`, `catch_rate_bp` (1/10,000), `at_ns`, `vanishes_at_ns` |
//! | `vanished` | `fakemon_id`, `species`, `lat_e7`, `lon_e7`, `at_ns`, `vanishes_at_ns` |
//! | `player_named` | `player`, `name` |
//! | `species_named` | `species`, `name` |
//! | `engine_opened` | `at_ns`, `world_seed`, `reach_mm`, `cores`, `durable` |
//! | `put` | `at_ns`, `time_ns`, `bus`, `source`, `detail_type`, `detail` (text), `resources`, `region`, `cause` (or null), `hops`, and `schedule` of what fired, `by` of what was delivered exactly once |
//! | `resource_changed` | `at_ns`, `key`, `value` (text, or null: it is gone) |
//!
//! Players and species are numbers, as in the journal. `player_name` and `species_name` beside them are for readers
//! of a single line; an import ignores them.

mod read;
mod write;

use fakemon_model::event::Event;

pub use read::{BlockLine, ExportLine, Line, LineError};
pub use write::{Names, write_block, write_end, write_event, write_export};

/// The format of these lines.
pub const FORMAT: u32 = 1;

/// The word for the kind of an event in these lines.
pub fn kind(event: &Event) -> &'static str {
    match event {
        Event::Attempt(_) => "attempt",
        Event::Appeared { .. } => "appeared",
        Event::Vanished { .. } => "vanished",
        Event::PlayerNamed { .. } => "player_named",
        Event::SpeciesNamed { .. } => "species_named",
        Event::Opened { .. } => "engine_opened",
        Event::Put(_) => "put",
        Event::Changed { .. } => "resource_changed",
    }
}

#[cfg(test)]
mod tests;
