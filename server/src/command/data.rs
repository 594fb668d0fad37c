//! Commands about a data directory as a whole: copies, exports, checks.

pub mod checkpoint;
pub mod export;
pub mod import;
pub mod index;
pub mod info;
pub mod verify;
