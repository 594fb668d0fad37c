//! Connections that are no longer authorized: an operator or their endpoint revoked it.

use fakemon_delivery::notices::{Notice, NoticeKind};
use fakemon_resource::Registry;
use std::collections::BTreeSet;

const DEAUTHORIZED: &str = "DEAUTHORIZED";

/// The connections that were not authorized at the last look; none before the first look, which reports nothing.
#[derive(Default)]
pub(super) struct Connections(Option<BTreeSet<String>>);

impl Connections {
    pub(super) fn look(&mut self, registry: &Registry) -> Vec<Notice> {
        let refused = || registry.connections.values().filter(|connection| connection.state == DEAUTHORIZED);
        let now: BTreeSet<String> = refused().map(|connection| connection.name.clone()).collect();
        let before = self.0.replace(now);
        let Some(before) = before else { return Vec::new() };
        let news = refused().filter(|connection| !before.contains(&connection.name));
        news.map(|connection| {
            Notice::new(NoticeKind::ConnectionDeauthorized, &connection.name)
                .with("connection", connection.name.as_str())
                .with("reason", connection.state_reason.as_deref().unwrap_or("an operator deauthorized it"))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_resource::resource::{Change, Resource};

    fn with(registry: &mut Registry, name: &str, state: &str, reason: Option<&str>) {
        let connection = serde_json::json!({
            "name": name, "uuid": "0", "description": null, "authorization_type": "OAUTH_CLIENT_CREDENTIALS",
            "shown_parameters": {}, "state": state, "state_reason": reason, "created_at": 0, "modified_at": 0,
            "authorized_at": 0
        });
        let resource = Resource::read(&format!("connection/{name}"), &connection.to_string()).unwrap();
        registry.apply(&Change::Put(resource));
    }

    #[test]
    fn what_was_refused_before_is_no_news() {
        let (mut connections, mut registry) = (Connections::default(), Registry::new());
        with(&mut registry, "old", DEAUTHORIZED, None);
        with(&mut registry, "a", "AUTHORIZED", None);
        assert!(connections.look(&registry).is_empty());
        with(&mut registry, "a", DEAUTHORIZED, Some("401"));
        let expected = Notice::new(NoticeKind::ConnectionDeauthorized, "a").with("connection", "a");
        assert_eq!(connections.look(&registry), [expected.with("reason", "401")]);
        assert!(connections.look(&registry).is_empty());
    }
}
