//! The suite that every backend of the store traits must pass.
