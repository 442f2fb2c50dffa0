//! Tokens on `$cbs`: the first one when the connection opens, later ones before it runs out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use amqp::connection::{Delivery, LinkId, Outgoing};
use amqp::performative::DeliveryState;
use amqp::{Connection, Limits, Message, MessageId};
use host::clock::{Clock, Mono};
use iot_proto::amqp::cbs;

use super::links::Pair;
use crate::device::error::Refusal;
use crate::device::{Options, TOKEN_RENEWAL_PERCENT};
use crate::signer::SignError;

/// The links for tokens, and how far the next token is.
pub(super) struct Tokens {
    links: Pair,
    options: Arc<Options>,
    clock: Clock,
    next_id: u64,
    state: State,
}

enum State {
    /// The hub has a token; the next one is due then.
    Fresh { renew_at: Mono },
    /// The next one is being signed.
    Signing(Pin<Box<dyn Future<Output = Result<String, SignError>> + Send>>),
    /// There is one that waits for credit.
    Signed(String),
    /// The hub has it and will answer.
    Asked { since: Mono },
}

/// What a look at the tokens brought.
pub(super) enum Step {
    Nothing,
    /// The hub has taken a token.
    Taken,
    /// It refuses it.
    Refused(Refusal),
    /// It does not answer.
    Silent,
}

impl Tokens {
    /// Begins with a token that is to be put.
    pub(super) fn new(links: Pair, options: Arc<Options>, clock: Clock, token: String) -> Self {
        Self { links, options, clock, next_id: 1, state: State::Signed(token) }
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.links.has(link)
    }

    /// Sends a token that waits, if the hub takes it now.
    pub(super) fn send(&mut self, machine: &mut Connection) {
        let State::Signed(token) = &self.state else { return };
        if machine.can_send(self.links.sender).is_err() {
            return;
        }
        let name = match &self.options.proof {
            crate::signer::Proof::Token { recipe, .. } => recipe.resource.clone(),
            crate::signer::Proof::Certificate => return,
        };
        let request = cbs::Request::PutToken { name, token: token.clone() };
        let message = request.message(MessageId::String(self.next_id.to_string()));
        let outgoing = Outgoing {
            tag: self.next_id.to_be_bytes().to_vec().into(),
            message: message.to_bytes(),
            format: 0,
            settled: true,
        };
        match machine.send(self.links.sender, outgoing) {
            Ok(_) => {
                self.next_id += 1;
                self.state = State::Asked { since: self.clock.now() };
            }
            // `can_send` said yes to a small message; a token is one.
            Err(error) => tracing::debug!(%error, "cannot put a token yet"),
        }
    }

    /// Reads an answer.
    pub(super) fn received(&mut self, machine: &mut Connection, delivery: &Delivery) -> Step {
        machine.settle(delivery.id, DeliveryState::Accepted);
        let message = Message::decode(&delivery.message, &Limits::default());
        let answer = message.as_ref().ok().and_then(cbs::read_answer);
        let State::Asked { since } = &self.state else { return Step::Nothing };
        match answer {
            Some((200..=299, _)) => {
                let lifetime = self.options.proof.lifetime().unwrap_or(Duration::MAX);
                let renew_at = *since + lifetime * TOKEN_RENEWAL_PERCENT / 100;
                self.state = State::Fresh { renew_at };
                Step::Taken
            }
            Some((status, description)) => {
                Step::Refused(Refusal::Token { status, description: description.to_owned() })
            }
            None => Step::Refused(Refusal::Token {
                status: 500,
                description: "the answer has no status".to_owned(),
            }),
        }
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Fresh { renew_at } => Some(*renew_at),
            State::Asked { since } => Some(*since + ANSWER_LIMIT),
            State::Signing(_) | State::Signed(_) => None,
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self) -> Step {
        let now = self.clock.now();
        match &self.state {
            State::Fresh { renew_at } if *renew_at <= now => {
                let (proof, clock) = (self.options.proof.clone(), self.clock.clone());
                self.state = State::Signing(Box::pin(async move {
                    proof.token(&clock).await.map(Option::unwrap_or_default)
                }));
                Step::Nothing
            }
            State::Asked { since } if *since + ANSWER_LIMIT <= now => Step::Silent,
            _ => Step::Nothing,
        }
    }

    /// Goes on with signing; true when a token is there.
    pub(super) fn poll_signed(&mut self, cx: &mut Context<'_>) -> bool {
        let State::Signing(signing) = &mut self.state else { return false };
        let Poll::Ready(signed) = signing.as_mut().poll(cx) else { return false };
        self.state = match signed {
            Ok(token) => State::Signed(token),
            Err(error) => {
                // The old token holds for a while yet; whoever signs may be starting anew.
                let reason = crate::dial::chain(&error);
                tracing::warn!(reason, "cannot sign the next token; it is tried again");
                State::Fresh { renew_at: self.clock.now() + SIGN_AGAIN }
            }
        };
        true
    }
}

/// What C waits (`device-protocol.md` §4.8).
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// 15 % of a token's life are left for several attempts.
const SIGN_AGAIN: Duration = Duration::from_secs(10);
