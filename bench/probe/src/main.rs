//! Proves the toolchain of `scripts/dist`, apart from the server: a program built the same way
//! must catch a panic in a spawned thread (so that a panicking handler answers 500), run the
//! destructors on the way, keep the panic's message with file and line, copy memory right, and use
//! sockets, files, threads and maps with nothing but itself in the file system.
//!
//! `scripts/dist --probe` builds it, runs it in an empty `chroot` and reads what it prints.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Set by the destructor of a value on the panicking thread's stack.
static DROPPED: AtomicBool = AtomicBool::new(false);

/// Tells through `DROPPED` that unwinding ran its destructor.
struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        DROPPED.store(true, Ordering::SeqCst);
    }
}

thread_local! {
    /// Dropped by the thread that it belongs to, when that ends.
    static OWN: std::cell::RefCell<Option<Witness>> = const { std::cell::RefCell::new(None) };
}

/// A panic that the optimiser cannot see coming.
fn look_up(map: &HashMap<String, u32>, key: &str) -> u32 {
    let _witness = Witness;
    match map.get(key) {
        Some(value) => *value,
        None => panic!("no entry for {key}"),
    }
}

/// Keeps six values alive across each level of calls, so that every register a function has to
/// save for its caller holds something when the panic passes, and adds to `passed` in the
/// destructors on the way. Catches at every fourth level and goes on with its own values.
fn descend(depth: u64, passed: &AtomicU64) -> u64 {
    struct Level<'a>(u64, &'a AtomicU64);
    impl Drop for Level<'_> {
        fn drop(&mut self) {
            self.1.fetch_add(self.0, Ordering::SeqCst);
        }
    }
    let _level = Level(depth, passed);
    let kept: [u64; 6] = std::array::from_fn(|place| black_box(depth * 10 + place as u64));
    let [a, b, c, d, e, f] = kept;
    let deeper = if depth == 0 {
        panic!("the bottom")
    } else if depth.is_multiple_of(4) {
        catch_unwind(AssertUnwindSafe(|| descend(depth - 1, passed))).unwrap_or(0)
    } else {
        descend(depth - 1, passed)
    };
    let sum = a + b * 2 + c * 3 + d * 4 + e * 5 + f * 6;
    if depth.is_multiple_of(4) && depth < 12 {
        panic!("level {depth} has {sum} and {deeper}")
    }
    sum + deeper
}

/// Ten arguments, four of them on the stack, and a local that stands on a boundary of 64 bytes:
/// where a landing pad goes on, both must be where the function left them.
#[inline(never)]
fn pass_many(numbers: [u64; 10], passed: &AtomicU64) -> u64 {
    #[repr(align(64))]
    struct Aligned([u64; 8]);
    struct Sum<'a>(&'a Aligned, u64, &'a AtomicU64);
    impl Drop for Sum<'_> {
        fn drop(&mut self) {
            let held: u64 = self.0.0.iter().sum();
            self.2.fetch_add(held + self.1, Ordering::SeqCst);
        }
    }
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn add(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64, i: u64, j: u64) -> u64 {
        let sum = black_box(a + b * 2 + c * 3 + d * 4 + e * 5 + f * 6 + g * 7 + h * 8 + i * 9 + j);
        assert!(!sum.is_multiple_of(2), "an even sum: {sum}");
        sum
    }
    let aligned = black_box(Aligned([numbers[0]; 8]));
    assert_eq!(std::ptr::from_ref(&aligned).addr() % 64, 0);
    let [a, b, c, d, e, f, g, h, i, j] = numbers;
    let _sum = Sum(&aligned, black_box(1), passed);
    let first = add(a, b, c, d, e, f, g, h, i, j);
    let second = catch_unwind(|| add(j, i, h, g, f, e, d, c, b, a)).unwrap_or(first);
    first + add(first, second, 2, 2, 2, 2, 2, 2, 2, 2)
}

/// Copies of every length up to some beyond where the way of copying changes last, within one
/// buffer and from every distance around the sizes of what is moved at once, beside copies byte by
/// byte; and what comparing says before and after one byte is changed.
fn copy_and_compare() {
    const LENGTH_MAX: usize = 1_200;
    const DISTANCE_MAX: usize = 70;
    const ROOM: usize = LENGTH_MAX + 2 * DISTANCE_MAX;
    let before: Vec<u8> = (0..ROOM).map(|at| (at * 7 + at / 256) as u8).collect();
    for length in (0..300).chain(1_000..LENGTH_MAX) {
        for to in (0..2 * DISTANCE_MAX).step_by(if length < 70 { 1 } else { 9 }) {
            let (from, to) = (black_box(DISTANCE_MAX), black_box(to));
            let mut moved = before.clone();
            moved.copy_within(from..from + length, to);
            let differs = |at: &usize| {
                let inside = (to..to + length).contains(at);
                let expected = before[if inside { *at - to + from } else { *at }];
                black_box(moved[*at]) != expected
            };
            let wrong = (0..ROOM).find(differs);
            assert_eq!(wrong, None, "{length} bytes from {from} to {to}");
        }
        let (left, mut right) = (&before[..length], before[..length].to_vec());
        assert!(
            black_box(left) == black_box(&right[..]),
            "{length} equal bytes"
        );
        assert!(
            left.cmp(black_box(&right[..])).is_eq(),
            "{length} equal bytes"
        );
        for at in [0, length / 2, length.wrapping_sub(1)] {
            let Some(byte) = right.get_mut(at) else {
                continue;
            };
            // The highest bit: bytes are compared without a sign, the first that differs decides.
            *byte ^= 0x80;
            let (is, other) = (black_box(left), black_box(&right[..]));
            assert!(is != other, "{length} bytes, another at {at}");
            assert_eq!(
                is.cmp(other),
                is[at].cmp(&other[at]),
                "{length} bytes at {at}"
            );
            right[at] ^= 0x80;
        }
    }
}

/// The panics that must end the process, by the program's argument.
fn end(how: &str) {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    extern "C" fn called_by_c() {
        panic!("through C");
    }
    let ended = catch_unwind(|| match how {
        "in-a-destructor" => drop(black_box(Panics)),
        // More than there are addresses; scripts/std says why that is no panic.
        "too-much" => drop(black_box(Vec::<u8>::with_capacity(black_box(usize::MAX)))),
        _ => black_box(called_by_c as extern "C" fn())(),
    });
    println!("went on: {ended:?}");
}

fn main() -> std::io::Result<()> {
    if let Some(how) = std::env::args().nth(1) {
        end(&how);
        return Ok(());
    }
    let passed = AtomicU64::new(0);
    // Levels 12 to 15 return, each with 21 times ten times its depth and 70; all are dropped once.
    let sum = descend(15, &passed);
    assert_eq!(sum, (12..=15).map(|depth| depth * 210 + 70).sum());
    assert_eq!(passed.load(Ordering::SeqCst), (0..=15).sum());

    // From 1 the sums are odd, even (caught, and answered by the first) and odd; from 2 the first
    // is even already. What pass_many holds is added each time.
    let passed = AtomicU64::new(0);
    let sums = [1, 2].map(|first| {
        let numbers = [first, 3, 2, 2, 2, 2, 2, 2, 2, 2];
        catch_unwind(AssertUnwindSafe(|| pass_many(numbers, &passed))).ok()
    });
    assert_eq!(sums, [Some(93 + 365), None]);
    assert_eq!(passed.load(Ordering::SeqCst), 8 + 1 + 16 + 1);

    copy_and_compare();

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

    // So do those of a thread's own variables when it ends.
    DROPPED.store(false, Ordering::SeqCst);
    let ended = std::thread::spawn(|| OWN.set(Some(Witness))).join();
    assert!(
        ended.is_ok() && DROPPED.load(Ordering::SeqCst),
        "left behind"
    );

    // A panic that nothing catches must end only its own thread, and with it what it owns.
    DROPPED.store(false, Ordering::SeqCst);
    let ended = std::thread::spawn(|| {
        OWN.set(Some(Witness));
        Vec::<u32>::new()[std::env::args().count()]
    })
    .join();
    assert!(ended.is_err(), "a panicking thread ended well");
    assert!(DROPPED.load(Ordering::SeqCst), "left behind by a panic");

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
