//! Event patterns in requests.

use crate::ApiError;
use fakemon_model::limits::PATTERN_BYTES_MAX;
use fakemon_pattern::pattern::Pattern;

/// Parses a pattern; errors in the service's words.
pub fn valid_pattern(text: &str) -> Result<Pattern, ApiError> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(ApiError::new(
            "LimitExceededException",
            "The requested resource exceeds the maximum number allowed.",
        ));
    }
    Pattern::parse(text).map_err(|error| ApiError::new("InvalidEventPatternException", error.0))
}
