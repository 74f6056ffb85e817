//! Handlers under the kernel's sandbox: they open what they were given and nothing else, while
//! the process around them keeps its rights.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aureon::sys::sandbox;
use aureon::{Address, BodyReader, Files, Method, Request, Router, Running, Sandbox, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Long enough for a loaded machine, short enough to fail.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with `root/page` to serve and `secret` beside the root; gone at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(path.join("root")).unwrap();
        std::fs::write(path.join("root/page"), "a page").unwrap();
        std::fs::write(path.join("secret"), "a secret").unwrap();
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What a handler finds that was talked into opening a path.
fn try_open(path: &Path) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn serve(place: &Place, sandbox: Sandbox) -> Running {
    let secret = place.0.join("secret");
    let (on_worker, on_pool, on_upload) = (secret.clone(), secret.clone(), secret);
    let mut router = Router::new();
    router.get("/worker", move |_: &Request<'_>| try_open(&on_worker));
    router.blocking(Method::Get, "/pool", move |_: &Request<'_>| {
        try_open(&on_pool)
    });
    router.upload(
        Method::Put,
        "/upload",
        move |_: &Request<'_>, _: &mut BodyReader| try_open(&on_upload),
    );
    router.mount("/files", Files::new(place.0.join("root")).unwrap());
    let server = Server::new(router.build().unwrap()).workers(2);
    let server = server.sandbox(sandbox).listen("127.0.0.1:0").unwrap();
    server.start().unwrap()
}

fn ask(running: &Running, method: &str, path: &str) -> String {
    let Address::Ip(address) = &running.addresses()[0] else {
        panic!("not TCP")
    };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{end}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn end(running: Running) {
    running.stopper().drain();
    running.join().unwrap();
}

#[test]
fn a_handler_on_any_thread_opens_nothing_that_was_not_permitted() {
    let place = Place::new("sandbox-closed");
    let mut sandbox = Sandbox::new();
    sandbox.read(place.0.join("root"));
    let running = serve(&place, sandbox);
    // Where the kernel has no Landlock the server runs without, and says so.
    assert_eq!(running.is_sandboxed(), sandbox::version().is_some());
    let expected = match running.is_sandboxed() {
        true => "PermissionDenied",
        false => "a secret",
    };
    for _ in 0..4 {
        assert_eq!(ask(&running, "GET", "/worker"), expected);
        assert_eq!(ask(&running, "GET", "/pool"), expected);
        assert_eq!(ask(&running, "PUT", "/upload"), expected);
    }
    assert_eq!(ask(&running, "GET", "/files/page"), "a page");
    assert_eq!(try_open(&place.0.join("secret")), "a secret", "we are free");
    std::fs::write(place.0.join("root/new"), "came later").unwrap();
    assert_eq!(ask(&running, "GET", "/files/new"), "came later");
    end(running);
}

#[test]
fn what_is_permitted_is_opened_and_a_path_that_is_missing_is_named() {
    let place = Place::new("sandbox-open");
    let mut sandbox = Sandbox::new();
    sandbox
        .read(place.0.join("root"))
        .read(place.0.join("secret"));
    let running = serve(&place, sandbox);
    assert_eq!(ask(&running, "GET", "/worker"), "a secret");
    assert_eq!(ask(&running, "GET", "/pool"), "a secret");
    end(running);

    let mut sandbox = Sandbox::new();
    sandbox.write(place.0.join("nowhere"));
    let server = Server::new(Router::new().build().unwrap()).sandbox(sandbox);
    let started = server.listen("127.0.0.1:0").unwrap().start();
    match started {
        Err(error) => assert!(error.to_string().contains("nowhere"), "{error}"),
        Ok(running) => {
            assert!(!running.is_sandboxed() && sandbox::version().is_none());
            end(running);
        }
    }
}

#[test]
fn without_a_sandbox_nothing_is_confined() {
    let place = Place::new("sandbox-none");
    let secret = place.0.join("secret");
    let mut router = Router::new();
    router.get("/", move |_: &Request<'_>| try_open(&secret));
    let server = Server::new(router.build().unwrap()).workers(1);
    let running = server.listen("127.0.0.1:0").unwrap().start().unwrap();
    assert!(!running.is_sandboxed());
    assert_eq!(ask(&running, "GET", "/"), "a secret");
    end(running);
}
