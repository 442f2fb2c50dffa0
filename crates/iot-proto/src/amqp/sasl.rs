//! The user names of SASL PLAIN (dp §4.1, sa §9.8); the password is a token.

use std::fmt;

use model::IdentityId;

/// The mechanisms that we offer, in this order; the C SDK asks for exactly `MSSBCBS` (dp §4.1).
pub const MECHANISMS: [&str; 4] = [PLAIN, ANONYMOUS, MSSBCBS, EXTERNAL];
/// User name and token.
pub const PLAIN: &str = "PLAIN";
/// Tokens follow on `$cbs`, or a certificate stands in the TLS handshake.
pub const ANONYMOUS: &str = "ANONYMOUS";
/// The same, as the C SDK calls it.
pub const MSSBCBS: &str = "MSSBCBS";
/// The certificate of the TLS handshake.
pub const EXTERNAL: &str = "EXTERNAL";

/// Who a user name says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// `{device}@sas.{hub}` or `{device}/modules/{module}@sas.{hub}`.
    Identity(IdentityId),
    /// `{policy}@sas.root.{hub}`.
    Policy(String),
}

impl UserName {
    /// Reads a user name; the hub's name in it is not checked. Ids may hold `@`, so the last
    /// `@sas.` counts.
    pub fn parse(text: &str) -> Option<Self> {
        let at = text.rfind(MARK)?;
        let (name, hub) = (&text[..at], &text[at + MARK.len()..]);
        if hub.strip_prefix(ROOT).is_some() {
            return (!name.is_empty()).then(|| Self::Policy(name.to_owned()));
        }
        let identity = match name.split_once('/') {
            None => IdentityId::device(name.parse().ok()?),
            Some((device, rest)) => {
                let module = rest.strip_prefix(MODULES).unwrap_or(rest);
                IdentityId::module(device.parse().ok()?, module.parse().ok()?)
            }
        };
        Some(Self::Identity(identity))
    }

    /// The user name at a hub; of the host's name only the first label is used.
    pub fn at(&self, host: &str) -> String {
        let hub = host.split('.').next().unwrap_or(host);
        format!("{self}{hub}")
    }
}

impl fmt::Display for UserName {
    /// Up to the hub's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(IdentityId { device, module: None }) => write!(f, "{device}{MARK}"),
            Self::Identity(IdentityId { device, module: Some(module) }) => {
                write!(f, "{device}/{MODULES}{module}{MARK}")
            }
            Self::Policy(name) => write!(f, "{name}{MARK}{ROOT}"),
        }
    }
}

const MARK: &str = "@sas.";
const ROOT: &str = "root.";
const MODULES: &str = "modules/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_read_back() {
        for (text, name) in [
            ("d@sas.hub", UserName::Identity("d".parse().unwrap())),
            ("a@sas.b@sas.hub", UserName::Identity("a@sas.b".parse().unwrap())),
            ("d/modules/m@sas.hub", UserName::Identity("d/m".parse().unwrap())),
            ("iothubowner@sas.root.hub", UserName::Policy("iothubowner".into())),
        ] {
            assert_eq!(UserName::parse(text).as_ref(), Some(&name), "{text}");
            assert_eq!(name.at("hub.example.com"), text);
        }
        // The whole host, when the client's string names a port (sa §9.8).
        assert_eq!(
            UserName::parse("p@sas.root.localhost:8443"),
            Some(UserName::Policy("p".into()))
        );
        assert_eq!(
            UserName::parse("d/m@sas.hub"),
            Some(UserName::Identity("d/m".parse().unwrap()))
        );
        for text in ["", "d", "d@hub", "@sas.hub", "@sas.root.hub", "a/modules/b/c@sas.hub"] {
            assert_eq!(UserName::parse(text), None, "{text}");
        }
    }
}
