//! Registering routes, and refusing at start-up those that contradict each other.
//!
//! A [`Router`] is a list until [`Router::build`] turns it into an [`App`]; then every mistake is
//! reported at once, with both routes and where they were registered. The order of registration
//! never matters, except that middleware runs in the order of the `with` calls.

use std::panic::Location;
use std::sync::Arc;

use super::captures::{RouteInfo, States};
use super::dispatch::{Action, App, BodyRules, Endpoint, Entry, Handler, Parts, Work};
use super::pattern::Pattern;
use super::table::Table;
use super::trace;
use super::trust::Trust;
use super::{BodyReader, IntoResponse, Middleware, Request, Response};
use crate::http::Method;

/// Something that answers everything below a prefix, such as a directory of files.
pub trait Mount: Send + Sync + 'static {
    /// Answers GET and HEAD. `rest` is the path below the mount as sent, still percent-encoded,
    /// without a leading slash: empty for the mount's own root.
    fn answer(&self, request: &Request<'_>, rest: &str) -> Response;

    /// Whether answering reads files or memory and does nothing else, so that it may be done to
    /// explain an answer: see [`Router::idle`].
    fn only_reads(&self) -> bool {
        false
    }
}

/// Why a router cannot be built, in words that name the routes and where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    message: String,
}

impl std::fmt::Display for RouteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RouteError {}

/// Everything that is wrong with a router's routes, one line for each when displayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteErrors(Vec<RouteError>);

impl std::ops::Deref for RouteErrors {
    type Target = [RouteError];

    fn deref(&self) -> &[RouteError] {
        &self.0
    }
}

impl std::fmt::Display for RouteErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RouteErrors {}

/// How specific a registration is: of two for the same path and method the higher wins, equal
/// ones contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Made by us for comfort: the redirect of a mount's missing slash.
    Implied,
    /// Registered for any method.
    Any,
    /// Registered for this method.
    One,
}

#[derive(Clone)]
struct Route {
    /// `None` is any.
    method: Option<Method>,
    rank: Rank,
    path: String,
    action: Action,
    work: Work,
    /// Middleware of the nested routers around it, outermost first.
    chain: Vec<Arc<dyn Middleware>>,
    place: &'static Location<'static>,
}

impl Route {
    fn name(&self) -> String {
        let method = self.method.map_or("any", Method::as_str);
        format!("{method} {} ({})", self.path, self.place)
    }

    fn methods(&self) -> &[Method] {
        // TRACE and CONNECT are never an application's to answer.
        const ANY: [Method; 7] = [
            Method::Get,
            Method::Head,
            Method::Post,
            Method::Put,
            Method::Delete,
            Method::Patch,
            Method::Options,
        ];
        match &self.method {
            Some(method) => std::slice::from_ref(method),
            None => &ANY,
        }
    }
}

/// What is demanded of the request bodies of a path.
#[derive(Clone)]
struct BodyRule {
    path: String,
    /// The largest body, or `None` for the demand that its length is stated.
    limit: Option<u64>,
    place: &'static Location<'static>,
}

/// A list of routes, middleware and shared state.
///
/// ```
/// use aureon::app::{Error, Request, Router};
///
/// fn greet(request: &Request<'_>) -> Result<String, Error> {
///     let id: u32 = request.path_as("id")?;
///     Ok(format!("Hello, number {id}"))
/// }
///
/// let mut router = Router::new();
/// router.get("/", |_| "Hello").get("/users/{id}", greet);
/// let app = router.build().unwrap();
/// ```
///
/// A clone shares the handlers and the state.
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<Route>,
    body_rules: Vec<BodyRule>,
    middleware: Vec<Arc<dyn Middleware>>,
    states: States,
    trust: Trust,
    fallback: Option<(Handler, &'static Location<'static>)>,
}

/// One method of [`Router`] for each request method that is registered by name.
macro_rules! by_method {
    ($($name:ident $method:ident $text:literal),*) => {
        $(
            #[doc = concat!("Answers ", $text, " of a path.")]
            #[track_caller]
            pub fn $name<F, R>(&mut self, path: &str, handler: F) -> &mut Router
            where
                F: Fn(&Request<'_>) -> R + Send + Sync + 'static,
                R: IntoResponse,
            {
                self.route(Method::$method, path, handler)
            }
        )*
    };
}

impl Router {
    /// No routes: everything is 404.
    pub fn new() -> Router {
        Router::default()
    }

    /// Whether there is no handler of anybody's in it.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.middleware.is_empty() && self.fallback.is_none()
    }

    by_method! {
        get Get "GET, and HEAD unless that is registered too,",
        post Post "POST",
        put Put "PUT",
        delete Delete "DELETE",
        patch Patch "PATCH",
        options Options "OPTIONS, in place of the automatic answer,"
    }

    /// Answers every method of a path that has no route of its own.
    #[track_caller]
    pub fn any<F, R>(&mut self, path: &str, handler: F) -> &mut Router
    where
        F: Fn(&Request<'_>) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.add(None, path, Action::Handler(shared(handler)), Work::Inline)
    }

    /// Answers one method of a path.
    ///
    /// The handler runs on the worker, between the requests of others: what it waits for, every
    /// connection of that worker waits for, and answers that were made just before it too. One that
    /// may wait, for a disk or another server, is for [`Router::blocking`].
    #[track_caller]
    pub fn route<F, R>(&mut self, method: Method, path: &str, handler: F) -> &mut Router
    where
        F: Fn(&Request<'_>) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.add(
            Some(method),
            path,
            Action::Handler(shared(handler)),
            Work::Inline,
        )
    }

    /// Like [`Router::route`] for a handler that may block: it runs on the bounded pool.
    #[track_caller]
    pub fn blocking<F, R>(&mut self, method: Method, path: &str, handler: F) -> &mut Router
    where
        F: Fn(&Request<'_>) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.add(
            Some(method),
            path,
            Action::Handler(shared(handler)),
            Work::Blocking,
        )
    }

    /// Like [`Router::blocking`] for a handler that reads the body while it arrives. The bound
    /// is `Limits::upload_bytes_max` instead of the one for buffered bodies.
    #[track_caller]
    pub fn upload<F, R>(&mut self, method: Method, path: &str, handler: F) -> &mut Router
    where
        F: Fn(&Request<'_>, &mut BodyReader) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        let action = Action::Upload(Arc::new(
            move |request: &Request<'_>, body: &mut BodyReader| {
                handler(request, body).into_response()
            },
        ));
        self.add(Some(method), path, action, Work::Upload)
    }

    /// Bounds the request bodies of every route of a path, in bytes, in place of the server's
    /// default.
    #[track_caller]
    pub fn body_limit(&mut self, path: &str, bytes: u64) -> &mut Router {
        self.body_rule(path, Some(bytes), Location::caller())
    }

    /// Refuses requests to a path that do not state the length of their body with 411 (RFC 9110
    /// §15.5.12): for handlers that reserve the room before they begin.
    #[track_caller]
    pub fn length_required(&mut self, path: &str) -> &mut Router {
        self.body_rule(path, None, Location::caller())
    }

    fn body_rule(
        &mut self,
        path: &str,
        limit: Option<u64>,
        place: &'static Location<'static>,
    ) -> &mut Router {
        let path = String::from(path);
        self.body_rules.push(BodyRule { path, limit, place });
        self
    }

    /// Takes the routes of another router, each path with `prefix` put in front as it is: under
    /// `/api` the path `/users` becomes `/api/users`, `/` becomes `/api/`, and the empty path
    /// becomes `/api`. Its middleware runs for its routes only, after ours; its fallback answers
    /// what is below the prefix and not found; its state is shared unless we have that type.
    #[track_caller]
    pub fn nest(&mut self, prefix: &str, mut inner: Router) -> &mut Router {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if let Some((handler, place)) = inner.fallback.take() {
            inner.routes.push(Route {
                method: None,
                rank: Rank::Any,
                path: String::from("/{*path}"),
                action: Action::Handler(handler),
                work: Work::Inline,
                chain: Vec::new(),
                place,
            });
        }
        for mut route in inner.routes {
            route.path.insert_str(0, prefix);
            route.chain.splice(0..0, inner.middleware.iter().cloned());
            self.routes.push(route);
        }
        for mut limit in inner.body_rules {
            limit.path.insert_str(0, prefix);
            self.body_rules.push(limit);
        }
        self.states.merge(inner.states);
        self
    }

    /// Lets `target` answer GET and HEAD of everything below `prefix`; the prefix itself without
    /// its slash is redirected (308).
    #[track_caller]
    pub fn mount(&mut self, prefix: &str, target: impl Mount) -> &mut Router {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let below = format!("{prefix}/{{*rest}}");
        self.add(
            Some(Method::Get),
            &below,
            Action::Mount(Arc::new(target)),
            Work::Inline,
        );
        if !prefix.is_empty() {
            self.add(Some(Method::Get), prefix, Action::AddSlash, Work::Inline);
            if let Some(route) = self.routes.last_mut() {
                route.rank = Rank::Implied;
            }
        }
        self
    }

    /// Answers what no route matches, in place of 404.
    #[track_caller]
    pub fn fallback<F, R>(&mut self, handler: F) -> &mut Router
    where
        F: Fn(&Request<'_>) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.fallback = Some((shared(handler), Location::caller()));
        self
    }

    /// Sets whose word about the client is believed: see [`Request::client`]. That of a nested
    /// router does not count.
    pub fn trust(&mut self, trust: Trust) -> &mut Router {
        self.trust = trust;
        self
    }

    /// Shares a value with every handler; [`Request::state`] finds it by its type. A second
    /// value of the same type takes the place of the first.
    pub fn state<T: Send + Sync + 'static>(&mut self, value: T) -> &mut Router {
        self.states.set(value);
        self
    }

    /// Adds a middleware to all routes of this router, and to its own answers (404, 405,
    /// OPTIONS). The first added is the outermost: its first half runs first, its second last.
    pub fn with(&mut self, middleware: impl Middleware) -> &mut Router {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Puts stand-ins in the place of the handlers and middleware registered so far, which note
    /// that they were not run: to explain an answer without what the program would do for it.
    /// What only reads stays.
    pub fn idle(&mut self) -> &mut Router {
        let stand_in =
            |old: &Arc<dyn Middleware>| -> Arc<dyn Middleware> { Arc::new(trace::idle(&**old)) };
        let handler: Handler = Arc::new(trace::answer_idly);
        for route in &mut self.routes {
            route.chain = route.chain.iter().map(stand_in).collect();
            let stays = match &route.action {
                Action::Handler(_) | Action::Upload(_) => false,
                Action::Mount(target) => target.only_reads(),
                _ => true,
            };
            if !stays {
                route.action = Action::Handler(Arc::clone(&handler));
            }
        }
        self.middleware = self.middleware.iter().map(stand_in).collect();
        if let Some((fallback, _)) = &mut self.fallback {
            *fallback = handler;
        }
        self
    }

    #[track_caller]
    fn add(
        &mut self,
        method: Option<Method>,
        path: &str,
        action: Action,
        work: Work,
    ) -> &mut Router {
        self.routes.push(Route {
            method,
            rank: if method.is_some() {
                Rank::One
            } else {
                Rank::Any
            },
            path: String::from(path),
            action,
            work,
            chain: Vec::new(),
            place: Location::caller(),
        });
        self
    }

    /// The finished application, or everything that is wrong with the routes.
    pub fn build(self) -> Result<App, RouteErrors> {
        let mut draft = Draft::default();
        draft.parts.states = self.states;
        draft.parts.trust = self.trust;
        draft.parts.chain = self.middleware.into();
        draft.parts.fallback = self.fallback.map(|(handler, _)| handler);
        let mut table = Table::new();
        let mut rules: Vec<(BodyRule, bool)> = self
            .body_rules
            .into_iter()
            .map(|rule| (rule, false))
            .collect();
        for route in self.routes {
            let mut own = BodyRules::default();
            for (rule, used) in rules.iter_mut().filter(|(rule, _)| rule.path == route.path) {
                match rule.limit {
                    Some(bytes) => own.limit = Some(bytes),
                    None => own.length_required = true,
                }
                *used = true;
            }
            draft.add(route, own, &mut table);
        }
        for (rule, _) in rules.iter().filter(|(_, used)| !used) {
            let BodyRule { path, place, limit } = rule;
            let what = limit.map_or("the demand for a length", |_| "the body limit");
            draft.refuse(format!("{what} of {path} ({place}) belongs to no route"));
        }
        if draft.errors.is_empty() {
            Ok(App::new(table, draft.finish()))
        } else {
            Err(RouteErrors(draft.errors))
        }
    }
}

fn shared<F, R>(handler: F) -> Handler
where
    F: Fn(&Request<'_>) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    Arc::new(move |request: &Request<'_>| handler(request).into_response())
}

/// What is registered for one method of one path.
#[derive(Clone)]
struct Claim {
    endpoint: u32,
    rank: Rank,
    name: String,
}

/// An application in the making.
#[derive(Default)]
struct Draft {
    parts: Parts,
    /// For each entry of the table, a claim for each method.
    claims: Vec<[Option<Claim>; Method::ALL.len()]>,
    errors: Vec<RouteError>,
}

impl Draft {
    fn refuse(&mut self, message: String) {
        self.errors.push(RouteError { message });
    }

    fn add(&mut self, route: Route, body: BodyRules, table: &mut Table) {
        let pattern = match Pattern::parse(&route.path) {
            Ok(pattern) => pattern,
            Err(reason) => return self.refuse(format!("{}: {reason}", route.name())),
        };
        if let Some(method @ (Method::Connect | Method::Trace)) = route.method {
            let (name, method) = (route.name(), method.as_str());
            return self.refuse(format!("{name}: {method} is not answered by routes"));
        }
        let entry = table.insert(&pattern, self.claims.len() as u32) as usize;
        if entry == self.claims.len() {
            self.claims.push(Default::default());
        }
        let endpoint = self.parts.endpoints.len() as u32;
        for method in route.methods() {
            let fresh = Claim {
                endpoint,
                rank: route.rank,
                name: route.name(),
            };
            let slot = &mut self.claims[entry][*method as usize];
            match slot {
                Some(old) if old.rank == fresh.rank => {
                    let message = format!("{} conflicts with {}", fresh.name, old.name);
                    return self.refuse(message);
                }
                Some(old) if old.rank > fresh.rank => {}
                _ => *slot = Some(fresh),
            }
        }
        let chain: Vec<_> = self
            .parts
            .chain
            .iter()
            .cloned()
            .chain(route.chain)
            .collect();
        self.parts.endpoints.push(Endpoint {
            action: route.action,
            work: route.work,
            body,
            chain: chain.into(),
            info: Arc::new(RouteInfo {
                template: route.path.into(),
                names: pattern.names,
            }),
            row: 0,
        });
    }

    /// Gives every path its answer for every method.
    fn finish(mut self) -> Parts {
        let mut known = [false; Method::ALL.len()];
        known[Method::Options as usize] = true;
        for mut claims in std::mem::take(&mut self.claims) {
            let rank = |claim: &Option<Claim>| claim.as_ref().map(|claim| claim.rank);
            let (get, head) = (Method::Get as usize, Method::Head as usize);
            if rank(&claims[get]) > rank(&claims[head]) {
                claims[head] = claims[get].clone();
            }
            // The earliest route of a path names it where nothing else does. There is one: an
            // entry is made together with its first claim.
            let first = claims.iter().flatten().map(|claim| claim.endpoint).min();
            let first = first.unwrap_or_default();
            let mut allowed: [bool; Method::ALL.len()] =
                std::array::from_fn(|method| claims[method].is_some());
            allowed[Method::Options as usize] = true;
            for (known, allowed) in known.iter_mut().zip(allowed) {
                *known |= allowed;
            }
            let options = self.parts.automatic(first, Action::Options, allowed);
            let refusal = self
                .parts
                .automatic(first, Action::MethodNotAllowed, allowed);
            let mut methods = Entry {
                methods: [refusal; Method::ALL.len()],
            };
            methods.methods[Method::Options as usize] = options;
            for (slot, claim) in methods.methods.iter_mut().zip(claims) {
                *slot = claim.map_or(*slot, |claim| claim.endpoint);
            }
            self.parts.entries.push(methods);
        }
        self.parts.known = known;
        self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(build: impl Fn(&mut Router), words: &[&str]) {
        let mut router = Router::new();
        build(&mut router);
        let errors = router.build().err().unwrap_or_default();
        assert_eq!(errors.len(), usize::from(!words.is_empty()), "{errors:?}");
        for word in words {
            assert!(
                errors[0].to_string().contains(word),
                "{}: {word}",
                errors[0]
            );
        }
    }

    fn ok(_: &Request<'_>) -> &'static str {
        "ok"
    }

    #[test]
    fn a_conflict_names_both_routes_and_their_places() {
        let words = [
            "GET /u/{id} (",
            "GET /u/{name} (",
            "router.rs:",
            "conflicts",
        ];
        check(|r| _ = r.get("/u/{name}", ok).get("/u/{id}", ok), &words);
        check(|r| _ = r.any("/a", ok).any("/a", ok), &["any /a"]);
        check(
            |r| _ = r.get("/{*a}", ok).get("/{*b}", ok),
            &["/{*a}", "/{*b}"],
        );
    }

    #[test]
    fn routes_that_differ_do_not_conflict() {
        check(|r| _ = r.get("/u/{id}", ok).delete("/u/{name}", ok), &[]);
        check(|r| _ = r.get("/a", ok).any("/a", ok).get("/a/", ok), &[]);
        check(
            |r| _ = r.get("/a", ok).get("/{x}", ok).get("/{*x}", ok),
            &[],
        );
        check(|r| _ = r.get("/a", ok).route(Method::Head, "/a", ok), &[]);
    }

    #[test]
    fn a_nested_route_conflicts_by_its_whole_path() {
        let nest = |r: &mut Router| {
            let mut inner = Router::new();
            inner.get("/users", ok);
            r.get("/api/users", ok).nest("/api/", inner);
        };
        check(nest, &["GET /api/users ("]);
    }

    #[test]
    fn what_could_never_be_meant_is_refused() {
        check(|r| _ = r.get("a", ok), &["GET a (", "begins with"]);
        check(|r| _ = r.route(Method::Connect, "/a", ok), &["CONNECT"]);
        check(
            |r| _ = r.get("/a", ok).body_limit("/b", 1),
            &["body limit of /b"],
        );
        check(
            |r| _ = r.get("/a", ok).length_required("/c"),
            &["demand for a length of /c"],
        );
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut router = Router::new();
        router
            .get("a", ok)
            .get("/{", ok)
            .get("/b", ok)
            .get("/b", ok);
        assert_eq!(router.build().err().unwrap_or_default().len(), 3);
    }
}
