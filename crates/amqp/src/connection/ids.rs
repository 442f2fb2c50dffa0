//! Names of sessions, links and deliveries towards the owner. Opaque, cheap to copy,
//! never used again on the same connection: a late call for something that is gone
//! finds nothing, instead of its successor.

/// A session of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(crate) u32);

/// A link of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    pub(crate) session: SessionId,
    pub(crate) number: u32,
}

/// A delivery on a link, in the link's direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId {
    pub(crate) link: LinkId,
    /// The `delivery-id` of the wire.
    pub(crate) number: u32,
}

impl LinkId {
    /// The session of this link.
    #[must_use]
    pub fn session(self) -> SessionId {
        self.session
    }
}

impl DeliveryId {
    /// The link of this delivery.
    #[must_use]
    pub fn link(self) -> LinkId {
        self.link
    }

    /// The session of this delivery.
    #[must_use]
    pub fn session(self) -> SessionId {
        self.link.session
    }
}
