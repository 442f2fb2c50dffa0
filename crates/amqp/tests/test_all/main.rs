//! The AMQP machine from outside: two ends that talk to each other in memory, and
//! peers that say what they should not.

mod pair;
mod raw;

mod bounds;
mod flows;
mod random;
mod refusals;
