//! How an attempt ends: a pure decision, the record of it in the journal, and the batch of a shard that it is part
//! of.

pub mod resolve; // who catches what: no clock, no chance
pub mod record; // decisions as records of the journal
pub mod turn; // what a shard decided in one go
