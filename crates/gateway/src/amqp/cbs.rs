//! `$cbs`: tokens are put here, checked at once, and kept as claims (dp §4.2, sa §9.3).
//!
//! A token counts for what its own resource says; the audience that the client names only helps to
//! read an id whose case the token has lost. The disposition leaves before the answer.

use std::sync::Arc;

use amqp::connection::{Delivery, DeliveryId};
use amqp::{DeliveryState, Message, MessageId};
use iot_proto::amqp::cbs::{self, Request};
use iot_proto::percent;
use iot_proto::sas::SasToken;
use model::IdentityId;

use super::claims::{Claim, Subject, TooMany};
use super::connection::Ended;
use super::core::{Around, Core, Done};
use super::nodes::Nodes;
use crate::auth::{self, AuthError, Denied, Identities, Proof};
use crate::backend::DeviceBackend;

/// Requests of one link that may be under way.
pub(super) const CREDIT: u32 = 16;
/// Largest request: a token (`iot_proto::sas`), names and what a client adds to them, many times over.
/// Whoever sends it has proven nothing yet, so that a link takes no more (`security.md` §1, rule 1).
pub(super) const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// Links to it of a connection that has proven nothing yet; clients have two, one session or two. Ours.
pub(super) const STRANGER_LINKS_MAX: usize = 16;
/// The name under which its links find each other.
pub(super) const NAME: &str = "$cbs";

/// What came of a request.
pub(super) struct Verdict {
    request: Asked,
    judged: Result<Judged, (u16, String)>,
}

/// How a request is answered.
struct Asked {
    delivery: DeliveryId,
    id: Option<MessageId>,
    reply_to: Option<String>,
}

enum Judged {
    Claim(Claim),
    Forget { audience: String },
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// A request came.
    pub(super) fn handle_cbs(&mut self, delivery: &Delivery) {
        let message = match Message::decode(&delivery.message, &self.machine_limits()) {
            Ok(message) => message,
            Err(error) => return self.reject_malformed(delivery.id, &error.to_string()),
        };
        let parsed = Request::parse(&message);
        let properties = message.properties;
        let request = Asked {
            delivery: delivery.id,
            id: properties.message_id,
            reply_to: properties.reply_to,
        };
        let around = Arc::clone(&self.around);
        self.work.push(Box::pin(async move {
            let judged = match parsed {
                Ok(Request::PutToken { name, token }) => put(&around, &name, &token).await,
                Ok(Request::DeleteToken { name }) => Ok(Judged::Forget { audience: name }),
                Err(error) => Err((400, error.to_string())),
            };
            Done::Token(Box::new(Verdict { request, judged }))
        }));
    }

    /// A request was looked at: keep what it proved, settle it, answer it.
    pub(super) fn token_judged(&mut self, verdict: Verdict) -> Result<(), Ended> {
        let Verdict { request, judged } = verdict;
        let (status, text) = match judged {
            Ok(Judged::Claim(claim)) => self.keep(claim),
            Ok(Judged::Forget { audience }) => {
                self.forget(&audience)?;
                (200, "OK".to_owned())
            }
            Err(refusal) => refusal,
        };
        self.machine.settle(request.delivery, DeliveryState::Accepted);
        let answer = cbs::answer(request.id, status, &text);
        let session = request.delivery.session();
        self.reply(session, NAME, request.reply_to.as_deref(), &answer);
        Ok(())
    }

    /// Keeps a claim; sessions that it let in live on until its end.
    fn keep(&mut self, claim: Claim) -> (u16, String) {
        let (subject, expires) = (claim.subject.clone(), claim.expires);
        if let Err(error @ TooMany) = self.claims.put(claim, self.around.clock.wall()) {
            return (403, format!("ErrorCode:IotHubMaxCbsTokenExceeded;{error}"));
        }
        self.renew_devices(&subject, expires);
        (200, "OK".to_owned())
    }

    fn forget(&mut self, audience: &str) -> Result<(), Ended> {
        let audience = percent::decode(audience);
        let forgotten = self.claims.remove(|claim| {
            percent::decode(claim.token.resource_raw()).eq_ignore_ascii_case(&audience)
        });
        for subject in forgotten {
            self.close_devices_of(&subject)?;
        }
        Ok(())
    }
}

async fn put<B, N>(
    around: &Around<B, N>,
    audience: &str,
    text: &str,
) -> Result<Judged, (u16, String)>
where
    B: DeviceBackend + Identities,
{
    let claim = claim(around, audience, text).await;
    claim.map(Judged::Claim).map_err(|error| {
        let peer = &around.peer;
        tracing::warn!(%peer, ?audience, reason = %error, "token refused");
        match &error {
            AuthError::Denied(Denied::Malformed(reason)) => (400, reason.to_string()),
            AuthError::Denied(_) => (401, error.to_fault().detail),
            AuthError::Unavailable(_) => (500, "the token cannot be checked now".into()),
        }
    })
}

async fn claim<B, N>(around: &Around<B, N>, audience: &str, text: &str) -> Result<Claim, AuthError>
where
    B: DeviceBackend + Identities,
{
    let now = around.clock.wall();
    let token = SasToken::parse(text).map_err(Denied::Malformed)?;
    if token.key_name().is_some() {
        let proof = auth::policy_token(&*around.backend, text, now).await?;
        return Ok(Claim::of_policy(text, proof));
    }
    let id = identity_of(&token, audience).ok_or(Denied::Resource)?;
    let proof = Proof::Token(text);
    let principal = auth::identity(&*around.backend, &id, None, proof, now).await?;
    Ok(Claim {
        subject: Subject::Identity(id),
        text: text.into(),
        token,
        expires: principal.expires,
    })
}

/// Whose token it is. Some signers lower-case the resource; the audience then still has the id as
/// it is.
fn identity_of(token: &SasToken, audience: &str) -> Option<IdentityId> {
    let named = token.identity()?;
    let audience = SasToken::identity_in(audience);
    match audience {
        Some(id) if id.to_string().eq_ignore_ascii_case(&named.to_string()) => Some(id),
        _ => Some(named),
    }
}
