//! Commands that print a page.

pub mod config;
pub mod incident;
pub mod services;
