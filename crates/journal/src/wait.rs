//! Who waits for something to become true, and is woken once it is.
//!
//! Only tasks that really wait have a place here; waking costs nothing when
//! nobody does. A future that is dropped gives its place back.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::task::Waker;

use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: AtomicUsize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    /// Counts the wake-ups: a place from before one is no longer there.
    round: u64,
}

/// A place among the waiters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    index: usize,
    round: u64,
}

impl Waiters {
    /// Waits, unless `is_done` (asked again when the place is taken, so that no
    /// wake-up falls in between). Returns whether it is done.
    pub(crate) fn wait(
        &self,
        place: &mut Option<Place>,
        waker: &Waker,
        is_done: impl Fn() -> bool,
    ) -> bool {
        if is_done() {
            return true;
        }
        {
            let mut places = self.places.lock();
            match place {
                Some(known) if known.round == places.round => {
                    places.wakers[known.index] = Some(waker.clone());
                }
                _ => {
                    let index = places.free.pop().unwrap_or_else(|| {
                        places.wakers.push(None);
                        places.wakers.len() - 1
                    });
                    places.wakers[index] = Some(waker.clone());
                    *place = Some(Place { index, round: places.round });
                    self.waiting.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        fence(Ordering::SeqCst);
        is_done()
    }

    /// Gives a place back.
    pub(crate) fn leave(&self, place: Option<Place>) {
        let Some(place) = place else { return };
        let mut places = self.places.lock();
        if place.round == places.round {
            places.wakers[place.index] = None;
            places.free.push(place.index);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// How many places were ever needed at once.
    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        self.places.lock().wakers.len()
    }

    /// Wakes all. Call after what they wait for has become true.
    pub(crate) fn wake_all(&self) {
        // Pairs with the add in `wait`: either this sees the waiter, or the
        // waiter's second look sees what is true now.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let wakers = {
            let mut places = self.places.lock();
            places.round += 1;
            places.free.clear();
            self.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut places.wakers)
        };
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }
}
