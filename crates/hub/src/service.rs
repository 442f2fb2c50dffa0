//! The back ends' side: one file per resource.

mod cloud_to_device;
mod configurations;
pub(crate) mod events;
pub(crate) mod feedback;
pub(crate) mod methods;
pub(crate) mod twins;
