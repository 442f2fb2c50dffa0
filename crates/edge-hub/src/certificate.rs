//! The server certificate: from the workload API, and renewed in place before it ends.
//!
//! The original exits and is restarted for a new one (T-CERT30); here handshakes simply get the
//! new one, and connections go on. When the wall clock was set there is a new one too: the old one
//! may be over by the new time, or not have begun.

use std::time::Duration;

use client::edge::{EdgeError, WorkloadClient};
use host::clock::{Clock, Mono};
use host::tls::{ServerTls, TlsError};
use jiff::Timestamp;

use crate::state::patiently;

/// The certificate in use, and when the next one is due.
pub(crate) struct Certificate {
    pub(crate) tls: ServerTls,
    validity: Validity,
    workload: WorkloadClient,
    host_name: String,
}

/// How long a certificate is good, by what the clock showed when it was issued.
#[derive(Debug, Clone, Copy)]
struct Validity {
    ends: Option<Timestamp>,
    renew_at: Mono,
    /// `wall_at_origin` of the clock then.
    wall_at_origin: Timestamp,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The daemon does not issue one.
    #[error("workload API issues no server certificate for {host_name:?}")]
    Workload {
        /// The name asked for.
        host_name: String,
        /// Its answer.
        source: EdgeError,
    },
    /// What it issued cannot be used.
    #[error("server certificate from the workload API cannot be used")]
    Tls(#[from] TlsError),
}

impl Certificate {
    /// Asks for a certificate, for as long as the daemon does not answer.
    pub(crate) async fn obtain(
        workload: WorkloadClient,
        host_name: String,
        clock: &Clock,
    ) -> Result<Self, CertificateError> {
        let issued = patiently(clock, || workload.server_certificate(&host_name)).await;
        let issued = match issued {
            Ok(issued) => issued,
            Err(source) => return Err(CertificateError::Workload { host_name, source }),
        };
        let tls = ServerTls::new(&issued.certificate, &issued.private_key.bytes)?;
        let validity = Validity::beginning(clock, issued.expiration.parse().ok());
        Ok(Self { tls, validity, workload, host_name })
    }

    /// Renews it for ever. What goes wrong is told and tried again.
    pub(crate) async fn keep(mut self, clock: Clock) {
        let mut pause = self.validity.left(&clock);
        loop {
            let was_set = clock.sleep_unless_set(pause, self.validity.wall_at_origin).await;
            pause = match self.renew(&clock).await {
                Ok(()) => {
                    self.tell(was_set, &clock);
                    self.validity.left(&clock)
                }
                Err(error) => {
                    let error = host::logs::chain(&error);
                    let ends = self.validity.ends.map(tracing::field::display);
                    tracing::error!(%error, ends, "cannot renew the server certificate, clients refuse it after its end; it is tried again");
                    RETRY
                }
            };
        }
    }

    fn tell(&self, was_set: bool, clock: &Clock) {
        let ends = self.validity.ends.map(tracing::field::display);
        match self.validity.ends {
            Some(end) if end <= clock.wall() => tracing::error!(
                ends,
                "the daemon issues no server certificate that holds, because its Edge CA has ended: clients refuse this one; connections that stand go on, and what is stored is sent"
            ),
            _ => tracing::info!(ends, was_set, "server certificate renewed"),
        }
    }

    async fn renew(&mut self, clock: &Clock) -> Result<(), CertificateError> {
        let issued = self.workload.server_certificate(&self.host_name).await;
        let issued = issued.map_err(|source| CertificateError::Workload {
            host_name: self.host_name.clone(),
            source,
        })?;
        self.tls.reload(&issued.certificate, &issued.private_key.bytes)?;
        self.validity = Validity::beginning(clock, issued.expiration.parse().ok());
        Ok(())
    }
}

impl Validity {
    /// From now on. The next one is due at 80 % of the life; one that does not say when it ends is
    /// renewed daily. One that is over already comes of a CA that is: until that is replaced, there
    /// is nothing better.
    fn beginning(clock: &Clock, ends: Option<Timestamp>) -> Self {
        let left = ends.map(|ends| Duration::try_from(ends.duration_since(clock.wall())));
        let wait = match left {
            Some(Ok(left)) if !left.is_zero() => (left / 100 * RENEWAL_PERCENT).max(LIFE_MIN),
            Some(_) => OVER_AGAIN,
            None => UNKNOWN_LIFE,
        };
        Self { ends, renew_at: clock.now() + wait, wall_at_origin: clock.wall_at_origin() }
    }

    fn left(&self, clock: &Clock) -> Duration {
        self.renew_at.duration_since(clock.now())
    }
}

const RENEWAL_PERCENT: u32 = 80;
const UNKNOWN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Keeps a certificate that is nearly over from being asked for in a loop.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// After one that was over when it was issued.
const OVER_AGAIN: Duration = Duration::from_secs(30);
/// Also after the clock was set: then there is to be a new one within 30 s.
const RETRY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_four_fifths_of_the_life() {
        let clock = Clock::manual("2026-11-25T00:00:00Z".parse().unwrap());
        for (ends, hours) in [
            (Some("2026-12-25T00:00:00+00:00"), 24 * 24),
            (Some("2026-11-25T10:00:00Z"), 8),
            (None, 24),
        ] {
            let ends = ends.map(|text| text.parse().unwrap());
            let left = Validity::beginning(&clock, ends).left(&clock);
            assert_eq!(left, Duration::from_secs(hours * 3600));
        }
        let over = Validity::beginning(&clock, Some("2026-11-24T00:00:00Z".parse().unwrap()));
        assert_eq!(over.left(&clock), OVER_AGAIN);
    }
}
