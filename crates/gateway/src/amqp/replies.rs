//! Answers of request-response nodes: which link takes them, and those that wait for it.

use std::collections::{HashMap, VecDeque};

use amqp::Connection;
use amqp::connection::{LinkId, Outgoing, SendError, SessionId};
use bytes::Bytes;

use super::core::Core;
use super::nodes::Nodes;
use crate::auth::Identities;
use crate::backend::DeviceBackend;

/// The answer links of a connection, by session and node.
#[derive(Default)]
pub(super) struct Replies {
    channels: HashMap<(SessionId, &'static str), Channel>,
    last_tag: u64,
}

#[derive(Default)]
struct Channel {
    links: Vec<ReplyLink>,
    /// Encoded answers that no link takes yet, with the address that they name.
    waiting: VecDeque<(Option<String>, Bytes)>,
}

struct ReplyLink {
    link: LinkId,
    /// The client's own name for its end.
    target: Option<String>,
}

/// Answers that may wait for a link or its credit: as many as requests can be under way on it.
const WAITING_MAX: usize = 64;

impl Replies {
    /// A link takes answers from now on.
    pub(super) fn attach(&mut self, name: &'static str, link: LinkId, target: Option<String>) {
        let channel = self.channels.entry((link.session(), name)).or_default();
        channel.links.push(ReplyLink { link, target });
    }

    pub(super) fn detach(&mut self, name: &'static str, link: LinkId) {
        if let Some(channel) = self.channels.get_mut(&(link.session(), name)) {
            channel.links.retain(|known| known.link != link);
            if channel.links.is_empty() && channel.waiting.is_empty() {
                self.channels.remove(&(link.session(), name));
            }
        }
    }

    pub(super) fn end_session(&mut self, session: SessionId) {
        self.channels.retain(|(of, _), _| *of != session);
    }

    /// Puts an answer after those that wait; false when there are too many.
    fn push(
        &mut self,
        session: SessionId,
        name: &'static str,
        reply_to: Option<String>,
        answer: Bytes,
    ) -> bool {
        let channel = self.channels.entry((session, name)).or_default();
        if channel.waiting.len() >= WAITING_MAX {
            return false;
        }
        channel.waiting.push_back((reply_to, answer));
        true
    }

    /// Sends what can be sent, in order.
    fn flush(&mut self, machine: &mut Connection) {
        for channel in self.channels.values_mut() {
            while let Some((reply_to, answer)) = channel.waiting.front() {
                let Some(link) = channel.link_for(reply_to.as_deref()) else { break };
                let tag = Bytes::copy_from_slice(&self.last_tag.to_be_bytes());
                let outgoing = Outgoing { tag, message: answer.clone(), format: 0, settled: true };
                match machine.send(link, outgoing) {
                    Ok(_) => self.last_tag += 1,
                    Err(SendError::NoCredit | SendError::WindowFull | SendError::OutputFull) => {
                        break;
                    }
                    Err(error) => tracing::debug!(%error, "an answer cannot be sent; dropped"),
                }
                channel.waiting.pop_front();
            }
        }
    }
}

impl Channel {
    /// The link whose target is named, or else the oldest.
    fn link_for(&self, reply_to: Option<&str>) -> Option<LinkId> {
        let named = self
            .links
            .iter()
            .find(|link| reply_to.is_some_and(|name| link.target.as_deref() == Some(name)));
        named.or(self.links.first()).map(|link| link.link)
    }
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// Answers a request on its session's link for the answers of the node.
    pub(super) fn reply(
        &mut self,
        session: SessionId,
        name: &'static str,
        reply_to: Option<&str>,
        answer: &amqp::Message,
    ) {
        let encoded = answer.to_bytes();
        if self.replies.push(session, name, reply_to.map(str::to_owned), encoded) {
            return self.replies.flush(&mut self.machine);
        }
        tracing::warn!(peer = %self.around.peer, node = name, "a client takes no answers; its session is ended");
        let error = amqp::Error::new(
            amqp::performative::condition::RESOURCE_LIMIT_EXCEEDED,
            format!("more than {WAITING_MAX} answers wait for a link with credit on {name}"),
        );
        self.machine.end(session, Some(error));
        self.handle_session_ended(session);
    }

    pub(super) fn flush_replies(&mut self) {
        self.replies.flush(&mut self.machine);
    }
}
