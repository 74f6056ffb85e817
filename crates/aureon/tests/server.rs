//! The server over real sockets: what a kernel does that a simulation only imitates.
//!
//! Every server listens on port 0 of loopback or on a Unix socket, and is drained at the end of
//! its test; a drain that does not end fails it. Nothing waits by sleeping: reads have time-outs
//! and threads meet over channels.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::{
    Address, Body, BodyReader, Ending, Limits, Method, Request, Response, Router, Server,
};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::{
    fd::{AsRawFd, IntoRawFd},
    unix::net::UnixStream,
};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

mod served;

use served::{GATED, PATIENCE, Served, Told, gated, hello, read_answer, read_to_end};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn keeps_a_connection_alive_and_answers_a_pipeline_in_order() {
    let mut router = hello();
    router.get("/{n}", |request: &Request<'_>| {
        request.param("n").unwrap_or_default().to_owned()
    });
    let served = Served::new(router);
    let mut stream = served.connect();
    for _ in 0..3 {
        stream.write_all(GET.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).1, b"hello");
    }
    let pipeline: String = (0..500)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    stream.write_all(pipeline.as_bytes()).unwrap();
    for n in 0..500 {
        assert_eq!(read_answer(&mut stream).1, n.to_string().into_bytes());
    }
}

#[test]
fn a_thousand_slow_clients_delay_nobody() {
    let served = Served::new(hello());
    let slow: Vec<TcpStream> = (0..1_000)
        .map(|n| {
            let mut stream = served.connect();
            let part = if n % 2 == 0 {
                "GET / HT"
            } else {
                "POST / HTTP/1.1\r\nHost: a\r\n"
            };
            stream.write_all(part.as_bytes()).unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    for _ in 0..50 {
        assert!(served.ask(GET_CLOSE).ends_with("hello"));
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    drop(slow);
}

#[test]
fn a_half_closed_peer_still_gets_its_answer() {
    let served = Served::new(hello());
    let mut stream = served.connect();
    stream.write_all(GET.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&mut stream).ends_with("hello"));
    // A request whose end will not come is dropped without an answer.
    let mut stream = served.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), "");
}

#[test]
fn survives_connections_that_are_reset_at_once() {
    let served = Served::new(hello());
    for n in 0..500 {
        let mut stream = served.connect();
        if n % 3 == 0 {
            stream.write_all(GET.as_bytes()).unwrap();
        }
        // Closing with an answer unread, or before any word, resets.
        drop(stream);
    }
    assert!(served.ask(GET_CLOSE).ends_with("hello"));
}

#[test]
fn a_refused_peer_that_keeps_sending_still_reads_the_refusal() {
    let served = Served::new(hello());
    let mut stream = served.connect();
    let flood = vec![b'x'; 100_000];
    stream.write_all(b"BROKEN\r\n\r\n").unwrap();
    stream.write_all(&flood).unwrap();
    assert!(read_to_end(&mut stream).starts_with("HTTP/1.1 400 Bad Request\r\n"));
}

#[test]
#[cfg(unix)]
fn listens_on_ipv6_and_unix_and_inherited_sockets() {
    let path = std::env::temp_dir().join(format!("aureon-server-{}.sock", std::process::id()));
    // A socket file that nobody listens on any more is in the way.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let inherited_address = inherited.local_addr().unwrap();
    let descriptor = u32::try_from(inherited.into_raw_fd()).unwrap();
    let running = Server::new(hello().build().unwrap())
        .workers(2)
        .listen("[::1]:0")
        .unwrap()
        .listen(&format!("unix:{}", path.display()))
        .unwrap()
        .listen_inherited(descriptor)
        .unwrap()
        .start()
        .unwrap();
    let Address::Ip(v6) = running.addresses()[0].clone() else {
        panic!("not TCP")
    };
    for _ in 0..20 {
        for mut stream in [
            TcpStream::connect(v6),
            TcpStream::connect(inherited_address),
        ]
        .map(Result::unwrap)
        {
            stream.write_all(GET_CLOSE.as_bytes()).unwrap();
            assert!(read_to_end(&mut stream).ends_with("hello"));
        }
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(GET_CLOSE.as_bytes()).unwrap();
        assert!(read_to_end(&mut stream).ends_with("hello"));
    }
    running.stopper().drain();
    running.join().unwrap();
    assert!(!path.exists(), "the socket file is left");
}

fn error_of(address: &str) -> String {
    let server = Server::new(hello().build().unwrap());
    server
        .listen(address)
        .err()
        .expect("a bind that fails")
        .to_string()
}

#[test]
fn a_bind_error_names_address_and_cause() {
    let served = Served::new(hello());
    let address = served.address.to_string();
    let taken = Server::new(hello().build().unwrap()).listen(&address);
    let taken = taken.err().expect("a bind that fails");
    // What the system's own words for it are is its own business.
    assert_eq!(taken.source.kind(), std::io::ErrorKind::AddrInUse);
    assert!(taken.to_string().contains(&address), "{taken}");
    assert!(error_of("192.0.2.1:80").contains("192.0.2.1:80"));
    assert!(error_of("127.0.0.1").contains("127.0.0.1"));
    assert!(error_of("127.0.0.1:99999").contains("127.0.0.1:99999"));
    assert!(error_of("localhost:80").contains("write an IP address"));
    assert!(error_of("unix:/no/such/folder/x").contains("/no/such/folder/x"));
    let server = Server::new(hello().build().unwrap());
    assert!(
        server
            .listen_inherited(9_999)
            .err()
            .unwrap()
            .to_string()
            .contains("9999")
    );
    assert!(Server::new(hello().build().unwrap()).start().is_err());
}

#[test]
#[cfg(unix)]
fn a_descriptor_that_is_no_listener_is_refused() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let server = Server::new(hello().build().unwrap());
    let number = u32::try_from(file.as_raw_fd()).unwrap();
    assert!(server.listen_inherited(number).is_err());
}

#[test]
#[cfg(windows)]
fn what_windows_has_not_is_refused_by_name() {
    assert!(error_of("unix:C:\\x").contains("no paths on Windows"));
    let served = Served::new(hello());
    let running = served.running.as_ref().unwrap();
    let error = running.stopper().listeners_to_inherit().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(!running.is_sandboxed());
}

#[test]
#[cfg(windows)]
fn listens_on_ipv6_beside_ipv4() {
    let server = Server::new(hello().build().unwrap()).workers(2);
    let server = server.listen("[::1]:0").unwrap();
    let running = server.listen("127.0.0.1:0").unwrap().start().unwrap();
    for _ in 0..20 {
        for address in running.addresses() {
            let Address::Ip(address) = address else {
                panic!("not TCP")
            };
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(GET_CLOSE.as_bytes()).unwrap();
            assert!(read_to_end(&mut stream).ends_with("hello"));
        }
    }
    running.stopper().drain();
    running.join().unwrap();
}

#[test]
fn a_client_that_connects_while_the_server_starts_is_never_reset() {
    // The port of a listener that is closed again is free for the server.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = std::thread::spawn(move || {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "nobody listens");
            let Ok(mut stream) = TcpStream::connect(free) else {
                continue;
            };
            stream.write_all(GET_CLOSE.as_bytes()).unwrap();
            return read_to_end(&mut stream);
        }
    });
    let server = Server::new(hello().build().unwrap()).workers(2);
    let running = server.listen(&free.to_string()).unwrap().start().unwrap();
    assert!(client.join().unwrap().ends_with("hello"));
    running.stopper().drain();
    running.join().unwrap();
}

#[test]
fn a_late_answer_comes_from_any_thread() {
    let mut router = hello();
    router.get("/late", |_: &Request<'_>| {
        let (responder, response) = Response::later();
        std::thread::spawn(move || responder.send(Response::text("late")));
        response
    });
    router.get("/dropped", |_: &Request<'_>| Response::later().1);
    let served = Served::new(router);
    let mut stream = served.connect();
    for _ in 0..50 {
        stream
            .write_all(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        assert_eq!(read_answer(&mut stream).1, b"late");
    }
    stream
        .write_all(b"GET /dropped HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert!(read_answer(&mut stream).0.starts_with("HTTP/1.1 500 "));
}

#[test]
fn a_stream_is_chunked_and_waits_for_its_reader() {
    let written = Arc::new(Mutex::new(0usize));
    let counter = Arc::clone(&written);
    let mut router = Router::new();
    router.get("/stream", move |_: &Request<'_>| {
        let counter = Arc::clone(&counter);
        Response::stream("text/plain", move |out| {
            for _ in 0..4_000 {
                out.write_all(&[b'x'; 4_096])?;
                *counter.lock().unwrap() += 4_096;
            }
            Ok(())
        })
    });
    let served = Served::new(router);
    let mut stream = served.connect();
    stream
        .write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    let text = read_to_end(&mut stream);
    assert!(text.contains("Transfer-Encoding: chunked\r\n"));
    assert!(text.ends_with("0\r\n\r\n"));
    let x = text
        .split_once("\r\n\r\n")
        .unwrap()
        .1
        .bytes()
        .filter(|byte| *byte == b'x')
        .count();
    assert_eq!(x, 4_000 * 4_096);
    assert_eq!(*written.lock().unwrap(), 4_000 * 4_096);
}

#[test]
fn a_stream_that_fails_is_cut_and_not_ended() {
    let mut router = Router::new();
    router.get("/", |_: &Request<'_>| {
        Response::stream("text/plain", |out| {
            out.write_all(b"half")?;
            Err(std::io::Error::other("meant to"))
        })
    });
    let served = Served::new(router);
    let mut stream = served.connect();
    stream.write_all(GET.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    // The connection is reset, or closed before the last chunk: never a whole body.
    let _ = stream.read_to_end(&mut bytes);
    assert!(!bytes.ends_with(b"0\r\n\r\n"));
}

#[test]
fn an_upload_is_read_as_it_comes_and_holds_its_sender_back() {
    let mut router = Router::new();
    router.upload(
        Method::Put,
        "/up",
        |_: &Request<'_>, body: &mut BodyReader| {
            let (mut sum, mut buffer) = (0usize, [0; 10_000]);
            loop {
                match body.read(&mut buffer) {
                    Ok(0) => return sum.to_string(),
                    Ok(len) => sum += len,
                    Err(error) => return error.to_string(),
                }
            }
        },
    );
    let served = Served::new(router);
    let mut stream = served.connect();
    let size = 5_000_000;
    let head = format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; size]).unwrap();
    assert_eq!(read_answer(&mut stream).1, size.to_string().into_bytes());
    // Chunked, with 100-continue, on the same connection.
    stream
        .write_all(
            b"PUT /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
            Expect: 100-continue\r\n\r\n",
        )
        .unwrap();
    assert!(
        read_answer(&mut stream)
            .0
            .starts_with("HTTP/1.1 100 Continue\r\n")
    );
    for _ in 0..300 {
        stream.write_all(b"1000\r\n").unwrap();
        stream.write_all(&[b'x'; 0x1000]).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\nX-Sum: 1\r\n\r\n").unwrap();
    assert_eq!(
        read_answer(&mut stream).1,
        (300 * 0x1000).to_string().into_bytes()
    );
    // An upload without a body is an empty one.
    stream
        .write_all(b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(read_answer(&mut stream).1, b"0");
}

#[test]
fn a_large_file_and_large_bytes_arrive_whole_through_a_slow_reader() {
    let bytes: Vec<u8> = (0..6_000_000u32).map(|n| (n % 251) as u8).collect();
    let path = std::env::temp_dir().join(format!("aureon-large-{}", std::process::id()));
    std::fs::write(&path, &bytes).unwrap();
    let file = Arc::new(std::fs::File::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let mut router = Router::new();
    router.get("/file", move |_: &Request<'_>| {
        let range = aureon::FileRange {
            file: Arc::clone(&file),
            start: 0,
            len: 6_000_000,
        };
        Response::bytes("application/octet-stream", Body::File(range))
    });
    let shared = bytes.clone();
    router.get("/bytes", move |_: &Request<'_>| {
        Response::bytes("application/octet-stream", shared.clone())
    });
    let served = Served::new(router);
    for path in ["/file", "/bytes"] {
        let mut stream = served.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        // Three in a pipeline: each must begin where the one before has ended.
        stream.write_all(request.repeat(3).as_bytes()).unwrap();
        for _ in 0..3 {
            let (head, body) = read_answer(&mut stream);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(body == bytes, "{path} is not what was written");
        }
    }
}

#[test]
fn a_peer_that_takes_nothing_costs_the_kernel_little() {
    let mut router = hello();
    router.get("/large", |_| vec![b'a'; 16 << 20]);
    let served = Served::with(router, Limits::DEFAULT, 1);
    let mut stalled = served.connect();
    stalled
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    // Each answer here is a turn of the worker, in which it could hand over another slice there.
    let mut other = served.connect();
    for _ in 0..200 {
        other.write_all(GET.as_bytes()).unwrap();
        read_answer(&mut other);
    }
    let sent = served.running.as_ref().unwrap().metrics().sent_bytes;
    assert!((1..1 << 20).contains(&sent), "{sent} bytes");
    // Who takes something gets all of it.
    let (head, body) = read_answer(&mut stalled);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body.len() == 16 << 20);
}

#[test]
fn content_whose_source_fails_ends_the_connection_and_is_told_why() {
    let path = std::env::temp_dir().join(format!("aureon-short-{}", std::process::id()));
    std::fs::write(&path, b"only this").unwrap();
    let file = Arc::new(std::fs::File::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let mut router = hello();
    router.get("/file", move |_: &Request<'_>| {
        let range = aureon::FileRange {
            file: Arc::clone(&file),
            start: 0,
            len: 50_000,
        };
        Response::bytes("text/plain", Body::File(range))
    });
    router.get("/errs", |_: &Request<'_>| {
        Response::stream("text/plain", |_| Err(std::io::Error::other("no disk")))
    });
    router.get("/panics", |_: &Request<'_>| {
        Response::stream("text/plain", |_| panic!("on purpose"))
    });
    let (tell, told) = channel();
    let server = Server::new(router.build().unwrap()).workers(1);
    let served = Served::start(server.observer(Told(Mutex::new(tell))));
    for (path, why) in [
        ("/file", "a file became shorter while it was sent"),
        ("/errs", "no disk"),
        ("/panics", "on purpose"),
    ] {
        let mut stream = served.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        assert!(bytes.len() < 50_000);
        // Whoever reads the log learns why.
        let told = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told, (200, Ending::SourceFailed, why.to_owned()));
    }
    assert!(served.ask(GET_CLOSE).ends_with("hello"));
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_ends_the_connection_at_once() {
    let path = std::env::temp_dir().join(format!("aureon-cut-{}", std::process::id()));
    std::fs::write(&path, vec![b'a'; 8 << 20]).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).open(&path).unwrap();
    let served_file = Arc::new(file.try_clone().unwrap());
    std::fs::remove_file(&path).unwrap();
    let mut router = hello();
    router.get("/file", move |_: &Request<'_>| {
        let range = aureon::FileRange {
            file: Arc::clone(&served_file),
            start: 0,
            len: 8 << 20,
        };
        Response::bytes("text/plain", Body::File(range))
    });
    // Nothing but the file's end may end it.
    let limits = Limits {
        write_timeout_ms: u32::MAX,
        ..Limits::DEFAULT
    };
    let served = Served::with(router, limits, 1);
    let mut stream = served.connect();
    stream
        .write_all(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    // It has begun, and most of it is still to come: the peer has taken one byte.
    stream.read_exact(&mut [0]).unwrap();
    file.set_len(7_000_000).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        Ok(_) => assert!(bytes.len() < 8 << 20),
    }
    assert!(served.ask(GET_CLOSE).ends_with("hello"));
}

#[test]
fn a_panicking_handler_is_a_500_and_the_server_lives_on() {
    let mut router = hello();
    router.get("/panic", |_: &Request<'_>| -> &'static str {
        panic!("meant to")
    });
    router.blocking(Method::Get, "/pool", |_: &Request<'_>| -> &'static str {
        panic!("meant to")
    });
    let served = Served::with(router, Limits::DEFAULT, 1);
    let mut stream = served.connect();
    for path in ["/panic", "/pool", "/panic"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let (head, body) = read_answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert!(!String::from_utf8_lossy(&body).contains("meant to"));
    }
    stream.write_all(GET.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).1, b"hello");
}

#[test]
fn a_drain_waits_for_running_handlers_and_tells_them_apart_from_idle_ones() {
    let (router, has_begun, let_go) = gated();
    let mut served = Served::with(router, Limits::DEFAULT, 2);
    let mut idle = served.connect();
    idle.write_all(GET.as_bytes()).unwrap();
    read_answer(&mut idle);
    let mut busy = served.connect();
    busy.write_all(GATED.as_bytes()).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let running = served.running.take().unwrap();
    running.stopper().drain();
    assert_eq!(read_to_end(&mut idle), "");
    // Each worker closes its listener in its own turn.
    let began = Instant::now();
    while TcpStream::connect(served.address).is_ok() {
        assert!(began.elapsed() < PATIENCE, "a draining server accepts");
    }
    let_go.send(()).unwrap();
    let (head, body) = read_answer(&mut busy);
    assert!(head.contains("Connection: close\r\n"), "{head}");
    assert_eq!(body, b"through");
    running.join().unwrap();
}

#[test]
fn a_stream_without_an_end_is_told_that_the_server_drains() {
    let mut router = Router::new();
    router.get("/events", |_| {
        Response::stream("text/event-stream", |body| {
            while !body.is_draining() {
                body.write_all(b"data: tick\n\n")?;
            }
            body.write_all(b"data: bye\n\n")
        })
    });
    let served = Served::new(router);
    let mut stream = served.connect();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut some = [0; 4_000];
    stream.read_exact(&mut some).unwrap();
    served.running.as_ref().unwrap().stopper().drain();
    assert!(read_to_end(&mut stream).ends_with("data: bye\n\n\r\n0\r\n\r\n"));
}

#[test]
fn a_halt_ends_at_once() {
    let (router, has_begun, let_go) = gated();
    let mut served = Served::with(router, Limits::DEFAULT, 2);
    let mut busy = served.connect();
    busy.write_all(GATED.as_bytes()).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let running = served.running.take().unwrap();
    let stopper = running.stopper();
    stopper.drain();
    stopper.halt();
    running.join().unwrap();
    let_go.send(()).unwrap();
}
