//! What an edge runtime does when its start is over: it makes itself small.

use std::time::Duration;

use host::clock::Clock;

/// Gives the code back that only the start needed, when that is likely over.
pub(crate) async fn after_start(clock: Clock) {
    clock.sleep(START).await;
    match host::memory::give_back_code() {
        Ok(bytes) => tracing::debug!(bytes, "gave the code of the start back"),
        Err(error) => tracing::debug!(%error, "cannot give the code of the start back"),
    }
}

/// A connection upstream, the twin and the first module take a few seconds.
const START: Duration = Duration::from_secs(15);
