//! The snapshot's rows as those see them who write them and recover from them: [`RowStore`] on a disk, and rows in
//! memory in the simulation.

use super::{RowStore, Rows};
use crate::error::ReadError;
use fakemon_fbs::snapshot::{Answer, Fakemon, Head, Player};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId};

/// Rows that follow the journal. They need not be durable before [`flush`](Self::flush), but what a crash leaves is a
/// beginning of what was written, with every earlier row.
pub trait SnapshotRows {
    /// The position of the snapshot; none in a new directory.
    fn head(&self) -> Result<Option<Head>, ReadError>;

    /// All fakémon of the snapshot.
    fn fakemon(&self, visit: &mut dyn FnMut(Fakemon)) -> Result<(), ReadError>;

    /// One fakémon of the snapshot.
    fn fakemon_row(&self, id: FakemonId) -> Result<Option<Fakemon>, ReadError>;

    /// All players of the snapshot.
    fn players(&self, visit: &mut dyn FnMut(PlayerId, Player)) -> Result<(), ReadError>;

    /// One player of the snapshot.
    fn player_row(&self, id: PlayerId) -> Result<Option<Player>, ReadError>;

    /// The answer to an attempt.
    fn answer(&self, player: PlayerId, attempt: AttemptId) -> Result<Option<Answer>, ReadError>;

    /// Writes changed rows, all or none of them.
    fn write_rows(&self, rows: &Rows) -> Result<(), ReadError>;

    /// Makes everything durable that was written.
    fn flush(&self) -> Result<(), ReadError>;
}

impl SnapshotRows for RowStore {
    fn head(&self) -> Result<Option<Head>, ReadError> {
        self.head()
    }

    fn fakemon(&self, visit: &mut dyn FnMut(Fakemon)) -> Result<(), ReadError> {
        self.fakemon(visit)
    }

    fn fakemon_row(&self, id: FakemonId) -> Result<Option<Fakemon>, ReadError> {
        self.fakemon_row(id)
    }

    fn players(&self, visit: &mut dyn FnMut(PlayerId, Player)) -> Result<(), ReadError> {
        self.players(visit)
    }

    fn player_row(&self, id: PlayerId) -> Result<Option<Player>, ReadError> {
        self.player_row(id)
    }

    fn answer(&self, player: PlayerId, attempt: AttemptId) -> Result<Option<Answer>, ReadError> {
        self.answer(player, attempt)
    }

    fn write_rows(&self, rows: &Rows) -> Result<(), ReadError> {
        self.write_rows(rows)
    }

    fn flush(&self) -> Result<(), ReadError> {
        self.flush()
    }
}
