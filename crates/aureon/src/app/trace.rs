//! What was decided about a request, and why: for a person who wants to know.
//!
//! The functions that decide note here what they decided, when the request carries a [`Trace`]
//! ([`Request::traced`]); a server's requests carry none, which costs a comparison at each of those
//! places. So nothing here knows a rule. [`App::find_traced`] says of each route why it matches or
//! does not, by asking tables that hold that route alone.

use std::cell::Cell;

use super::captures::Match;
use super::dispatch::{Action, Entry};
use super::pattern::{Pattern, Segment};
use super::table::Table;
use super::{App, Middleware, Request, Response};
use crate::http::{Head, Method};

/// One thing that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule, a stable word: `route`, `path`, `file`, `coding`, ...
    pub rule: &'static str,
    /// What it was applied to.
    pub subject: String,
    /// What came of it.
    pub outcome: String,
}

/// Collects steps.
#[derive(Default)]
pub struct Trace {
    steps: Cell<Vec<Step>>,
}

impl Trace {
    /// Notes a step.
    #[cold]
    pub fn note(&self, rule: &'static str, subject: &str, outcome: &[&str]) {
        let mut steps = self.steps.take();
        steps.push(Step {
            rule,
            subject: subject.to_owned(),
            outcome: outcome.concat(),
        });
        self.steps.set(steps);
    }

    /// The steps, in the order in which they were taken.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.into_inner()
    }

    /// Notes what the second half of a middleware did to a response.
    #[cold]
    pub(super) fn note_after(&self, name: &str, before: &[u8], response: &Response) {
        let mut changes = String::new();
        for (name, value) in response.fields() {
            let line = [name, b": ", value].concat();
            if before.split(|byte| *byte == b'\n').any(|old| old == line) {
                continue;
            }
            changes.push_str(if changes.is_empty() { "adds " } else { ", " });
            changes.push_str(&String::from_utf8_lossy(&line));
        }
        if changes.is_empty() {
            changes.push_str("changes nothing");
        }
        self.note("middleware", short(name), &[&changes]);
    }
}

/// The last part of a type's name: `Cors` for `aureon::app::cors::Cors`.
#[cold]
pub(super) fn short(name: &str) -> &str {
    let name = name.split('<').next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

/// The field lines of a response, to be compared later.
#[cold]
pub(super) fn lines_of(response: &Response) -> Vec<u8> {
    let lines = response.fields();
    lines.fold(Vec::new(), |mut out, (name, value)| {
        for part in [name, b": ", value, b"\n"] {
            out.extend_from_slice(part);
        }
        out
    })
}

impl App {
    /// Like [`App::find`], and notes every route with the reason why it is or is not the one.
    pub fn find_traced(&self, head: &Head<'_>, trace: &Trace) -> Match {
        let found = self.find(head);
        let path = head.path();
        // `*`, or what can not be decoded, is no route's.
        let action = &self.endpoints[found.endpoint as usize].action;
        let is_path = path.starts_with('/') && !matches!(action, Action::PathInvalid);
        for entry in self.entries.iter().filter(|_| is_path) {
            let chosen = entry.methods.contains(&found.endpoint);
            for (template, methods) in self.templates(entry) {
                let why = mismatch(template, path);
                let outcome = match &why {
                    Some(why) => ["no: ", why],
                    None if chosen => ["matches", ""],
                    None => ["no: it matches too, but less exactly", ""],
                };
                trace.note("route", &[&methods, " ", template].concat(), &outcome);
            }
        }
        let as_get = |entry: &Entry| {
            let (get, head) = (Method::Get as usize, Method::Head as usize);
            entry.methods[get] == found.endpoint && entry.methods[head] == found.endpoint
        };
        if head.method() == Method::Head && self.entries.iter().any(as_get) {
            trace.note(
                "method",
                "HEAD",
                &["answered like GET, without the content"],
            );
        }
        self.note_action(head.method(), &found, trace);
        let info = &self.endpoints[found.endpoint as usize].info;
        for name in &info.names {
            let value = found.param(head.path_bytes(), info, name);
            trace.note("capture", name, &[value.unwrap_or_default()]);
        }
        found
    }

    /// The templates of a path, each with the methods that are registered for it.
    fn templates(&self, entry: &Entry) -> Vec<(&str, String)> {
        let mut all: Vec<(&str, String)> = Vec::new();
        for method in Method::ALL {
            let endpoint = &self.endpoints[entry.methods[method as usize] as usize];
            if matches!(
                endpoint.action,
                Action::Options(_) | Action::MethodNotAllowed(_)
            ) {
                continue;
            }
            let template = &*endpoint.info.template;
            match all.iter_mut().find(|(known, _)| *known == template) {
                Some((_, methods)) => {
                    methods.push(' ');
                    methods.push_str(method.as_str());
                }
                None => all.push((template, method.as_str().to_owned())),
            }
        }
        all
    }

    fn note_action(&self, method: Method, found: &Match, trace: &Trace) {
        let outcome = match self.endpoints[found.endpoint as usize].action {
            Action::Handler(_) if self.route_template(found).is_empty() => {
                "no route: the fallback's handler answers"
            }
            Action::Handler(_) => "a handler answers",
            Action::Upload(_) => "a handler that reads the body as it comes answers",
            Action::Mount(_) => "what is mounted there answers, by the rest of the path",
            Action::AddSlash => "what is mounted lies behind the slash: 308",
            Action::Options(_) => "answered by the router: 204, and Allow lists the methods",
            Action::MethodNotAllowed(_) => "not registered: 405, and Allow lists those that are",
            Action::NotFound => "no route: 404",
            Action::PathInvalid => "the path can not be decoded: 400",
        };
        trace.note("method", method.as_str(), &[outcome]);
    }
}

/// Why a path does not match a template; `None` when it does.
fn mismatch(template: &str, path: &str) -> Option<String> {
    let mut pattern = Pattern::parse(template).ok()?;
    if matches(&pattern, path) {
        return None;
    }
    pattern.segments.push(Segment::Wildcard);
    let mut goes_on = matches(&pattern, path);
    pattern.segments.pop();
    // Taken off from the right, until some path with the same beginning would match.
    while let (false, Some(last)) = (goes_on, pattern.segments.pop()) {
        let at = pattern.segments.len();
        pattern.segments.push(Segment::Wildcard);
        if at > 0 && !matches(&pattern, path) {
            pattern.segments.pop();
            continue;
        }
        pattern.segments[at] = last.clone();
        if matches(&pattern, path) {
            return Some("the path ends before it does".to_owned());
        }
        let there = path.split('/').nth(at + 1).unwrap_or_default();
        match last {
            Segment::Static(text) if !text.is_empty() => {
                return Some(
                    ["the path has \"", there, "\" where it has \"", &text, "\""].concat(),
                );
            }
            Segment::Capture => return Some("a segment is missing".to_owned()),
            _ => goes_on = true,
        }
    }
    Some("the path goes on where it ends".to_owned())
}

fn matches(pattern: &Pattern, path: &str) -> bool {
    let mut table = Table::new();
    table.insert(pattern, 0);
    matches!(Match::find(&table, path), Ok(Some(_)))
}

/// Stands in the place of a middleware that is not to be run.
struct Idle(&'static str);

impl Middleware for Idle {
    fn before(&self, request: &Request<'_>) -> Option<Response> {
        if let Some(trace) = request.trace() {
            trace.note(NOT_RUN, short(self.0), &["a middleware that is not ours"]);
        }
        None
    }

    fn name(&self) -> &'static str {
        self.0
    }
}

/// The rule of a step that says that something was not run, so that what follows is not certain.
pub const NOT_RUN: &str = "not run";

/// A middleware that only says that another one is not run.
pub(super) fn idle(middleware: &dyn Middleware) -> impl Middleware {
    Idle(middleware.name())
}

/// Answers in the place of a handler that is not to be run.
pub(super) fn answer_idly(request: &Request<'_>) -> Response {
    if let Some(trace) = request.trace() {
        trace.note(NOT_RUN, "handler", &["a handler that is not ours"]);
    }
    Response::new(crate::http::Status::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Mount, Peer, Router};
    use crate::http::{Scratch, parse_head};
    use crate::limits::Limits;

    #[test]
    fn a_mismatch_says_where_a_path_and_a_template_part() {
        let check = |template: &str, path: &str, why: Option<&str>| {
            assert_eq!(
                mismatch(template, path).as_deref(),
                why,
                "{template} {path}"
            );
        };
        check("/a/b", "/a/b", None);
        check("/a/{x}", "/a/%62", None);
        check("/{*x}", "/a/b", None);
        let parts = Some("the path has \"c\" where it has \"b\"");
        check("/a/b", "/a/c", parts);
        check("/a/b/d", "/a/c/d", parts);
        check("/{x}/b", "/a/c", parts);
        check("/b", "/c", parts);
        check("/b", "/", Some("the path has \"\" where it has \"b\""));
        check("/a/b", "/a", Some("the path ends before it does"));
        check("/a/b/c", "/a", Some("the path ends before it does"));
        check("/a/", "/a", Some("the path ends before it does"));
        check("/a/{*x}", "/a", Some("the path ends before it does"));
        check("/a", "/a/b", Some("the path goes on where it ends"));
        check("/", "/a", Some("the path goes on where it ends"));
        check("/a/", "/a/b", Some("the path goes on where it ends"));
        check("/a/{x}", "/a/", Some("a segment is missing"));
    }

    #[test]
    fn a_name_is_that_of_the_type_alone() {
        assert_eq!(short("aureon::app::cors::Cors"), "Cors");
        assert_eq!(short("a::Limited<b::Fast>"), "Limited");
    }

    struct Writes;

    impl Mount for Writes {
        fn answer(&self, _: &Request<'_>, _: &str) -> Response {
            panic!("a mount that may do anything was run")
        }
    }

    struct Panics;

    impl Middleware for Panics {
        fn before(&self, _: &Request<'_>) -> Option<Response> {
            panic!("a middleware was run")
        }
    }

    #[test]
    fn nothing_of_an_idle_router_is_run_and_all_of_it_is_told() {
        fn never(_: &Request<'_>) -> &'static str {
            panic!("a handler was run")
        }
        let mut inner = Router::new();
        inner.get("/x", never).with(Panics);
        let mut router = Router::new();
        router
            .get("/a", never)
            .upload(Method::Put, "/a", |request, _| never(request))
            .blocking(Method::Post, "/a", never)
            .mount("/m", Writes)
            .nest("/in", inner)
            .fallback(never);
        router.idle();
        let app = router.build().unwrap();
        for (line, not_run) in [
            ("GET /a", &["handler"][..]),
            ("PUT /a", &["handler"]),
            ("POST /a", &["handler"]),
            ("GET /m/x", &["handler"]),
            ("GET /in/x", &["Panics", "handler"]),
            ("GET /none", &["handler"]),
            ("GET /m", &[]),
            ("DELETE /a", &[]),
        ] {
            let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut scratch = Scratch::new();
            let parsed = parse_head(bytes.as_bytes(), &mut scratch, &Limits::DEFAULT);
            let head = parsed.unwrap().unwrap().0;
            let trace = Trace::default();
            let found = app.find_traced(&head, &trace);
            let response = app.answer(
                &found,
                &Request::new(head, b"", Peer::Memory).traced(&trace),
            );
            assert_ne!(response.status().code(), 500, "{line}");
            let mut steps = trace.into_steps();
            steps.retain(|step| step.rule == NOT_RUN);
            let subjects: Vec<&str> = steps.iter().map(|step| &*step.subject).collect();
            assert_eq!(subjects, not_run, "{line}");
        }
    }
}
