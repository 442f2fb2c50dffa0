//! Composition: the only place that knows which parts there are.

pub(crate) mod certificates;
pub(crate) mod hub;
pub(crate) mod operations;
