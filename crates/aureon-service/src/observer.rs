//! What the engine tells, turned into lines of the access log and kept for the admin listener.
//!
//! Runs on the workers: it picks the fields that may be logged, gathers the lines of a turn in a
//! vector of the worker's own and hands them over when the turn ends. Health checks are left out
//! unless asked for. Troubles of the machine come in floods (no descriptors left), so a second has
//! one line and the count of what it stands for.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aureon::app::{Fault, Peer};
use aureon::limits::Limit;
use aureon::server::{Ending, Exchange, Observer};

use crate::access_log::Lines;
use crate::exchanges::Exchanges;
use crate::health;
use crate::json::Plain;
use crate::line::{Event, Form, Line};
use crate::logging::{Level, Logging};

/// Milliseconds between two lines about what comes in floods.
const FLOOD_INTERVAL_MS: u64 = 1_000;

thread_local! {
    /// What a worker has not handed over: a worker is a thread, and serves one server.
    static LINES: RefCell<Lines> = const { RefCell::new(Lines::new()) };
}

/// Works with the lines of this worker.
fn with_lines(work: impl FnOnce(&mut Lines)) {
    // Neither fails: a worker tells nothing while it ends, and nothing here calls itself.
    let _ = LINES.try_with(|lines| lines.try_borrow_mut().map(|mut lines| work(&mut lines)));
}

/// Writes the access log.
pub struct LogObserver {
    logging: Logging,
    exchanges: Option<Arc<Exchanges>>,
    troubles: Flood,
    limits: Flood,
}

/// Things of a kind that may come in floods.
#[derive(Default)]
struct Flood {
    /// When the next line may be written.
    next_ms: AtomicU64,
    /// Things since the last one.
    count: AtomicU64,
}

impl Flood {
    /// One more. Gives the number since the last line when there is to be another.
    fn rise(&self, now_ms: u64) -> Option<u64> {
        let order = Ordering::Relaxed;
        self.count.fetch_add(1, order);
        let next_ms = self.next_ms.load(order);
        let later_ms = now_ms + FLOOD_INTERVAL_MS;
        // A next line further away than that is none of this calendar: the clock went back.
        if now_ms < next_ms && next_ms <= later_ms {
            return None;
        }
        let taken = self
            .next_ms
            .compare_exchange(next_ms, later_ms, order, order);
        taken.ok().map(|_| self.count.swap(0, order))
    }
}

impl LogObserver {
    /// An observer that writes to this log what its policy wants, and keeps every exchange in a
    /// ring if there is one.
    pub fn new(logging: Logging, exchanges: Option<Arc<Exchanges>>) -> LogObserver {
        LogObserver {
            logging,
            exchanges,
            troubles: Flood::default(),
            limits: Flood::default(),
        }
    }

    fn push(&self, worker: usize, line: &Line<'_>) {
        if line.level() <= self.logging.policy.level() {
            with_lines(|lines| self.logging.log.push_line(worker, lines, line));
        }
    }
}

/// Milliseconds since 1970; a clock before that says 0.
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Observer for LogObserver {
    fn on_exchange(&self, exchange: &Exchange<'_, '_>) {
        let request = exchange.request;
        let proxied = request.is_proxied();
        let client = match request.peer() {
            // The usual client, without asking again who is trusted.
            Peer::Ip(SocketAddr::V4(address)) if !proxied => Some(IpAddr::V4(*address.ip())),
            _ => request.client(),
        };
        let path = Plain::path(request.head());
        if let Some(exchanges) = &self.exchanges {
            exchanges.record(exchange, client, path.bytes());
        }
        let policy = &self.logging.policy;
        let slow = policy
            .is_slow(exchange.duration_us)
            .then(|| stage(exchange.duration_us, exchange.send_us));
        let failed = exchange.fault.is_some() || exchange.status.code() >= 500;
        let wanted = match policy.level() {
            Level::Info => policy.logs_health() || !health::is_probe(exchange.route),
            Level::Warn => slow.is_some(),
            Level::Error => false,
        };
        if !wanted && !failed {
            return;
        }
        let log = &self.logging.log;
        let referer = match log.form() {
            Form::Combined => request.field("referer").unwrap_or_default(),
            Form::Json | Form::Pretty(_) => b"",
        };
        let host = match proxied {
            true => request.authority_bytes(),
            false => request.head().host_bytes(),
        };
        let line = Line {
            unix_us: exchange.ended_unix_us,
            method: Some(request.method()),
            path,
            status: exchange.status.code(),
            bytes: exchange.bytes,
            duration_us: exchange.duration_us,
            client,
            host: host.unwrap_or_default(),
            user_agent: request.field("user-agent").unwrap_or_default(),
            referer,
            slow,
            request_id: request.request_id(),
            route: exchange.route,
            ending: match exchange.ending {
                Ending::Complete => None,
                other => Some(other.name()),
            },
            fault: exchange
                .fault
                .map(|fault| (fault.message(), fault.is_panic())),
        };
        with_lines(|lines| log.push_line(exchange.worker, lines, &line));
        if let (Form::Combined, Some(fault)) = (log.form(), exchange.fault) {
            self.tell_fault(exchange, fault);
        }
    }

    fn on_turn_end(&self, worker: usize) {
        with_lines(|lines| self.logging.log.hand_over(worker, lines));
    }

    fn on_refusal(&self, worker: usize, peer: Peer, error: aureon::http::Error) {
        // What could not be read has no method, path or length that would mean anything.
        let line = Line {
            unix_us: now_ms() * 1_000,
            method: None,
            path: Plain::EMPTY,
            status: error.status().code(),
            bytes: 0,
            duration_us: 0,
            client: peer.address().map(|address| address.ip()),
            host: b"",
            user_agent: b"",
            referer: b"",
            slow: None,
            request_id: None,
            route: "",
            ending: Some(error.name()),
            fault: None,
        };
        self.push(worker, &line);
    }

    fn on_limit(&self, worker: usize, peer: Peer, limit: Limit) {
        let address = peer.address().map(|address| address.ip().to_string());
        let from = address.unwrap_or_default();
        let parts = [limit.name(), ": ", &from];
        self.tell(worker, &self.limits, Level::Warn, &parts);
    }

    fn on_trouble(&self, worker: usize, what: &'static str, error: &io::Error) {
        let parts = [what, ": ", &error.to_string()];
        self.tell(worker, &self.troubles, Level::Error, &parts);
    }
}

/// The stage that took the most of an exchange's time; what was received before is not in it.
fn stage(duration_us: u64, send_us: u64) -> &'static str {
    match send_us > duration_us / 2 {
        true => "send",
        false => "handle",
    }
}

impl LogObserver {
    /// A line for what went wrong, where the form of the log has no place for it.
    #[cold]
    fn tell_fault(&self, exchange: &Exchange<'_, '_>, fault: &Fault) {
        let kind = if fault.is_panic() {
            "panic in "
        } else {
            "error in "
        };
        let message = [kind, exchange.route, ": ", fault.message()].concat();
        let event = Event {
            unix_ms: exchange.ended_unix_us / 1_000,
            level: Level::Error.name(),
            message: &message,
            count: ("status", u64::from(exchange.status.code())),
        };
        with_lines(|lines| self.logging.log.push_event(exchange.worker, lines, &event));
    }

    /// One line a second of what comes in floods, with the count that it stands for.
    fn tell(&self, worker: usize, flood: &Flood, level: Level, parts: &[&str]) {
        if level > self.logging.policy.level() {
            return;
        }
        let now = now_ms();
        let Some(times) = flood.rise(now) else {
            return;
        };
        let message = parts.concat();
        let count = ("times", times);
        let event = Event {
            unix_ms: now,
            level: level.name(),
            message: &message,
            count,
        };
        with_lines(|lines| self.logging.log.push_event(worker, lines, &event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_stage_is_the_slow_one() {
        assert_eq!(stage(2_000_000, 0), "handle");
        assert_eq!(stage(2_000_000, 1_000_000), "handle");
        assert_eq!(stage(2_000_000, 1_000_001), "send");
    }

    #[test]
    fn a_flood_has_a_line_a_second_and_a_clock_that_goes_back_silences_none() {
        let flood = Flood::default();
        let day_ms = 24 * 60 * 60 * 1_000;
        assert_eq!(flood.rise(2 * day_ms), Some(1));
        assert_eq!(flood.rise(2 * day_ms + 1), None);
        assert_eq!(flood.rise(2 * day_ms + 999), None);
        assert_eq!(flood.rise(2 * day_ms + 1_000), Some(3));
        assert_eq!(flood.rise(day_ms), Some(1), "a day earlier by the calendar");
        assert_eq!(flood.rise(day_ms + 999), None);
    }
}
