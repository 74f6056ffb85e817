//! Plays transcripts to the real worker over the simulated OS, with the application that
//! `tests/wire/README.md` describes.

use super::shown::Shown;
use super::{Case, Expected, Fate};
use aureon::files::Files;
use aureon::http::{Method, Status};
use aureon::server::sim::Simulation;
use aureon::sys::sim::Faults;
use aureon::{App, Limits, Request, Response, Router};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Seconds of Sat, 01 Jan 1994 00:00:00 GMT: before the simulated world begins.
const NOTE_MODIFIED: u64 = 757_382_400;

/// A worker, and the directory its application serves.
pub(crate) struct Stage {
    simulation: Simulation,
    root: PathBuf,
    tag: String,
}

impl Stage {
    pub(crate) fn new(limits: Limits, name: &str) -> Stage {
        let root = std::env::temp_dir().join(format!("aureon-wire-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("note.txt"), "hello").unwrap();
        let note = std::fs::File::options()
            .write(true)
            .open(root.join("note.txt"));
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(NOTE_MODIFIED);
        note.unwrap().set_modified(modified).unwrap();
        // A turn takes a millisecond of that world, and a hundred thousand bytes come one by one:
        // deadlines are what `tests/sim.rs` is about.
        let limits = Limits {
            head_timeout_ms: u32::MAX,
            body_timeout_ms: u32::MAX,
            ..limits
        };
        let simulation = Simulation::new(1, Faults::default(), application(&root), limits);
        let mut stage = Stage {
            simulation,
            root,
            tag: String::new(),
        };
        stage.tag = stage.ask_for_tag(&limits);
        stage
    }

    /// The file's entity tag, quotes and all.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    fn ask_for_tag(&mut self, limits: &Limits) -> String {
        const ASK: &[u8] = b"HEAD /files/note.txt HTTP/1.1\r\nHost: a\r\n\r\n";
        if limits.head_bytes_max < ASK.len() {
            return String::new();
        }
        let client = self.simulation.world.connect();
        self.simulation.world.send(client, ASK);
        assert!(
            self.simulation.settle(100),
            "the server does not come to rest"
        );
        let received = self
            .simulation
            .world
            .client(client, |c| std::mem::take(&mut c.received));
        let head = String::from_utf8(received).unwrap();
        let tag = Shown { head, body: None }.field("ETag").map(str::to_owned);
        self.simulation.world.reset(client);
        tag.expect("a file has an entity tag")
    }

    /// Plays the pieces over one connection and compares.
    pub(crate) fn play(&mut self, case: &Case, pieces: &[&[u8]]) -> Result<(), String> {
        let client = self.simulation.world.connect();
        let mut calm = self.simulation.settle(1_000);
        for piece in pieces {
            self.simulation.world.send(client, piece);
            calm &= self.simulation.settle(1_000);
        }
        if case.half_closed {
            self.simulation.world.shut(client);
            calm &= self.simulation.settle(1_000);
        }
        let (received, ended) = self.simulation.world.client(client, |client| {
            (
                std::mem::take(&mut client.received),
                client.ended || client.closed,
            )
        });
        let result = compare(case, &received, ended, &self.tag);
        // The client goes; what is left of the connection goes with it.
        self.simulation.world.reset(client);
        calm &= self.simulation.settle(1_000);
        result?;
        if !calm {
            return Err("the server does not come to rest".to_owned());
        }
        match self.simulation.connections() {
            0 => Ok(()),
            left => Err(format!("{left} connections are left")),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

fn compare(case: &Case, received: &[u8], ended: bool, tag: &str) -> Result<(), String> {
    let mut rest = received;
    for line in &case.expected {
        let wanted = match line {
            Expected::Interim { needed } => {
                match rest.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n") {
                    Some(behind) => rest = behind,
                    None if *needed => return Err(format!("no 100: {}", rest.escape_ascii())),
                    None => {}
                }
                continue;
            }
            Expected::Answer(wanted) => wanted,
        };
        let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Err(format!(
                "no {} but \"{}\"",
                wanted.status,
                rest.escape_ascii()
            ));
        };
        let head = String::from_utf8_lossy(&rest[..end + 2]).into_owned();
        rest = &rest[end + 4..];
        let mut shown = Shown { head, body: None };
        let length = shown
            .field("Content-Length")
            .and_then(|length| length.parse().ok());
        // HEAD says a length and has no content; a transcript says that it is empty.
        let empty = wanted.body.as_ref().is_some_and(Vec::is_empty);
        let length: usize = if empty { 0 } else { length.unwrap_or_default() };
        let Some((body, behind)) = rest.split_at_checked(length) else {
            return Err(format!("cut off: \"{}\"", rest.escape_ascii()));
        };
        rest = behind;
        shown.body = Some(body.to_vec());
        let mut wanted = wanted.clone();
        for (_, value) in &mut wanted.fields {
            *value = value.replace("{{ETag}}", tag);
        }
        if case.half_closed {
            // Whether the last answer says so depends on when the end of the input was seen.
            wanted.keep = shown.keep();
        }
        shown.check(&wanted, |_| true)?;
        let text = String::from_utf8_lossy(body);
        let named = |name: &String| text.ends_with(&format!(": {name}\n"));
        if !wanted.errors.is_empty() && !wanted.errors.iter().any(named) {
            return Err(format!("{text:?} does not name {:?}", wanted.errors));
        }
    }
    if !rest.is_empty() {
        return Err(format!("answered once more: \"{}\"", rest.escape_ascii()));
    }
    let closes = case.last_answer().is_some_and(|answer| !answer.keep);
    let gone = case.fate == Fate::Gone || closes || case.half_closed;
    match ended == gone {
        true => Ok(()),
        false => Err(format!(
            "the connection has{} ended",
            if ended { "" } else { " not" }
        )),
    }
}

fn application(root: &Path) -> App {
    let mut router = Router::new();
    router.get("/", greet).post("/", echo);
    router.get("/echo", fields);
    for method in [Method::Post, Method::Put, Method::Patch, Method::Delete] {
        router.route(method, "/echo", echo);
    }
    router.get("/cookie", |request: &Request<'_>| {
        let pairs = request.cookies();
        pairs
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect::<String>()
    });
    router.get("/length", |request: &Request<'_>| {
        request.head().target().len().to_string()
    });
    router.post("/upload", echo).length_required("/upload");
    router.mount("/files", Files::new(root).unwrap());
    router.build().unwrap()
}

fn greet(request: &Request<'_>) -> Response {
    let accept = request.field_str("Accept").unwrap_or("*/*");
    if !["*/*", "text/*", "text/plain"]
        .iter()
        .any(|range| accept.contains(range))
    {
        return Response::new(Status::NOT_ACCEPTABLE);
    }
    if request
        .field_str("Sec-WebSocket-Version")
        .is_some_and(|version| version != "13")
    {
        // RFC 6455 section 4.4.
        return Response::new(Status::BAD_REQUEST).with_field("Sec-WebSocket-Version", "13");
    }
    Response::text("hello")
}

fn echo(request: &Request<'_>) -> Vec<u8> {
    request.body().to_vec()
}

fn fields(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in request.head().fields() {
        out.extend([name.as_bytes(), b": ", value, b"\n"].concat());
    }
    out
}
