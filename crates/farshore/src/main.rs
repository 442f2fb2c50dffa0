//! The entrance.
fn main() {}
