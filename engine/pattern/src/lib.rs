//! EventBridge's event patterns and input transforms, exact and fast. Independent of the rest of this project.

pub mod syntax; // where a text stops to be JSON, in words
pub mod raw; // JSON as it was written, in slices
pub mod typed; // JSON from outside, read into types
pub mod pattern; // which events a rule wants: compiled, matched, explained
pub mod transform; // what a target gets of an event
