//! A running server that goes on with another application: nothing is dropped, and an exchange
//! ends with the application that it began with.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::{Address, BodyReader, Limits, Method, Request, Response, Router, Running, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Long enough for a loaded machine, short enough to fail.
const PATIENCE: Duration = Duration::from_secs(20);

fn serve(router: Router) -> Running {
    let server = Server::new(router.build().unwrap()).workers(2);
    server.listen("127.0.0.1:0").unwrap().start().unwrap()
}

fn connect(running: &Running) -> TcpStream {
    let Address::Ip(address) = &running.addresses()[0] else {
        panic!("not TCP")
    };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn end(running: Running) {
    running.stopper().drain();
    running.join().unwrap();
}

/// Sends a request and reads its answer's content.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    read_content(stream)
}

fn read_content(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let end = loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8(bytes).unwrap();
        }
    };
    let length = end
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap();
    let mut content = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut content).unwrap();
    String::from_utf8(content).unwrap()
}

/// A generation: what it answers, and whether anybody still holds it.
fn generation(name: &'static str, before: usize) -> (Router, Weak<()>) {
    let alive = Arc::new(());
    let held = Arc::downgrade(&alive);
    let mut router = Router::new();
    for number in 0..before {
        router.get(&format!("/only-here/{number}"), |_| "nobody asks");
    }
    router.get("/", move |_: &Request<'_>| {
        let _ = &alive;
        name
    });
    router.post("/body", move |request: &Request<'_>| {
        format!("{name} {}", request.body().len())
    });
    router.upload(
        Method::Put,
        "/up",
        move |_: &Request<'_>, body: &mut BodyReader| {
            let (mut sum, mut buffer) = (0, [0; 1_000]);
            while let Ok(len @ 1..) = body.read(&mut buffer) {
                sum += len;
            }
            format!("{name} {sum}")
        },
    );
    router.get("/large", move |_: &Request<'_>| {
        Response::bytes("text/plain", name.repeat(2_000_000))
    });
    (router, held)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn the_same_connection_is_answered_by_the_next_application() {
    let running = serve(generation("first", 0).0);
    let stopper = running.stopper();
    let mut streams: Vec<TcpStream> = (0..8).map(|_| connect(&running)).collect();
    for stream in &mut streams {
        assert_eq!(ask(stream, GET), "first");
    }
    for round in 0..50 {
        let name = if round % 2 == 0 { "second" } else { "third" };
        let app = generation(name, round % 7).0.build().unwrap();
        assert!(
            stopper.reload(app, Limits::DEFAULT),
            "a worker did not take it"
        );
        for stream in &mut streams {
            assert_eq!(ask(stream, GET), name);
        }
    }
    end(running);
}

#[test]
fn what_is_under_way_ends_with_the_application_it_began_with_and_then_lets_it_go() {
    let (router, first) = generation("first", 3);
    let running = serve(router);
    let (mut body, mut upload, mut large) =
        (connect(&running), connect(&running), connect(&running));
    body.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n123")
        .unwrap();
    upload
        .write_all(
            b"PUT /up HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n",
        )
        .unwrap();
    let mut told = [0; 25];
    upload.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    large
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut byte = [0];
    large.read_exact(&mut byte).unwrap();
    // Whoever reads the half body has it: a request that came later was answered.
    assert_eq!(ask(&mut connect(&running), GET), "first");
    let (router, second) = generation("second", 0);
    let app = router.build().unwrap();
    assert!(running.stopper().reload(app, Limits::DEFAULT));
    assert!(first.upgrade().is_some(), "exchanges still hold it");
    upload.write_all(b"123456").unwrap();
    assert_eq!(read_content(&mut upload), "first 6");
    assert_eq!(ask(&mut upload, GET), "second");
    let mut left = Vec::new();
    large.shutdown(std::net::Shutdown::Write).unwrap();
    large.read_to_end(&mut left).unwrap();
    assert!(
        left.ends_with(b"firstfirst") && left.len() > 10_000_000,
        "{} bytes",
        left.len()
    );
    body.write_all(b"456").unwrap();
    let content = read_content(&mut body);
    assert_eq!(ask(&mut body, GET), "second");
    assert!(content == "first 6" || content == "second 6", "{content}");
    end(running);
    assert!(first.upgrade().is_none(), "somebody still holds the first");
    assert!(
        second.upgrade().is_none(),
        "somebody still holds the second"
    );
}

#[test]
fn an_application_without_exchanges_is_let_go_at_once() {
    let (router, first) = generation("first", 0);
    let running = serve(router);
    let mut stream = connect(&running);
    assert_eq!(ask(&mut stream, GET), "first");
    let app = generation("second", 0).0.build().unwrap();
    assert!(running.stopper().reload(app, Limits::DEFAULT));
    // The worker lets go between taking over and its next answer.
    for _ in 0..2 {
        assert_eq!(ask(&mut connect(&running), GET), "second");
    }
    assert_eq!(ask(&mut stream, GET), "second");
    end(running);
    assert!(first.upgrade().is_none());
}

#[test]
fn new_limits_hold_from_the_next_request_on() {
    let running = serve(generation("first", 0).0);
    let mut stream = connect(&running);
    let six = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n123456";
    assert_eq!(ask(&mut stream, six), "first 6");
    let app = generation("second", 0).0.build().unwrap();
    let limits = Limits {
        body_bytes_max: 5,
        ..Limits::DEFAULT
    };
    assert!(running.stopper().reload(app, limits));
    stream.write_all(six.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    end(running);
}

#[test]
fn a_reload_does_not_wait_for_a_handler_that_does_not_return() {
    let (begun, has_begun) = channel();
    let (let_go, gate) = channel::<()>();
    let gate = Mutex::new((begun, gate));
    let mut router = Router::new();
    router.get("/", move |_: &Request<'_>| {
        let gate = gate.lock().unwrap();
        gate.0.send(()).unwrap();
        gate.1.recv().unwrap();
        "through"
    });
    let running = serve(router);
    let mut stream = connect(&running);
    stream.write_all(GET.as_bytes()).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let app = generation("second", 0).0.build().unwrap();
    assert!(!running.stopper().reload(app, Limits::DEFAULT));
    let_go.send(()).unwrap();
    assert_eq!(read_content(&mut stream), "through");
    assert_eq!(ask(&mut stream, GET), "second");
    end(running);
}
