//! Where other rooms plug their links in: what an address means that is none of a device's.
//!
//! A link's life: [`Nodes::resolve`] says what its address means and which right that takes; the
//! connection asks its claims; [`Nodes::open`] looks up what there is to look up and gives the
//! terms of the attach answer together with the future that serves the link through its
//! [`Port`]. The future runs inside the connection's task beside all its other links'. When the
//! claim runs out that let the link in, it is detached with `amqp:unauthorized-access`.

use std::future::Future;
use std::pin::Pin;

use amqp::performative::{Attach, Source, Target};
use amqp::{Error, Map, Symbol};

use super::port::Port;
use crate::auth::Rights;

/// What a connection serves besides devices' links.
pub trait Nodes: Send + Sync + 'static {
    /// What an address means.
    type Node: Send + 'static;

    /// Says what a link wants and what right that takes, or refuses it. `attach` is the client's,
    /// so its role is the client's: a [`amqp::Role::Sender`] sends to us. `host` is what the client
    /// called us when it opened the connection.
    fn resolve(
        &self,
        attach: &Attach,
        host: Option<&str>,
    ) -> Result<(Self::Node, Access), Box<Error>>;

    /// Opens the link, whose right was found.
    fn open(
        &self,
        node: Self::Node,
        attach: &Attach,
        port: Port,
    ) -> impl Future<Output = Result<Served, Box<Error>>> + Send;

    /// Host names besides [`crate::auth::Identities::host_names`] that tokens may name.
    fn host_names(&self) -> &[String] {
        &[]
    }
}

/// Which right a link takes, and over what: asked of the connection's claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The resource below the host, decoded; a token for anything above it is enough. Compared
    /// without case.
    pub segments: Vec<String>,
    /// Every right that is set here is needed.
    pub rights: Rights,
}

/// A link that is let in.
pub struct Served {
    /// What the attach answer says.
    pub terms: Terms,
    /// How it is served.
    pub serve: Serve,
}

/// The part of an attach answer that the node decides; names, handles and settle modes are the
/// client's own.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The source; the client's own unless it is set.
    pub source: Option<Box<Source>>,
    /// The target; the client's own unless it is set.
    pub target: Option<Box<Target>>,
    /// The capabilities that are there.
    pub offered_capabilities: Vec<Symbol>,
    /// Anything else to tell.
    pub properties: Map,
    /// For links on which the client sends: how many messages may be on their way. They are topped
    /// up as the node settles them.
    pub credit: u32,
}

/// How a link is served.
pub enum Serve {
    /// By this future until it ends: then the link is detached with its error, if it has one. It
    /// also must end soon after its port is gone ([`Port::next`] gives nothing any more).
    Run(Pin<Box<dyn Future<Output = Option<Box<Error>>> + Send>>),
    /// Not at all: the link takes the answers that [`Port::reply`] gives on links of the same
    /// session with the same name of a request-response node, for example `$management`.
    Replies(&'static str),
}

/// No nodes but devices': an edge hub.
#[derive(Debug, Clone, Copy, Default)]
pub struct DevicesOnly;

impl Nodes for DevicesOnly {
    type Node = std::convert::Infallible;

    fn resolve(&self, _: &Attach, _: Option<&str>) -> Result<(Self::Node, Access), Box<Error>> {
        Err(Box::new(Error::new(
            amqp::performative::condition::NOT_FOUND,
            "the address is none of a device's or module's",
        )))
    }

    async fn open(&self, node: Self::Node, _: &Attach, _: Port) -> Result<Served, Box<Error>> {
        match node {}
    }
}
