//! The finished application: which endpoint answers a request, and answering it.
//!
//! Built once by [`Router::build`](super::Router::build) and shared by all workers, it never
//! changes. [`App::find`] cannot fail: 404, 405, OPTIONS and a malformed path are endpoints like
//! any other, with their middleware. Everything of the user's runs inside `catch_unwind` here,
//! and only here: a panic becomes a 500 that carries its [`Fault`], and the worker lives on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::captures::{Match, RouteInfo, States};
use super::fields::{Prepared, prepare_fields};
use super::request::Bound;
use super::table::Table;
use super::trace::{lines_of, short};
use super::trust::Trust;
use super::{BodyReader, Fault, Middleware, Mount, Pipe, Request, Response};
use crate::http::{Head, Method, Status};
use crate::limits::Limits;

pub(super) type Handler = Arc<dyn Fn(&Request<'_>) -> Response + Send + Sync>;
pub(super) type UploadHandler =
    Arc<dyn Fn(&Request<'_>, &mut BodyReader) -> Response + Send + Sync>;

/// Where a request's handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// On the worker, at once.
    Inline,
    /// On the pool, with the body buffered.
    Blocking,
    /// On the pool, with the body as a stream.
    Upload,
}

/// What an endpoint does.
#[derive(Clone)]
pub(super) enum Action {
    Handler(Handler),
    Upload(UploadHandler),
    Mount(Arc<dyn Mount>),
    /// Redirects to the same path with a slash behind it.
    AddSlash,
    /// The prepared `Allow` line.
    Options(Prepared),
    MethodNotAllowed(Prepared),
    NotFound,
    PathInvalid,
}

/// Middleware around an endpoint, outermost first.
pub(super) type Chain = Arc<[Arc<dyn Middleware>]>;

/// What is demanded of a request's body.
#[derive(Clone, Copy, Default)]
pub(super) struct BodyRules {
    pub(super) limit: Option<u64>,
    pub(super) length_required: bool,
}

pub(super) struct Endpoint {
    pub(super) action: Action,
    pub(super) work: Work,
    pub(super) body: BodyRules,
    pub(super) chain: Chain,
    pub(super) info: Arc<RouteInfo>,
    /// The row of its template in the metrics; 0 is none.
    pub(super) row: u32,
}

/// A path's endpoint for each method.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) methods: [u32; Method::ALL.len()],
}

/// What a router puts an application together from.
pub(super) struct Parts {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) entries: Vec<Entry>,
    pub(super) chain: Chain,
    pub(super) states: States,
    pub(super) trust: Trust,
    pub(super) fallback: Option<Handler>,
    /// Methods that some path answers.
    pub(super) known: [bool; Method::ALL.len()],
}

impl Default for Parts {
    fn default() -> Parts {
        Parts {
            endpoints: Vec::new(),
            entries: Vec::new(),
            chain: Arc::from([]),
            states: States::default(),
            trust: Trust::new(),
            fallback: None,
            known: [false; Method::ALL.len()],
        }
    }
}

impl Parts {
    /// Adds an endpoint that we answer ourselves, beside the route `like`.
    pub(super) fn automatic(
        &mut self,
        like: u32,
        action: impl Fn(Prepared) -> Action,
        allowed: [bool; Method::ALL.len()],
    ) -> u32 {
        let route = &self.endpoints[like as usize];
        let (chain, info) = (Arc::clone(&route.chain), Arc::clone(&route.info));
        self.add(action(allow_lines(allowed)), chain, info)
    }

    fn add(&mut self, action: Action, chain: Chain, info: Arc<RouteInfo>) -> u32 {
        self.endpoints.push(Endpoint {
            action,
            work: Work::Inline,
            body: BodyRules::default(),
            chain,
            info,
            row: 0,
        });
        (self.endpoints.len() - 1) as u32
    }
}

/// The prepared fields of an answer that lists methods.
fn allow_lines(allowed: [bool; Method::ALL.len()]) -> Prepared {
    let names: Vec<&str> = Method::ALL
        .iter()
        .filter(|m| allowed[**m as usize])
        .map(|m| m.as_str())
        .collect();
    prepare_fields([("Allow", names.join(", ").as_bytes())])
}

/// A finished application.
pub struct App {
    table: Table,
    pub(super) entries: Vec<Entry>,
    pub(super) endpoints: Vec<Endpoint>,
    states: Arc<States>,
    trust: Arc<Trust>,
    not_found: u32,
    path_invalid: u32,
    /// Answers `OPTIONS *`.
    asterisk: u32,
    body_bytes_max: u64,
    upload_bytes_max: u64,
}

impl App {
    pub(super) fn new(table: Table, mut parts: Parts) -> App {
        let info = Arc::new(RouteInfo {
            template: Box::from(""),
            names: Vec::new(),
        });
        let add = |parts: &mut Parts, action| {
            let chain = Arc::clone(&parts.chain);
            parts.add(action, chain, Arc::clone(&info))
        };
        let fallback = parts
            .fallback
            .take()
            .map_or(Action::NotFound, Action::Handler);
        let not_found = add(&mut parts, fallback);
        let path_invalid = add(&mut parts, Action::PathInvalid);
        let everything = Action::Options(allow_lines(parts.known));
        let asterisk = add(&mut parts, everything);
        App {
            table,
            entries: parts.entries,
            endpoints: parts.endpoints,
            states: Arc::new(parts.states),
            trust: Arc::new(parts.trust),
            not_found,
            path_invalid,
            asterisk,
            body_bytes_max: Limits::DEFAULT.body_bytes_max,
            upload_bytes_max: Limits::DEFAULT.upload_bytes_max,
        }
    }

    /// Takes the server's bounds for bodies; routes with a limit of their own keep it.
    pub fn set_limits(&mut self, limits: &Limits) {
        self.body_bytes_max = limits.body_bytes_max;
        self.upload_bytes_max = limits.upload_bytes_max;
    }

    /// The endpoint of a request. A path without captures costs one lookup.
    #[inline]
    pub fn find(&self, head: &Head<'_>) -> Match {
        match self.table.find_static(head.path_bytes()) {
            Some(entry) => Match::without_captures(self.endpoint_of(entry, head.method())),
            None => self.find_captures(head.method(), head.path()),
        }
    }

    /// Like [`App::find`], from the method and the raw path.
    #[inline]
    pub fn find_path(&self, method: Method, path: &str) -> Match {
        match self.table.find_static(path.as_bytes()) {
            Some(entry) => Match::without_captures(self.endpoint_of(entry, method)),
            None => self.find_captures(method, path),
        }
    }

    fn find_captures(&self, method: Method, path: &str) -> Match {
        let endpoint = if path == "*" {
            self.asterisk
        } else if !path.starts_with('/') {
            self.path_invalid
        } else {
            match Match::find(&self.table, path) {
                Ok(Some((entry, mut found))) => {
                    found.endpoint = self.endpoint_of(entry, method);
                    return found;
                }
                Ok(None) => self.not_found,
                Err(_) => self.path_invalid,
            }
        };
        Match::without_captures(endpoint)
    }

    #[inline]
    fn endpoint_of(&self, entry: u32, method: Method) -> u32 {
        let entry = self.entries.get(entry as usize);
        entry.map_or(self.not_found, |entry| entry.methods[method as usize])
    }

    /// A match comes from this app; one of another could at worst meet the wrong endpoint.
    #[inline]
    fn endpoint(&self, found: &Match) -> &Endpoint {
        let last = self.endpoints.len() - 1;
        &self.endpoints[(found.endpoint as usize).min(last)]
    }

    /// Whose word about clients is believed.
    #[inline]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Where the handler runs.
    #[inline]
    pub fn work(&self, found: &Match) -> Work {
        self.endpoint(found).work
    }

    /// How large a body may be, in bytes; `None` when the answer needs none, so that it can be
    /// given before the body came.
    #[inline]
    pub fn body_wanted(&self, found: &Match) -> Option<u64> {
        let endpoint = self.endpoint(found);
        match endpoint.action {
            Action::Handler(_) => Some(endpoint.body.limit.unwrap_or(self.body_bytes_max)),
            Action::Upload(_) => Some(endpoint.body.limit.unwrap_or(self.upload_bytes_max)),
            _ => None,
        }
    }

    /// Whether a request that does not state the length of its body is to be refused.
    #[inline]
    pub fn length_required(&self, found: &Match) -> bool {
        self.endpoint(found).body.length_required
    }

    /// The template of the route, empty when none matched.
    pub fn route_template(&self, found: &Match) -> &str {
        &self.endpoint(found).info.template
    }

    /// The same, and the row that [`App::number_routes`] gave it.
    #[inline]
    pub(crate) fn route(&self, found: &Match) -> (&str, u32) {
        let endpoint = self.endpoint(found);
        (&endpoint.info.template, endpoint.row)
    }

    /// Has every template numbered; the empty one keeps 0.
    pub(crate) fn number_routes(&mut self, mut number: impl FnMut(&str) -> u32) {
        for endpoint in &mut self.endpoints {
            let template = &*endpoint.info.template;
            endpoint.row = if template.is_empty() {
                0
            } else {
                number(template)
            };
        }
    }

    /// Every method and template that is answered by a handler.
    pub fn routes(&self) -> impl Iterator<Item = (Method, &str)> {
        let own = |endpoint: &&Endpoint| {
            matches!(
                endpoint.action,
                Action::Handler(_) | Action::Upload(_) | Action::Mount(_)
            )
        };
        self.entries.iter().flat_map(move |entry| {
            Method::ALL.into_iter().filter_map(move |method| {
                let endpoint = self
                    .endpoints
                    .get(entry.methods[method as usize] as usize)
                    .filter(own)?;
                Some((method, &*endpoint.info.template))
            })
        })
    }

    #[inline]
    fn bind<'r>(&'r self, found: &'r Match, request: &Request<'r>) -> &'r Endpoint {
        let endpoint = self.endpoint(found);
        request.bind(Bound {
            found,
            info: &endpoint.info,
            states: &self.states,
            trust: &self.trust,
        });
        endpoint
    }

    /// Answers: the first halves of the middleware, the handler, the second halves.
    ///
    /// When the response is [later](super::Body::Later), the second halves have not run: call
    /// [`App::finish`] once it is there.
    pub fn answer<'r>(&'r self, found: &'r Match, request: &Request<'r>) -> Response {
        let endpoint = self.bind(found, request);
        run(endpoint, request, || match &endpoint.action {
            Action::Handler(handler) => handler(request),
            Action::Upload(handler) => handler(request, &mut empty_body()),
            Action::Mount(target) => {
                target.answer(request, found.rest_raw(request.head().path_bytes()))
            }
            other => automatic(other, request),
        })
    }

    /// Like [`App::answer`] for [`Work::Upload`], with the body as a stream.
    pub fn answer_upload<'r>(
        &'r self,
        found: &'r Match,
        request: &Request<'r>,
        body: &mut BodyReader,
    ) -> Response {
        let endpoint = self.bind(found, request);
        match &endpoint.action {
            Action::Upload(handler) => run(endpoint, request, || handler(request, body)),
            _ => self.answer(found, request),
        }
    }

    /// Runs the second halves of the middleware over a response that came late. Does nothing
    /// while that response is itself a later one.
    pub fn finish<'r>(&'r self, found: &'r Match, request: &Request<'r>, response: &mut Response) {
        let endpoint = self.bind(found, request);
        if !response.body().is_later() {
            run_after(&endpoint.chain, request, response);
        }
    }

    /// Runs the middleware over an answer in the handler's place: the second halves of those whose
    /// first half ran, and of the others what they have for it ([`Middleware::unhandled`]).
    pub(crate) fn finish_unhandled<'r>(
        &'r self,
        found: &'r Match,
        request: &Request<'r>,
        response: &mut Response,
    ) {
        let chain = &self.bind(found, request).chain;
        let ran = request.take_middlewares_ran().min(chain.len());
        let (ran, others) = chain.split_at(ran);
        run_each(others, request, response, true);
        run_each(ran, request, response, false);
    }
}

/// A body without bytes.
fn empty_body() -> BodyReader {
    let (mut writer, reader) = Pipe::new(1);
    writer.finish();
    BodyReader::new(reader)
}

#[inline]
fn run(endpoint: &Endpoint, request: &Request<'_>, act: impl FnOnce() -> Response) -> Response {
    let mut ran = 0;
    // Unwind safe: after a panic nothing that the closure touched is looked at again, but the
    // count, which is set between calls, and the request, whose parts are whole at every step.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for middleware in endpoint.chain.iter() {
            let early = middleware.before(request);
            ran += 1;
            if let Some(response) = early {
                if let Some(trace) = request.trace() {
                    trace.note(
                        "middleware",
                        short(middleware.name()),
                        &["answers by itself"],
                    );
                }
                request.set_middlewares_ran(ran);
                return response;
            }
        }
        // Known before the handler returns, since somebody may answer in its place.
        request.set_middlewares_ran(ran);
        act()
    }));
    let response = outcome.unwrap_or_else(|payload| {
        request.set_middlewares_ran(ran);
        panicked(Fault::panic(payload))
    });
    if endpoint.chain.is_empty() {
        return response;
    }
    run_second_halves(endpoint, request, response)
}

/// What follows the handler; apart, so that the answer of a route without middleware is not moved.
fn run_second_halves(
    endpoint: &Endpoint,
    request: &Request<'_>,
    mut response: Response,
) -> Response {
    if !response.body().is_later() {
        run_after(&endpoint.chain, request, &mut response);
    }
    response
}

/// Runs the second halves, innermost first, of those whose first half ran.
fn run_after(chain: &Chain, request: &Request<'_>, response: &mut Response) {
    let ran = request.take_middlewares_ran().min(chain.len());
    run_each(&chain[..ran], request, response, false);
}

/// Has each middleware change an answer, innermost first.
fn run_each(
    chain: &[Arc<dyn Middleware>],
    request: &Request<'_>,
    response: &mut Response,
    unhandled: bool,
) {
    for middleware in chain.iter().rev() {
        let seen = request.trace().map(|trace| (trace, lines_of(response)));
        // Unwind safe: a response that a panic left half changed is replaced.
        let outcome = catch_unwind(AssertUnwindSafe(|| match unhandled {
            false => middleware.after(request, response),
            true => middleware.unhandled(request, response),
        }));
        if let Err(payload) = outcome {
            *response = panicked(Fault::panic(payload));
        }
        if let Some((trace, before)) = seen {
            trace.note_after(middleware.name(), &before, response);
        }
    }
}

#[cold]
fn panicked(fault: Fault) -> Response {
    let mut response = Response::from(Status::INTERNAL_SERVER_ERROR);
    response.set_fault(fault);
    response
}

/// The answers that need no handler.
fn automatic(action: &Action, request: &Request<'_>) -> Response {
    match action {
        // RFC 9110 §9.3.7: the methods that the target allows; no content.
        Action::Options(lines) => Response::new(Status::NO_CONTENT).with_prepared(lines.clone()),
        // RFC 9110 §15.5.6: a 405 must have Allow.
        Action::MethodNotAllowed(lines) => {
            Response::new(Status::METHOD_NOT_ALLOWED).with_prepared(lines.clone())
        }
        Action::AddSlash => {
            let query = request
                .query_str()
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            let location = format!("{}/{query}", request.path());
            Response::redirect(Status::PERMANENT_REDIRECT, &location)
        }
        Action::PathInvalid => Response::from(Status::BAD_REQUEST),
        _ => Response::from(Status::NOT_FOUND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Body, Error, Peer, Router};
    use crate::http::{Scratch, parse_head};
    use std::sync::Mutex;

    /// Asks an app and shows the answer as `status body`, with Allow or Location if any.
    fn ask(app: &App, line: &str) -> String {
        show(&with_request(line, |request| {
            let found = app.find(request.head());
            app.answer(&found, &Request::new(*request.head(), b"", Peer::Memory))
        }))
    }

    fn show(response: &Response) -> String {
        let body = String::from_utf8_lossy(response.body().as_bytes().unwrap_or(b"?"));
        let mut out = format!("{} {body}", response.status().code());
        for name in ["allow", "location", "x-order"] {
            if let Some(value) = response.field(name) {
                out.push_str(&format!(" [{}]", String::from_utf8_lossy(value)));
            }
        }
        out
    }

    fn with_request<R>(line: &str, look: impl FnOnce(&Request<'_>) -> R) -> R {
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut scratch = Scratch::new();
        let parsed = parse_head(bytes.as_bytes(), &mut scratch, &Limits::DEFAULT);
        look(&Request::new(parsed.unwrap().unwrap().0, b"", Peer::Memory))
    }

    fn built(fill: impl FnOnce(&mut Router)) -> App {
        let mut router = Router::new();
        fill(&mut router);
        router.build().unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    #[test]
    fn methods_without_a_route_are_answered_for_it() {
        let app = built(|r| {
            r.get("/a", |_| "get").put("/a", |_| "put");
            r.post("/b", |_| "b");
        });
        assert_eq!(ask(&app, "GET /a"), "200 get");
        assert_eq!(ask(&app, "HEAD /a"), "200 get");
        assert_eq!(ask(&app, "POST /a"), "405  [GET, HEAD, PUT, OPTIONS]");
        assert_eq!(ask(&app, "OPTIONS /a"), "204  [GET, HEAD, PUT, OPTIONS]");
        assert_eq!(ask(&app, "HEAD /b"), "405  [POST, OPTIONS]");
        assert_eq!(ask(&app, "TRACE /a"), "405  [GET, HEAD, PUT, OPTIONS]");
        assert_eq!(
            ask(&app, "OPTIONS *"),
            "204  [GET, HEAD, POST, PUT, OPTIONS]"
        );
        assert_eq!(ask(&app, "GET /c"), "404 Not Found");
        assert_eq!(ask(&app, "GET /%zz"), "400 Bad Request");
    }

    #[test]
    fn any_answers_what_has_no_route_of_its_own() {
        let app = built(|r| _ = r.any("/a", |_| "any").get("/a", |_| "get"));
        for (line, body) in [
            ("GET", "get"),
            ("HEAD", "get"),
            ("POST", "any"),
            ("OPTIONS", "any"),
        ] {
            assert_eq!(ask(&app, &format!("{line} /a")), format!("200 {body}"));
        }
        assert!(ask(&app, "TRACE /a").starts_with("405"));
    }

    #[test]
    fn captures_state_and_template_reach_the_handler() {
        let app = built(|r| {
            r.state(7u32).get(
                "/u/{id}",
                |request: &Request<'_>| -> Result<String, Error> {
                    let id: u32 = request.path_as("id")?;
                    let state = request.state::<u32>().copied().unwrap_or_default();
                    Ok(format!("{id} {state} {}", request.route()))
                },
            );
            r.get("/v/{id}", |request: &Request<'_>| {
                request.path_as::<u32>("name").map(|_| ())
            });
        });
        assert_eq!(ask(&app, "GET /u/%34%32"), "200 42 7 /u/{id}");
        assert_eq!(ask(&app, "GET /u/x"), "400 path segment 'id' is not valid");
        assert_eq!(ask(&app, "GET /v/1"), "500 Internal Server Error");
    }

    #[test]
    fn a_panicking_handler_is_a_500_with_a_fault_and_the_next_is_answered() {
        let app = built(|r| {
            r.get("/p", |_| -> &'static str { panic!("oh") });
            r.get("/", |_| "ok");
        });
        with_request("GET /p", |request| {
            let found = app.find(request.head());
            let response = app.answer(&found, &Request::new(*request.head(), b"", Peer::Memory));
            assert_eq!(show(&response), "500 Internal Server Error");
            let fault = response.fault().unwrap();
            assert!(fault.is_panic());
            assert_eq!((fault.message(), app.route_template(&found)), ("oh", "/p"));
        });
        assert_eq!(ask(&app, "GET /"), "200 ok");
    }

    /// Notes the order in which the halves run, in the answer.
    struct Order(&'static str, Arc<Mutex<String>>);

    impl Middleware for Order {
        fn before(&self, request: &Request<'_>) -> Option<Response> {
            self.1.lock().unwrap().push_str(self.0);
            let stops = request.query_str() == Some(self.0);
            assert!(
                request.query_str() != Some("panic") || self.0 != "b",
                "on purpose"
            );
            stops.then(|| Response::text("early"))
        }

        fn after(&self, _: &Request<'_>, response: &mut Response) {
            self.1.lock().unwrap().push_str(&self.0.to_uppercase());
            let order = self.1.lock().unwrap().clone();
            response.set_field("X-Order", order);
        }

        fn unhandled(&self, request: &Request<'_>, response: &mut Response) {
            self.1.lock().unwrap().push('-');
            self.after(request, response);
        }
    }

    #[test]
    fn middleware_runs_in_the_order_of_the_calls_and_back() {
        fn check(line: &str, shown: &str) {
            let notes = Arc::new(Mutex::new(String::new()));
            let order = |name| Order(name, Arc::clone(&notes));
            let app = built(|r| {
                let mut inner = Router::new();
                inner.get("/x", |_| "x").with(order("c"));
                r.nest("/in", inner)
                    .get("/x", |_| "x")
                    .with(order("a"))
                    .with(order("b"));
                r.get("/later", |_| Response::later().1);
            });
            assert_eq!(ask(&app, line), shown, "{line}");
        }
        check("GET /x", "200 x [abBA]");
        check("GET /in/x", "200 x [abcCBA]");
        check("GET /x?a", "200 early [aA]");
        check("GET /x?b", "200 early [abBA]");
        check("GET /x?panic", "500 Internal Server Error [abA]");
        check("GET /none", "404 Not Found [abBA]");
        check("POST /in/x", "405  [GET, HEAD, OPTIONS] [abcCBA]");
        check("GET /later", "200 ?");
    }

    #[test]
    fn a_late_answer_gets_the_second_halves_of_those_that_ran() {
        let notes = Arc::new(Mutex::new(String::new()));
        let responders = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&responders);
        let app = built(|r| {
            r.with(Order("a", Arc::clone(&notes)))
                .with(Order("b", Arc::clone(&notes)));
            r.get("/", move |_| {
                let (responder, response) = Response::later();
                kept.lock().unwrap().push(responder);
                response
            });
        });
        with_request("GET /", |request| {
            let request = Request::new(*request.head(), b"", Peer::Memory);
            let found = app.find(request.head());
            let mut response = app.answer(&found, &request);
            let owned = request.to_owned();
            responders
                .lock()
                .unwrap()
                .pop()
                .unwrap()
                .send(Response::text("late"));
            let Body::Later(mut slot) = response.take_body() else {
                panic!("not later")
            };
            let mut late = slot.take().unwrap();
            app.finish(&found, &owned.borrow(), &mut late);
            assert_eq!(show(&late), "200 late [abBA]");
        });
    }

    #[test]
    fn an_answer_in_the_handlers_place_gets_the_second_halves_and_the_handlers_none() {
        let notes = Arc::new(Mutex::new(String::new()));
        let app = built(|r| {
            r.with(Order("a", Arc::clone(&notes)))
                .with(Order("b", Arc::clone(&notes)))
                .get("/", |_| "unused");
        });
        let check = |waits: bool, shown: &str| {
            notes.lock().unwrap().clear();
            with_request("GET /", |request| {
                let found = app.find(request.head());
                // One is the pool's, the other is the worker's.
                let (handled, kept) = (request.to_owned(), request.to_owned());
                let answer_in_place = || {
                    let mut answer = Response::text("in place");
                    app.finish_unhandled(&found, &kept.borrow(), &mut answer);
                    assert_eq!(show(&answer), format!("200 in place [{shown}]"));
                };
                if waits {
                    answer_in_place();
                }
                let late = run(app.endpoint(&found), &handled.borrow(), || {
                    if !waits {
                        answer_in_place();
                    }
                    Response::text("late")
                });
                assert_eq!(show(&late), "200 late");
            });
        };
        check(false, "abBA");
        check(true, "-B-A");
    }

    struct Echo;

    impl Mount for Echo {
        fn answer(&self, _: &Request<'_>, rest: &str) -> Response {
            Response::text(format!("<{rest}>"))
        }
    }

    #[test]
    fn a_mount_gets_the_raw_rest_and_a_missing_slash_is_redirected() {
        let app = built(|r| _ = r.mount("/f", Echo).get("/f/own", |_| "own"));
        assert_eq!(ask(&app, "GET /f/"), "200 <>");
        assert_eq!(ask(&app, "HEAD /f/a%2Fb/../c"), "200 <a%2Fb/../c>");
        assert_eq!(ask(&app, "GET /f/own"), "200 own");
        assert_eq!(ask(&app, "GET /f?x=1"), "308  [/f/?x=1]");
        assert_eq!(ask(&app, "POST /f/x"), "405  [GET, HEAD, OPTIONS]");
        let root = built(|r| _ = r.mount("/", Echo));
        assert_eq!(ask(&root, "GET /"), "200 <>");
        assert_eq!(ask(&root, "GET /a//b"), "200 <a//b>");
    }

    #[test]
    fn a_fallback_answers_what_is_not_found_and_a_nested_one_what_is_below() {
        let app = built(|r| {
            let mut inner = Router::new();
            inner
                .get("/a", |_| "a")
                .fallback(|_| (Status::NOT_FOUND, "inner"));
            r.nest("/in", inner)
                .fallback(|_| (Status::NOT_FOUND, "outer"));
        });
        assert_eq!(ask(&app, "GET /in/a"), "200 a");
        assert_eq!(ask(&app, "GET /in/b/c"), "404 inner");
        assert_eq!(ask(&app, "GET /b"), "404 outer");
    }

    #[test]
    fn an_answer_that_needs_no_body_says_so() {
        let mut app = built(|r| {
            r.post("/a", |_| ())
                .post("/b", |_| ())
                .body_limit("/b", 10)
                .mount("/f", Echo);
            r.upload(Method::Put, "/up", |_, _| ())
                .blocking(Method::Get, "/slow", |_| ());
        });
        app.set_limits(&Limits {
            body_bytes_max: 5,
            upload_bytes_max: 6,
            ..Limits::DEFAULT
        });
        let wanted = |method, path| app.body_wanted(&app.find_path(method, path));
        assert_eq!(wanted(Method::Post, "/a"), Some(5));
        assert_eq!(wanted(Method::Post, "/b"), Some(10));
        assert_eq!(wanted(Method::Put, "/up"), Some(6));
        for (method, path) in [
            (Method::Get, "/a"),
            (Method::Options, "/a"),
            (Method::Get, "/f/x"),
        ] {
            assert_eq!(wanted(method, path), None, "{method:?} {path}");
        }
        assert_eq!(app.work(&app.find_path(Method::Put, "/up")), Work::Upload);
        assert_eq!(
            app.work(&app.find_path(Method::Get, "/slow")),
            Work::Blocking
        );
        assert_eq!(app.routes().count(), 7);
    }
}
