//! The nouns of the platform: identity, twin, message, method, limits, errors.
