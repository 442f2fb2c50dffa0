//! What became of a cloud-to-device message, for the back end that asked to hear of it
//! (`service-api.md` §5.3).

use jiff::Timestamp;

use crate::{DeviceId, GenerationId};

/// How a cloud-to-device message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The device completed it.
    Success,
    /// Its time ran out before that.
    Expired,
    /// It was delivered as often as it may be.
    DeliveryCountExceeded,
    /// The device rejected it.
    Rejected,
    /// A back end emptied the queue.
    Purged,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Success, Self::Expired, Self::DeliveryCountExceeded, Self::Rejected, Self::Purged];
}

/// Which outcomes the sender of a message wants to hear of (`iothub-ack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ack {
    /// None.
    #[default]
    None,
    /// That it was completed.
    Positive,
    /// That it died.
    Negative,
    /// Either.
    Full,
}

impl Ack {
    /// Reads the property; an unknown value asks for nothing, as an absent one does.
    pub fn parse(text: Option<&str>) -> Self {
        let is = |name: &str| text.is_some_and(|text| text.eq_ignore_ascii_case(name));
        match () {
            () if is("positive") => Self::Positive,
            () if is("negative") => Self::Negative,
            () if is("full") => Self::Full,
            () => Self::None,
        }
    }

    /// Whether this outcome is to be told.
    pub fn wants(self, outcome: Outcome) -> bool {
        match self {
            Self::None => false,
            Self::Positive => outcome == Outcome::Success,
            Self::Negative => outcome != Outcome::Success,
            Self::Full => true,
        }
    }
}

/// What is told of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The message's id, as its sender or the hub named it.
    pub message_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub time: Timestamp,
    /// Whose message it was.
    pub device: DeviceId,
    /// The device's generation.
    pub generation: GenerationId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_property_says_which_outcomes_are_told() {
        for (text, told) in [
            (None, [false; 5]),
            (Some("none"), [false; 5]),
            (Some("rubbish"), [false; 5]),
            (Some("positive"), [true, false, false, false, false]),
            (Some("Negative"), [false, true, true, true, true]),
            (Some("full"), [true; 5]),
        ] {
            let ack = Ack::parse(text);
            assert_eq!(Outcome::ALL.map(|outcome| ack.wants(outcome)), told, "{text:?}");
        }
    }
}
