//! Signals to this process, and the token by which everything ends in order.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Tells every holder that it is time to end. Clones share one state; once
/// triggered it stays so.
#[derive(Debug, Clone)]
pub struct Shutdown {
    triggered: watch::Sender<bool>,
}

impl Shutdown {
    /// A token that nothing triggers but [`Shutdown::trigger`].
    pub fn new() -> Self {
        let (triggered, _) = watch::channel(false);
        Self { triggered }
    }

    /// A token that SIGINT or SIGTERM triggers. Later signals change nothing:
    /// whoever cannot wait for an orderly end sends SIGKILL.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = Self::new();
        let token = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "ending"),
                _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "ending"),
            }
            token.trigger();
        });
        Ok(shutdown)
    }

    /// Triggers it for all clones.
    pub fn trigger(&self) {
        self.triggered.send_replace(true);
    }

    /// Whether it has been triggered.
    pub fn is_triggered(&self) -> bool {
        *self.triggered.borrow()
    }

    /// Returns once it has been triggered; at once if it was before.
    pub async fn wait(&self) {
        let mut triggered = self.triggered.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = triggered.wait_for(|triggered| *triggered).await;
    }

    /// A token of its own for a part: triggered with this one, but triggering
    /// it leaves this one alone.
    pub fn child(&self) -> Self {
        let child = Self::new();
        let (parent, token) = (self.clone(), child.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = parent.wait() => token.trigger(),
                () = token.wait() => {}
            }
        });
        child
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// The SIGHUPs that this process gets: requests to reload certificates and level.
#[derive(Debug)]
pub struct Hangups {
    signal: Signal,
}

/// Starts to listen for SIGHUP, which no longer ends the process from here on.
pub fn hangups() -> std::io::Result<Hangups> {
    Ok(Hangups { signal: signal(SignalKind::hangup())? })
}

impl Hangups {
    /// Waits for the next one. Several that come close together count as one.
    pub async fn next(&mut self) {
        if self.signal.recv().await.is_none() {
            // The runtime is ending; there will be no more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_ends_with_its_parent_and_not_the_other_way_round() {
        let parent = Shutdown::new();
        let first = parent.child();
        let second = parent.child();
        first.trigger();
        first.wait().await;
        assert!(!parent.is_triggered());
        parent.clone().trigger();
        second.wait().await;
        assert!(parent.is_triggered());
    }

    #[tokio::test]
    async fn signals_reach_the_token_and_the_stream() {
        let shutdown = Shutdown::on_signals().unwrap();
        let mut hangups = hangups().unwrap();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
        hangups.next().await;
        assert!(!shutdown.is_triggered());
        rustix::process::kill_process(own, rustix::process::Signal::TERM).unwrap();
        shutdown.wait().await;
    }
}
