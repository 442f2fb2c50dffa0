//! Channels of a connection, or handles of a session: each end numbers what it names
//! by itself, and a number stays taken until both ends have said goodbye.

use std::collections::BTreeMap;

/// Which of the peer's numbers and which of ours mean the same. `u32` also names the
/// thing itself; whether that is still alive is the business of whoever holds it.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    incoming: BTreeMap<u32, Pair>,
    outgoing: BTreeMap<u32, Ours>,
}

#[derive(Debug)]
struct Pair {
    id: u32,
    outgoing: u32,
}

#[derive(Debug)]
struct Ours {
    id: u32,
    is_answered: bool,
}

/// Why a number of the peer cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberError {
    /// It means something already.
    InUse,
    /// The peer takes no more numbers of ours.
    Full,
    /// It answers nothing.
    Unexpected,
}

impl Numbers {
    /// The peer starts something: `incoming` means `id` from now on. Returns our number,
    /// which is the same if possible: that reads well in a trace.
    pub(super) fn accept(
        &mut self,
        incoming: u32,
        id: u32,
        outgoing_max: u32,
    ) -> Result<u32, NumberError> {
        if self.incoming.contains_key(&incoming) {
            return Err(NumberError::InUse);
        }
        let is_free = incoming <= outgoing_max && !self.outgoing.contains_key(&incoming);
        let outgoing = match is_free {
            true => incoming,
            false => self.lowest_free(outgoing_max).ok_or(NumberError::Full)?,
        };
        self.incoming.insert(incoming, Pair { id, outgoing });
        self.outgoing.insert(outgoing, Ours { id, is_answered: true });
        Ok(outgoing)
    }

    /// We start something: a number of ours for `id`, unless the peer takes no more.
    pub(super) fn open(&mut self, id: u32, outgoing_max: u32) -> Option<u32> {
        let outgoing = self.lowest_free(outgoing_max)?;
        self.outgoing.insert(outgoing, Ours { id, is_answered: false });
        Some(outgoing)
    }

    /// The peer answers what we started under `outgoing`, with `incoming` as its number.
    pub(super) fn answer(&mut self, outgoing: u32, incoming: u32) -> Result<u32, NumberError> {
        if self.incoming.contains_key(&incoming) {
            return Err(NumberError::InUse);
        }
        match self.outgoing.get_mut(&outgoing) {
            Some(ours) if !ours.is_answered => {
                ours.is_answered = true;
                self.incoming.insert(incoming, Pair { id: ours.id, outgoing });
                Ok(ours.id)
            }
            _ => Err(NumberError::Unexpected),
        }
    }

    /// What the peer's number means.
    pub(super) fn find(&self, incoming: u32) -> Option<u32> {
        self.incoming.get(&incoming).map(|pair| pair.id)
    }

    /// The peer said goodbye: its number and ours are free. Returns what they meant.
    pub(super) fn release(&mut self, incoming: u32) -> Option<u32> {
        let pair = self.incoming.remove(&incoming)?;
        self.outgoing.remove(&pair.outgoing);
        Some(pair.id)
    }

    /// Numbers of the peer that are taken.
    pub(super) fn len(&self) -> usize {
        self.incoming.len()
    }

    fn lowest_free(&self, max: u32) -> Option<u32> {
        let mut free = 0;
        for &taken in self.outgoing.keys() {
            if taken != free {
                break;
            }
            free += 1;
        }
        (free <= max).then_some(free)
    }
}
