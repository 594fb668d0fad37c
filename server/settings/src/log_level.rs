//! The setting `log.level`.

use crate::error::ConfigError;

/// Levels and `TARGET=LEVEL`s, with commas between them. `EnvFilter` takes any word for a target of which everything
/// is logged, and of a target that there is not nothing is.
pub(crate) fn check(filter: &str) -> Result<(), ConfigError> {
    let is_level = |word: &str| {
        ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| word.eq_ignore_ascii_case(level))
    };
    let is_target = |word: &str| {
        let spans = word.find('[').unwrap_or(word.len());
        !word.is_empty() && word[..spans].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
    };
    let mut depth = 0;
    let directives = filter.split(|c| {
        depth += i32::from(matches!(c, '[' | '{')) - i32::from(matches!(c, ']' | '}'));
        c == ',' && depth == 0
    });
    for directive in directives.map(str::trim) {
        let is_one = match directive.rsplit_once('=') {
            Some((target, level)) if is_level(level) => is_target(target),
            Some(_) => directive.contains('[') && directive.ends_with(']'), // a field of a span
            None => is_level(directive),
        };
        if !is_one {
            let what = format!(
                "log.level: `{}` is no log level: give error, warn, info, debug, trace, off, or a filter as in \
                 `info,fakemon_engine=debug`",
                directive.escape_debug()
            );
            return Err(ConfigError::of("log.level", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_level_is_one_or_a_filter() {
        for level in ["info", "WARN", "off", "info,fakemon_engine=debug", "fakemon_server::edge=trace, warn"] {
            assert!(check(level).is_ok(), "{level}");
        }
        assert!(check("warn,fakemon_engine[open{dir=1,of=2}]=debug").is_ok());
        for level in ["", "-5s", "=", "verbose", "info,", "a b=info", "=info", "fakemon=loud", "5 s", "\0"] {
            let said = check(level).err().unwrap_or_else(|| panic!("{level:?}")).to_string();
            assert!(said.starts_with("log.level: `") && said.contains("is no log level"), "{said}");
        }
    }
}
