//! File serving over a real directory: what is found, what is refused, how much is sent.
//!
//! Each test has a directory of its own, removed at the end. `Site` asks in process and reads
//! the answer's body whole, wherever it lies.

// A broken expectation of a helper fails the test that uses it, as in the tests themselves.
#![allow(clippy::unwrap_used)]

mod cache;
mod codings;
mod conditions;
mod embedded;
mod fallbacks;
mod finding;
mod ranges;
mod refusing;
#[cfg(windows)]
mod windows;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aureon::Limits;
use aureon::app::{App, Body, Mount, Part, Peer, Request, Response, Router};
use aureon::files::{Asset, Files};
use aureon::http::{Head, Scratch, parse_head};

/// A temporary directory with a file outside of the root beside it.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Tree {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("aureon-files-{}-{count}", std::process::id()));
        fs::create_dir_all(path.join("root")).unwrap();
        fs::write(path.join("secret.txt"), "SECRET").unwrap();
        Tree(path)
    }

    fn with(files: &[(&str, &str)]) -> Tree {
        let tree = Tree::new();
        for (path, content) in files {
            tree.write(path, content);
        }
        tree
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Sets the time of the last modification to that many seconds ago.
    fn age(&self, path: &str, seconds: u64) {
        let file = File::options()
            .append(true)
            .open(self.root().join(path))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    }

    /// The root at its defaults, but asking the file system for every request.
    fn files(&self) -> Files {
        Files::new(self.root()).unwrap().trust(Duration::ZERO)
    }

    fn site(&self) -> Site {
        Site::new(self.files())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Files behind a router, and the same files alone.
struct Site {
    app: App,
    files: Arc<Files>,
}

struct Shared(Arc<Files>);

impl Mount for Shared {
    fn answer(&self, request: &Request<'_>, rest: &str) -> Response {
        Mount::answer(&*self.0, request, rest)
    }
}

struct Answer {
    status: u16,
    response: Response,
    body: Vec<u8>,
}

impl Answer {
    fn new(response: Response) -> Answer {
        Answer {
            status: response.status().code(),
            body: read(response.body()),
            response,
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.response
            .field(name)
            .map(|value| std::str::from_utf8(value).unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn read(body: &Body) -> Vec<u8> {
    let stretch = |range: &aureon::app::FileRange| {
        let mut bytes = vec![0; range.len as usize];
        let mut file = &*range.file;
        file.seek(SeekFrom::Start(range.start)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        bytes
    };
    match body {
        Body::File(range) => stretch(range),
        Body::Parts(parts) => parts
            .iter()
            .flat_map(|part| match part {
                Part::Bytes(bytes) => bytes.clone(),
                Part::File(range) => stretch(range),
            })
            .collect(),
        body => body.as_bytes().unwrap().to_vec(),
    }
}

impl Site {
    fn new(files: Files) -> Site {
        let files = Arc::new(files);
        let mut router = Router::new();
        router.mount("/", Shared(Arc::clone(&files)));
        Site {
            app: router.build().unwrap(),
            files,
        }
    }

    /// Asks through the router, as the server does.
    fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        with_head(method, target, fields, |head| {
            let found = self.app.find(head);
            Answer::new(
                self.app
                    .answer(&found, &Request::new(*head, b"", Peer::Memory)),
            )
        })
    }

    /// Asks for a path that no request's head need be able to carry, past parser and router.
    fn ask_below(&self, target: &str, below: &str) -> Answer {
        with_head("GET", target, &[], |head| {
            Answer::new(self.files.answer_head(head, below))
        })
    }

    fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[])
    }

    fn get_with(&self, target: &str, name: &str, value: &str) -> Answer {
        self.ask("GET", target, &[(name, value)])
    }

    fn check(&self, target: &str, status: u16, body: &str) {
        let answer = self.get(target);
        assert_eq!(
            (answer.status, answer.text()),
            (status, body),
            "GET {target}"
        );
    }
}

fn with_head<T>(
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    use_head: impl Fn(&Head<'_>) -> T,
) -> T {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut scratch = Scratch::default();
    let parsed = parse_head(text.as_bytes(), &mut scratch, &Limits::DEFAULT);
    let (head, _) = parsed.unwrap().unwrap();
    use_head(&head)
}
