//! What a service tells in numbers: families of metrics, from the engine's counters, the log and
//! the process.
//!
//! Names are those of OpenTelemetry's semantic conventions where they have one, with the units
//! and suffixes that Prometheus wants. A label is never a path that a client made up: routes are
//! templates, methods and statuses a known few. Collected when somebody asks; nothing here runs
//! while requests are served. [`exposition`](crate::exposition) writes what this collects.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use aureon::metrics::{Series, Snapshot};
use aureon::server::Meter;

use crate::access_log::AccessLog;
use crate::health::{Health, State};
use crate::logging::Logging;
use crate::observer::now_ms;
use crate::routes::Lasting;
use crate::small_file::read_text;
use crate::value::show_digits;

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// As of now.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// A sample's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A whole number.
    Number(u64),
    /// Microseconds, told as seconds.
    Us(u64),
    /// Exchanges in each bucket of [`aureon::metrics::BUCKETS_US`] and beyond, not cumulative,
    /// and the sum of their microseconds.
    Durations(Vec<u64>, u64),
}

/// A sample's labels: a name that is ours and a value that may be anything.
pub type Labels = Vec<(&'static str, Arc<str>)>;

/// Samples of one name.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name, with its unit.
    pub name: &'static str,
    /// One line about it.
    pub help: &'static str,
    /// What its samples are.
    pub kind: Kind,
    /// The samples.
    pub samples: Vec<(Labels, Sample)>,
}

/// Where the numbers come from.
#[derive(Clone)]
pub struct Sources {
    /// The engine's counters.
    pub meter: Meter,
    /// Lines that were lost.
    pub log: AccessLog,
    /// Whether the service is ready.
    pub health: Health,
    /// When the process began.
    pub started: Instant,
    /// The same by the calendar, in milliseconds since 1970. Read once: made anew from two clocks
    /// it would move, and Prometheus would see a start in each move.
    pub started_unix_ms: u64,
}

impl Sources {
    /// What is known when the workers run.
    pub fn new(meter: Meter, logging: &Logging, lasting: &Lasting) -> Sources {
        Sources {
            meter,
            log: logging.log.clone(),
            health: lasting.health.clone(),
            started: lasting.started,
            started_unix_ms: now_ms(),
        }
    }

    /// Collects everything.
    pub fn families(&self) -> Vec<Family> {
        let snapshot = self.meter.snapshot();
        let mut families = Families(Vec::new());
        families.of_requests(&snapshot);
        families.of_endings(&snapshot);
        families.of_connections(&snapshot);
        families.of_limits(&snapshot);
        families.of_workers(&snapshot);
        let ready = self.health.state() == State::Serving;
        families.gauge(
            "aureon_ready",
            "1 while the service wants requests, 0 while it starts or drains; checks do not count.",
            u64::from(ready),
        );
        families.counter(
            "aureon_log_lines_lost_total",
            "Log lines that were not written, because the reader or the disk did not keep up.",
            self.log.lost(),
        );
        let version: Arc<str> = Arc::from(env!("CARGO_PKG_VERSION"));
        families.add(
            "aureon_build_info",
            "Always 1; the label is the version.",
            Kind::Gauge,
            vec![(vec![("version", version)], Sample::Number(1))],
        );
        families.of_process(self.started_unix_ms);
        families.0
    }
}

struct Families(Vec<Family>);

impl Families {
    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        samples: Vec<(Labels, Sample)>,
    ) {
        self.0.push(Family {
            name,
            help,
            kind,
            samples,
        });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        let samples = vec![(Labels::new(), Sample::Number(value))];
        self.add(name, help, Kind::Gauge, samples);
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        let samples = vec![(Labels::new(), Sample::Number(value))];
        self.add(name, help, Kind::Counter, samples);
    }

    fn of_requests(&mut self, snapshot: &Snapshot) {
        let samples = snapshot.series.iter().map(|series| {
            let durations = Sample::Durations(series.buckets.to_vec(), series.sum_us);
            (labels_of(series), durations)
        });
        self.add(
            "http_server_request_duration_seconds",
            "Time from a request's last byte to its answer's last byte.",
            Kind::Histogram,
            samples.collect(),
        );
        self.gauge(
            "http_server_active_requests",
            "Requests whose answer is waited for or being sent.",
            snapshot.requests_active(),
        );
    }

    fn of_endings(&mut self, snapshot: &Snapshot) {
        let samples = snapshot.exchanges_cut.iter();
        self.add(
            "aureon_exchanges_cut_total",
            "Exchanges whose answer did not go out whole, by how they ended.",
            Kind::Counter,
            samples
                .map(|(ending, n)| named("ending", ending.name(), *n))
                .collect(),
        );
    }

    fn of_connections(&mut self, snapshot: &Snapshot) {
        let samples = snapshot.connections.iter();
        self.add(
            "aureon_connections",
            "Open connections by what they are doing.",
            Kind::Gauge,
            samples
                .map(|(state, n)| named("state", state.name(), *n))
                .collect(),
        );
        self.counter(
            "aureon_connections_accepted_total",
            "Connections accepted.",
            snapshot.connections_accepted,
        );
        self.counter(
            "aureon_connections_closed_total",
            "Connections closed, by either side.",
            snapshot.connections_closed,
        );
        self.counter(
            "aureon_connections_shed_total",
            "Connections reset unaccepted, because no descriptor or memory was left.",
            snapshot.connections_shed,
        );
        self.counter(
            "aureon_received_bytes_total",
            "Bytes received, heads and framing included.",
            snapshot.received_bytes,
        );
        self.counter(
            "aureon_sent_bytes_total",
            "Bytes handed to the kernel, heads and framing included.",
            snapshot.sent_bytes,
        );
    }

    fn of_limits(&mut self, snapshot: &Snapshot) {
        let refusals = snapshot.refusals.iter();
        self.add(
            "aureon_refusals_total",
            "Requests refused before any handler, by reason.",
            Kind::Counter,
            refusals
                .map(|(error, n)| named("reason", error.name(), *n))
                .collect(),
        );
        let limits = snapshot.limits.iter();
        self.add(
            "aureon_limit_hits_total",
            "How often each limit was reached; a limit has the name of its setting.",
            Kind::Counter,
            limits
                .map(|(limit, n)| named("limit", limit.name(), *n))
                .collect(),
        );
    }

    fn of_workers(&mut self, snapshot: &Snapshot) {
        let each = |value: &dyn Fn(&aureon::metrics::Worker) -> Sample| {
            let samples = snapshot.workers.iter().enumerate().map(|(at, worker)| {
                let number = Arc::from(show_digits(at as u64));
                (vec![("worker", number)], value(worker))
            });
            samples.collect::<Vec<(Labels, Sample)>>()
        };
        self.add(
            "aureon_worker_busy_seconds_total",
            "Time in which a worker did not wait; its rate is the worker's busy share.",
            Kind::Counter,
            each(&|worker| Sample::Us(worker.busy_us)),
        );
        self.add(
            "aureon_worker_turns_total",
            "Turns of a worker's loop.",
            Kind::Counter,
            each(&|worker| Sample::Number(worker.turns)),
        );
        let pool = &snapshot.pool;
        self.gauge(
            "aureon_pool_threads",
            "Threads of the pool for handlers that may block.",
            pool.threads as u64,
        );
        self.gauge(
            "aureon_pool_threads_idle",
            "Those of them without work.",
            pool.threads_idle as u64,
        );
        self.gauge(
            "aureon_pool_queued",
            "Jobs that wait for a thread of the pool.",
            pool.queued as u64,
        );
        self.counter(
            "aureon_pool_refused_total",
            "Jobs refused because the pool's queue was full.",
            pool.refused,
        );
    }

    fn of_process(&mut self, started_unix_ms: u64) {
        let process = Process::read();
        self.add(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            Kind::Gauge,
            vec![(Labels::new(), Sample::Us(started_unix_ms * 1_000))],
        );
        let optional = [
            (
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM.",
                process.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Address space of the process.",
                process.virtual_bytes,
            ),
            (
                "process_open_fds",
                "Descriptors that are open.",
                process.open_fds,
            ),
            (
                "process_max_fds",
                "Descriptors that may be open.",
                process.max_fds,
            ),
            ("process_threads", "Threads.", process.threads),
        ];
        for (name, help, value) in optional {
            if let Some(value) = value {
                self.gauge(name, help, value);
            }
        }
        if let Some(us) = process.cpu_us {
            self.add(
                "process_cpu_seconds_total",
                "Time on a processor, in user mode and in the kernel.",
                Kind::Counter,
                vec![(Labels::new(), Sample::Us(us))],
            );
        }
    }
}

fn named(label: &'static str, name: &str, value: u64) -> (Labels, Sample) {
    (vec![(label, Arc::from(name))], Sample::Number(value))
}

fn labels_of(series: &Series) -> Labels {
    let Some((method, status)) = series.of else {
        // OpenTelemetry's name for the series of what came when there was room for no more.
        return vec![("otel_metric_overflow", Arc::from("true"))];
    };
    vec![
        ("http_request_method", Arc::from(method.as_str())),
        (
            "http_response_status_code",
            Arc::from(show_digits(u64::from(status))),
        ),
        ("http_route", Arc::clone(&series.route)),
    ]
}

/// What the system tells about this process; nothing of it where there is no `/proc` (proc(5)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Memory in RAM.
    pub resident_bytes: Option<u64>,
    /// Address space.
    pub virtual_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// Descriptors that may be open: the soft limit.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Microseconds on a processor.
    pub cpu_us: Option<u64>,
}

/// Ticks a second in /proc/self/stat: `USER_HZ`, 100 on every Linux that people run.
const TICK_US: u64 = 1_000_000 / 100;

impl Process {
    /// Reads it.
    pub fn read() -> Process {
        let status = read_text("/proc/self/status").unwrap_or_default();
        let limits = read_text("/proc/self/limits").unwrap_or_default();
        let stat = read_text("/proc/self/stat").unwrap_or_default();
        // Reading the directory takes a descriptor of its own.
        let open_fds = fs::read_dir("/proc/self/fd").map(|names| names.count() as u64 - 1);
        Process {
            resident_bytes: kib_after(&status, "VmRSS:"),
            virtual_bytes: kib_after(&status, "VmSize:"),
            open_fds: open_fds.ok(),
            max_fds: word_after(&limits, "Max open files"),
            threads: word_after(&status, "Threads:"),
            cpu_us: cpu_us(&stat),
        }
    }
}

fn word_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn kib_after(text: &str, name: &str) -> Option<u64> {
    word_after(text, name)?.checked_mul(1_024)
}

/// The 14th and 15th word of /proc/self/stat; the second is a name in brackets that may hold
/// anything.
fn cpu_us(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || words.next()?.parse::<u64>().ok();
    ticks()?.checked_add(ticks()?)?.checked_mul(TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_tells_of_a_process() {
        let process = Process::read();
        let resident = process.resident_bytes.unwrap();
        assert!(resident > 1 << 20 && resident < process.virtual_bytes.unwrap());
        let open = process.open_fds.unwrap();
        assert!(open >= 3 && open < process.max_fds.unwrap());
        assert!(process.threads.unwrap() >= 1 && process.cpu_us.is_some());
    }

    #[test]
    fn a_process_begins_once() {
        let mut families = Families(Vec::new());
        families.of_process(1_795_334_703_042);
        let start = &families.0[0];
        assert_eq!(start.name, "process_start_time_seconds");
        assert_eq!(start.samples[0].1, Sample::Us(1_795_334_703_042_000));
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_times() {
        let stat = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0";
        assert_eq!(cpu_us(stat), Some(1_500_000));
        assert_eq!(cpu_us("7 (a) S 1 2"), None);
    }
}
