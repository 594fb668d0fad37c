//! Schemas on a bus: those of a registry, those that are built in, and events checked where they come in. What a schema
//! is, the crate `fakemon-schema` says.
//!
//! - `builtin`: the schemas of the engine's own events and formats
//! - `lookup`: which schema of a registry is that of an event
//! - `enforcement`: events are checked where they come in

mod builtin;
mod lookup;
mod enforcement;

pub use builtin::{OUR_REGISTRY, OurSchema, SCHEMA_DRIFT, our_schemas};
pub use enforcement::{Enforcement, Enforcer, SchemaFigures, Verdict};
pub use fakemon_schema::*;
pub use lookup::{discovered, free_name};

/// The registry of what discoverers find.
pub const DISCOVERED_REGISTRY: &str = "discovered-schemas";

#[cfg(test)]
mod tests;
