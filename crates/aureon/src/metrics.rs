//! Counters and histograms: one block for each worker, summed when somebody asks.
//!
//! A block is written by its worker alone, so that an addition is a load and a store of a relaxed
//! atomic: no lock, no bus lock, no line shared with another worker. Who reads may see one counter
//! a moment ahead of another, never a torn one. Whatever costs a clock reading (durations, busy
//! time) is counted only where [`Server::metrics`](crate::Server::metrics) asks for it. A series
//! of the histogram is allocated with its first exchange; how many there can be is bounded, and
//! what comes beyond is counted in one series of its own, as OpenTelemetry's metrics SDK does
//! ("Cardinality Limits"). `server` counts; how it is shown is the embedder's business.

use crate::app::App;
use crate::http::{Error, Method};
use crate::limits::{Limit, SERIES_MAX, SERIES_MIN, SERIES_PROBES_MAX, SERIES_ROUTES_MAX};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Upper bounds of the histogram's buckets in microseconds, of the OpenTelemetry semantic
/// conventions for `http.server.request.duration`: 5 ms to 10 s.
pub const BUCKETS_US: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline(always)]
    pub(crate) fn add(&self, count: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(sum, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn subtract(&self, count: u64) {
        self.add(count.wrapping_neg());
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What an open connection is doing, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting for a request.
    Idle,
    /// In the middle of a head.
    Head,
    /// Collecting a body for a handler.
    Body,
    /// Passing a body on to a handler that reads it.
    Upload,
    /// Waiting for an answer from another thread.
    Waiting,
    /// Sending content that does not fit one buffer.
    Sending,
    /// Reading the rest of a body that nobody wants.
    Discard,
    /// Sending what is left, then closing.
    Closing,
    /// Closed for sending, reading on so that the peer is not reset.
    Linger,
}

impl State {
    /// Every state, in the order of a connection's life.
    pub const ALL: [State; 9] = [
        State::Idle,
        State::Head,
        State::Body,
        State::Upload,
        State::Waiting,
        State::Sending,
        State::Discard,
        State::Closing,
        State::Linger,
    ];

    /// A stable name.
    pub const fn name(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Head => "head",
            State::Body => "body",
            State::Upload => "upload",
            State::Waiting => "waiting",
            State::Sending => "sending",
            State::Discard => "discard",
            State::Closing => "closing",
            State::Linger => "linger",
        }
    }

    /// Whether a connection in this state is in the middle of an exchange.
    pub const fn is_active(self) -> bool {
        matches!(
            self,
            State::Body | State::Upload | State::Waiting | State::Sending
        )
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer was handed to the kernel whole.
    Complete,
    /// The peer went away before the answer was whole.
    PeerGone,
    /// The peer took nothing for `write_timeout_ms`.
    WriteStalled,
    /// The content's source failed: a stream, or a file that became shorter.
    SourceFailed,
    /// The drain deadline cut it off, or it kept us waiting when there was no room for others.
    CutOff,
    /// The handler failed when the exchange had ended and was counted already: the peer had its
    /// 503 after `answer_timeout_ms`, or was gone. Such a failure is told, and not counted again.
    AnswerLate,
}

impl Ending {
    /// Every way.
    pub const ALL: [Ending; 6] = [
        Ending::Complete,
        Ending::PeerGone,
        Ending::WriteStalled,
        Ending::SourceFailed,
        Ending::CutOff,
        Ending::AnswerLate,
    ];

    /// Every way that is counted but the usual one.
    pub const CUT: [Ending; 4] = [
        Ending::PeerGone,
        Ending::WriteStalled,
        Ending::SourceFailed,
        Ending::CutOff,
    ];

    /// A stable name for logs.
    pub const fn name(self) -> &'static str {
        match self {
            Ending::Complete => "complete",
            Ending::PeerGone => "peer-gone",
            Ending::WriteStalled => "write-stalled",
            Ending::SourceFailed => "source-failed",
            Ending::CutOff => "cut-off",
            Ending::AnswerLate => "answer-late",
        }
    }
}

/// One histogram: the exchanges of a route, method and status.
#[derive(Debug, Default)]
struct Cell {
    key: u32,
    buckets: [Counter; BUCKETS_US.len() + 1],
    sum_us: Counter,
}

impl Cell {
    #[inline]
    fn record(&self, duration_us: u64) {
        // Nearly every exchange ends in the first bucket, so this loop does not begin.
        let mut at = 0;
        while at < BUCKETS_US.len() && duration_us > BUCKETS_US[at] {
            at += 1;
        }
        if let Some(bucket) = self.buckets.get(at) {
            bucket.add(1);
        }
        self.sum_us.add(duration_us);
    }
}

/// The counters of one worker, on cache lines of their own.
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Block {
    /// Whether durations and busy time are counted too.
    pub(crate) timed: bool,
    pub(crate) turns: Counter,
    pub(crate) busy_us: Counter,
    pub(crate) accepted: Counter,
    pub(crate) closed: Counter,
    pub(crate) shed: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    states: [Counter; State::ALL.len()],
    refusals: [Counter; Error::ALL.len()],
    limits: [Counter; Limit::ALL.len()],
    endings: [Counter; Ending::ALL.len()],
    /// Open addressing; a power of two, none when nothing is timed.
    cells: Box<[OnceLock<Box<Cell>>]>,
    overflow: Cell,
}

impl Block {
    fn new(timed: bool, cells: usize) -> Block {
        let cells = if timed { cells } else { 0 };
        Block {
            timed,
            turns: Counter::default(),
            busy_us: Counter::default(),
            accepted: Counter::default(),
            closed: Counter::default(),
            shed: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            states: Default::default(),
            refusals: std::array::from_fn(|_| Counter::default()),
            limits: Default::default(),
            endings: Default::default(),
            cells: (0..cells).map(|_| OnceLock::new()).collect(),
            overflow: Cell::default(),
        }
    }

    /// Counts a connection in a state.
    #[inline(always)]
    pub(crate) fn enter(&self, state: State) {
        self.states[state as usize].add(1);
    }

    /// Counts it out again.
    #[inline(always)]
    pub(crate) fn leave(&self, state: State) {
        self.states[state as usize].subtract(1);
    }

    /// Counts a refusal, and the limit behind it if it was one.
    pub(crate) fn refuse(&self, error: Error) {
        if let Some(counter) = self.refusals.get(error as usize) {
            counter.add(1);
        }
        if let Some(limit) = limit_of(error) {
            self.hit(limit);
        }
    }

    /// Counts a limit that was reached.
    pub(crate) fn hit(&self, limit: Limit) {
        self.limits[limit as usize].add(1);
    }

    /// Counts how an exchange ended. The usual end is the difference to all exchanges, and costs
    /// nothing here.
    #[inline(always)]
    pub(crate) fn ended(&self, ending: Ending) {
        if ending != Ending::Complete {
            self.endings[ending as usize].add(1);
        }
    }

    /// Counts an exchange. Allocates with the first of a series and never again.
    #[inline]
    pub(crate) fn record(&self, route: u32, method: Method, status: u16, duration_us: u64) {
        // 14 bits of method and status; the routes are bounded to the rest.
        let key = route << 14 | (method as u32) << 10 | u32::from(status) & 0x3ff;
        let mask = self.cells.len().wrapping_sub(1);
        // Fibonacci hashing: the keys differ in few bits, the product in its high ones.
        let start = (key.wrapping_mul(0x9e37_79b1) >> 16) as usize;
        for probe in 0..SERIES_PROBES_MAX {
            let Some(slot) = self.cells.get(start.wrapping_add(probe) & mask) else {
                break;
            };
            let cell = slot.get_or_init(|| {
                Box::new(Cell {
                    key,
                    ..Cell::default()
                })
            });
            if cell.key == key {
                return cell.record(duration_us);
            }
        }
        self.overflow.record(duration_us);
    }
}

/// The limit that an error is about, if it is about one.
fn limit_of(error: Error) -> Option<Limit> {
    Some(match error {
        Error::HeadTooLarge => Limit::HeadBytesMax,
        Error::FieldsTooMany => Limit::HeadFieldsMax,
        Error::TargetTooLong => Limit::TargetBytesMax,
        Error::BodyTooLarge => Limit::BodyBytesMax,
        Error::ChunkExtensionsTooLarge => Limit::ChunkExtensionBytesMax,
        Error::HeadTimeout => Limit::HeadTimeout,
        Error::BodyTimeout => Limit::BodyTimeout,
        Error::RequestsTooMany => Limit::ConnectionsPerAddressMax,
        _ => return None,
    })
}

/// The counters of a server.
#[derive(Debug)]
pub(crate) struct Metrics {
    blocks: Box<[Arc<Block>]>,
    /// Templates by row; row 0 is "no route". Only grows: a reload may add some.
    routes: Mutex<Vec<Arc<str>>>,
}

impl Metrics {
    /// Counters for so many workers, with room for the routes of `app`, whose rows are set.
    pub(crate) fn new(workers: usize, timed: bool, app: &mut App) -> Metrics {
        let routes = Mutex::new(vec![Arc::from("")]);
        let mut metrics = Metrics {
            blocks: Box::new([]),
            routes,
        };
        let routes = metrics.admit(app);
        // Few routes have more than four pairs of method and status; twice that leaves room.
        let cells = (routes * 8).next_power_of_two();
        let cells = cells.clamp(SERIES_MIN, SERIES_MAX);
        metrics.blocks = (0..workers)
            .map(|_| Arc::new(Block::new(timed, cells)))
            .collect();
        metrics
    }

    /// Gives each route of an application its row; the number of rows there are then.
    ///
    /// O(n²) in the routes; fine below 10^4, and done once a start or reload.
    pub(crate) fn admit(&self, app: &mut App) -> usize {
        let mut known = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        app.number_routes(|template| {
            let found = known.iter().position(|other| **other == *template);
            let row = found.unwrap_or_else(|| {
                if known.len() >= SERIES_ROUTES_MAX {
                    return 0;
                }
                known.push(Arc::from(template));
                known.len() - 1
            });
            row as u32
        });
        known.len()
    }

    /// The block of a worker.
    pub(crate) fn block(&self, worker: usize) -> Arc<Block> {
        // There is one for each worker; a stranger's counts would be nobody's.
        let own = self.blocks.get(worker).map(Arc::clone);
        own.unwrap_or_else(|| Arc::new(Block::new(false, 0)))
    }

    /// The sums over all workers.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let sum = |counter: &dyn Fn(&Block) -> u64| self.blocks.iter().map(|b| counter(b)).sum();
        let workers = self.blocks.iter().map(|block| Worker {
            turns: block.turns.read(),
            busy_us: block.busy_us.read(),
        });
        Snapshot {
            workers: workers.collect(),
            // Closed before accepted, so that a close in between can not make it negative.
            connections_closed: sum(&|block| block.closed.read()),
            connections_shed: sum(&|block| block.shed.read()),
            connections_accepted: sum(&|block| block.accepted.read()),
            received_bytes: sum(&|block| block.received_bytes.read()),
            sent_bytes: sum(&|block| block.sent_bytes.read()),
            connections: State::ALL
                .map(|state| (state, sum(&|block| block.states[state as usize].read()))),
            refusals: Error::ALL
                .map(|error| (error, sum(&|block| block.refusals[error as usize].read()))),
            limits: Limit::ALL
                .map(|limit| (limit, sum(&|block| block.limits[limit as usize].read()))),
            exchanges_cut: Ending::CUT
                .map(|ending| (ending, sum(&|block| block.endings[ending as usize].read()))),
            pool: Pool::default(),
            series: self.series(),
        }
    }

    fn series(&self) -> Vec<Series> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<u32> = Vec::new();
        let mut all: Vec<Series> = Vec::new();
        let mut overflow = Series::new(None, Arc::from(""));
        for block in &self.blocks {
            for cell in block.cells.iter().filter_map(OnceLock::get) {
                let at = keys.iter().position(|key| *key == cell.key);
                let at = at.unwrap_or_else(|| {
                    let row = (cell.key >> 14) as usize;
                    let method = Method::ALL.get((cell.key >> 10 & 0xf) as usize);
                    let method = method.copied().unwrap_or(Method::Get);
                    let route = routes.get(row).map(Arc::clone).unwrap_or_default();
                    keys.push(cell.key);
                    let status = (cell.key & 0x3ff) as u16;
                    all.push(Series::new(Some((method, status)), route));
                    all.len() - 1
                });
                all[at].add(cell);
            }
            overflow.add(&block.overflow);
        }
        if overflow.count() > 0 {
            all.push(overflow);
        }
        all
    }
}

/// Everything that was counted, summed over the workers at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Each worker by itself.
    pub workers: Vec<Worker>,
    /// Connections accepted since the start.
    pub connections_accepted: u64,
    /// Connections closed since the start.
    pub connections_closed: u64,
    /// Connections reset unaccepted since the start, because no descriptor or memory was left.
    pub connections_shed: u64,
    /// Bytes received, heads and framing included.
    pub received_bytes: u64,
    /// Bytes handed to the kernel, heads and framing included.
    pub sent_bytes: u64,
    /// Open connections by what they are doing.
    pub connections: [(State, u64); State::ALL.len()],
    /// Requests refused, by error.
    pub refusals: [(Error, u64); Error::ALL.len()],
    /// How often each limit was reached.
    pub limits: [(Limit, u64); Limit::ALL.len()],
    /// Exchanges without a whole answer, by how they ended.
    pub exchanges_cut: [(Ending, u64); Ending::CUT.len()],
    /// The pool for handlers that may block.
    pub pool: Pool,
    /// Exchanges by route, method and status; empty unless the server was asked to time them.
    pub series: Vec<Series>,
}

impl Snapshot {
    /// Connections that are open.
    pub fn connections_open(&self) -> u64 {
        self.connections.iter().map(|(_, count)| count).sum()
    }

    /// Requests under way: those that outlast a turn of the loop.
    pub fn requests_active(&self) -> u64 {
        let active = self.connections.iter().filter(|(s, _)| s.is_active());
        active.map(|(_, count)| count).sum()
    }

    /// Exchanges that have ended.
    pub fn exchanges(&self) -> u64 {
        self.series.iter().map(Series::count).sum()
    }
}

/// One worker's loop.
#[derive(Clone, Copy, Debug)]
pub struct Worker {
    /// Turns of its loop.
    pub turns: u64,
    /// Microseconds in which it did not wait; as of the end of its last turn.
    pub busy_us: u64,
}

/// The pool for handlers that may block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Threads that exist.
    pub threads: usize,
    /// Threads without work.
    pub threads_idle: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
    /// Jobs refused because the queue was full.
    pub refused: u64,
}

/// A histogram of the exchanges of a route, method and status.
#[derive(Clone, Debug)]
pub struct Series {
    /// `None` is the series of what came when there was no room for more of them.
    pub of: Option<(Method, u16)>,
    /// The route's template, empty when none matched.
    pub route: Arc<str>,
    /// Exchanges in each bucket of [`BUCKETS_US`], and in one beyond them; not cumulative.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// Microseconds in all.
    pub sum_us: u64,
}

impl Series {
    fn new(of: Option<(Method, u16)>, route: Arc<str>) -> Series {
        Series {
            of,
            route,
            buckets: [0; BUCKETS_US.len() + 1],
            sum_us: 0,
        }
    }

    fn add(&mut self, cell: &Cell) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&cell.buckets) {
            *sum += bucket.read();
        }
        self.sum_us += cell.sum_us.read();
    }

    /// Exchanges in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Request, Router};

    fn app(routes: &[&str]) -> App {
        let mut router = Router::new();
        for route in routes {
            router.get(route, |_: &Request<'_>| "x");
            router.post(route, |_: &Request<'_>| "x");
        }
        router.build().unwrap()
    }

    fn metrics(routes: &[&str], workers: usize) -> Metrics {
        Metrics::new(workers, true, &mut app(routes))
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let metrics = metrics(&["/"], 1);
        for us in [0, 5_000, 5_001, 10_000_000, 10_000_001, 1 << 40] {
            metrics.block(0).record(1, Method::Get, 200, us);
        }
        let series = metrics.snapshot().series;
        let [one] = &series[..] else {
            panic!("{series:?}")
        };
        let (first, second) = (one.buckets[0], one.buckets[1]);
        let (last, beyond) = (one.buckets[13], one.buckets[14]);
        assert_eq!((first, second, last, beyond), (2, 1, 1, 2));
        assert_eq!(one.count(), 6);
        assert_eq!(
            one.sum_us,
            5_000 + 5_001 + 10_000_000 + 10_000_001 + (1 << 40)
        );
    }

    #[test]
    fn sums_the_workers_and_keeps_apart_what_differs() {
        let metrics = metrics(&["/", "/users/{id}"], 2);
        let (one, other) = (metrics.block(0), metrics.block(1));
        one.record(1, Method::Get, 200, 1);
        other.record(1, Method::Get, 200, 2);
        other.record(1, Method::Head, 200, 3);
        other.record(1, Method::Get, 404, 4);
        other.record(2, Method::Get, 200, 5);
        one.received_bytes.add(10);
        other.received_bytes.add(5);
        one.enter(State::Idle);
        other.enter(State::Idle);
        one.leave(State::Idle);
        one.enter(State::Sending);
        let snapshot = metrics.snapshot();
        let shown: Vec<_> = snapshot
            .series
            .iter()
            .map(|series| (series.of, &*series.route, series.count(), series.sum_us))
            .collect();
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert!(shown.contains(&(Some((Method::Get, 200)), "/", 2, 3)));
        assert!(shown.contains(&(Some((Method::Head, 200)), "/", 1, 3)));
        assert!(shown.contains(&(Some((Method::Get, 404)), "/", 1, 4)));
        assert!(shown.contains(&(Some((Method::Get, 200)), "/users/{id}", 1, 5)));
        assert_eq!(snapshot.exchanges(), 5);
        assert_eq!(snapshot.received_bytes, 15);
        assert_eq!(snapshot.connections_open(), 2);
        assert_eq!(snapshot.requests_active(), 1);
    }

    #[test]
    fn series_beyond_the_room_are_counted_together_and_none_is_lost() {
        let metrics = metrics(&["/"], 1);
        let block = metrics.block(0);
        for status in 0..1_000 {
            block.record(0, Method::Get, status, 1);
        }
        let series = metrics.snapshot().series;
        assert!(series.len() <= SERIES_MIN + 1);
        let overflow = series.iter().find(|series| series.of.is_none()).unwrap();
        assert!(overflow.count() >= 1_000 - SERIES_MIN as u64);
        assert_eq!(series.iter().map(Series::count).sum::<u64>(), 1_000);
    }

    #[test]
    fn a_route_keeps_its_row_when_another_application_takes_over() {
        let metrics = metrics(&["/a", "/b"], 1);
        let mut second = app(&["/c", "/b"]);
        metrics.admit(&mut second);
        let row = |app: &App, path| app.route(&app.find_path(Method::Get, path)).1;
        let first = {
            let mut first = app(&["/a", "/b"]);
            metrics.admit(&mut first);
            first
        };
        assert_eq!(row(&first, "/b"), row(&second, "/b"));
        assert_ne!(row(&first, "/a"), row(&second, "/c"));
        assert_eq!(row(&first, "/none"), 0);
        assert_eq!(
            row(&second, "/b"),
            second.route(&second.find_path(Method::Post, "/b")).1
        );
    }

    #[test]
    fn a_refusal_counts_its_error_and_the_limit_behind_it() {
        let metrics = metrics(&["/"], 1);
        let block = metrics.block(0);
        block.refuse(Error::HeadTooLarge);
        block.refuse(Error::LineEnd);
        let snapshot = metrics.snapshot();
        let counted = |wanted| {
            snapshot
                .refusals
                .iter()
                .find(|(error, _)| *error == wanted)
                .unwrap()
                .1
        };
        assert_eq!(counted(Error::HeadTooLarge), 1);
        assert_eq!(counted(Error::LineEnd), 1);
        assert_eq!(counted(Error::BodyTimeout), 0);
        let limits = snapshot.limits.iter().filter(|(_, count)| *count > 0);
        let limits: Vec<_> = limits
            .map(|(limit, count)| (limit.name(), *count))
            .collect();
        assert_eq!(limits, [("head_bytes_max", 1)]);
    }

    #[test]
    fn names_stand_at_their_own_index() {
        for (at, error) in Error::ALL.into_iter().enumerate() {
            assert_eq!(error as usize, at);
        }
        for (at, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, at);
        }
        for (at, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, at);
        }
        for (at, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, at);
        }
        for (at, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, at);
        }
    }
}
