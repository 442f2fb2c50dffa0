//! AMQP 1.0 without input and output: bytes and time go in, events and bytes come out.
