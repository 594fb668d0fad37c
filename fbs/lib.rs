//! Schemas (`*.fbs`), the code generated from them (`generated/`, by `make generate`), and the only door to crate
//! `flatbuffers`: other crates see typed events, blocks, messages and rows.
//!
//! - [`journal`]: what the journal keeps, one block per group commit
//! - [`snapshot`]: rows that make a start-up short
//! - [`play`]: messages of the player websocket
//!
//! Every function that takes bytes verifies them first and reports what is wrong with them; none panics.

// Generated code follows the generator's taste, not ours.
#[allow(missing_docs, clippy::all, clippy::pedantic, mismatched_lifetime_syntaxes)]
#[allow(unreachable_pub, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]
mod generated {
    pub mod journal {
        include!("generated/journal_generated.rs");
    }
    pub mod snapshot {
        include!("generated/snapshot_generated.rs");
    }
    pub mod play {
        include!("generated/play_generated.rs");
    }
}

pub mod journal;
pub mod snapshot;
pub mod play;

/// The schemas themselves, by name.
pub const SCHEMAS: [(&str, &str); 3] = [
    ("fakemon.journal", include_str!("journal.fbs")),
    ("fakemon.play", include_str!("play.fbs")),
    ("fakemon.snapshot", include_str!("snapshot.fbs")),
];

/// Bytes that are not what their schema says.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The offsets, lengths or required fields do not hold.
    #[error("not a valid flatbuffer: {0}")]
    Structure(String),
    /// The structure holds, the values do not.
    #[error("{0}")]
    Value(&'static str),
}

impl From<flatbuffers::InvalidFlatbuffer> for Malformed {
    fn from(error: flatbuffers::InvalidFlatbuffer) -> Self {
        Malformed::Structure(error.to_string())
    }
}
