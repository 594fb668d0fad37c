//! Where a setting stands in the settings file.

use std::path::PathBuf;
use toml::de::DeTable;

/// A settings file as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingsFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl SettingsFile {
    /// The line of a setting, as text.
    pub(crate) fn place(&self, key: &str) -> Option<String> {
        let parsed = DeTable::parse(&self.text).ok()?;
        let (mut table, mut at) = (Some(parsed.get_ref()), 0);
        for part in key.split('.') {
            let (name, value) = table?.iter().find(|(name, _)| name.get_ref() == part)?;
            (table, at) = (value.get_ref().as_table(), name.span().start);
        }
        let (line, source) = line_at(&self.text, at);
        Some(format!("settings file {}, line {line} (`{source}`)", self.path.display()))
    }
}

/// The number, from 1, and the text of the line that contains byte `at`.
pub(crate) fn line_at(text: &str, at: usize) -> (usize, &str) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let source = text[start..].lines().next().unwrap_or("").trim();
    (before.matches('\n').count() + 1, source)
}
