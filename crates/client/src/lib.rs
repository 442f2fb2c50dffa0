//! The client end of a connection: device, module, service and management clients.
