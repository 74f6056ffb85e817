//! The real binary as a process of a test's own: started, asked, signalled, ended.
//!
//! Used by the tests that spawn `aureond`. Nothing sleeps: a test waits for a line, an answer or
//! the end of the process.

// Each test file uses a part of it, and helpers of tests fail as tests do.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Longer than anything here takes on a loaded machine; only a failure waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own for a test, empty at the start and gone at the end.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        // As programs tell it: on Windows with a drive and backslashes.
        Place(std::path::absolute(path).unwrap())
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Place {
        std::fs::write(self.0.join(name), content).unwrap();
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The binary, in a directory, without the settings of whoever runs the tests.
pub fn aureond(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aureond"));
    for (name, _) in std::env::vars_os() {
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with("AUREON_") || name == "PORT");
        if ours {
            command.env_remove(name);
        }
    }
    command
        .current_dir(&place.0)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

pub fn run(place: &Place, arguments: &[&str]) -> Output {
    aureond(place, arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Sends a signal to a process.
#[cfg(unix)]
pub fn signal(pid: u32, _: &str, name: &str) {
    let kill = format!("kill -{name} {pid}");
    let killed = Command::new("sh").args(["-c", &kill]).status();
    assert!(killed.unwrap().success());
}

/// What Windows has of it: Ctrl-C for `INT`, Ctrl-Break for `TERM`, which `e2e/windows/run` brings
/// the program for; `HUP` is the command, which finds the process by its address.
#[cfg(windows)]
pub fn signal(pid: u32, address: &str, name: &str) {
    let pid = pid.to_string();
    let mut command = match name {
        "HUP" => {
            let elsewhere = Place(Path::new(env!("CARGO_TARGET_TMPDIR")).join("no such place"));
            let mut command = aureond(&elsewhere, &["reload", "--listen", address]);
            command.current_dir(env!("CARGO_TARGET_TMPDIR"));
            command
        }
        "INT" | "TERM" => {
            let program = std::env::var_os("INTERRUPT_PROGRAM");
            let mut command = Command::new(program.expect("INTERRUPT_PROGRAM names interrupt.exe"));
            command.arg(pid).args((name == "TERM").then_some("break"));
            command
        }
        _ => panic!("Windows has nothing like {name}"),
    };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
}

/// A serving process. Dropped, it is killed.
pub struct Daemon {
    pub child: Child,
    pub address: String,
    lines: Receiver<String>,
}

impl Daemon {
    pub fn start(place: &Place, arguments: &[&str]) -> Daemon {
        let mut command = aureond(place, arguments);
        command.args(["--listen", "127.0.0.1:0", "--workers", "1"]);
        Daemon::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Daemon {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        let mut daemon = Daemon {
            child,
            address: String::new(),
            lines,
        };
        let line = daemon.line_with("listening on http://");
        daemon.address = line.rsplit('/').next().unwrap().to_owned();
        daemon
    }

    /// The next line of standard error that has these words.
    pub fn line_with(&self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with {words:?}: {error}"),
            }
        }
    }

    /// Sends a signal, or what Windows has of it: see [`signal`].
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), &self.address, name);
    }

    pub fn get(&self, target: &str) -> Answer {
        self.ask(&format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ))
    }

    pub fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = text(&bytes[..end]).to_owned();
        Answer {
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    /// Waits for the end: exit code and everything on standard output.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let mut out = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        (self.child.wait().unwrap().code(), out)
    }

    pub fn stop(self) -> (Option<i32>, String) {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> &str {
        &self.head["HTTP/1.1 ".len()..][..3]
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let mut named = fields.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        assert_eq!(
            self.field("content-type"),
            Some("application/json"),
            "{}",
            self.head
        );
        serde_json::from_slice(&self.body).unwrap()
    }
}
