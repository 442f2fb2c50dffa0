//! Composition: the only place that knows which parts there are.

pub(crate) mod certificates;
pub(crate) mod edge;
pub(crate) mod engine;
pub(crate) mod hub;
pub(crate) mod operations;
pub(crate) mod rest;
