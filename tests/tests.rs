//! The tests of the whole house, in one binary.

mod engine; // the engine, embedded: who wins, what is remembered, what is refused
