//! Which events only the engine may put. Sources and detail-types that begin with `fakemon.` are its own, on every
//! bus and however an event arrives, so that a rule that looks at either alone can trust it. Commands are open to
//! every sender.
//!
//! ```text
//! fakemon.world / fakemon.spawn             puts a fakémon into the world: any sender
//! fakemon.game  / fakemon.capture_attempt   an attempt for a player: any sender
//! fakemon.…     / …            … / fakemon.…   the engine, and who serves players for it
//! ```

/// The prefix of the engine's own sources and detail-types.
pub const OURS: &str = "fakemon.";
/// Source and detail-type of a spawn.
pub const SPAWN: (&str, &str) = ("fakemon.world", "fakemon.spawn");
/// Source and detail-type of an attempt that comes as an event.
pub const ATTEMPT: (&str, &str) = ("fakemon.game", "fakemon.capture_attempt");

/// An event that only the engine may put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reserved {
    /// Reserved by its source.
    #[error("source must not be `{0}`: what begins with `fakemon.` the engine says itself")]
    Source(String),
    /// Reserved by its detail-type.
    #[error("detail-type must not be `{0}`: what begins with `fakemon.` the engine says itself")]
    DetailType(String),
}

impl Reserved {
    /// The name of the field in messages.
    pub fn field(&self) -> &'static str {
        match self {
            Reserved::Source(_) => "source",
            Reserved::DetailType(_) => "detail-type",
        }
    }
}

/// Whether every sender may put such an event.
///
/// # Errors
/// [`Reserved`] when only the engine may put it.
pub fn check(source: &str, detail_type: &str) -> Result<(), Reserved> {
    if [SPAWN, ATTEMPT].contains(&(source, detail_type)) {
        return Ok(());
    }
    if source.starts_with(OURS) {
        return Err(Reserved::Source(source.to_owned()));
    }
    match detail_type.starts_with(OURS) {
        true => Err(Reserved::DetailType(detail_type.to_owned())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_of_ours_may_be_said_by_others() {
        for (source, detail_type) in [
            ("shop", "sold"),
            ("fakemons", "fakemon"),
            ("fakemon.world", "fakemon.spawn"),
            ("fakemon.game", "fakemon.capture_attempt"),
        ] {
            assert_eq!(check(source, detail_type), Ok(()), "{source} {detail_type}");
        }
        for (source, detail_type, field) in [
            ("fakemon.capture", "fakemon.capture_succeeded", "source"),
            ("fakemon.capture", "fakemon.spawn", "source"),
            ("fakemon.world", "fakemon.appeared", "source"),
            ("fakemon.engine", "sold", "source"),
            ("fakemon.game", "fakemon.spawn", "source"),
            ("shop", "fakemon.capture_succeeded", "detail-type"),
            ("shop", "fakemon.spawn", "detail-type"),
        ] {
            assert_eq!(check(source, detail_type).unwrap_err().field(), field, "{source} {detail_type}");
        }
    }
}
