//! An in-process client, for testing applications without a socket.
//!
//! It writes the request's bytes, reads them with the server's own parser, and answers as the
//! server would: routing, body limits, middleware, uploads, late answers and streams included.
//! Only the connection is missing. Every wait is bounded, so a handler that never answers fails
//! its test instead of hanging it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{
    App, Body, BodyReader, Fault, FileRange, LaterSlot, Match, Notify, Part, Peer, Pipe,
    PipeReader, Request, Response, Work, run_producer,
};
use crate::http::{Head, Method, Scratch, Status, parse_head};
use crate::limits::{CLIENT_TIMEOUT_MS, Limits};

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Ask {
    /// A request for a target as it goes over the wire, percent-encoded and with its query.
    pub fn new(method: Method, target: &str) -> Ask {
        Ask {
            method,
            target: String::from(target),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Ask {
        Ask::new(Method::Get, target)
    }

    /// A POST.
    pub fn post(target: &str) -> Ask {
        Ask::new(Method::Post, target)
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Ask {
        self.fields
            .push((String::from(name), value.as_ref().to_vec()));
        self
    }

    /// Sets the body; its length is sent along.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Ask {
        self.body = body.into();
        self
    }

    fn head_bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method.as_str(), self.target).into_bytes();
        if !self
            .fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            out.extend_from_slice(b"Host: localhost\r\n");
        }
        for (name, value) in &self.fields {
            crate::http::write::write_field(&mut out, name, value);
        }
        if !self.body.is_empty() {
            let length = self.body.len().to_string();
            crate::http::write::write_field(&mut out, "Content-Length", length.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    response: Response,
    body: Vec<u8>,
    complete: bool,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> Status {
        self.response.status()
    }

    /// The first value of a field when it is UTF-8.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.response
            .field(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every field as name and value. Those of the session, such as Date, are not among them.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.response.fields()
    }

    /// The body as it would be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as text, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the body came whole; a stream whose producer failed did not.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What went wrong in the user's part, as the server's log would tell.
    pub fn fault(&self) -> Option<&Fault> {
        self.response.fault()
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Answer {
        Answer::collect(Response::from(status), false)
    }
}

/// A client of one application.
pub struct Client {
    app: Arc<App>,
    limits: Limits,
    timeout: Duration,
}

impl Client {
    /// A client with the default limits, which waits 10 seconds for an answer.
    pub fn new(app: App) -> Client {
        Client::with_limits(app, Limits::DEFAULT)
    }

    /// A client with the limits of a certain server.
    pub fn with_limits(mut app: App, limits: Limits) -> Client {
        app.set_limits(&limits);
        let timeout = Duration::from_millis(CLIENT_TIMEOUT_MS);
        Client {
            app: Arc::new(app),
            limits,
            timeout,
        }
    }

    /// Waits so long for an answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// Sends a GET.
    pub fn get(&self, target: &str) -> Answer {
        self.send(&Ask::get(target))
    }

    /// Sends a POST with a body of this type.
    pub fn post(&self, target: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(
            &Ask::post(target)
                .field("Content-Type", content_type)
                .body(body),
        )
    }

    /// Sends a request and waits for the whole answer: 504 when it does not come in time.
    pub fn send(&self, ask: &Ask) -> Answer {
        let (sender, receiver) = mpsc::channel();
        let (app, limits, ask) = (Arc::clone(&self.app), self.limits, ask.clone());
        let work = move || {
            let _ = sender.send(exchange(&app, &limits, &ask));
        };
        if thread::Builder::new().spawn(work).is_err() {
            return failed(Status::SERVICE_UNAVAILABLE, "no thread for the exchange");
        }
        match receiver.recv_timeout(self.timeout) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => failed(Status::GATEWAY_TIMEOUT, "no answer in time"),
            Err(RecvTimeoutError::Disconnected) => {
                failed(Status::INTERNAL_SERVER_ERROR, "the exchange panicked")
            }
        }
    }
}

fn failed(status: Status, why: &str) -> Answer {
    let mut answer = Answer::from(status);
    answer.response.set_fault(Fault::error(why));
    answer
}

/// What a worker does with one request.
fn exchange(app: &App, limits: &Limits, ask: &Ask) -> Answer {
    let bytes = ask.head_bytes();
    let mut scratch = Scratch::new();
    let head = match parse_head(&bytes, &mut scratch, limits) {
        Ok(Some((head, length))) if length == bytes.len() => head,
        // A field with a blank line in it ends the head early; the rest is no body.
        Ok(_) => return Answer::from(Status::BAD_REQUEST),
        Err(error) => return Answer::from(error.status()),
    };
    let found = app.find(&head);
    let body = match app.body_wanted(&found) {
        None => &[][..],
        Some(limit) if ask.body.len() as u64 > limit => {
            return Answer::from(Status::CONTENT_TOO_LARGE);
        }
        Some(_) => &ask.body[..],
    };
    let response = match app.work(&found) {
        Work::Inline => answer(app, &found, &Request::new(head, body, Peer::Memory)),
        // On the server this request has crossed to another thread.
        Work::Blocking => {
            let owned = Request::new(head, body, Peer::Memory).to_owned();
            answer(app, &found, &owned.borrow())
        }
        Work::Upload => upload(app, &found, head, body),
    };
    Answer::collect(response, ask.method == Method::Head)
}

fn answer<'r>(app: &'r App, found: &'r Match, request: &Request<'r>) -> Response {
    let response = app.answer(found, request);
    wait(app, found, request, response)
}

/// Feeds the body through a pipe, as it would arrive.
fn upload<'r>(app: &'r App, found: &'r Match, head: Head<'r>, body: &'r [u8]) -> Response {
    let (mut writer, reader) = Pipe::with_usual_capacity();
    let request = Request::new(head, &[], Peer::Memory);
    thread::scope(|scope| {
        scope.spawn(move || {
            // A handler that stops reading breaks the pipe; that is its right.
            if writer.write_all(body).is_ok() {
                writer.finish();
            }
        });
        let mut reader = BodyReader::new(reader);
        let response = app.answer_upload(found, &request, &mut reader);
        drop(reader);
        wait(app, found, &request, response)
    })
}

/// Tells a channel, in the place of a worker's mailbox.
struct Bell(Mutex<mpsc::Sender<()>>);

impl Notify for Bell {
    fn notify(&self, _: u64) {
        // Nobody listens once the exchange is over.
        let _ = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(());
    }
}

fn bell() -> (Arc<dyn Notify>, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::channel();
    (Arc::new(Bell(Mutex::new(sender))), receiver)
}

/// Waits while the response is a later one.
fn wait<'r>(app: &'r App, found: &'r Match, request: &Request<'r>, first: Response) -> Response {
    let mut response = first;
    let mut was_late = false;
    loop {
        match response.take_body() {
            Body::Later(slot) => response = await_slot(slot),
            body => {
                response.set_body(body);
                break;
            }
        }
        was_late = true;
    }
    if was_late {
        app.finish(found, request, &mut response);
    }
    response
}

fn await_slot(mut slot: LaterSlot) -> Response {
    let (notify, rings) = bell();
    slot.bind(notify, 0);
    loop {
        if let Some(response) = slot.take() {
            return response;
        }
        // The slot holds the only other end and rings before it lets go.
        if rings.recv().is_err() {
            return Response::from(Status::INTERNAL_SERVER_ERROR);
        }
    }
}

impl Answer {
    fn collect(mut response: Response, head_only: bool) -> Answer {
        let body = response.take_body();
        if head_only || response.status().has_no_content() {
            return Answer {
                response,
                body: Vec::new(),
                complete: true,
            };
        }
        let mut bytes = Vec::new();
        let complete = read_body(body, &mut bytes).is_ok();
        Answer {
            response,
            body: bytes,
            complete,
        }
    }
}

fn read_body(body: Body, out: &mut Vec<u8>) -> io::Result<()> {
    match body {
        Body::Empty | Body::Later(_) => Ok(()),
        Body::Static(bytes) => out.write_all(bytes),
        Body::Bytes(bytes) => out.write_all(&bytes),
        Body::Shared(bytes) => out.write_all(&bytes),
        Body::File(range) => read_file(&range, out),
        Body::Parts(parts) => parts.iter().try_for_each(|part| match part {
            Part::Bytes(bytes) => out.write_all(bytes),
            Part::File(range) => read_file(range, out),
        }),
        Body::Stream(reader) => read_stream(reader, out),
        Body::Run(producer) => {
            let (writer, reader) = Pipe::with_usual_capacity();
            let thread = thread::Builder::new().spawn(move || run_producer(producer, writer))?;
            let read = read_stream(reader, out);
            // A producer that fails has failed the pipe.
            drop(thread.join());
            read
        }
    }
}

fn read_stream(mut reader: PipeReader, out: &mut Vec<u8>) -> io::Result<()> {
    reader.read_to_end(out).map(|_| ())
}

/// Reads a stretch of a file. Clients of one process take turns, because std alone has no
/// positioned read and a shared file has one cursor.
fn read_file(range: &FileRange, out: &mut Vec<u8>) -> io::Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file: &File = &range.file;
    file.seek(SeekFrom::Start(range.start))?;
    let read = file.take(range.len).read_to_end(out)?;
    if read as u64 == range.len {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Router;

    fn client(fill: impl FnOnce(&mut Router)) -> Client {
        let mut router = Router::new();
        fill(&mut router);
        Client::new(router.build().unwrap())
    }

    #[test]
    fn late_blocking_and_streamed_answers_come_whole() {
        let client = client(|r| {
            r.get("/late", |_| {
                let (responder, response) = Response::later();
                thread::spawn(move || {
                    let (second, response) = Response::later();
                    responder.send(response);
                    second.send(Response::text("late"));
                });
                response
            });
            r.blocking(Method::Get, "/blocking/{id}", |request| {
                request.param("id").map(String::from)
            });
            r.get("/stream", |_| {
                Response::stream("text/plain; charset=utf-8", |out| {
                    (0..100_000).try_for_each(|n| writeln!(out, "{n}"))
                })
            });
        });
        assert_eq!(client.get("/late").text(), "late");
        assert_eq!(client.get("/blocking/7").text(), "7");
        let streamed = client.get("/stream");
        assert!(streamed.is_complete() && streamed.text().ends_with("99998\n99999\n"));
        assert!(
            client
                .send(&Ask::new(Method::Head, "/stream"))
                .bytes()
                .is_empty()
        );
    }

    #[test]
    fn a_stream_that_fails_is_seen_to_be_cut_off() {
        let client = client(|r| {
            r.get("/", |_| {
                Response::stream("text/plain; charset=utf-8", |out| {
                    out.write_all(b"half")?;
                    Err(io::ErrorKind::InvalidData.into())
                })
            });
        });
        let answer = client.get("/");
        assert_eq!(
            (answer.text().as_str(), answer.is_complete()),
            ("half", false)
        );
    }

    #[test]
    fn an_upload_is_read_as_a_stream_and_need_not_be_read_to_its_end() {
        let client = client(|r| {
            r.upload(
                Method::Put,
                "/count",
                |_, body| -> Result<String, super::super::Error> {
                    let count = io::copy(body, &mut io::sink())?;
                    Ok(count.to_string())
                },
            );
            r.upload(Method::Put, "/first", |_, body| {
                let mut first = [0];
                body.read_exact(&mut first).map(|()| first.to_vec()).ok()
            });
        });
        let send = |path| client.send(&Ask::new(Method::Put, path).body(vec![b'x'; 300_000]));
        assert_eq!(send("/count").text(), "300000");
        assert_eq!(send("/first").text(), "x");
    }

    #[test]
    fn limits_and_the_parser_are_the_servers() {
        let client = client(|r| _ = r.post("/", |r: &Request<'_>| r.body().len().to_string()));
        let limits = Limits {
            body_bytes_max: 3,
            ..Limits::DEFAULT
        };
        let app = Arc::into_inner(client.app).unwrap();
        let client = Client::with_limits(app, limits);
        assert_eq!(client.post("/", "a/b", "abc").text(), "3");
        assert_eq!(
            client.post("/", "a/b", "abcd").status(),
            Status::CONTENT_TOO_LARGE
        );
        assert_eq!(client.get("/a b").status(), Status::BAD_REQUEST);
        let split = Ask::get("/").field("X", "a\r\n\r\nGET / HTTP/1.1");
        assert_eq!(client.send(&split).status(), Status::BAD_REQUEST);
    }

    #[test]
    fn a_handler_that_never_answers_fails_in_time() {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let client = client(|r| {
            r.get("/", move |_| {
                held.lock().unwrap().recv().is_ok().to_string()
            });
        });
        let answer = client.timeout(Duration::from_millis(50)).get("/");
        assert_eq!(answer.status(), Status::GATEWAY_TIMEOUT);
        drop(release);
    }

    #[test]
    fn file_bodies_are_read_and_a_shortened_file_is_seen() {
        let path = std::env::temp_dir().join(format!("aureon-client-{}", std::process::id()));
        std::fs::write(&path, "0123456789").unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let client = client(move |r| {
            let other = Arc::clone(&file);
            let stretch = |file: &Arc<File>, start, len| FileRange {
                file: Arc::clone(file),
                start,
                len,
            };
            r.get("/parts", move |_| {
                let parts = vec![Part::File(stretch(&file, 2, 3)), Part::Bytes(b"-".to_vec())];
                Response::text("").with_body(Body::Parts(parts))
            });
            r.get("/short", move |_| {
                Response::text("").with_body(stretch(&other, 8, 5))
            });
        });
        assert_eq!(client.get("/parts").text(), "234-");
        let short = client.get("/short");
        assert_eq!((short.text().as_str(), short.is_complete()), ("89", false));
    }
}
