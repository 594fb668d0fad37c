//! Group commit: places in the journal, reserved before anything is decided, and the thread that writes and syncs.

pub mod commit_queue; // places in the journal, reserved before anything is decided
pub mod group_commit; // group commit: one block and one sync for all that waits
