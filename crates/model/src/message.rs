//! A message between a device or module and the hub: system properties, application properties
//! and an opaque body.

use bytes::Bytes;

/// A message. Properties keep their order; a name stands once (the last one given wins).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// System properties that are set.
    pub system: Vec<(SystemProperty, String)>,
    /// Application properties, names and values as text.
    pub properties: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// A message that is only a body.
    pub fn from_body(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The value of a system property.
    pub fn system(&self, property: SystemProperty) -> Option<&str> {
        self.system.iter().rev().find(|(p, _)| *p == property).map(|(_, value)| value.as_str())
    }

    /// Sets a system property, replacing an earlier value.
    pub fn set_system(&mut self, property: SystemProperty, value: impl Into<String>) {
        let value = value.into();
        match self.system.iter_mut().find(|(p, _)| *p == property) {
            Some(entry) => entry.1 = value,
            None => self.system.push((property, value)),
        }
    }

    /// The same, for building in one expression.
    #[must_use]
    pub fn with_system(mut self, property: SystemProperty, value: impl Into<String>) -> Self {
        self.set_system(property, value);
        self
    }

    /// The value of an application property; names are compared as they are.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Sets an application property, replacing an earlier value.
    pub fn set_property(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.properties.iter_mut().find(|(n, _)| *n == name) {
            Some(entry) => entry.1 = value,
            None => self.properties.push((name, value)),
        }
    }

    /// The size that limits count: body, system property values, application property names and
    /// values (`device-protocol.md` §6.5).
    pub fn size_bytes(&self) -> usize {
        self.body.len()
            + self.system.iter().map(|(_, value)| value.len()).sum::<usize>()
            + self.properties.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// The system properties that travel with a message. The discriminants are part of the stored
/// format: never renumber, only add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum SystemProperty {
    /// Message id.
    MessageId = 1,
    /// Correlation id.
    CorrelationId = 2,
    /// User id.
    UserId = 3,
    /// Destination.
    To = 4,
    /// Absolute expiry time, ISO 8601 as the sender wrote it.
    ExpiryTime = 5,
    /// Content type.
    ContentType = 6,
    /// Content encoding.
    ContentEncoding = 7,
    /// Output name of a module.
    OutputName = 8,
    /// Device id of the sender, set by an edge hub.
    ConnectionDeviceId = 9,
    /// Module id of the sender, set by an edge hub.
    ConnectionModuleId = 10,
    /// Interface id (security messages).
    InterfaceId = 11,
    /// Component name (Plug and Play).
    Component = 12,
    /// Message schema.
    MessageSchema = 13,
    /// Creation time, ISO 8601 as the sender wrote it.
    CreationTime = 14,
    /// Distributed tracing id.
    DiagnosticId = 15,
    /// Distributed tracing context.
    DiagnosticContext = 16,
    /// Which feedback the sender of a cloud-to-device message wants.
    Ack = 17,
    /// Operation tag of a cloud-to-device message.
    Operation = 18,
    /// DTDL model the device announced on its connection.
    ModelId = 19,
}

impl SystemProperty {
    /// Every property, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::MessageId,
        Self::CorrelationId,
        Self::UserId,
        Self::To,
        Self::ExpiryTime,
        Self::ContentType,
        Self::ContentEncoding,
        Self::OutputName,
        Self::ConnectionDeviceId,
        Self::ConnectionModuleId,
        Self::InterfaceId,
        Self::Component,
        Self::MessageSchema,
        Self::CreationTime,
        Self::DiagnosticId,
        Self::DiagnosticContext,
        Self::Ack,
        Self::Operation,
        Self::ModelId,
    ];

    /// The property with this number in the stored format.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|p| *p as u8 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_read_back() {
        for (index, property) in SystemProperty::ALL.into_iter().enumerate() {
            assert_eq!(property as usize, index + 1);
            assert_eq!(SystemProperty::from_number(property as u8), Some(property));
        }
        assert_eq!(SystemProperty::from_number(0), None);
        assert_eq!(SystemProperty::from_number(20), None);
    }

    #[test]
    fn size_counts_what_the_limit_counts() {
        let mut message =
            Message::from_body(vec![0; 10]).with_system(SystemProperty::MessageId, "abc");
        message.set_property("name", "value");
        assert_eq!(message.size_bytes(), 10 + 3 + 4 + 5);
        message.set_property("name", "v");
        message.set_system(SystemProperty::MessageId, "");
        assert_eq!(message.size_bytes(), 10 + 4 + 1);
    }
}
