//! What the rooms share: one of each, and how they find each other.

use host::clock::Clock;
use journal::Journal;
use model::DeviceId;

use crate::counters::Counters;
use crate::device::calls::Calls;
use crate::device::sessions::Sessions;
use crate::forward::Forward;
use crate::report::Report;
use crate::routing::config::Routes;
use crate::scope::Scope;
use crate::state::{Seal, State};
use crate::store_time::StoreTime;
use crate::twins::Twins;
use crate::upstream::Upstream;

/// A running edge hub's rooms.
pub(crate) struct Core {
    /// The device that it runs on.
    pub(crate) edge: DeviceId,
    pub(crate) clock: Clock,
    /// Whether clients may prove themselves by certificates.
    pub(crate) client_certificates: bool,
    pub(crate) journal: Journal,
    pub(crate) store_time: StoreTime,
    pub(crate) state: State,
    pub(crate) seal: Seal,
    pub(crate) counters: Counters,
    pub(crate) sessions: Sessions,
    pub(crate) calls: Calls,
    pub(crate) routes: Routes,
    pub(crate) forward: Forward,
    pub(crate) twins: Twins,
    pub(crate) scope: Scope,
    pub(crate) upstream: Upstream,
    pub(crate) report: Report,
}
