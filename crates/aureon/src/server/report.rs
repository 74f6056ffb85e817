//! Telling: an exchange that is over is counted and handed to the observer.
//!
//! What happened is measured from the turn's clock, which is read anyway, and from one reading
//! when the answer is written; an answer whose content follows has one more. Called by
//! `exchange` and `worker`; decides nothing.

use super::connection::Connection;
use super::exchange::Desk;
use super::observe::{Ending, Exchange};
use crate::app::{Fault, Match, Request};
use crate::http::Status;
use crate::sys::Driver;

/// When an exchange reached its stages, on the driver's clock; 0 is a stage of no length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The first byte of the request came.
    pub(super) began_us: u64,
    /// The request was whole, or as much of it as its handler begins with.
    pub(super) started_us: u64,
    /// The head of the answer was written.
    pub(super) answered_us: u64,
}

/// What came of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome<'a> {
    pub(super) status: Status,
    pub(super) bytes: u64,
    pub(super) fault: Option<&'a Fault>,
    pub(super) ending: Ending,
}

impl<D: Driver> Desk<D> {
    /// Counts an exchange and tells the observer.
    #[inline]
    pub(super) fn report(
        &mut self,
        request: &Request<'_>,
        matched: &Match,
        times: Times,
        outcome: Outcome<'_>,
    ) {
        let now_us = self.driver.now_us();
        self.latest_us = now_us;
        // An answer that came when nobody waited has no beginning any more.
        let started_us = match times.started_us {
            0 => now_us,
            started_us => started_us,
        };
        let duration_us = now_us.saturating_sub(started_us);
        let (route, row) = self.shared.app.route(matched);
        if outcome.ending != Ending::AnswerLate {
            if self.block.timed {
                let status = outcome.status.code();
                self.block
                    .record(row, request.method(), status, duration_us);
            }
            self.block.ended(outcome.ending);
        }
        let Some(observer) = &self.shared.observer else {
            return;
        };
        let receive_us = match times.began_us {
            0 => 0,
            began_us => started_us.saturating_sub(began_us),
        };
        let send_us = match times.answered_us {
            0 => 0,
            answered_us => now_us.saturating_sub(answered_us),
        };
        let turn_us = now_us.saturating_sub(self.now_us);
        observer.on_exchange(&Exchange {
            worker: self.worker,
            request,
            route,
            status: outcome.status,
            bytes: outcome.bytes,
            duration_us,
            receive_us,
            send_us,
            ended_unix_us: self.driver.unix_us() + turn_us,
            fault: outcome.fault,
            ending: outcome.ending,
        });
    }

    /// Counts a connection in the state that it is in now.
    #[inline(always)]
    pub(super) fn count(&self, connection: &mut Connection) {
        let state = connection.state();
        if state != connection.counted {
            self.block.leave(connection.counted);
            self.block.enter(state);
            connection.counted = state;
            if connection.proxied && !state.is_active() {
                // The client behind the proxy has his answer.
                connection.ticket = None;
            }
        }
    }
}
