//! Module runtimes: containers by the Docker API, or plain processes.
