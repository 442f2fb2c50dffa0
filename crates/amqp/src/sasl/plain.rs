//! The message of the SASL mechanism PLAIN. RFC 4616.

/// What a client says in PLAIN. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain {
    /// Whom the client wants to act for; empty when for itself.
    pub authorization_id: String,
    /// The user.
    pub authentication_id: String,
    /// The password, or a token.
    pub password: String,
}

/// Why an initial response is no PLAIN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlainError {
    /// Text other than UTF-8.
    #[error("sasl plain response is not utf-8")]
    NotUtf8,
    /// Not three parts.
    #[error("sasl plain response needs two nul bytes, between authorization id, user and password")]
    WrongParts,
}

impl Plain {
    /// Reads an initial response.
    pub fn parse(response: &[u8]) -> Result<Plain, PlainError> {
        let text = std::str::from_utf8(response).map_err(|_| PlainError::NotUtf8)?;
        let mut parts = text.split('\0');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(authorization_id), Some(authentication_id), Some(password), None) => Ok(Plain {
                authorization_id: authorization_id.to_owned(),
                authentication_id: authentication_id.to_owned(),
                password: password.to_owned(),
            }),
            _ => Err(PlainError::WrongParts),
        }
    }

    /// The initial response.
    pub fn to_response(&self) -> Vec<u8> {
        let Plain { authorization_id, authentication_id, password } = self;
        format!("{authorization_id}\0{authentication_id}\0{password}").into_bytes()
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Plain")
            .field("authorization_id", &self.authorization_id)
            .field("authentication_id", &self.authentication_id)
            .finish_non_exhaustive()
    }
}
