//! What one connection has proven by tokens: identities and policies, each until its token ends.
//!
//! A token that comes again for the same identity or policy replaces the earlier one; links live on
//! as long as one covers them (`device-protocol.md` §4.2).

use std::sync::Arc;

use host::clock::Clock;
use iot_proto::sas::{IdMatch, SasToken};
use jiff::Timestamp;
use model::IdentityId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::nodes::Access;
use crate::auth::{PolicyToken, Rights};

/// The claims of a connection. Cheap to clone; every clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    claims: Mutex<Vec<Claim>>,
    /// Told when a claim comes, is renewed or goes.
    changed: Notify,
}

/// Something that was proven.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) subject: Subject,
    /// The token's text: links are authorised with it when they are attached.
    pub(super) text: Arc<str>,
    pub(super) token: SasToken,
    /// With the skew that clocks are allowed.
    pub(super) expires: Timestamp,
}

/// What a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// One identity.
    Identity(IdentityId),
    /// A shared access policy; a connection may hold tokens of one policy for several resources.
    Policy { name: Arc<str>, resource: Arc<str>, rights: Rights },
}

/// A connection has as many claims as it may (403005).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection has {CLAIMS_MAX} tokens, which is the most")]
pub(super) struct TooMany;

/// Claims of one connection: Java puts about a thousand devices on one (dp §4.1).
pub(super) const CLAIMS_MAX: usize = 2048;

impl Claims {
    /// Whether the unexpired tokens of policies allow this. `hosts` are the names of this hub.
    pub fn allow(&self, hosts: &[String], access: &Access, now: Timestamp) -> bool {
        self.until(hosts, access).is_some_and(|end| end > now)
    }

    /// The rights that unexpired policy tokens give over a resource.
    pub fn policy_rights(&self, hosts: &[String], segments: &[&str], now: Timestamp) -> Rights {
        let mut granted = Rights::default();
        for claim in self.0.claims.lock().iter().filter(|claim| claim.expires > now) {
            if let Subject::Policy { rights, .. } = &claim.subject
                && claim.token.covers(hosts, segments, IdMatch::IgnoreCase)
            {
                granted = union(granted, *rights);
            }
        }
        granted
    }

    /// Resolves when nothing covers this any more.
    pub async fn lapsed(&self, clock: &Clock, hosts: &[String], access: &Access) {
        loop {
            let changed = self.0.changed.notified();
            let Some(end) = self.until(hosts, access) else { return };
            let Ok(left) = std::time::Duration::try_from(end.duration_since(clock.wall())) else {
                return;
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = clock.sleep(left) => {}
                () = changed => {}
            }
        }
    }

    /// Until when the tokens of policies allow this; none when none does.
    fn until(&self, hosts: &[String], access: &Access) -> Option<Timestamp> {
        let segments: Vec<&str> = access.segments.iter().map(String::as_str).collect();
        let claims = self.0.claims.lock();
        let covering = claims.iter().filter(|claim| match &claim.subject {
            Subject::Identity(_) => false,
            Subject::Policy { rights, .. } => {
                includes(*rights, access.rights)
                    && claim.token.covers(hosts, &segments, IdMatch::IgnoreCase)
            }
        });
        covering.map(|claim| claim.expires).max()
    }

    /// Adds a claim, or renews the one for the same subject. Those that have run out make room.
    pub(super) fn put(&self, claim: Claim, now: Timestamp) -> Result<(), TooMany> {
        let mut claims = self.0.claims.lock();
        if claims.len() >= CLAIMS_MAX {
            claims.retain(|claim| claim.expires > now);
        }
        match claims.iter().position(|known| known.subject.is_same(&claim.subject)) {
            Some(index) => claims[index] = claim,
            None if claims.len() >= CLAIMS_MAX => return Err(TooMany),
            None => claims.push(claim),
        }
        drop(claims);
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// Forgets what fits; gives what was forgotten.
    pub(super) fn remove(&self, fits: impl Fn(&Claim) -> bool) -> Vec<Subject> {
        let mut removed = Vec::new();
        self.0.claims.lock().retain(|claim| {
            let stays = !fits(claim);
            if !stays {
                removed.push(claim.subject.clone());
            }
            stays
        });
        if !removed.is_empty() {
            self.0.changed.notify_waiters();
        }
        removed
    }

    /// The first claim that fits.
    pub(super) fn find(&self, fits: impl Fn(&Claim) -> bool) -> Option<Claim> {
        self.0.claims.lock().iter().find(|claim| fits(claim)).cloned()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.claims.lock().len()
    }
}

impl Claim {
    /// The claim of a policy's token.
    pub(super) fn of_policy(text: &str, proof: PolicyToken) -> Self {
        let subject = Subject::Policy {
            name: proof.name.into(),
            resource: proof.token.resource_raw().into(),
            rights: proof.rights,
        };
        Self { subject, text: text.into(), token: proof.token, expires: proof.expires }
    }
}

impl Subject {
    /// Whether a token for one replaces a token for the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Identity(one), Self::Identity(two)) => one == two,
            (
                Self::Policy { name: one, resource: over, .. },
                Self::Policy { name: two, resource: also, .. },
            ) => one == two && over == also,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Claim {
    /// Tokens never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("subject", &self.subject)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

fn includes(has: Rights, needed: Rights) -> bool {
    (has.registry_read || has.registry_write || !needed.registry_read)
        && (has.registry_write || !needed.registry_write)
        && (has.service_connect || !needed.service_connect)
        && (has.device_connect || !needed.device_connect)
}

fn union(one: Rights, two: Rights) -> Rights {
    Rights {
        registry_read: one.registry_read || two.registry_read,
        registry_write: one.registry_write || two.registry_write,
        service_connect: one.service_connect || two.service_connect,
        device_connect: one.device_connect || two.device_connect,
    }
}
