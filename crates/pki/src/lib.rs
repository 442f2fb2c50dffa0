//! Certificates, chains and sealing of secrets; time and entropy are arguments.
