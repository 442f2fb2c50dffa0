//! Certificates, chains and sealing of secrets.
//!
//! Pure: the time is an argument, and so is the randomness of [`seal`]. One
//! exception: new keys are drawn by aws-lc inside `rcgen`, which has no way to be
//! handed the randomness. Nothing here verifies servers; that is rustls' work, in
//! `host::tls`. Devices' chains are verified in [`chain`]. Formats: RFC 5280 (X.509), RFC 7468 (PEM), RFC 5958 (PKCS#8).

pub mod authority;
pub mod certificate;
pub mod chain;
pub mod pem;
pub mod seal;

pub use self::authority::{Authority, AuthorityError, Issued, ServerName, Validity};
pub use self::certificate::{AltName, Certificate, CertificateError};
pub use self::chain::{ChainAnchor, ChainError, UnfitAuthority};
pub use self::seal::{MasterKey, SealedText, open, seal};
