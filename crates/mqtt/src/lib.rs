//! MQTT 3.1.1 packets and session machine, without I/O.
