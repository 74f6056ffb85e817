//! Proves the toolchain of `scripts/dist`, apart from the server: a program built the same way
//! must catch a panic in a spawned thread (so that a panicking handler answers 500), run the
//! destructors on the way, keep the panic's message with file and line, and use sockets, files,
//! threads and maps with nothing but itself in the file system.
//!
//! `scripts/dist --probe` builds it, runs it in an empty `chroot` and reads what it prints.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the destructor of a value on the panicking thread's stack.
static DROPPED: AtomicBool = AtomicBool::new(false);

/// Tells through `DROPPED` that unwinding ran its destructor.
struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        DROPPED.store(true, Ordering::SeqCst);
    }
}

/// A panic that the optimiser cannot see coming.
fn look_up(map: &HashMap<String, u32>, key: &str) -> u32 {
    let _witness = Witness;
    match map.get(key) {
        Some(value) => *value,
        None => panic!("no entry for {key}"),
    }
}

fn main() -> std::io::Result<()> {
    let map = HashMap::from([(String::from("known"), 7)]);
    let caught = std::thread::spawn(move || {
        let first = catch_unwind(AssertUnwindSafe(|| look_up(&map, "missing")));
        (first.is_err(), look_up(&map, "known"))
    })
    .join();
    assert!(
        matches!(caught, Ok((true, 7))),
        "the panic was not caught: {caught:?}"
    );
    assert!(DROPPED.load(Ordering::SeqCst), "no destructor ran");

    // A panic that nothing catches must end only its own thread.
    let ended = std::thread::spawn(|| Vec::<u32>::new()[std::env::args().count()]).join();
    assert!(ended.is_err(), "a panicking thread ended well");

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let client = std::thread::spawn(move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    listener.accept()?.0.write_all(b"over a socket")?;
    let received = client
        .join()
        .map_err(|_| std::io::Error::other("the client panicked"))??;
    println!("caught, dropped, served {received}");
    Ok(())
}
