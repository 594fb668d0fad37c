//! Why a change of resources is refused.

/// A change of resources that the engine refuses. Nothing was changed: changes are made all at once or not at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {field}: {reason}")]
pub struct InvalidChange {
    /// The key of the resource: `rule/BUS/NAME`.
    pub key: String,
    /// The field of its struct that is wrong, or `key`.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}
