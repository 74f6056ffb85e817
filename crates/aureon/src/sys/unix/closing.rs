//! Sockets that are done with and whose peers have gone, given back a few in each turn.
//!
//! Giving one back takes longer than answering a request, and when thousands go at once whoever
//! asks for something would wait for all of that. Nobody waits for these: their peers have closed
//! before. Called by `readiness`.

use crate::limits::{CLOSING_MAX, CLOSING_TURNS, CLOSINGS_PER_TURN_MIN};
use std::os::fd::OwnedFd;

/// The sockets of one worker that are to be given back, in their order.
pub(super) struct Closing {
    sockets: Vec<OwnedFd>,
    max: usize,
}

impl Closing {
    /// None yet. Of so many descriptors all workers together hold back an eighth at most.
    pub(super) fn new(descriptors: usize, workers: usize) -> Closing {
        Closing {
            sockets: Vec::new(),
            max: (descriptors / 8 / workers.max(1)).min(CLOSING_MAX),
        }
    }

    /// Takes one, and gives it back at once when enough are held.
    #[inline]
    pub(super) fn push(&mut self, socket: OwnedFd) {
        if self.sockets.len() < self.max {
            self.sockets.push(socket);
        }
    }

    /// How many are held.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Gives back a turn's share, those first that wait longest.
    #[inline]
    pub(super) fn close_some(&mut self) {
        let some = CLOSINGS_PER_TURN_MIN.max(self.sockets.len() / CLOSING_TURNS);
        self.sockets.drain(..some.min(self.sockets.len()));
    }

    /// Gives all of them back.
    pub(super) fn close_all(&mut self) {
        self.sockets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Completion, Driver, SystemDriver, socket};
    use std::fs::File;
    use std::io::{ErrorKind, Read};
    use std::iter::from_fn;
    use std::net::{SocketAddr, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    /// Pushes so many; their other ends.
    fn push(closing: &mut Closing, count: usize) -> Vec<UnixStream> {
        let pair = |_| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            closing.push(ours.into());
            theirs
        };
        (0..count).map(pair).collect()
    }

    /// Whether the other end of each was given back.
    fn given_back(peers: &mut [UnixStream]) -> Vec<bool> {
        let is_gone = |peer: &mut UnixStream| match peer.read(&mut [0]) {
            Ok(len) => len == 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        };
        peers.iter_mut().map(is_gone).collect()
    }

    #[test]
    fn those_go_first_that_wait_longest() {
        let mut closing = Closing::new(8_192, 1);
        let mut peers = push(&mut closing, CLOSINGS_PER_TURN_MIN + 2);
        closing.close_some();
        let mut gone = vec![true; CLOSINGS_PER_TURN_MIN];
        gone.extend([false; 2]);
        assert_eq!(given_back(&mut peers), gone);
        let mut late = push(&mut closing, 1);
        closing.close_all();
        assert_eq!(given_back(&mut peers), vec![true; gone.len()]);
        assert_eq!((given_back(&mut late), closing.len()), (vec![true], 0));
        closing.close_some();
    }

    #[test]
    fn of_many_more_go_in_a_turn() {
        let mut closing = Closing::new(usize::MAX, 1);
        let many = (CLOSINGS_PER_TURN_MIN + 1) * CLOSING_TURNS;
        drop(push(&mut closing, many));
        closing.close_some();
        assert_eq!(closing.len(), many - CLOSINGS_PER_TURN_MIN - 1);
        closing.close_some();
        assert_eq!(closing.len(), many - 2 * CLOSINGS_PER_TURN_MIN - 1);
    }

    #[test]
    fn all_workers_together_hold_an_eighth_of_the_descriptors() {
        for (descriptors, workers, held) in [(160, 1, 20), (160, 4, 5), (160, 0, 20), (7, 1, 0)] {
            let mut closing = Closing::new(descriptors, workers);
            let mut peers = push(&mut closing, 21);
            assert_eq!(closing.len(), held, "{descriptors} {workers}");
            let mut gone = vec![false; held];
            gone.resize(21, true);
            assert_eq!(given_back(&mut peers), gone);
        }
        assert_eq!(Closing::new(1 << 20, 1).max, CLOSING_MAX);
    }

    #[test]
    fn who_comes_gets_the_descriptors_that_are_held_back() {
        const CHILD: &str = "AUREON_TEST_FEW_DESCRIPTORS";
        if std::env::var_os(CHILD).is_none() {
            // The limit is the whole process's, so the test runs itself once more with a small one.
            let output = Command::new("sh")
                .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""])
                .arg(std::env::current_exe().unwrap())
                .arg("sys::unix::closing::tests::who_comes_gets_the_descriptors_that_are_held_back")
                .env(CHILD, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = socket::listen_tcp(any, 16, false).unwrap();
        let address = socket::local_address(&listener).unwrap().unwrap();
        let mut driver = SystemDriver::new(vec![listener], 1).unwrap();
        let leaves = TcpStream::connect(address).unwrap();
        driver.turn(Some(5_000)).unwrap();
        assert!(matches!(driver.next(), Some(Completion::Accepted { .. })));
        assert!(driver.next().is_none());
        drop(leaves);
        driver.turn(Some(5_000)).unwrap();
        let Some(Completion::Closed { id }) = driver.next() else {
            panic!("the end was not told")
        };
        assert!(driver.next().is_none());
        let _comes = TcpStream::connect(address).unwrap();
        // What is held back from here on is given back at the end of this turn at the earliest.
        driver.turn(Some(5_000)).unwrap();
        let taken: Vec<File> = from_fn(|| File::open("/dev/null").ok()).collect();
        driver.close(id, false);
        assert!(File::open("/dev/null").is_err() && !taken.is_empty());
        let told = driver.next();
        assert!(
            matches!(told, Some(Completion::Accepted { .. })),
            "{told:?}"
        );
    }
}
