//! Randomness from the operating system, by way of aws-lc.

use aws_lc_rs::rand;
use uuid::Uuid;

/// Fills `bytes` with cryptographically secure random bytes.
///
/// # Panics
/// When the operating system has no entropy source. Nothing that this program
/// does is safe then, so there is no error for callers to swallow.
pub fn fill(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the operating system provides entropy");
}

/// `N` cryptographically secure random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// A random (version 4) UUID.
pub fn uuid_v4() -> Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}

/// A random number below `bound` (0 when `bound` is 0); for jitter, not for keys:
/// the modulo's bias is not removed.
pub fn below(bound: u64) -> u64 {
    match bound {
        0 => 0,
        bound => u64::from_le_bytes(bytes()) % bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_and_uuids_are_version_4() {
        assert_ne!(bytes::<32>(), bytes::<32>());
        assert_eq!(uuid_v4().get_version_num(), 4);
        assert!((0..100).all(|_| below(3) < 3));
        assert_eq!(below(0), 0);
    }
}
