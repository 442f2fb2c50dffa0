//! The edge daemon: provisioning, keys, certificates, workload and management APIs.
