//! Storage traits, their conformance suite and the embedded backend.
