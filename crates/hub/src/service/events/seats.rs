//! Who may receive from a partition through a consumer group (`service-api.md` §9.5): up to five
//! receivers without an epoch, or one with the highest.
//!
//! Only living receivers count, so this is memory and nothing more. It is the table of one process.

use std::collections::HashMap;
use std::sync::Arc;

use gateway::backend::events::{EventSeat, SeatClaim, SeatError, SeatLoss};
use model::ConsumerGroup;
use model::limits::EVENT_RECEIVERS_MAX;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// All places that are taken.
#[derive(Default)]
pub(crate) struct Seats(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    held: HashMap<Place, Vec<Held>>,
    last_id: u64,
}

type Place = (ConsumerGroup, u32);

struct Held {
    id: u64,
    epoch: Option<i64>,
    lost: oneshot::Sender<SeatLoss>,
}

/// A receiver's place; given back when it is dropped.
pub struct Seat {
    table: Arc<Mutex<Table>>,
    place: Place,
    id: u64,
    lost: oneshot::Receiver<SeatLoss>,
}

impl Seats {
    /// Takes a place, if the others there leave one.
    pub(crate) fn take(&self, claim: SeatClaim) -> Result<Seat, SeatError> {
        let mut table = self.0.lock();
        let place = (claim.group, claim.partition);
        let there = table.held.get(&place).map_or(&[][..], Vec::as_slice);
        let highest = there.iter().filter_map(|held| held.epoch).max();
        match (claim.epoch, highest) {
            (Some(epoch), Some(highest)) if epoch < highest => {
                return Err(SeatError::Taken(highest));
            }
            (Some(epoch), _) => {
                for held in table.held.remove(&place).unwrap_or_default() {
                    // It may be going already.
                    let _ = held.lost.send(SeatLoss::Stolen(epoch));
                }
            }
            (None, Some(highest)) => return Err(SeatError::Taken(highest)),
            (None, None) if there.len() >= EVENT_RECEIVERS_MAX => {
                return Err(SeatError::Full(EVENT_RECEIVERS_MAX));
            }
            (None, None) => {}
        }
        table.last_id += 1;
        let id = table.last_id;
        let (sender, lost) = oneshot::channel();
        let held = Held { id, epoch: claim.epoch, lost: sender };
        table.held.entry(place.clone()).or_default().push(held);
        Ok(Seat { table: Arc::clone(&self.0), place, id, lost })
    }

    /// Ends all receivers of a consumer group.
    pub(crate) fn end_group(&self, group: &ConsumerGroup) {
        let mut table = self.0.lock();
        for (_, gone) in table.held.extract_if(|(of, _), _| of == group) {
            for held in gone {
                let _ = held.lost.send(SeatLoss::GroupDeleted);
            }
        }
    }
}

impl EventSeat for Seat {
    async fn lost(&mut self) -> SeatLoss {
        match (&mut self.lost).await {
            Ok(loss) => loss,
            // Only this seat's own end drops the other half without a word.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        if let Some(held) = table.held.get_mut(&self.place) {
            held.retain(|held| held.id != self.id);
            if held.is_empty() {
                table.held.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(group: &str, partition: u32, epoch: Option<i64>) -> SeatClaim {
        SeatClaim { group: group.parse().unwrap(), partition, epoch }
    }

    fn loss(seat: &mut Seat) -> Option<SeatLoss> {
        seat.lost.try_recv().ok()
    }

    #[test]
    fn receivers_without_an_epoch_are_bounded() {
        let seats = Seats::default();
        let mut five: Vec<_> =
            (0..5).map(|_| seats.take(claim("$Default", 0, None)).unwrap()).collect();
        assert_eq!(seats.take(claim("$default", 0, None)).err(), Some(SeatError::Full(5)));
        assert!(seats.take(claim("$Default", 1, None)).is_ok());
        assert!(seats.take(claim("other", 0, None)).is_ok());
        five.pop();
        assert!(seats.take(claim("$Default", 0, None)).is_ok());
        assert!(five.iter_mut().all(|seat| loss(seat).is_none()));
    }

    #[test]
    fn a_higher_or_equal_epoch_takes_over() {
        let seats = Seats::default();
        let mut plain = seats.take(claim("g", 0, None)).unwrap();
        let mut first = seats.take(claim("g", 0, Some(0))).unwrap();
        assert_eq!(loss(&mut plain), Some(SeatLoss::Stolen(0)));
        assert_eq!(seats.take(claim("g", 0, None)).err(), Some(SeatError::Taken(0)));
        let mut same = seats.take(claim("g", 0, Some(0))).unwrap();
        assert_eq!(loss(&mut first), Some(SeatLoss::Stolen(0)));
        let mut higher = seats.take(claim("g", 0, Some(7))).unwrap();
        assert_eq!(loss(&mut same), Some(SeatLoss::Stolen(7)));
        assert_eq!(seats.take(claim("g", 0, Some(6))).err(), Some(SeatError::Taken(7)));
        assert_eq!(loss(&mut higher), None);
        // One that lost its place does not take the new one's with it.
        drop((plain, first, same));
        assert_eq!(seats.take(claim("g", 0, None)).err(), Some(SeatError::Taken(7)));
        drop(higher);
        assert!(seats.take(claim("g", 0, None)).is_ok());
    }

    #[test]
    fn a_deleted_group_ends_its_receivers_and_no_others() {
        let seats = Seats::default();
        let mut gone = seats.take(claim("gone", 0, Some(1))).unwrap();
        let mut stays = seats.take(claim("stays", 0, Some(1))).unwrap();
        seats.end_group(&"Gone".parse().unwrap());
        assert_eq!(loss(&mut gone), Some(SeatLoss::GroupDeleted));
        assert_eq!(loss(&mut stays), None);
        drop((gone, stays));
        assert!(seats.0.lock().held.is_empty());
    }
}
