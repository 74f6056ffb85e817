//! How the counters of a server are read, from any thread, while it runs and afterwards.

use super::pool::Pool;
use crate::metrics::{Metrics, Snapshot};
use std::sync::Arc;

/// Reads what a server counted. Clones read the same.
#[derive(Clone, Debug)]
pub struct Meter {
    metrics: Arc<Metrics>,
    pool: Pool,
}

impl Meter {
    pub(super) fn new(metrics: Arc<Metrics>, pool: Pool) -> Meter {
        Meter { metrics, pool }
    }

    /// The sums over all workers, as of now.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.metrics.snapshot();
        snapshot.pool = self.pool.snapshot();
        snapshot
    }
}
