//! Who a client is by SASL. Most are nobody yet: their tokens follow on `$cbs`, or their certificate
//! stands in the TLS handshake (dp §4.1, sa §9.8).

use std::sync::Arc;

use amqp::sasl::{Outcome, Plain};
use iot_proto::amqp::sasl::{ANONYMOUS, EXTERNAL, MSSBCBS, PLAIN, UserName};
use iot_proto::sas::SasToken;

use super::claims::{Claim, Subject};
use super::core::{Around, Core, Done};
use super::nodes::Nodes;
use crate::auth::{self, AuthError, Identities, Proof};
use crate::backend::DeviceBackend;

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    pub(super) fn handle_sasl(&mut self, mechanism: &str, response: &[u8]) {
        let known = match mechanism {
            ANONYMOUS | MSSBCBS => true,
            // Which identity the certificate proves is asked when its first link is attached.
            EXTERNAL => self.around.peer.certificates.is_some(),
            PLAIN => return self.handle_plain(response),
            _ => false,
        };
        let outcome = if known { Outcome::Ok } else { Outcome::Auth };
        self.sasl_decided(outcome, None);
    }

    fn handle_plain(&mut self, response: &[u8]) {
        let plain = Plain::parse(response).ok();
        let named = plain
            .and_then(|plain| Some((UserName::parse(&plain.authentication_id)?, plain.password)));
        let Some((name, password)) = named else {
            tracing::warn!(peer = %self.around.peer, "sasl plain without a user name of ours");
            return self.sasl_decided(Outcome::Auth, None);
        };
        let around = Arc::clone(&self.around);
        self.work.push(Box::pin(async move {
            match plain_claim(&around, name, &password).await {
                Ok(claim) => Done::Sasl { outcome: Outcome::Ok, claim: Some(claim) },
                Err(error) => {
                    tracing::warn!(peer = %around.peer, reason = %error, "connection refused");
                    let outcome = match error {
                        AuthError::Denied(_) => Outcome::Auth,
                        AuthError::Unavailable(_) => Outcome::SysTemp,
                    };
                    Done::Sasl { outcome, claim: None }
                }
            }
        }));
    }

    pub(super) fn sasl_decided(&mut self, outcome: Outcome, claim: Option<Claim>) {
        // The first claim of a connection always fits.
        let put = claim.map_or(Ok(()), |claim| self.claims.put(claim, self.around.clock.wall()));
        debug_assert!(put.is_ok(), "{put:?}");
        self.machine.sasl_outcome(outcome);
    }
}

async fn plain_claim<B, N>(
    around: &Around<B, N>,
    name: UserName,
    password: &str,
) -> Result<Claim, AuthError>
where
    B: DeviceBackend + Identities,
{
    let now = around.clock.wall();
    match name {
        UserName::Identity(id) => {
            let proof = Proof::Token(password);
            let principal = auth::identity(&*around.backend, &id, None, proof, now).await?;
            let token = SasToken::parse(password).map_err(auth::Denied::Malformed)?;
            // Even a policy's token under a device's name speaks for that device alone.
            let subject = Subject::Identity(principal.identity);
            Ok(Claim { subject, text: password.into(), token, expires: principal.expires })
        }
        UserName::Policy(name) => {
            let proof = auth::policy_token(&*around.backend, password, now).await?;
            if proof.name != name {
                return Err(auth::Denied::UnknownPolicy.into());
            }
            Ok(Claim::of_policy(password, proof))
        }
    }
}
