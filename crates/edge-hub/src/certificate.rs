//! The server certificate: from the workload API, and renewed in place before it ends.
//!
//! The original exits and is restarted for a new one (T-CERT30); here handshakes simply get the
//! new one, and connections go on.

use std::time::Duration;

use client::edge::{EdgeError, WorkloadClient};
use host::clock::Clock;
use host::tls::{ServerTls, TlsError};
use jiff::{SignedDuration, Timestamp};

use crate::state::patiently;

/// The certificate in use, and when the next one is due.
pub(crate) struct Certificate {
    pub(crate) tls: ServerTls,
    renew_at: Timestamp,
    workload: WorkloadClient,
    host_name: String,
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
        let renew_at = renewal(clock.wall(), issued.expiration.parse().ok());
        Ok(Self { tls, renew_at, workload, host_name })
    }

    /// Renews it for ever. What goes wrong is told and tried again.
    pub(crate) async fn keep(mut self, clock: Clock) {
        loop {
            // The wall clock may be set meanwhile, so it is looked at again now and then.
            let left = self.renew_at.duration_since(clock.wall());
            let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
            if !left.is_zero() {
                clock.sleep(left.min(LOOK_EVERY)).await;
                continue;
            }
            match self.renew(&clock).await {
                Ok(()) => tracing::info!(renew_at = %self.renew_at, "server certificate renewed"),
                Err(error) => {
                    let error = host::logs::chain(&error);
                    tracing::error!(%error, "cannot renew the server certificate; it is tried again");
                    clock.sleep(RETRY).await;
                }
            }
        }
    }

    async fn renew(&mut self, clock: &Clock) -> Result<(), CertificateError> {
        let issued = self.workload.server_certificate(&self.host_name).await;
        let issued = issued.map_err(|source| CertificateError::Workload {
            host_name: self.host_name.clone(),
            source,
        })?;
        self.tls.reload(&issued.certificate, &issued.private_key.bytes)?;
        self.renew_at = renewal(clock.wall(), issued.expiration.parse().ok());
        Ok(())
    }
}

/// At 80 % of its life; a certificate that does not say when it ends is renewed daily.
fn renewal(now: Timestamp, expires: Option<Timestamp>) -> Timestamp {
    let life = match expires {
        Some(expires) => expires.duration_since(now) * RENEWAL_PERCENT / 100,
        None => UNKNOWN_LIFE,
    };
    now.saturating_add(life.max(LIFE_MIN)).unwrap_or(Timestamp::MAX)
}

const RENEWAL_PERCENT: i32 = 80;
const UNKNOWN_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// Keeps a certificate that is over already from being asked for in a loop.
const LIFE_MIN: SignedDuration = SignedDuration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_four_fifths_of_the_life() {
        let now: Timestamp = "2026-11-25T00:00:00Z".parse().unwrap();
        for (expires, due) in [
            (Some("2026-12-25T00:00:00+00:00"), "2026-12-19T00:00:00Z"),
            (Some("2026-11-24T00:00:00Z"), "2026-11-25T00:01:00Z"),
            (None, "2026-11-26T00:00:00Z"),
        ] {
            let expires = expires.map(|text| text.parse().unwrap());
            assert_eq!(renewal(now, expires).to_string(), due);
        }
    }
}
