//! What a condition looks at.

use std::borrow::Cow;

use serde_json::Value;

/// Something that conditions are evaluated on.
pub trait Subject {
    /// The application property of this name. Names are the same in any case; one that is the same
    /// to the letter comes first.
    fn property(&self, name: &str) -> Option<Cow<'_, str>>;

    /// The system property of this name, in any case, such as `contentType`.
    fn system_property(&self, name: &str) -> Option<Cow<'_, str>>;

    /// The body, if it is said to be JSON, and is a JSON object.
    fn body(&self) -> Option<&Value>;

    /// The twin of the sender, where there is one.
    fn twin(&self) -> Option<&Value>;
}
