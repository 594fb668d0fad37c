//! Resolves a target's ARN to a destination that this process serves.
//!
//! ```text
//! arn:aws:sqs:REGION:ACCOUNT:NAME                              a queue
//! arn:aws:logs:REGION:ACCOUNT:log-group:NAME                   a log group
//! arn:aws:events:REGION:ACCOUNT:event-bus/NAME                 another bus
//! arn:aws:events:REGION:ACCOUNT:api-destination/NAME/UUID      a webhook
//! arn:aws:fakemon:REGION:ACCOUNT:answers/NAME                  an answer webhook
//! arn:aws:fakemon:REGION:ACCOUNT:capture                       the capture service: spawns and attempts
//! arn:aws:fakemon:REGION:ACCOUNT:players                       websockets of the player that `detail.player` names
//! arn:aws:fakemon:REGION:ACCOUNT:player/NAME                   websockets of one player
//! arn:aws:fakemon:REGION:ACCOUNT:function/NAME                 a function of the program that embeds the engine
//! ```

/// The destination of a target's events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A queue, by name.
    Queue(String),
    /// A log group, by name.
    LogGroup(String),
    /// A bus, by name.
    Bus(String),
    /// An API destination, by name.
    Webhook(String),
    /// An answer webhook, by name.
    Answers(String),
    /// The capture service.
    Capture,
    /// The player that each event is about.
    Players,
    /// One player, by name.
    Player(String),
    /// A function of the embedding program, by name.
    Function(String),
    /// Nothing that this process serves.
    Unknown,
}

impl Destination {
    /// The destination that an ARN names.
    pub fn of(arn: &str) -> Destination {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let &["arn", _, service, _, _, resource] = parts.as_slice() else { return Destination::Unknown };
        let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
        let name = name.to_owned();
        match (service, kind) {
            ("sqs", _) => Destination::Queue(resource.to_owned()),
            ("logs", _) => match resource.strip_prefix("log-group:") {
                Some(group) => Destination::LogGroup(group.strip_suffix(":*").unwrap_or(group).to_owned()),
                None => Destination::Unknown,
            },
            ("events", "event-bus") => Destination::Bus(name),
            ("events", "api-destination") => {
                Destination::Webhook(name.split('/').next().unwrap_or_default().to_owned())
            }
            ("fakemon", "answers") if !name.is_empty() => Destination::Answers(name),
            ("fakemon", "capture") => Destination::Capture,
            ("fakemon", "players") => Destination::Players,
            ("fakemon", "player") if !name.is_empty() => Destination::Player(name),
            ("fakemon", "function") if !name.is_empty() => Destination::Function(name),
            _ => Destination::Unknown,
        }
    }

    /// Whether it is outside this process: replays send events there only if they name their rules.
    pub fn is_outside(&self) -> bool {
        matches!(self, Destination::Webhook(_) | Destination::Answers(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_name_what_is_here() {
        let of = |rest: &str| Destination::of(&format!("arn:aws:{rest}"));
        assert_eq!(of("sqs:local:123456789012:q.fifo"), Destination::Queue("q.fifo".into()));
        assert_eq!(of("logs:local:1:log-group:/aws/events/x:*"), Destination::LogGroup("/aws/events/x".into()));
        assert_eq!(of("events:local:1:event-bus/a"), Destination::Bus("a".into()));
        assert_eq!(of("events:local:1:api-destination/hook/0-1"), Destination::Webhook("hook".into()));
        assert_eq!(of("fakemon:local:1:answers/bots"), Destination::Answers("bots".into()));
        assert_eq!(of("fakemon:local:1:capture"), Destination::Capture);
        assert_eq!(of("fakemon:local:1:player/ash"), Destination::Player("ash".into()));
        for unknown in ["lambda:local:1:function:f", "fakemon:local:1:player", "", "logs:local:1:x"] {
            assert_eq!(of(unknown), Destination::Unknown, "{unknown}");
        }
    }
}
