//! How the engine's threads wake each other, know the time and learn that one of them failed. Small enough to be
//! checked whole.

pub mod pulse; // which threads move
pub mod notify; // wakes a sleeper once
pub mod mailbox; // a bounded queue with a bell
pub mod clock; // wall time and order
pub mod seldom; // log lines that input can cause again and again
pub mod failure; // why the engine stopped, and threads whose end is noticed
