//! Schemas on a bus: those of a registry, the built-in ones, and checking incoming events. The crate `fakemon-schema`
//! defines what a schema is.
//!
//! - `builtin`: the schemas of the engine's own events and formats
//! - `lookup`: the schema of an event in a registry
//! - `enforcement`: checks incoming events

mod builtin;
mod lookup;
mod enforcement;

pub use builtin::{OUR_REGISTRY, OurSchema, SCHEMA_DRIFT, our_schemas};
pub use enforcement::{Enforcement, Enforcer, SchemaFigures, Verdict};
pub use fakemon_schema::*;
pub use lookup::{discovered, free_name};

/// The registry of the schemas that discoverers make.
pub const DISCOVERED_REGISTRY: &str = "discovered-schemas";

#[cfg(test)]
mod tests;
