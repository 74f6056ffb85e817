//! What the service says about its own health: alive, ready, and the checks that code added.
//!
//! Alive means that a worker turns. Ready means that it serves, does not drain, and every check
//! passes; a balancer sends requests by it. A check runs on a thread of its own, at most once
//! at a time and once a second however many ask, and one that does not come back counts as
//! failed: neither a flood of probes nor a hanging database takes the server's threads.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aureon::sys::thread;
use aureon::{Method, Request, Response, Router, Status};

use crate::json::{List, Object};
use crate::observer::now_ms;
use crate::problem::with_error;
use crate::value::show_digits;

/// Paths that say "alive"; their exchanges are not logged by default.
pub const ALIVE_PATHS: [&str; 3] = ["/healthz", "/up", "/health"];

/// Path that says "ready".
pub const READY_PATH: &str = "/readyz";

/// The same with every check, as JSON.
pub const REPORT_PATH: &str = "/api/health";

/// Whether a route is one that only probes ask for.
pub fn is_probe(route: &str) -> bool {
    // Asked for each exchange: most routes are of another length.
    let lengths = const {
        let mut lengths = 1_u64 << READY_PATH.len() | 1 << REPORT_PATH.len();
        let mut at = 0;
        while at < ALIVE_PATHS.len() {
            lengths |= 1 << ALIVE_PATHS[at].len();
            at += 1;
        }
        lengths
    };
    let known = route.len() < 64 && lengths & 1 << route.len() != 0;
    known && (route == READY_PATH || route == REPORT_PATH || ALIVE_PATHS.contains(&route))
}

/// How long a check's result is believed. 1 s: probes come every few.
const FRESH: Duration = Duration::from_secs(1);

/// How long a probe waits for a check. 2 s: orchestrators give up after one to ten.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of stack of a check's thread. 256 KiB: it may call a client library.
const STACK_BYTES: usize = 256 * 1024;

/// Checks of one service. 64: each may hold a thread.
pub const CHECKS_MAX: usize = 64;

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The addresses are bound, nobody has been answered.
    Starting = 0,
    /// Requests are answered.
    Serving = 1,
    /// It is about to stop: balancers should send requests elsewhere.
    Draining = 2,
}

impl State {
    /// A stable name.
    pub const fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Serving => "serving",
            State::Draining => "draining",
        }
    }
}

/// What a check does: nothing, or the reason why the service should get no requests.
type Run = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

struct Check {
    name: String,
    run: Run,
    last: Mutex<Last>,
    came_back: Condvar,
}

#[derive(Default)]
struct Last {
    /// Since when it runs.
    running: Option<Instant>,
    /// When it came back, after how long, and with what.
    result: Option<(Instant, Duration, Result<(), String>)>,
}

/// State and checks, shared by handlers and supervisor. Clones are handles to the same.
#[derive(Clone)]
pub struct Health {
    state: Arc<AtomicU8>,
    own: Arc<Own>,
    checks: Arc<Vec<Arc<Check>>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Default for Health {
    fn default() -> Health {
        Health {
            state: Arc::new(AtomicU8::new(State::Starting as u8)),
            own: Arc::default(),
            checks: Arc::new(Vec::new()),
        }
    }
}

/// The request that a service makes of itself before it calls itself ready.
#[derive(Default)]
struct Own {
    /// The number it carries; zero is none.
    expected: AtomicU64,
    seen: AtomicBool,
}

impl Health {
    /// A number that the next own request is known by.
    pub fn expect_own(&self) -> u64 {
        // Unlike any other process's: from the clock and our own number.
        let number = now_ms() << 16 | u64::from(std::process::id() & 0xffff);
        self.own.seen.store(false, Ordering::Release);
        self.own.expected.store(number, Ordering::Release);
        number
    }

    /// Whether it was answered here.
    pub fn saw_own(&self) -> bool {
        self.own.seen.load(Ordering::Acquire)
    }

    fn alive(&self, request: &Request<'_>) -> Response {
        let expected = self.own.expected.load(Ordering::Acquire);
        if expected != 0 && request.query_str() == Some(&show_digits(expected)) {
            self.own.expected.store(0, Ordering::Release);
            self.own.seen.store(true, Ordering::Release);
        }
        plain(Status::OK, "alive\n")
    }

    /// Adds a check; beyond [`CHECKS_MAX`] it is not added and false is the answer.
    pub fn add(
        &mut self,
        name: &str,
        run: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> bool {
        if self.checks.len() >= CHECKS_MAX {
            return false;
        }
        let mut checks = Vec::clone(&self.checks);
        checks.push(Arc::new(Check {
            name: name.to_owned(),
            run: Arc::new(run),
            last: Mutex::default(),
            came_back: Condvar::new(),
        }));
        self.checks = Arc::new(checks);
        true
    }

    /// Whether there are checks of a backend's own.
    pub fn has_checks(&self) -> bool {
        !self.checks.is_empty()
    }

    /// Where the service is in its life.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Serving,
            _ => State::Draining,
        }
    }

    /// Goes on to another state.
    pub fn enter(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// The routes that tell it.
    pub fn add_routes(&self, router: &mut Router) {
        for path in ALIVE_PATHS {
            let health = self.clone();
            router.get(path, move |request: &Request<'_>| health.alive(request));
        }
        let (ready, report) = (self.clone(), self.clone());
        if self.checks.is_empty() {
            // Nothing that could block: a full pool must not make a healthy server look ill.
            router.get(READY_PATH, move |_: &Request<'_>| ready.ready());
            router.get(REPORT_PATH, move |_: &Request<'_>| report.report());
        } else {
            router.blocking(Method::Get, READY_PATH, move |_: &Request<'_>| {
                ready.ready()
            });
            router.blocking(Method::Get, REPORT_PATH, move |_: &Request<'_>| {
                report.report()
            });
        }
    }

    fn ready(&self) -> Response {
        let state = self.state();
        if state == State::Draining {
            return plain(Status::SERVICE_UNAVAILABLE, "draining\n");
        }
        for check in self.checks.iter() {
            if let (_, Err(reason)) = check.ask() {
                let text = [&check.name, ": ", &reason, "\n"].concat();
                return plain(Status::SERVICE_UNAVAILABLE, &text);
            }
        }
        plain(Status::OK, "ready\n")
    }

    fn report(&self) -> Response {
        let mut fine = self.state() != State::Draining;
        let mut checks = List::default();
        for check in self.checks.iter() {
            let (took, result) = check.ask();
            fine &= result.is_ok();
            let mut object = Object::new(checks.element());
            object.string("name", &check.name);
            object.string("status", if result.is_ok() { "ok" } else { "failed" });
            object.seconds(
                "duration",
                u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            );
            if let Err(reason) = result {
                object.string("reason", reason);
            }
            object.end();
        }
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.string("status", if fine { "ok" } else { "unavailable" });
        object.string("state", self.state().name());
        object.raw("checks", &checks.end());
        object.end();
        let mut response = Response::json_bytes(out).with_field("Cache-Control", "no-store");
        if !fine {
            response.set_status(Status::SERVICE_UNAVAILABLE);
        }
        response
    }
}

fn plain(status: Status, text: &str) -> Response {
    let mut response = Response::text(text.to_owned()).with_field("Cache-Control", "no-store");
    response.set_status(status);
    response
}

impl Check {
    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it took, and what came of it.
    fn ask(self: &Arc<Check>) -> (Duration, Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = self.lock();
        if let Some((at, took, result)) = &last.result
            && at.elapsed() < FRESH
        {
            return (*took, result.clone());
        }
        if last.running.is_none() {
            last.running = Some(Instant::now());
            let check = Arc::clone(self);
            let body = move || {
                check.work();
                Ok(())
            };
            if let Err(error) = thread::start("check", STACK_BYTES, Box::new(body)) {
                last.running = None;
                let reason = with_error(&["no thread to run it"], &error);
                return (Duration::ZERO, Err(reason));
            }
        }
        while let Some(since) = last.running {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return (since.elapsed(), Err("has not come back".to_owned()));
            }
            last = match self.came_back.wait_timeout(last, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        match &last.result {
            Some((_, took, result)) => (*took, result.clone()),
            None => (Duration::ZERO, Err("did not run".to_owned())),
        }
    }

    fn work(&self) {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (self.run)()))
            .unwrap_or_else(|_| Err("panicked".to_owned()));
        let mut last = self.lock();
        last.running = None;
        last.result = Some((Instant::now(), began.elapsed(), result));
        self.came_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aureon::app::Client;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::channel;

    fn client(health: &Health) -> Client {
        let mut router = Router::new();
        health.add_routes(&mut router);
        Client::new(router.build().unwrap())
    }

    fn status(client: &Client, path: &str) -> u16 {
        client.get(path).status().code()
    }

    #[test]
    fn a_service_that_drains_is_alive_and_not_ready() {
        let health = Health::default();
        let client = client(&health);
        assert_eq!(status(&client, READY_PATH), 200);
        health.enter(State::Draining);
        for path in ALIVE_PATHS {
            assert_eq!(status(&client, path), 200);
        }
        assert_eq!(status(&client, READY_PATH), 503);
        assert_eq!(status(&client, REPORT_PATH), 503);
    }

    #[test]
    fn a_check_that_fails_or_panics_is_named_with_its_reason() {
        let mut health = Health::default();
        health.add("fine", || Ok(()));
        health.add("db", || Err("no route to it".to_owned()));
        health.add("odd", || panic!("meant to"));
        let client = client(&health);
        let ready = client.get(READY_PATH);
        assert_eq!(ready.status().code(), 503);
        assert_eq!(ready.text(), "db: no route to it\n");
        let report = client.get(REPORT_PATH);
        let report: serde_json::Value = serde_json::from_str(&report.text()).unwrap();
        assert_eq!(report["status"], "unavailable");
        let told = |at: usize| {
            (
                &report["checks"][at]["status"],
                &report["checks"][at]["reason"],
            )
        };
        assert_eq!(told(0).0, "ok");
        assert_eq!(told(1), (&"failed".into(), &"no route to it".into()));
        assert_eq!(told(2), (&"failed".into(), &"panicked".into()));
    }

    #[test]
    fn a_flood_of_probes_asks_once_and_a_check_that_hangs_holds_one_thread() {
        let (let_go, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let mut health = Health::default();
        health.add("slow", move || {
            count.fetch_add(1, Ordering::SeqCst);
            // A gate whose other end is gone stands open.
            let _ = gate.lock().unwrap().recv();
            Ok(())
        });
        let client = Arc::new(client(&health));
        let probes: Vec<_> = (0..20)
            .map(|_| {
                let client = Arc::clone(&client);
                std::thread::spawn(move || status(&client, READY_PATH))
            })
            .collect();
        for probe in probes {
            assert_eq!(probe.join().unwrap(), 503, "it has not come back");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        drop(let_go);
        let check = &health.checks[0];
        let mut last = check.lock();
        while last.running.is_some() {
            last = check.came_back.wait(last).unwrap();
        }
        drop(last);
        assert_eq!(status(&client, READY_PATH), 200);
        assert_eq!(asked.load(Ordering::SeqCst), 1, "the result is fresh");
    }
}
