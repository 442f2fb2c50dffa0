//! The answer to an append: nothing yet, then durable or failed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::AppendError;
use crate::queue::Group;
use crate::wait::Place;

/// Stands for the records of one append. Small, cheap to clone; dropping it
/// changes nothing for the records.
#[derive(Clone, Debug)]
pub struct Receipt {
    group: Arc<Group>,
    start: u32,
    end: u32,
}

impl Receipt {
    pub(crate) fn new(group: Arc<Group>, start: u32, end: u32) -> Self {
        Self { group, start, end }
    }

    /// A receipt for nothing, which is durable.
    pub(crate) fn durable() -> Self {
        let group = Group::default();
        group.complete(Ok(Box::default()));
        Self::new(Arc::new(group), 0, 0)
    }

    /// Durable, failed, or (`None`) not known yet.
    pub fn poll_ready(&self) -> Option<Result<(), AppendError>> {
        match self.group.outcome.get()? {
            Ok(_) => Some(Ok(())),
            Err(error) => Some(Err(error.clone())),
        }
    }

    /// The sequences that the records got, in the order of the append; `None`
    /// unless they are durable.
    pub fn sequences(&self) -> Option<&[u64]> {
        match self.group.outcome.get() {
            Some(Ok(sequences)) => sequences.get(self.start as usize..self.end as usize),
            _ => None,
        }
    }

    /// The first record's sequence, once durable.
    pub fn first_sequence(&self) -> Option<u64> {
        self.sequences()?.first().copied()
    }

    /// Waits until the records are durable or have failed.
    pub fn wait(&self) -> Wait<'_> {
        Wait { receipt: self, place: None }
    }

    /// [`Receipt::wait`] for a thread that may block.
    pub fn wait_blocking(&self) -> Result<(), AppendError> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut wait = self.wait();
        loop {
            match Pin::new(&mut wait).poll(&mut context) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => std::thread::park(),
            }
        }
    }
}

/// The future of [`Receipt::wait`]; may be dropped and made anew at will.
#[derive(Debug)]
pub struct Wait<'a> {
    receipt: &'a Receipt,
    place: Option<Place>,
}

impl Future for Wait<'_> {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let receipt = self.receipt;
        let group = &receipt.group;
        group.waiters.wait(&mut self.place, context.waker(), || group.outcome.get().is_some());
        match receipt.poll_ready() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.receipt.group.waiters.leave(self.place.take());
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
