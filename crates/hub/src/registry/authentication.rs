//! The keys of an identity: as given, made when there are none, kept when not mentioned. Their form
//! was checked when they were read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_proto::payload::AuthenticationWrite;
use model::identity::{Authentication, SymmetricKeys};

/// What an identity has after a write. Empty keys mean "make two" on create and "keep" on change
/// (`service-api.md` §13: a client sends empty keys with every status change).
pub(super) fn resolve(
    write: AuthenticationWrite,
    stored: Option<&Authentication>,
) -> Authentication {
    match (write, stored) {
        (AuthenticationWrite::Keep, Some(stored)) => stored.clone(),
        (AuthenticationWrite::SasKeep, Some(stored @ Authentication::Sas(_))) => stored.clone(),
        (AuthenticationWrite::Keep | AuthenticationWrite::SasKeep, _) => {
            Authentication::Sas(new_keys())
        }
        (AuthenticationWrite::Keys(keys), _) => Authentication::Sas(keys),
        (AuthenticationWrite::Other(other), _) => other,
    }
}

/// Two keys of 32 random bytes.
pub(crate) fn new_keys() -> SymmetricKeys {
    let key = || STANDARD.encode(host::entropy::bytes::<32>());
    SymmetricKeys { primary: key(), secondary: key() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_kept() {
        let made = resolve(AuthenticationWrite::Keep, None);
        let keys = made.keys().unwrap();
        assert_ne!(keys.primary, keys.secondary);
        for keeps in [AuthenticationWrite::Keep, AuthenticationWrite::SasKeep] {
            assert_eq!(resolve(keeps, Some(&made)), made);
        }
        let none = Authentication::None;
        assert_eq!(resolve(AuthenticationWrite::Keep, Some(&none)), none);
        assert!(resolve(AuthenticationWrite::SasKeep, Some(&none)).keys().is_some());
    }
}
