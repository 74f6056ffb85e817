//! A server whose listeners another one takes over while clients come and go: none is refused,
//! reset or left without its answer, whatever either side's number of workers.

#![cfg(unix)]
// Windows hands no socket to another process with its queue: docs/PLATFORMS.md.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::{Address, Request, Router, Running, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Long enough for a loaded machine, short enough to fail.
const PATIENCE: Duration = Duration::from_secs(20);

fn server(name: &'static str, answered: &Arc<AtomicU64>, workers: usize) -> Server {
    let answered = Arc::clone(answered);
    let mut router = Router::new();
    router.get("/", move |_: &Request<'_>| {
        answered.fetch_add(1, Ordering::SeqCst);
        name
    });
    Server::new(router.build().unwrap()).workers(workers)
}

fn take_over(mut server: Server, from: &Running) -> Running {
    for listener in from.stopper().listeners_to_inherit().unwrap() {
        // The number is all that a child process would be told.
        let number = u32::try_from(listener.into_raw_fd()).unwrap();
        server = server.listen_handed_over(number).unwrap();
    }
    server.start().unwrap()
}

/// One answer; true when the connection lives on.
fn ask(stream: &mut (impl Read + Write)) -> (bool, String) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let mut length = head
        .lines()
        .filter_map(|line| line.strip_prefix("Content-Length: "));
    let mut content = vec![0; length.next().unwrap().parse().unwrap()];
    stream.read_exact(&mut content).unwrap();
    let lives = !head.contains("Connection: close");
    (lives, String::from_utf8(content).unwrap())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client that asks without a pause; `keep` says whether on one connection.
fn client(address: SocketAddr, keep: bool, over: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let (mut stream, mut answers) = (connect(address), 0);
        while !over.load(Ordering::Relaxed) {
            let (lives, _) = ask(&mut stream);
            answers += 1;
            if !keep || !lives {
                stream = connect(address);
            }
        }
        answers
    })
}

#[test]
fn nobody_is_lost_however_often_a_server_is_replaced() {
    let answered = Arc::new(AtomicU64::new(0));
    let mut running = server("a", &answered, 2)
        .listen("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let Address::Ip(address) = running.addresses()[0].clone() else {
        panic!("not TCP")
    };
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..6)
        .map(|at| client(address, at % 2 == 0, &over))
        .collect();
    for workers in [1, 3, 2, 4, 1, 2, 2, 1, 2, 3] {
        let next = take_over(server("b", &answered, workers), &running);
        running.stopper().hand_over();
        running.join().unwrap();
        running = next;
    }
    over.store(true, Ordering::Relaxed);
    let counted: u64 = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    running.stopper().drain();
    running.join().unwrap();
    assert_eq!(
        counted,
        answered.load(Ordering::SeqCst),
        "both sides count the same"
    );
    assert!(counted > 100);
}

#[test]
fn a_paused_server_serves_what_is_open_and_leaves_the_rest_to_the_other() {
    let answered = Arc::new(AtomicU64::new(0));
    let first = server("first", &answered, 1)
        .listen("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let Address::Ip(address) = first.addresses()[0].clone() else {
        panic!("not TCP")
    };
    let mut open = connect(address);
    assert_eq!(ask(&mut open).1, "first");
    let second = take_over(server("second", &answered, 1), &first);
    first.stopper().pause();
    // A worker obeys in its next turn: one whole exchange later it has.
    assert_eq!(ask(&mut open).1, "first");
    assert_eq!(ask(&mut open).1, "first");
    for _ in 0..20 {
        assert_eq!(ask(&mut connect(address)).1, "second");
    }
    second.stopper().hand_over();
    second.join().unwrap();
    first.stopper().resume();
    assert_eq!(ask(&mut connect(address)).1, "first");
    first.stopper().drain();
    first.join().unwrap();
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody keeps the socket open"
    );
}

#[test]
fn the_path_of_a_unix_socket_goes_with_its_last_server() {
    let path: PathBuf =
        std::env::temp_dir().join(format!("aureon-handover-{}", std::process::id()));
    let answered = Arc::new(AtomicU64::new(0));
    let listen = format!("unix:{}", path.display());
    let first = server("first", &answered, 2)
        .listen(&listen)
        .unwrap()
        .start()
        .unwrap();
    let second = take_over(server("second", &answered, 2), &first);
    assert_eq!(second.addresses(), first.addresses());
    first.stopper().hand_over();
    first.join().unwrap();
    assert_eq!(ask(&mut UnixStream::connect(&path).unwrap()).1, "second");
    second.stopper().drain();
    second.join().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_worker_that_a_handler_holds_is_seen_by_its_turns() {
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (let_go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new((begun, gate));
    let mut router = Router::new();
    router.get("/", move |_: &Request<'_>| {
        let gate = gate.lock().unwrap();
        gate.0.send(()).unwrap();
        gate.1.recv().unwrap();
        "through"
    });
    let server = Server::new(router.build().unwrap()).workers(2);
    let running = server.listen("127.0.0.1:0").unwrap().start().unwrap();
    let Address::Ip(address) = running.addresses()[0].clone() else {
        panic!("not TCP")
    };
    let mut stream = connect(address);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let stopper = running.stopper();
    let moved = |before: &[u64]| {
        let now = stopper.turns();
        before
            .iter()
            .zip(&now)
            .filter(|(before, now)| before != now)
            .count()
    };
    let before = stopper.turns();
    while moved(&before) < 1 {
        stopper.wake();
        thread::yield_now();
    }
    assert_eq!(moved(&before), 1, "the other one stands");
    let_go.send(()).unwrap();
    while moved(&before) < 2 {
        stopper.wake();
        thread::yield_now();
    }
    stopper.drain();
    running.join().unwrap();
}
