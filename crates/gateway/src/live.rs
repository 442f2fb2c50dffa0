//! Who is connected: one session for each identity, the newest wins.
//!
//! What a backend knows about a session beyond that (`E`) is the backend's. Nobody waits in here.

use std::collections::HashMap;
use std::time::Duration;

use host::clock::Mono;
use model::IdentityId;
use parking_lot::Mutex;

use crate::backend::Subscriptions;
use crate::session::{CloseReason, DeviceSession, Downlink};

/// The live sessions of one server by identity.
#[derive(Debug)]
pub struct LiveSessions<E> {
    sessions: Mutex<HashMap<IdentityId, Live<E>>>,
    sessions_max: usize,
}

#[derive(Debug)]
struct Live<E> {
    session: DeviceSession,
    subscriptions: Subscriptions,
    extra: E,
    takeovers: Takeovers,
}

/// Why a session cannot begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// It was taken over too often lately.
    #[error("two connections fight for this identity; stop one of them")]
    Fight,
    /// So many are connected, which is the most.
    #[error("there are {0} clients, and no more may connect")]
    Full(usize),
}

impl<E> LiveSessions<E> {
    /// Nobody is connected; at most so many may be at once.
    #[must_use]
    pub fn new(sessions_max: usize) -> Self {
        Self { sessions: Mutex::new(HashMap::new()), sessions_max }
    }

    /// The new session takes its identity's place; the old one, if any, is closed.
    pub fn insert(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        extra: E,
        now: Mono,
    ) -> Result<(), Crowded> {
        let mut sessions = self.sessions.lock();
        let mut takeovers = Takeovers { since: now, count: 0 };
        match sessions.get(id) {
            Some(old) => {
                takeovers = old.takeovers.next(now).ok_or(Crowded::Fight)?;
                old.session.close(CloseReason::TakenOver);
            }
            None if sessions.len() >= self.sessions_max => {
                return Err(Crowded::Full(self.sessions_max));
            }
            None => {}
        }
        let subscriptions = Subscriptions::default();
        let live = Live { session: session.clone(), subscriptions, extra, takeovers };
        sessions.insert(id.clone(), live);
        Ok(())
    }

    /// Forgets a session; false when a newer one has its place.
    pub fn remove(&self, id: &IdentityId, session: &DeviceSession) -> bool {
        let mut sessions = self.sessions.lock();
        let is_newest = sessions.get(id).is_some_and(|live| live.session.is_same(session));
        if is_newest {
            sessions.remove(id);
        }
        is_newest
    }

    /// What a session listens to from now on; nothing happens when a newer one has its place.
    pub fn set_subscriptions(
        &self,
        id: &IdentityId,
        session: &DeviceSession,
        subscriptions: Subscriptions,
    ) {
        if let Some(live) = self.sessions.lock().get_mut(id)
            && live.session.is_same(session)
        {
            live.subscriptions = subscriptions;
        }
    }

    /// Hands something to a session that listens for it; whether it was taken.
    pub fn send(
        &self,
        id: &IdentityId,
        listens: fn(&Subscriptions) -> bool,
        downlink: Downlink,
    ) -> bool {
        match self.sessions.lock().get(id) {
            Some(live) if listens(&live.subscriptions) => live.session.send(downlink).is_ok(),
            _ => false,
        }
    }

    /// Looks at one session; none when the identity is not connected.
    pub fn look<T>(
        &self,
        id: &IdentityId,
        look: impl FnOnce(&Subscriptions, &E) -> T,
    ) -> Option<T> {
        self.sessions.lock().get(id).map(|live| look(&live.subscriptions, &live.extra))
    }

    /// Looks at each session, and keeps what `look` makes of it.
    pub fn collect<T>(&self, mut look: impl FnMut(&IdentityId, &E) -> Option<T>) -> Vec<T> {
        let sessions = self.sessions.lock();
        sessions.iter().filter_map(|(id, live)| look(id, &live.extra)).collect()
    }

    /// How many are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Ends an identity's session, if it has one.
    pub fn close(&self, id: &IdentityId, reason: CloseReason) {
        if let Some(live) = self.sessions.lock().get(id) {
            live.session.close(reason);
        }
    }

    /// Ends them all.
    pub fn close_all(&self, reason: CloseReason) {
        for live in self.sessions.lock().values() {
            live.session.close(reason);
        }
    }
}

/// How often one identity was taken over lately: two processes with one identity reconnect at once,
/// each time, for ever (`device-protocol.md` §17, 14).
#[derive(Debug, Clone, Copy)]
struct Takeovers {
    since: Mono,
    count: u32,
}

const TAKEOVERS_MAX: u32 = 10;
const TAKEOVERS_WINDOW: Duration = Duration::from_secs(10);

impl Takeovers {
    fn next(self, now: Mono) -> Option<Self> {
        if now.duration_since(self.since) >= TAKEOVERS_WINDOW {
            return Some(Self { since: now, count: 1 });
        }
        (self.count < TAKEOVERS_MAX).then_some(Self { count: self.count + 1, ..self })
    }
}

#[cfg(test)]
mod tests {
    use model::DeviceId;

    use super::*;

    fn session() -> (DeviceSession, crate::session::SessionEnd) {
        DeviceSession::new(1)
    }

    fn id(name: &str) -> IdentityId {
        name.parse::<DeviceId>().map(IdentityId::device).unwrap()
    }

    #[test]
    fn the_newest_wins_and_an_older_one_changes_nothing_any_more() {
        let live = LiveSessions::new(1);
        let (old, old_end) = session();
        let (new, _new_end) = session();
        live.insert(&id("a"), &old, 1, Mono::ZERO).unwrap();
        live.insert(&id("a"), &new, 2, Mono::ZERO).unwrap();
        assert_eq!(old_end.close_reason(), Some(CloseReason::TakenOver));
        let all = Subscriptions { methods: true, ..Subscriptions::default() };
        live.set_subscriptions(&id("a"), &old, all);
        assert!(!live.remove(&id("a"), &old));
        assert_eq!(live.look(&id("a"), |to, extra| (to.methods, *extra)), Some((false, 2)));
        assert!(live.remove(&id("a"), &new));
        assert_eq!(live.count(), 0);
    }

    #[test]
    fn a_full_server_takes_nobody_but_those_who_are_there() {
        let live = LiveSessions::new(1);
        let (handle, _end) = session();
        live.insert(&id("a"), &handle, (), Mono::ZERO).unwrap();
        assert_eq!(live.insert(&id("b"), &handle, (), Mono::ZERO), Err(Crowded::Full(1)));
        live.insert(&id("a"), &handle, (), Mono::ZERO).unwrap();
        live.remove(&id("a"), &handle);
        live.insert(&id("b"), &handle, (), Mono::ZERO).unwrap();
    }

    #[test]
    fn a_fight_over_an_identity_is_slowed_down() {
        let live = LiveSessions::new(usize::MAX);
        let (handle, _end) = session();
        let connect = |after| live.insert(&id("a"), &handle, (), Mono::ZERO + after);
        for _ in 0..=TAKEOVERS_MAX {
            connect(Duration::ZERO).unwrap();
        }
        assert_eq!(connect(Duration::from_secs(9)), Err(Crowded::Fight));
        connect(TAKEOVERS_WINDOW).unwrap();
    }
}
