//! Settings of a queue: their names, defaults and bounds, and which kind of queue has them.

use super::is_fifo;
use serde_json::Value;

/// Settings that are numbers: the name, the default, and both bounds.
pub const NUMBERS: [(&str, u64, u64, u64); 5] = [
    ("DelaySeconds", 0, 0, 900),
    ("MaximumMessageSize", 1_048_576, 1_024, 1_048_576),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("VisibilityTimeout", 30, 0, 43_200),
];
/// Settings that are texts.
pub const OTHERS: [&str; 6] = [
    "Policy",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
];
/// Settings that only FIFO queues have: what they may be, the default first.
pub const OF_FIFO: [(&str, [&str; 2]); 4] = [
    ("FifoQueue", ["true", "true"]),
    ("ContentBasedDeduplication", ["false", "true"]),
    ("DeduplicationScope", ["queue", "messageGroup"]),
    ("FifoThroughputLimit", ["perQueue", "perMessageGroupId"]),
];

/// Whether a queue of this name may have a setting at this value; none if it has no such setting.
pub fn fits(queue: &str, name: &str, text: &str) -> Option<bool> {
    if let Some((_, _, min, max)) = NUMBERS.iter().find(|(held, ..)| *held == name) {
        return Some(text.parse().is_ok_and(|number: u64| (*min..=*max).contains(&number)));
    }
    match OF_FIFO.iter().find(|(held, _)| *held == name) {
        Some((_, words)) if is_fifo(queue) => return Some(words.contains(&text)),
        None if OTHERS.contains(&name) => {}
        _ => return None,
    }
    let is_object = || serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
    Some(match name {
        "SqsManagedSseEnabled" => text.is_empty() || ["true", "false"].contains(&text),
        "Policy" => text.is_empty() || is_object(),
        "KmsDataKeyReusePeriodSeconds" => text.parse().is_ok_and(|seconds: u32| (60..=86_400).contains(&seconds)),
        _ => true,
    })
}

/// Whether a text is the name of a queue: 1 to 80 letters, digits, hyphens and underscores, and `.fifo` behind them
/// or not.
pub fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    name.len() <= 80 && !stem.is_empty() && stem.bytes().all(fits)
}
