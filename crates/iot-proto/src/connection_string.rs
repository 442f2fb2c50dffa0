//! Connection strings: what a device, a module or a service tool is given to connect with.
//!
//! Spec: dp §2.3. Pairs are joined by `;`, each split at its first `=` (keys end in `=`). Field
//! names are compared without case, as .NET does; fields that are not ours are ignored. A host
//! name keeps its `:port`. Keys keep their exact text and never reach a log.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::id::IdError;
use model::{DeviceId, IdentityId, ModuleId};

/// What a device or module connects with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConnectionString {
    /// The hub's name, with `:port` when given.
    pub host_name: String,
    /// Who connects.
    pub identity: IdentityId,
    /// How it proves that.
    pub credential: Credential,
    /// The gateway to dial instead of the hub.
    pub gateway_host_name: Option<String>,
}

/// How the holder of a connection string proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A key of the identity.
    Key(SharedKey),
    /// A key of a shared access policy with the right DeviceConnect.
    PolicyKey {
        /// The policy's name.
        policy: String,
        /// The key.
        key: SharedKey,
    },
    /// A token made elsewhere.
    Token(SharedKey),
    /// A certificate that is not part of the string.
    X509,
}

/// What a service tool connects with: a key of a shared access policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConnectionString {
    /// The hub's name, with `:port` when given.
    pub host_name: String,
    /// The policy's name.
    pub policy: String,
    /// The key.
    pub key: SharedKey,
}

/// A secret text: a key in Base64 or a token.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey(String);

impl SharedKey {
    /// Wraps a secret's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's bytes.
    pub fn decode(&self) -> Result<Vec<u8>, ConnectionStringError> {
        STANDARD.decode(self.0.trim()).map_err(|_| ConnectionStringError::Key)
    }
}

impl fmt::Debug for SharedKey {
    /// Keys never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// Why a text is no connection string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// It is longer than [`LENGTH_MAX`].
    #[error("connection string has {0} characters; at most {LENGTH_MAX} are allowed")]
    TooLong(usize),
    /// A pair has no `=`. Its text is not shown: it may be a key.
    #[error("connection string part {0} has no `=`; parts are Name=value joined by `;`")]
    NotAPair(usize),
    /// A field stands twice.
    #[error("connection string has the field {0} twice")]
    Duplicate(&'static str),
    /// A field is missing or empty.
    #[error("connection string lacks {0}")]
    Missing(&'static str),
    /// There is none or more than one way to prove who it is.
    #[error(
        "connection string needs exactly one of SharedAccessKey, SharedAccessSignature, x509=true"
    )]
    Credential,
    /// A field does not belong in a string of this kind.
    #[error("connection string has {0}, which belongs in a {1} connection string")]
    WrongKind(&'static str, &'static str),
    /// An id is not one.
    #[error("connection string names a wrong id")]
    Id(#[source] IdError),
    /// A key is not Base64.
    #[error("SharedAccessKey is not Base64; copy the whole key, with the `=` at its end")]
    Key,
}

/// The longest connection string: a token in it may have 4 KiB, the rest stays below another.
pub const LENGTH_MAX: usize = 8192;

impl FromStr for DeviceConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        let fields = Fields::split(text)?;
        let host_name = fields.required(Field::HostName)?;
        let device = fields.required(Field::DeviceId)?.parse::<DeviceId>()?;
        let module = fields.get(Field::ModuleId).map(str::parse::<ModuleId>).transpose()?;
        Ok(Self {
            host_name,
            identity: IdentityId { device, module },
            credential: fields.credential()?,
            gateway_host_name: fields.get(Field::GatewayHostName).map(str::to_owned),
        })
    }
}

impl FromStr for ServiceConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        let fields = Fields::split(text)?;
        if fields.get(Field::DeviceId).is_some() {
            return Err(ConnectionStringError::WrongKind(Field::DeviceId.name(), "device"));
        }
        let host_name = fields.required(Field::HostName)?;
        let policy = fields.required(Field::SharedAccessKeyName)?;
        let key = SharedKey(fields.required(Field::SharedAccessKey)?);
        key.decode()?;
        Ok(Self { host_name, policy, key })
    }
}

impl fmt::Display for DeviceConnectionString {
    /// The whole string, secret included: for the owner's eyes only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName={};DeviceId={}", self.host_name, self.identity.device)?;
        if let Some(module) = &self.identity.module {
            write!(f, ";ModuleId={module}")?;
        }
        match &self.credential {
            Credential::Key(key) => write!(f, ";SharedAccessKey={}", key.0)?,
            Credential::PolicyKey { policy, key } => {
                write!(f, ";SharedAccessKeyName={policy};SharedAccessKey={}", key.0)?;
            }
            Credential::Token(token) => write!(f, ";SharedAccessSignature={}", token.0)?,
            Credential::X509 => f.write_str(";x509=true")?,
        }
        match &self.gateway_host_name {
            Some(gateway) => write!(f, ";GatewayHostName={gateway}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ServiceConnectionString {
    /// The whole string, secret included: for the owner's eyes only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HostName={};SharedAccessKeyName={};SharedAccessKey={}",
            self.host_name, self.policy, self.key.0
        )
    }
}

impl From<IdError> for ConnectionStringError {
    fn from(source: IdError) -> Self {
        Self::Id(source)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    HostName,
    DeviceId,
    ModuleId,
    SharedAccessKey,
    SharedAccessKeyName,
    SharedAccessSignature,
    X509,
    GatewayHostName,
}

impl Field {
    const ALL: [Self; 8] = [
        Self::HostName,
        Self::DeviceId,
        Self::ModuleId,
        Self::SharedAccessKey,
        Self::SharedAccessKeyName,
        Self::SharedAccessSignature,
        Self::X509,
        Self::GatewayHostName,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::HostName => "HostName",
            Self::DeviceId => "DeviceId",
            Self::ModuleId => "ModuleId",
            Self::SharedAccessKey => "SharedAccessKey",
            Self::SharedAccessKeyName => "SharedAccessKeyName",
            Self::SharedAccessSignature => "SharedAccessSignature",
            Self::X509 => "x509",
            Self::GatewayHostName => "GatewayHostName",
        }
    }
}

/// The known fields of a string, by their number in [`Field`].
struct Fields<'a>([Option<&'a str>; Field::ALL.len()]);

impl<'a> Fields<'a> {
    fn split(text: &'a str) -> Result<Self, ConnectionStringError> {
        if text.len() > LENGTH_MAX {
            return Err(ConnectionStringError::TooLong(text.len()));
        }
        let mut fields = Self([None; Field::ALL.len()]);
        for (index, part) in text.trim().split(';').enumerate() {
            if part.trim().is_empty() {
                continue;
            }
            let (name, value) =
                part.split_once('=').ok_or(ConnectionStringError::NotAPair(index + 1))?;
            let name = name.trim();
            let known = Field::ALL.into_iter().find(|f| f.name().eq_ignore_ascii_case(name));
            let Some(field) = known else { continue };
            if fields.0[field as usize].replace(value.trim()).is_some() {
                return Err(ConnectionStringError::Duplicate(field.name()));
            }
        }
        Ok(fields)
    }

    fn get(&self, field: Field) -> Option<&'a str> {
        self.0[field as usize].filter(|value| !value.is_empty())
    }

    fn required(&self, field: Field) -> Result<String, ConnectionStringError> {
        self.get(field).map(str::to_owned).ok_or(ConnectionStringError::Missing(field.name()))
    }

    fn credential(&self) -> Result<Credential, ConnectionStringError> {
        let key = self.get(Field::SharedAccessKey);
        let token = self.get(Field::SharedAccessSignature);
        let x509 = self.get(Field::X509).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match (key, token, x509) {
            (Some(key), None, false) => {
                let key = SharedKey(key.to_owned());
                key.decode()?;
                Ok(match self.get(Field::SharedAccessKeyName) {
                    Some(policy) => Credential::PolicyKey { policy: policy.to_owned(), key },
                    None => Credential::Key(key),
                })
            }
            (None, Some(token), false) => Ok(Credential::Token(SharedKey(token.to_owned()))),
            (None, None, true) => Ok(Credential::X509),
            (None, None, false) => {
                Err(ConnectionStringError::Missing(Field::SharedAccessKey.name()))
            }
            _ => Err(ConnectionStringError::Credential),
        }
    }
}

#[cfg(test)]
mod tests;
