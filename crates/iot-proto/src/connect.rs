//! The MQTT client id and user name of a CONNECT, and the chain of edge devices in it.
//!
//! Spec: dp §3.1, er §5.5, §5.10. Ids may hold `?`, `#`, `%` and `=`, so nothing is searched for:
//! the client id tells how long the identity in the user name is.

use std::fmt;
use std::str::FromStr;

use model::id::IdError;
use model::{DeviceId, IdentityId};

use crate::percent;

/// Who a CONNECT says it is. Nothing of it is proven yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectName {
    /// The hub's name as the client knows it; it is not checked.
    pub host: String,
    /// The identity, the same in client id and user name.
    pub identity: IdentityId,
    /// The API version, for the log; any value is taken.
    pub api_version: Option<String>,
    /// The SDK and its version.
    pub client_type: Option<String>,
    /// The DTDL model that the device announces.
    pub model_id: Option<String>,
    /// The edge devices between the identity and us.
    pub auth_chain: Option<AuthChain>,
}

/// Why client id and user name do not go together. All of them are CONNACK 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The client id is no device id and no `device/module`.
    #[error("client id is neither a device id nor device/module")]
    ClientId(#[source] IdError),
    /// The user name is longer than [`USER_NAME_BYTES_MAX`].
    #[error("user name has {0} bytes; at most {USER_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The user name has no host.
    #[error(
        "user name does not begin with the hub's host name; write host/{{client id}}/?api-version=2021-04-12"
    )]
    NoHost,
    /// The user name names another identity than the client id.
    #[error(
        "user name does not name the client id {client_id:?} after the host; both must be the same"
    )]
    Mismatch {
        /// The client id.
        client_id: String,
    },
    /// The chain is malformed.
    #[error("user name has a wrong auth-chain")]
    AuthChain(#[source] AuthChainError),
}

/// The longest user name: host, ids and chain in threefold encoding fit well.
pub const USER_NAME_BYTES_MAX: usize = 8192;
/// The API version that our own clients name.
pub const API_VERSION: &str = "2021-04-12";

impl ConnectName {
    /// Our own client's name for an identity.
    pub fn new(host: impl Into<String>, identity: IdentityId, client_type: &str) -> Self {
        Self {
            host: host.into(),
            identity,
            api_version: Some(API_VERSION.to_owned()),
            client_type: Some(client_type.to_owned()),
            model_id: None,
            auth_chain: None,
        }
    }

    /// Reads both texts of a CONNECT.
    pub fn parse(client_id: &str, user_name: &str) -> Result<Self, ConnectError> {
        let identity: IdentityId = client_id.parse().map_err(ConnectError::ClientId)?;
        if user_name.len() > USER_NAME_BYTES_MAX {
            return Err(ConnectError::TooLong(user_name.len()));
        }
        let (host, rest) = user_name.split_once('/').ok_or(ConnectError::NoHost)?;
        if host.is_empty() {
            return Err(ConnectError::NoHost);
        }
        let mismatch = || ConnectError::Mismatch { client_id: client_id.to_owned() };
        let tail = rest.strip_prefix(client_id).ok_or_else(mismatch)?;
        let query = match (tail.strip_prefix("/?"), tail.strip_prefix('/')) {
            (Some(query), _) => query,
            (None, Some(query)) if query.is_empty() || is_query(query) => query,
            (None, None) if tail.is_empty() => "",
            _ => return Err(mismatch()),
        };
        let mut name = Self {
            host: host.to_owned(),
            identity,
            api_version: None,
            client_type: None,
            model_id: None,
            auth_chain: None,
        };
        name.read_query(query)?;
        Ok(name)
    }

    /// Reads `k=v` pairs; the first of two wins, unknown ones are ignored.
    fn read_query(&mut self, query: &str) -> Result<(), ConnectError> {
        for (key, value) in pairs(query) {
            let slot = match key {
                KEY_API_VERSION => &mut self.api_version,
                KEY_CLIENT_TYPE => &mut self.client_type,
                KEY_MODEL_ID => &mut self.model_id,
                KEY_AUTH_CHAIN if self.auth_chain.is_none() => {
                    let chain = percent::decode(value).parse().map_err(ConnectError::AuthChain)?;
                    self.auth_chain = Some(chain);
                    continue;
                }
                _ => continue,
            };
            if slot.is_none() && !value.is_empty() {
                *slot = Some(percent::decode(value).into_owned());
            }
        }
        Ok(())
    }

    /// The client id.
    pub fn client_id(&self) -> String {
        self.identity.to_string()
    }

    /// The user name.
    pub fn user_name(&self) -> String {
        let mut text = format!("{}/{}/", self.host, self.identity);
        let chain = self.auth_chain.as_ref().map(ToString::to_string);
        let pairs = [
            (KEY_API_VERSION, self.api_version.as_deref()),
            (KEY_CLIENT_TYPE, self.client_type.as_deref()),
            (KEY_MODEL_ID, self.model_id.as_deref()),
            (KEY_AUTH_CHAIN, chain.as_deref()),
        ];
        let mut separator = '?';
        for (key, value) in pairs {
            if let Some(value) = value {
                text.push(std::mem::replace(&mut separator, '&'));
                text.push_str(key);
                text.push('=');
                percent::encode_into(value, &mut text);
            }
        }
        text
    }
}

/// Whether what follows the identity without a `?` is a query and not another segment.
fn is_query(text: &str) -> bool {
    let key = text.split_once('=').map(|(key, _)| key);
    key.is_some_and(|key| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

/// The pairs of a query. The legacy form joins its two by `/`, and its client type is not encoded.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let (query, legacy) = match query.split_once(LEGACY_CLIENT_TYPE) {
        Some((head, client_type)) if !head.contains('&') => (head, Some(client_type)),
        _ => (query, None),
    };
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .chain(legacy.map(|client_type| (KEY_CLIENT_TYPE, client_type)))
}

const KEY_API_VERSION: &str = "api-version";
const KEY_CLIENT_TYPE: &str = "DeviceClientType";
const KEY_MODEL_ID: &str = "model-id";
const KEY_AUTH_CHAIN: &str = "auth-chain";
const LEGACY_CLIENT_TYPE: &str = "/DeviceClientType=";

/// The way from an identity up to the edge device that speaks for it: target first, actor last,
/// joined by `;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthChain {
    ids: Vec<IdentityId>,
}

/// Why a text is no chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthChainError {
    /// It has more than [`CHAIN_LENGTH_MAX`] members.
    #[error("auth-chain has more than {CHAIN_LENGTH_MAX} ids")]
    TooLong,
    /// A member is no id.
    #[error("auth-chain holds a text that is no id")]
    Id(#[source] IdError),
    /// A member cannot stand in a chain.
    #[error("auth-chain cannot hold the id {0:?}, because `;` joins its ids")]
    Separator(String),
    /// The actor is a module.
    #[error("auth-chain ends with {0:?}; the last must be the edge device that speaks")]
    Actor(String),
}

/// A target, then at most five levels of edge devices (er §5.5), the target's own device included.
pub const CHAIN_LENGTH_MAX: usize = 7;

impl AuthChain {
    /// A chain of these ids, target first.
    pub fn new(ids: Vec<IdentityId>) -> Result<Self, AuthChainError> {
        if ids.len() > CHAIN_LENGTH_MAX {
            return Err(AuthChainError::TooLong);
        }
        for id in &ids {
            let text = id.to_string();
            if text.contains(';') {
                return Err(AuthChainError::Separator(text));
            }
        }
        match ids.last() {
            Some(actor) if actor.module.is_none() => Ok(Self { ids }),
            Some(actor) => Err(AuthChainError::Actor(actor.to_string())),
            None => Err(AuthChainError::Id(IdError::Empty("auth-chain"))),
        }
    }

    /// Every member, target first.
    pub fn ids(&self) -> &[IdentityId] {
        &self.ids
    }

    /// Who is spoken for.
    pub fn target(&self) -> &IdentityId {
        &self.ids[0]
    }

    /// The edge device that speaks, by its `$edgeHub`.
    pub fn actor(&self) -> &DeviceId {
        &self.ids[self.ids.len() - 1].device
    }
}

impl FromStr for AuthChain {
    type Err = AuthChainError;

    fn from_str(text: &str) -> Result<Self, AuthChainError> {
        // One more than allowed is enough to refuse it.
        let ids = text
            .split(';')
            .take(CHAIN_LENGTH_MAX + 1)
            .map(str::parse)
            .collect::<Result<Vec<IdentityId>, _>>()
            .map_err(AuthChainError::Id)?;
        Self::new(ids)
    }
}

impl fmt::Display for AuthChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, id) in self.ids.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{id}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
