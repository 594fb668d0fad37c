//! Commands about rules, schemas and who emits what.

pub mod topology;
pub mod rules;
pub mod schemas;
