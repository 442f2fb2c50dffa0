//! Which service answers under which host name.
//!
//! One listener serves the hub and the event endpoint. Their names may be the same: then a link's
//! address decides, because `messages/events…` is the hub's way to say it and `{entity}/…` the event
//! endpoint's (`service-api.md` §9.9). Who names nobody, dials an address or calls us `localhost`
//! may mean either.

use std::net::IpAddr;

/// The names of one hub and of its event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    hub_names: Vec<String>,
    event_names: Vec<String>,
    entity: String,
    amqp_port: u16,
}

/// What answers under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Services {
    /// The hub.
    pub hub: bool,
    /// The event endpoint.
    pub events: bool,
}

/// Nothing answers under a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this server is {own}, and nothing else; it does not answer for {asked}")]
pub struct NotHere {
    /// The name that was asked for.
    pub asked: String,
    /// A name that would have done.
    pub own: String,
}

impl Site {
    /// A site with these names, the first of each its own one. Without names of its own the event
    /// endpoint has the hub's. `amqp_port` is where both are reached.
    ///
    /// # Panics
    /// When the hub has no name: its settings do not allow that.
    pub fn new(hub_names: Vec<String>, event_names: Vec<String>, amqp_port: u16) -> Self {
        assert!(!hub_names.is_empty(), "a hub has a name");
        let event_names = if event_names.is_empty() { hub_names.clone() } else { event_names };
        let entity = entity(&hub_names[0]);
        Self { hub_names, event_names, entity, amqp_port }
    }

    /// What answers for a client that calls us this.
    pub fn services(&self, host: Option<&str>) -> Result<Services, NotHere> {
        let both = Services { hub: true, events: true };
        let Some(host) = host.map(without_port).filter(|host| !host.is_empty()) else {
            return Ok(both);
        };
        let is_one_of = |names: &[String]| names.iter().any(|own| own.eq_ignore_ascii_case(host));
        let found =
            Services { hub: is_one_of(&self.hub_names), events: is_one_of(&self.event_names) };
        match found {
            Services { hub: false, events: false } => {
                let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
                if is_address || host.eq_ignore_ascii_case("localhost") {
                    return Ok(both);
                }
                Err(NotHere { asked: host.to_owned(), own: self.hub_names[0].clone() })
            }
            found => Ok(found),
        }
    }

    /// The hub's own name.
    pub fn hub_name(&self) -> &str {
        &self.hub_names[0]
    }

    /// The event endpoint's own name.
    pub fn event_name(&self) -> &str {
        &self.event_names[0]
    }

    /// The names under which tokens may name the event endpoint.
    pub fn event_names(&self) -> &[String] {
        &self.event_names
    }

    /// What the event log is called at the event endpoint.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Whether a text is the name of the event log; compared without case, as Event Hubs does.
    pub fn is_entity(&self, name: &str) -> bool {
        self.entity.eq_ignore_ascii_case(name)
    }

    /// Where AMQP is spoken.
    pub fn amqp_port(&self) -> u16 {
        self.amqp_port
    }
}

/// The log's name at the event endpoint: the first label of the hub's name, as the cloud names a hub;
/// an address has no labels.
pub fn entity(hub_name: &str) -> String {
    let label = hub_name.split('.').next().unwrap_or_default();
    match hub_name.parse::<IpAddr>() {
        Err(_) if !label.is_empty() => label.to_owned(),
        _ => ADDRESS_ENTITY.to_owned(),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

/// The log's name at a hub that is known by its address only.
const ADDRESS_ENTITY: &str = "hub";

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_says_who_answers() {
        let site = Site::new(names(&["hub.test", "10.0.0.1"]), names(&["eh.test"]), 5671);
        let services = |hub, events| Ok(Services { hub, events });
        for (host, found) in [
            (None, services(true, true)),
            (Some(""), services(true, true)),
            (Some("hub.test"), services(true, false)),
            (Some("HUB.test:5671"), services(true, false)),
            (Some("10.0.0.1"), services(true, false)),
            (Some("eh.test"), services(false, true)),
            (Some("127.0.0.1:443"), services(true, true)),
            (Some("[::1]:5671"), services(true, true)),
            (Some("::1"), services(true, true)),
            (Some("localhost"), services(true, true)),
        ] {
            assert_eq!(site.services(host), found, "{host:?}");
        }
        let refused = site.services(Some("other.test:5671")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this server is hub.test, and nothing else; it does not answer for other.test"
        );
    }

    #[test]
    fn the_event_endpoint_has_the_hubs_names_unless_it_has_its_own() {
        let site = Site::new(names(&["contoso.example.com"]), Vec::new(), 5671);
        assert_eq!(
            site.services(Some("contoso.example.com")),
            Ok(Services { hub: true, events: true })
        );
        assert_eq!((site.event_name(), site.entity()), ("contoso.example.com", "contoso"));
        assert!(site.is_entity("CONTOSO") && !site.is_entity("contoso.example.com"));
        for (name, expected) in [("127.0.10.1", "hub"), ("::1", "hub"), ("localhost", "localhost")]
        {
            assert_eq!(entity(name), expected);
        }
    }
}
