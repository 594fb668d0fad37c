//! Names, ARNs, lengths: what fields of all resources are made of.

use fakemon_model::event::PlayerName;
use fakemon_model::limits::TAGS_MAX;
use fakemon_resource::Destination;
use fakemon_resource::resource::{Retry, Tags};

/// The field that is wrong, and why.
pub(super) type Checked = Result<(), (&'static str, String)>;

pub(super) fn wrong(field: &'static str, reason: impl Into<String>) -> Checked {
    Err((field, reason.into()))
}

/// 1 to `max` letters, digits, `.`, `-`, `_`, and those of `others`.
pub(super) fn name(field: &'static str, name: &str, max: usize, others: &str) -> Checked {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c) || others.contains(c);
    match (1..=max).contains(&name.len()) && name.chars().all(fits) {
        true => Ok(()),
        false => wrong(field, format!("`{name}` must be 1 to {max} letters, digits and any of `.-_{others}`")),
    }
}

/// `min` to `max` characters.
pub(super) fn text(field: &'static str, text: &str, min: usize, max: usize) -> Checked {
    match (min..=max).contains(&text.chars().count()) {
        true => Ok(()),
        false => wrong(field, format!("it must have {min} to {max} characters")),
    }
}

/// At most 512 characters, as the service has it.
pub(super) fn description(description: Option<&str>) -> Checked {
    text("description", description.unwrap_or_default(), 0, 512)
}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
pub(super) fn arn(field: &'static str, arn: &str) -> Checked {
    if arn.split(':').count() < 6 || !arn.starts_with("arn:") {
        return wrong(field, format!("`{arn}` must be an ARN: arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE"));
    }
    text(field, arn, 1, 1_600)
}

/// The ARN of a standard queue, if there is one.
pub(super) fn dead_letter_arn(arn: Option<&str>) -> Checked {
    match arn.map(Destination::of) {
        None => Ok(()),
        Some(Destination::Queue(queue)) if !queue.ends_with(".fifo") => Ok(()),
        Some(_) => wrong("dead_letter_arn", "it must be the ARN of a standard queue"),
    }
}

pub(super) fn retry(retry: Option<Retry>) -> Checked {
    match retry {
        Some(retry) if retry.attempts_max > 185 || !(60..=86_400).contains(&retry.age_s_max) => {
            wrong("retry", "attempts_max is from 0 to 185, age_s_max from 60 to 86400")
        }
        _ => Ok(()),
    }
}

/// Tags that a resource gets; those that it had are not asked for again.
pub(super) fn tags(tags: &Tags, held: Option<&Tags>) -> Checked {
    let is_new = |(key, value): &(&String, &String)| held.is_none_or(|held| held.get(*key) != Some(value));
    for (key, value) in tags.iter().filter(is_new) {
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            return wrong("tags", format!("`{key}`: keys that begin with `aws:` are reserved"));
        }
        text("tags", key, 1, 128)?;
        text("tags", value, 0, 256)?;
    }
    match tags.len() > TAGS_MAX && held.is_none_or(|held| held.len() < tags.len()) {
        true => wrong("tags", format!("a resource has at most {TAGS_MAX} tags")),
        false => Ok(()),
    }
}

/// One more resource of a kind, of which there are some.
pub(super) fn room(field: &'static str, is_held: bool, there_are: usize, max: usize, what: &str) -> Checked {
    match !is_held && there_are >= max {
        true => wrong(field, format!("there are {max} {what} already: delete some first")),
        false => Ok(()),
    }
}

pub(super) fn players(players: &[String]) -> Checked {
    match players.iter().find_map(|player| PlayerName::new(player).err()) {
        Some(error) => wrong("players", error.to_string()),
        None => Ok(()),
    }
}
