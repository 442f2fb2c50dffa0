//! The frames of the SASL layer, and the text of the mechanism PLAIN.
//!
//! Which mechanism is offered, and whether a password is right, is not decided here.
//!
//! Specification: OASIS AMQP 1.0 part 5 (security) §5.3; RFC 4616.

mod codec;
mod plain;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::types::Symbol;

pub use plain::{Plain, PlainError};

/// What the body of a SASL frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslFrame {
    /// The server's mechanisms. §5.3.3.1
    Mechanisms(Vec<Symbol>),
    /// The client's choice. §5.3.3.2
    Init(Init),
    /// The server's question. §5.3.3.3
    Challenge(Bytes),
    /// The client's answer. §5.3.3.4
    Response(Bytes),
    /// The end. §5.3.3.5
    Outcome {
        /// How it went.
        code: Outcome,
        /// The server's last word.
        additional_data: Option<Bytes>,
    },
}

/// The mechanism that a client chose. §5.3.3.2
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Its name.
    pub mechanism: Symbol,
    /// Its first message; absent and empty are different only to the mechanism.
    pub initial_response: Option<Bytes>,
    /// The host the client means.
    pub hostname: Option<String>,
}

/// How the SASL exchange went. §5.3.3.6
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Come in.
    Ok,
    /// Wrong credentials.
    Auth,
    /// The server's fault.
    Sys,
    /// The server's fault, for good.
    SysPerm,
    /// The server's fault, for now.
    SysTemp,
}
