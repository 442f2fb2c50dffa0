//! How whoever sent a message hears what became of it: by a handle for each message, or, where there
//! are many, by numbers that all come to one place.

use tokio::sync::mpsc::error::TrySendError as QueueError;
use tokio::sync::{TryAcquireError, mpsc, oneshot};

use super::error::SendError;

/// What became of a message that was taken by [`super::DeviceClient::try_send`].
#[derive(Debug)]
pub struct Outcome {
    /// The number that it was sent under.
    pub number: u64,
    /// As a handle would say it.
    pub result: Result<(), SendError>,
}

/// Where outcomes come together, of any number of clients.
#[derive(Debug, Clone)]
pub struct Outcomes {
    /// Unbounded, and yet bounded: each message that is under way is told of once, and their number
    /// is the business of whoever sends them.
    sender: mpsc::UnboundedSender<Outcome>,
}

impl Outcomes {
    /// A place, and its other end.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Outcome>) {
        #[expect(clippy::disallowed_methods, reason = "its bound is told at `Outcomes::sender`")]
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender }, receiver)
    }

    pub(super) fn report(&self, number: u64) -> Report {
        Report(Some(Way::Number(number, self.sender.clone())))
    }
}

/// Why a message is not taken now, or never.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The queue is full; there is room again when something is acknowledged.
    #[error("the client's queue is full")]
    Full,
    /// As [`super::DeviceClient::send`] says it.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl TrySendError {
    pub(super) fn of_queue<T>(error: QueueError<T>) -> Self {
        match error {
            QueueError::Full(_) => Self::Full,
            QueueError::Closed(_) => Self::Send(SendError::Closed),
        }
    }

    pub(super) fn of_bytes(error: TryAcquireError) -> Self {
        match error {
            TryAcquireError::NoPermits => Self::Full,
            TryAcquireError::Closed => Self::Send(SendError::Closed),
        }
    }
}

/// Tells the sender of one message; when it is dropped, that the client was closed.
#[derive(Debug)]
pub(super) struct Report(Option<Way>);

#[derive(Debug)]
enum Way {
    /// Its handle says closed by itself when this is dropped.
    Handle(oneshot::Sender<Result<(), SendError>>),
    Number(u64, mpsc::UnboundedSender<Outcome>),
}

impl Report {
    pub(super) fn to_handle(handle: oneshot::Sender<Result<(), SendError>>) -> Self {
        Self(Some(Way::Handle(handle)))
    }

    /// Says what became of the message; nobody may care any more.
    pub(super) fn tell(mut self, result: Result<(), SendError>) {
        match self.0.take() {
            Some(Way::Handle(handle)) => drop(handle.send(result)),
            Some(Way::Number(number, outcomes)) => drop(outcomes.send(Outcome { number, result })),
            None => {}
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(Way::Number(number, outcomes)) = self.0.take() {
            let _ = outcomes.send(Outcome { number, result: Err(SendError::Closed) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_told_of_once_whatever_becomes_of_it() {
        let (outcomes, mut receiver) = Outcomes::channel();
        outcomes.report(1).tell(Ok(()));
        outcomes.report(2).tell(Err(SendError::Refused("no".into())));
        drop(outcomes.report(3));
        drop(outcomes);
        let mut told = Vec::new();
        while let Ok(Outcome { number, result }) = receiver.try_recv() {
            told.push(format!("{number} {result:?}"));
        }
        assert_eq!(told, ["1 Ok(())", "2 Err(Refused(\"no\"))", "3 Err(Closed)"]);
    }
}
