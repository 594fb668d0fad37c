//! The server around the engine.

pub mod play;
pub mod auth;
pub mod edge;
pub mod envelope;
pub mod control;
pub mod load;
pub mod demo;
pub mod config;
pub mod command;
