//! Checks of the certificates and keys that the configuration names.

use jiff::{SignedDuration, Timestamp};

use super::configuration::WELL_FORMED;
use super::facts::{Facts, Life, Pair, Strength};
use super::report::Outcome;

/// `identity-certificate-expiry`.
pub(super) fn identity_expiry(facts: &Facts) -> Outcome {
    if facts.config.is_err() {
        return Outcome::Skipped(WELL_FORMED);
    }
    match &facts.identity {
        None => Outcome::ignored("the device proves itself by a symmetric key"),
        Some(Pair { life: Ok(life), .. }) => {
            expiry("the device's identity certificate", *life, facts.now, IDENTITY_FIX)
        }
        Some(Pair { life: Err(texts), .. }) => Outcome::Error(texts.clone()),
    }
}

/// As the original judges a certificate's life.
fn expiry(what: &str, life: Life, now: Timestamp, fix: &str) -> Outcome {
    let Life { from, end, .. } = life;
    if now < from {
        return Outcome::error(format!(
            "{what} is valid from {from} only; check this machine's clock: timedatectl status"
        ));
    }
    if end <= now {
        return Outcome::error(format!("{what} expired at {end}; renew it: {fix}"));
    }
    let left = end.duration_since(now);
    if left < WARN_BEFORE {
        let hours = left.as_hours();
        return Outcome::warning(format!(
            "{what} ends in {hours} hours, at {end}; renew it: {fix}"
        ));
    }
    Outcome::Ok
}

/// `certs-preloaded`: the CAs that modules shall trust.
pub(super) fn preloaded(facts: &Facts) -> Outcome {
    if facts.config.is_err() {
        return Outcome::Skipped(WELL_FORMED);
    }
    match &facts.trust_bundle {
        None => Outcome::ignored("the configuration names no trust_bundle_cert"),
        Some(Ok(life)) => {
            expiry("a certificate of trust_bundle_cert", *life, facts.now, BUNDLE_FIX)
        }
        Some(Err(texts)) => Outcome::Error(texts.clone()),
    }
}

/// `certs-read`.
pub(super) fn read(facts: &Facts) -> Outcome {
    pairs(facts, |pair| match &pair.life {
        Ok(_) => Outcome::Ok,
        Err(texts) => Outcome::Error(texts.clone()),
    })
}

/// `key-pairs-read`.
pub(super) fn keys_read(facts: &Facts) -> Outcome {
    pairs(facts, |pair| match (&pair.key_is_read, pair.strength) {
        (Err(texts), _) => Outcome::Error(texts.clone()),
        (Ok(()), Strength::ShortRsa) => weak(pair, "an RSA key of less than 2048 bits"),
        (Ok(()), Strength::OtherCurve) => weak(pair, "a curve other than P-256"),
        (Ok(()), _) => Outcome::Ok,
    })
}

fn weak(pair: &Pair, what: &str) -> Outcome {
    Outcome::warning(format!(
        "{} has {what}; make a key of P-256 or of RSA with 2048 bits, and a certificate for it",
        pair.certificate.display()
    ))
}

/// `certs-match-private-keys`.
pub(super) fn match_keys(facts: &Facts) -> Outcome {
    pairs(facts, |pair| match &pair.fit {
        None => Outcome::Skipped("certs-read"),
        Some(Ok(())) => Outcome::Ok,
        Some(Err(texts)) => {
            let (key, certificate) = (pair.key.display(), pair.certificate.display());
            let mut all = vec![format!(
                "{key} is not the key of {certificate}; name the key that it was made for"
            )];
            all.extend(texts.iter().cloned());
            Outcome::Error(all)
        }
    })
}

/// The worst of what is said of the device's and of the Edge CA's files.
fn pairs(facts: &Facts, judge: impl Fn(&Pair) -> Outcome) -> Outcome {
    if facts.config.is_err() {
        return Outcome::Skipped(WELL_FORMED);
    }
    let outcomes: Vec<Outcome> = facts.identity.iter().chain(&facts.edge_ca).map(judge).collect();
    let rank = |outcome: &Outcome| match outcome {
        Outcome::Error(_) | Outcome::Fatal(_) => 3,
        Outcome::Skipped(_) | Outcome::NotMade(_) => 2,
        Outcome::Warning(_) => 1,
        Outcome::Ok | Outcome::Ignored(_) => 0,
    };
    let worst = outcomes.into_iter().max_by_key(rank);
    worst.unwrap_or_else(|| Outcome::ignored("the configuration names no certificate with its key"))
}

const IDENTITY_FIX: &str = "put the new one and its key where identity_cert and identity_pk of config.toml point, then: sudo iotedge config apply";
const BUNDLE_FIX: &str =
    "put the new one into the file that trust_bundle_cert names, then: sudo iotedge config apply";

/// As the original (`edge-runtime.md` §6.3).
const WARN_BEFORE: SignedDuration = SignedDuration::from_hours(7 * 24);
