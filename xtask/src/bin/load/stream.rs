//! A connection's bytes, over TLS or without.

use std::io::{IoSlice, Read, Result, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::trusting::trusting;
use super::{Arguments, Problem};

/// A blocking stream.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects as the arguments say.
    pub(crate) fn connect(arguments: &Arguments) -> std::result::Result<Self, Problem> {
        static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        let socket = TcpStream::connect(arguments.address)?;
        socket.set_nodelay(true)?;
        if !arguments.tls {
            return Ok(Self::Plain(socket));
        }
        let config = match CONFIG.get() {
            Some(config) => config,
            None => {
                let made = Arc::new(trusting()?);
                CONFIG.get_or_init(|| made)
            }
        };
        let machine =
            ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(machine, socket))))
    }

    /// What the bytes go through in the end.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.write_vectored(buffers),
            Self::Tls(stream) => stream.write_vectored(buffers),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
