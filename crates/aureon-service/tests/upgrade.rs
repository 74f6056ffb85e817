//! The real binary under constant load: replaced by another process, or ended and started again
//! behind sockets that somebody else holds. Nobody is refused, reset or left without an answer,
//! and both sides count the same.
//!
//! `ROUNDS=100 cargo test -p aureon-service --test upgrade` makes a long run of it.

#![cfg(unix)]
// No process takes over from another on Windows: docs/PLATFORMS.md.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use daemon::{PATIENCE, Place, aureond, text};

/// How often the process is replaced.
fn rounds() -> usize {
    std::env::var("ROUNDS").map_or(5, |digits| digits.parse().unwrap())
}

/// A client that asks without a pause until told to stop; gives the answers it got.
fn client(address: SocketAddr, keep: bool, over: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let (mut stream, mut answers) = (connect(), 0);
        while !over.load(Ordering::Relaxed) {
            let lives = ask(&mut stream);
            answers += 1;
            if !keep || !lives {
                stream = connect();
            }
        }
        answers
    })
}

/// One exchange; whether the connection lives on.
fn ask(stream: &mut (impl Read + Write)) -> bool {
    stream
        .write_all(b"GET /api/status HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = text(&bytes);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut length = head
        .lines()
        .filter_map(|line| line.strip_prefix("Content-Length: "));
    let mut content = vec![0; length.next().unwrap().parse().unwrap()];
    stream.read_exact(&mut content).unwrap();
    !head.contains("Connection: close")
}

struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    fn begin(address: SocketAddr) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..4)
            .map(|at| client(address, at % 2 == 0, &over))
            .collect();
        Load { over, clients }
    }

    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    }
}

/// Exchanges that all processes together have logged.
fn logged(log: &Path) -> usize {
    let lines = BufReader::new(File::open(log).unwrap()).lines();
    lines
        .filter(|line| {
            let line = line.as_ref().unwrap();
            assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
            line.contains("\"path\":\"/api/status\"")
        })
        .count()
}

/// A process whose standard output goes to the end of a file and whose messages are read.
struct Process {
    child: Child,
    messages: BufReader<std::process::ChildStderr>,
}

impl Process {
    fn spawn(mut command: Command, log: &Path) -> Process {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .unwrap();
        let mut child = command
            .stdout(Stdio::from(log))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let messages = BufReader::new(child.stderr.take().unwrap());
        Process { child, messages }
    }

    fn line_with(&mut self, words: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.messages.read_line(&mut line).unwrap() > 0,
                "no {words:?} in {seen}"
            );
            if line.contains(words) {
                return line;
            }
            seen.push_str(&line);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .status();
    assert!(status.unwrap().success());
}

/// The number behind a word of a line.
fn number_after(line: &str, word: &str) -> u32 {
    let rest = line.split_once(word).unwrap().1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn nobody_notices_that_another_process_takes_over() {
    let place = Place::new("upgrade-usr2");
    let log = place.0.join("log");
    let mut command = aureond(&place, &["--log", "json", "--listen", "127.0.0.1:0"]);
    command.args(["--workers", "2"]);
    // All processes write their messages to the same pipe.
    let mut first = Process::spawn(command, &log);
    let line = first.line_with("listening on http://");
    let address = line.trim_end().rsplit('/').next().unwrap().parse().unwrap();
    let load = Load::begin(address);
    let mut pid = first.child.id();
    for _ in 0..rounds() {
        kill("USR2", pid);
        pid = number_after(&first.line_with("is to take over"), "process ");
        let taken = number_after(&first.line_with("has taken over"), "process ");
        assert_eq!(taken, pid);
        // The old process has ended by itself before the next round begins.
        first.line_with("stopped");
    }
    let answers = load.end();
    assert!(first.child.wait().unwrap().success());
    kill("TERM", pid);
    first.line_with("stopped");
    assert_eq!(answers, logged(&log), "both sides count the same");
    assert!(answers > 10 * rounds());
}

/// A process that is given a listening socket as descriptor 3, as a service manager does.
fn activated(place: &Place, listener: &OwnedFd, arguments: &[&str]) -> Command {
    let plain = aureond(place, arguments);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"")
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(&place.0)
        .stdin(Stdio::from(listener.try_clone().unwrap()));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn nobody_notices_a_restart_behind_a_socket_that_is_held() {
    let place = Place::new("upgrade-held");
    let log = place.0.join("log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = OwnedFd::from(listener);
    let start = || {
        let command = activated(&place, &listener, &["--log", "json", "--workers", "2"]);
        let mut process = Process::spawn(command, &log);
        let line = process.line_with("listening on http://");
        assert!(line.trim_end().ends_with(&address.to_string()), "{line}");
        process
    };
    let mut process = start();
    let load = Load::begin(address);
    for _ in 0..rounds() {
        kill("TERM", process.child.id());
        assert!(process.child.wait().unwrap().success());
        process = start();
    }
    let answers = load.end();
    kill("TERM", process.child.id());
    assert!(process.child.wait().unwrap().success());
    assert_eq!(answers, logged(&log), "both sides count the same");
    assert!(answers > 10 * rounds());
}

#[test]
fn a_held_socket_is_served_instead_of_the_default_and_beside_what_is_written() {
    let place = Place::new("upgrade-beside");
    let log = place.0.join("log");
    let path = place.0.join("held");
    let held = OwnedFd::from(UnixListener::bind(&path).unwrap());
    let mut process = Process::spawn(activated(&place, &held, &[]), &log);
    let line = process.line_with("listening on ");
    assert!(line.trim_end().ends_with("/held"), "{line}");
    assert!(ask(&mut UnixStream::connect(&path).unwrap()));
    kill("TERM", process.child.id());
    process.line_with("stopped");
    assert!(path.exists(), "it belongs to whoever made it");
    let beside = ["--listen", "127.0.0.1:0"];
    let mut process = Process::spawn(activated(&place, &held, &beside), &log);
    process.line_with("listening on unix:");
    let line = process.line_with("listening on http://");
    let address: SocketAddr = line.trim_end().rsplit('/').next().unwrap().parse().unwrap();
    assert!(ask(&mut TcpStream::connect(address).unwrap()));
    assert!(ask(&mut UnixStream::connect(&path).unwrap()));
}

#[test]
fn a_new_process_that_fails_changes_nothing() {
    let place = Place::new("upgrade-fails");
    place.write("aureon.toml", "message = \"good\"\n");
    let log = place.0.join("log");
    let mut process = Process::spawn(aureond(&place, &["--listen", "127.0.0.1:0"]), &log);
    let line = process.line_with("listening on http://");
    let address: SocketAddr = line.trim_end().rsplit('/').next().unwrap().parse().unwrap();
    let load = Load::begin(address);
    place.write("aureon.toml", "mesage = \"bad\"\n");
    for _ in 0..3 {
        kill("USR2", process.child.id());
        process.line_with("unknown key `mesage`");
        let line = process.line_with("upgrade failed");
        assert!(line.contains("exit code 78"), "{line}");
        assert!(line.contains("this process serves on"), "{line}");
    }
    assert!(load.end() > 0);
    // And with a good configuration it works after all.
    place.write("aureon.toml", "message = \"better\"\n");
    kill("USR2", process.child.id());
    let pid = number_after(&process.line_with("has taken over"), "process ");
    assert!(ask(&mut TcpStream::connect(address).unwrap()));
    kill("TERM", pid);
    process.line_with("stopped");
    process.line_with("stopped");
}

#[test]
fn an_address_that_is_no_longer_wanted_goes_with_the_old_process() {
    let place = Place::new("upgrade-listen");
    let (old, new) = (place.0.join("old"), place.0.join("new"));
    let listen = |paths: &[&Path]| {
        let words: Vec<String> = paths
            .iter()
            .map(|path| format!("\"unix:{}\"", path.display()))
            .collect();
        format!("listen = [{}]\n", words.join(", "))
    };
    place.write("aureon.toml", listen(&[&old]));
    let log = place.0.join("log");
    let mut process = Process::spawn(aureond(&place, &[]), &log);
    process.line_with("listening on unix:");
    place.write("aureon.toml", listen(&[&new]));
    kill("USR2", process.child.id());
    let pid = number_after(&process.line_with("has taken over"), "process ");
    process.line_with("stopped");
    assert!(ask(&mut UnixStream::connect(&new).unwrap()));
    assert!(
        UnixStream::connect(&old).is_err(),
        "nobody listens there any more"
    );
    kill("TERM", pid);
    process.line_with("stopped");
    assert!(!new.exists());
}

/// A service manager's socket, and what it was told.
fn manager(place: &Place) -> UnixDatagram {
    let socket = UnixDatagram::bind(place.0.join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).unwrap();
    text(&bytes[..length]).to_owned()
}

#[test]
fn a_manager_is_told_the_truth_from_the_start_to_the_end() {
    let place = Place::new("upgrade-manager");
    let socket = manager(&place);
    let log = place.0.join("log");
    let mut command = aureond(&place, &["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", place.0.join("notify"));
    let mut process = Process::spawn(command, &log);
    assert_eq!(told(&socket), "READY=1\nSTATUS=serving");
    // It is true: whoever asks now is answered.
    let line = process.line_with("listening on http://");
    let address: SocketAddr = line.trim_end().rsplit('/').next().unwrap().parse().unwrap();
    assert!(ask(&mut TcpStream::connect(address).unwrap()));
    kill("HUP", process.child.id());
    assert!(told(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(&socket), "READY=1\nSTATUS=serving");
    kill("USR2", process.child.id());
    // The new process says so itself, and the old one that it is the service now.
    let mut both = [told(&socket), told(&socket)];
    both.sort();
    assert!(both[0].starts_with("MAINPID="), "{both:?}");
    assert_eq!(both[1], "READY=1\nSTATUS=serving");
    let pid = number_after(&both[0], "MAINPID=");
    kill("TERM", pid);
    assert!(told(&socket).starts_with("STOPPING=1\n"));
}

#[test]
fn a_manager_does_not_hear_of_a_service_that_does_not_answer_itself() {
    let place = Place::new("upgrade-unready");
    let socket = manager(&place);
    let path = place.0.join("held");
    let held = OwnedFd::from(UnixListener::bind(&path).unwrap());
    // It is bound, and serves whoever came before; but nobody can come any more.
    std::fs::remove_file(&path).unwrap();
    let mut command = activated(&place, &held, &[]);
    command.env("NOTIFY_SOCKET", place.0.join("notify"));
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the service does not answer itself on "),
        "{said}"
    );
    // Whoever is told is told before the process ends.
    socket.set_nonblocking(true).unwrap();
    let told = socket.recv(&mut [0; 1024]).unwrap_err();
    assert_eq!(told.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_watchdog_hears_of_us_as_long_as_every_worker_turns() {
    let place = Place::new("upgrade-watchdog");
    let socket = manager(&place);
    let log = place.0.join("log");
    let mut command = aureond(&place, &["--listen", "127.0.0.1:0", "--workers", "3"]);
    command
        .env("NOTIFY_SOCKET", place.0.join("notify"))
        .env("WATCHDOG_USEC", "40000");
    let process = Process::spawn(command, &log);
    assert_eq!(told(&socket), "READY=1\nSTATUS=serving");
    for _ in 0..5 {
        assert_eq!(told(&socket), "WATCHDOG=1", "idle workers turn too");
    }
    drop(process);
    let mut command = aureond(&place, &["--listen", "127.0.0.1:0"]);
    command
        .env("NOTIFY_SOCKET", place.0.join("notify"))
        .env("WATCHDOG_USEC", "40000")
        .env("WATCHDOG_PID", "1");
    let process = Process::spawn(command, &log);
    while told(&socket) != "READY=1\nSTATUS=serving" {}
    kill("TERM", process.child.id());
    assert!(
        told(&socket).starts_with("STOPPING=1"),
        "the watchdog is another process's"
    );
}
