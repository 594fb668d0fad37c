//! stub
use crate::ids::PlayerId;
use crate::model::PlayerName;
/// A player who has thrown at least once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Player(pub(crate) std::sync::Arc<(PlayerId, PlayerName)>);
impl Player {
    /// The number the journal knows them by.
    pub fn id(&self) -> PlayerId {
        self.0.0
    }
    /// The name.
    pub fn name(&self) -> &PlayerName {
        &self.0.1
    }
}
