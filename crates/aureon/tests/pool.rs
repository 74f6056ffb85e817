//! Handlers that may block: the pool's threads and queue, and answers in a handler's place.
//!
//! Nothing waits by sleeping: reads have time-outs and threads meet over channels.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::app::{Cors, RequestIds, SecurityHeaders};
use aureon::metrics::Series;
use aureon::{Ending, Exchange, Limits, Method, Observer, Request, Response, Router, Server};
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

mod served;

use served::{GATED, PATIENCE, Served, Told, gated, read_answer, read_to_end};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn a_blocking_handler_blocks_nobody_and_its_pipeline_waits() {
    let (router, has_begun, let_go) = gated();
    let served = Served::with(router, Limits::DEFAULT, 1);
    let mut stream = served.connect();
    stream
        .write_all(format!("{GATED}{GET}").as_bytes())
        .unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    assert!(served.ask(GET_CLOSE).ends_with("hello"));
    let_go.send(()).unwrap();
    assert_eq!(read_answer(&mut stream).1, b"through");
    assert_eq!(read_answer(&mut stream).1, b"hello");
}

#[test]
fn a_full_pool_answers_503_with_retry_after() {
    let (router, has_begun, let_go) = gated();
    let limits = Limits {
        pool_threads_max: 1,
        pool_queue_max: 1,
        ..Limits::DEFAULT
    };
    let served = Served::with(router, limits, 1);
    let mut first = served.connect();
    first.write_all(GATED.as_bytes()).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let mut second = served.connect();
    second.write_all(GATED.as_bytes()).unwrap();
    // Both connections are the one worker's: an answer behind proves that the second was read.
    assert!(served.ask(GET_CLOSE).ends_with("hello"));
    let third = served.ask("GET /gated HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(
        third.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{third}"
    );
    assert!(third.contains("Retry-After: 1\r\n"));
    for _ in 0..2 {
        let_go.send(()).unwrap();
    }
    assert_eq!(read_answer(&mut first).1, b"through");
    assert_eq!(read_answer(&mut second).1, b"through");
}

/// A handler that tells the id of its request, if it has one, waits to be let go, and fails.
fn failing() -> (
    impl Fn(&Request<'_>) -> &'static str + Send + Sync + 'static,
    Receiver<String>,
    Sender<()>,
) {
    let (begun, has_begun) = channel();
    let (let_go, gate) = channel::<()>();
    let gate = Mutex::new((begun, gate));
    let handler = move |request: &Request<'_>| -> &'static str {
        let gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.0
            .send(request.id().unwrap_or_default().to_owned())
            .unwrap();
        gate.1.recv().unwrap();
        panic!("it went wrong later")
    };
    (handler, has_begun, let_go)
}

/// The value of a field in an answer's head.
fn value<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no {name} in {head}")).1
}

/// A 503 of the server's own is to be read by a page of another origin, and found in the log.
#[test]
fn answers_in_a_handlers_place_have_what_middleware_gives_to_all() {
    let (handler, has_begun, let_go) = failing();
    let (tell, told) = channel();
    let mut router = Router::new();
    router
        .with(RequestIds::new())
        .with(SecurityHeaders::new())
        .with(Cors::any());
    router.blocking(Method::Get, "/gated", handler);
    router.get("/stream", |_: &Request<'_>| {
        Response::stream("text/plain", |_| Ok(()))
    });
    let limits = Limits {
        answer_timeout_ms: 300,
        pool_threads_max: 1,
        pool_queue_max: 1,
        ..Limits::DEFAULT
    };
    let server = Server::new(router.build().unwrap())
        .limits(limits)
        .workers(1);
    let served = Served::start(server.observer(Ids(Mutex::new(tell))));
    // One is with its handler, one waits for the only thread, and for two there is no place.
    let mut streams = vec![served.send(GATED)];
    let id_of_handler = has_begun.recv_timeout(PATIENCE).unwrap();
    let stream = "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n";
    streams.extend([served.send(GATED), served.send(GATED)]);
    let next = || told.recv_timeout(PATIENCE).unwrap();
    // Whoever found no place is told first: from then on a stream finds none either.
    let mut told = vec![next()];
    streams.push(served.send(stream));
    told.extend((0..3).map(|_| next()));
    for (number, stream) in streams.iter_mut().enumerate() {
        let head = read_answer(stream).0;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(value(&head, "X-Content-Type-Options"), "nosniff");
        assert_eq!(value(&head, "Access-Control-Allow-Origin"), "*");
        let id = value(&head, "X-Request-Id");
        assert!(told.iter().any(|told| told == id), "{id} of {told:?}");
        assert_eq!(id == id_of_handler, number == 0, "{number}");
    }
    // What they do later is told under the ids that their clients had, whoever gave them.
    let_go.send(()).unwrap();
    assert_eq!(next(), id_of_handler);
    let id_of_waiting = has_begun.recv_timeout(PATIENCE).unwrap();
    assert!(told.contains(&id_of_waiting) && id_of_waiting != id_of_handler);
    let_go.send(()).unwrap();
    assert_eq!(next(), id_of_waiting);
}

/// The id of each exchange.
struct Ids(Mutex<Sender<String>>);

impl Observer for Ids {
    fn on_exchange(&self, exchange: &Exchange<'_, '_>) {
        let id = exchange.request.id().unwrap_or_default().to_owned();
        self.0.lock().unwrap().send(id).unwrap();
    }
}

#[test]
fn an_answer_that_does_not_come_is_given_up() {
    let (router, has_begun, let_go) = gated();
    let served = Served::with(
        router,
        Limits {
            answer_timeout_ms: 300,
            ..Limits::DEFAULT
        },
        1,
    );
    let mut stream = served.connect();
    stream.write_all(GATED.as_bytes()).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let text = read_to_end(&mut stream);
    assert!(
        text.starts_with("HTTP/1.1 503 ") && text.contains("Connection: close"),
        "{text}"
    );
    let_go.send(()).unwrap();
    assert!(served.ask(GET_CLOSE).ends_with("hello"));
}

#[test]
fn who_gets_no_answer_from_a_handler_is_told_at_once_and_counted_once() {
    let (handler, has_begun, let_go) = failing();
    let (tell, told) = channel();
    let mut router = Router::new();
    router.blocking(Method::Get, "/gated", handler);
    let limits = Limits {
        answer_timeout_ms: 300,
        ..Limits::DEFAULT
    };
    let server = Server::new(router.build().unwrap())
        .limits(limits)
        .workers(1);
    let served = Served::start(server.metrics(true).observer(Told(Mutex::new(tell))));
    let next = || told.recv_timeout(PATIENCE).unwrap();
    let mut stream = served.send(GATED);
    has_begun.recv_timeout(PATIENCE).unwrap();
    // The handler has not returned yet.
    assert!(read_to_end(&mut stream).starts_with("HTTP/1.1 503 "));
    let (status, ending, fault) = next();
    assert_eq!((status, ending), (503, Ending::Complete));
    assert!(fault.contains("answer_timeout"), "{fault}");
    let_go.send(()).unwrap();
    // What it did since is told, but is no other exchange.
    let late = (500, Ending::AnswerLate, "it went wrong later".to_owned());
    assert_eq!(next(), late);
    assert_eq!(counted(&served), (1, 0));
}

/// Exchanges that were counted, and how many of them were cut off.
fn counted(served: &Served) -> (u64, u64) {
    let metrics = served.running.as_ref().unwrap().metrics();
    let series = metrics.series.iter().map(Series::count);
    let cut = metrics.exchanges_cut.iter().map(|(_, count)| count);
    (series.sum(), cut.sum())
}

#[test]
fn an_exchange_whose_handler_runs_is_told_when_the_server_is_halted() {
    let (router, has_begun, let_go) = gated();
    let (tell, told) = channel();
    let server = Server::new(router.build().unwrap()).workers(1);
    let served = Served::start(server.metrics(true).observer(Told(Mutex::new(tell))));
    let _waiting = served.send(GATED);
    has_begun.recv_timeout(PATIENCE).unwrap();
    served.running.as_ref().unwrap().stopper().halt();
    let (_, ending, _) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ending, Ending::CutOff);
    assert_eq!(counted(&served), (1, 1));
    let_go.send(()).unwrap();
}
