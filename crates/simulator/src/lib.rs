//! The simulated temperature sensor module.
