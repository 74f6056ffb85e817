//! `aureond explain GET /path`: what would answer, and why.
//!
//! The request goes through the same parser, routes, middleware, files and session as in a server,
//! with the configuration that `serve` would have, and what those note on the way is written down.
//! No socket is opened and files are only read. Handlers, middleware and health checks that a
//! backend brought along are told and not run: whoever explains wants nothing to happen.

use std::time::Instant;

use aureon::app::{NOT_RUN, Peer, Step, Trace};
use aureon::http::write::Preamble;
use aureon::http::{Delimiter, Error, Framing, Head, HeadEvent, Reply, Scratch, Session};
use aureon::{App, Request, Router};

use crate::check::{absolute, pad};
use crate::config::Loaded;
use crate::health::{Health, READY_PATH, REPORT_PATH, State};
use crate::json::{List, Object};
use crate::observer::now_ms;
use crate::problem::Place;
use crate::routes::{Lasting, build_app};
use crate::service::Failure;
use crate::settings::{self, Config};
use crate::value::show_digits;

/// The request that is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The method.
    pub method: String,
    /// The target as it goes over the wire.
    pub target: String,
    /// Fields besides Host, which is `localhost` if it is none of them.
    pub fields: Vec<(String, String)>,
}

impl Question {
    fn write_head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut line = |parts: [&str; 4]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        };
        line([&self.method, " ", &self.target, " HTTP/1.1"]);
        let is_host = |(name, _): &(String, String)| name.eq_ignore_ascii_case("host");
        if !self.fields.iter().any(is_host) {
            line(["Host: localhost", "", "", ""]);
        }
        for (name, value) in &self.fields {
            line([name, ": ", value, ""]);
        }
        line(["", "", "", ""]);
        out
    }
}

/// What would come back, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    question: Question,
    /// The template of the route, empty when none matched.
    route: String,
    steps: Vec<Step>,
    status: u16,
    /// The head of the answer as it would be sent.
    head: Vec<u8>,
    /// Bytes of the content.
    bytes: u64,
}

/// Explains the answer to a request.
///
/// # Errors
///
/// What serving would fail with: contradicting routes, a root that can not be served.
pub fn explain(
    mut routes: Router,
    loaded: &Loaded,
    checks: bool,
    question: Question,
) -> Result<Explanation, Failure> {
    let config = &loaded.config;
    routes.idle();
    let health = Health::default();
    health.enter(State::Serving);
    let started = Instant::now();
    let mut app = build_app(routes, config, &Lasting { health, started })?;
    app.set_limits(&config.limits);
    let mut asking = Asking {
        app,
        config,
        checks,
        session: Session::new(),
        preamble: Preamble::new(now_ms() / 1_000),
        trace: Trace::default(),
        status: 0,
        out: Vec::new(),
        bytes: 0,
    };
    let place = settings::find("root").and_then(|row| loaded.places.get(row));
    let place = place.unwrap_or(&Place::Default).show();
    let root = match &config.root {
        Some(root) => absolute(root),
        None => "the built-in page".to_owned(),
    };
    asking.trace.note("root", &place, &[&root]);
    let route = asking.ask(&question.write_head());
    Ok(Explanation {
        question,
        route,
        steps: asking.trace.into_steps(),
        status: asking.status,
        head: asking.out,
        bytes: asking.bytes,
    })
}

/// One exchange of a connection that is none.
struct Asking<'c> {
    app: App,
    config: &'c Config,
    checks: bool,
    session: Session,
    preamble: Preamble,
    trace: Trace,
    status: u16,
    out: Vec<u8>,
    bytes: u64,
}

impl Asking<'_> {
    /// Gives the template of the route.
    fn ask(&mut self, bytes: &[u8]) -> String {
        let mut scratch = Scratch::new();
        let received = self
            .session
            .receive_head(bytes, &mut scratch, &self.config.limits);
        match received {
            Ok(HeadEvent::Request { head, consumed }) if consumed == bytes.len() => {
                self.answer(head)
            }
            // A field with an empty line in it would be two requests.
            Ok(_) => self.refuse(Error::LineEnd),
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(&mut self, error: Error) -> String {
        self.trace.note(
            "request",
            error.name(),
            &["refused, and the connection closes"],
        );
        self.status = error.status().code();
        self.session.refuse(&mut self.out, error, &self.preamble);
        // The head alone: the content says what the step says.
        let end = self.out.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.map_or(self.out.len(), |at| at + 4);
        self.bytes = (self.out.len() - end) as u64;
        self.out.truncate(end);
        String::new()
    }

    fn answer(&mut self, head: Head<'_>) -> String {
        let found = self.app.find_traced(&head, &self.trace);
        let route = self.app.route_template(&found).to_owned();
        if let (Some(max), true) = (self.app.body_wanted(&found), head.has_body()) {
            let max_shown = show_digits(max);
            self.trace
                .note("body", "", &["at most ", &max_shown, " bytes"]);
            let error = match head.content_length() {
                Some(length) if length > max => Some(Error::BodyTooLarge),
                _ if head.framing() != Framing::Chunked => None,
                _ => self
                    .app
                    .length_required(&found)
                    .then_some(Error::LengthRequired),
            };
            if let Some(error) = error {
                self.refuse(error);
                return route;
            }
        }
        if self.checks && (route == READY_PATH || route == REPORT_PATH) {
            let outcome = "checks that are not ours; one that fails makes it a 503";
            self.trace.note(NOT_RUN, "checks", &[outcome]);
        }
        let request = Request::new(head, b"", Peer::Memory).traced(&self.trace);
        let response = self.app.answer(&found, &request);
        // What is mounted has said what caches may do; else it is the API, or health.
        if let (false, Some(value)) = (route.ends_with("{*rest}"), response.field("Cache-Control"))
        {
            let value = String::from_utf8_lossy(value);
            let reason = "it tells how things are now";
            self.trace.note("caching", &value, &[reason]);
        }
        self.status = response.status().code();
        let (prepared, fields) = response.field_lines();
        let length = response.body().len();
        let reply = Reply {
            status: response.status(),
            preamble: &self.preamble,
            prepared,
            fields,
            length,
        };
        let limits = &self.config.limits;
        self.bytes = match self.session.send_head(&mut self.out, &reply, limits) {
            Delimiter::Nothing => 0,
            _ => length.unwrap_or(0),
        };
        route
    }
}

impl Explanation {
    /// Whether the handler was ours to run, so that the answer is known.
    fn is_answered(&self) -> bool {
        let idle = |step: &Step| step.rule == NOT_RUN && step.subject == "handler";
        !self.steps.iter().any(idle)
    }

    /// Whether everything was run that would be.
    fn is_complete(&self) -> bool {
        self.steps.iter().all(|step| step.rule != NOT_RUN)
    }

    /// Writes it for people.
    pub fn write_text(&self) -> Vec<u8> {
        let mut out = String::new();
        push_head(&mut out, &self.question.write_head());
        for step in &self.steps {
            pad(&mut out, step.rule, 11);
            pad(&mut out, &step.subject, 36);
            out.push_str(&step.outcome);
            out.push('\n');
        }
        if self.is_answered() {
            out.push_str(match self.is_complete() {
                true => "\n",
                false => "\nUnless something that was not run says otherwise:\n\n",
            });
            push_head(&mut out, &self.head);
            out.push_str(&show_digits(self.bytes));
            out.push_str(" bytes of content\n");
        } else {
            out.push_str("\nThe answer is that handler's; around it stands what is said above.\n");
        }
        out.into_bytes()
    }

    /// Writes it as one JSON object.
    pub fn write_json(&self) -> Vec<u8> {
        let mut steps = List::default();
        for step in &self.steps {
            let mut object = Object::new(steps.element());
            object.string("rule", step.rule);
            object.string("subject", &step.subject);
            object.string("outcome", &step.outcome);
            object.end();
        }
        let mut fields = List::default();
        for line in self.head.split(|byte| *byte == b'\n') {
            let colon = line.iter().position(|byte| *byte == b':');
            if let Some((name, value)) = colon.and_then(|colon| line.split_at_checked(colon)) {
                let mut object = Object::new(fields.element());
                object.string("name", name);
                object.string("value", value.get(1..).unwrap_or_default().trim_ascii());
                object.end();
            }
        }
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.string("method", &self.question.method);
        object.string("target", &self.question.target);
        object.string("route", &self.route);
        object.bool("complete", self.is_complete());
        object.raw("steps", &steps.end());
        if self.is_answered() {
            object.number("status", u64::from(self.status));
            object.raw("fields", &fields.end());
            object.number("content_bytes", self.bytes);
        }
        object.end();
        out.push(b'\n');
        out
    }
}

/// A head as people read it.
fn push_head(out: &mut String, head: &[u8]) {
    let text = String::from_utf8_lossy(head);
    out.extend(text.chars().filter(|letter| *letter != '\r'));
}
