//! Numbers for the senders of a window's messages.

use std::collections::HashMap;
use std::sync::Arc;

use model::IdentityId;

/// Who has which number; numbers begin at 0 and have no gaps.
#[derive(Debug, Default)]
pub(super) struct Senders {
    numbers: HashMap<Arc<IdentityId>, usize>,
}

impl Senders {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of a sender, and its one name.
    pub(super) fn number(&mut self, sender: IdentityId) -> (usize, Arc<IdentityId>) {
        if let Some((name, number)) = self.numbers.get_key_value(&sender) {
            return (*number, Arc::clone(name));
        }
        let (name, number) = (Arc::new(sender), self.numbers.len());
        self.numbers.insert(Arc::clone(&name), number);
        (number, name)
    }

    /// Gives numbers anew, to these alone.
    pub(super) fn keep<'a>(
        &mut self,
        slots: impl Iterator<Item = (&'a Arc<IdentityId>, &'a mut usize)>,
    ) {
        self.numbers.clear();
        for (name, number) in slots {
            let next = self.numbers.len();
            *number = *self.numbers.entry(Arc::clone(name)).or_insert(next);
        }
    }
}
