//! A request as a handler sees it: the head, the buffered body, who asks, and the route.
//!
//! Everything is borrowed and nothing is parsed before it is asked for, so making one costs a
//! few moves. [`RequestOwned`] is the copy for a pool thread or a late answer. What middleware
//! attaches (the request's id, local values) is shared between a request and its copies, and so is
//! which of the middleware has run: when the worker answers because the handler does not, what is
//! attached on the pool is in that answer, and nothing runs twice.

use std::any::{Any, TypeId};
use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::captures::{Match, RouteInfo, States};
use super::trust::Trust;
use super::urlencoded::parse_value;
use super::{Error, RequestId, Trace};
use crate::http::{Head, HeadOwned, Method, Status, Version};

/// The other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Ip(SocketAddr),
    /// A process on this machine, through a Unix socket.
    Unix,
    /// The in-process test client.
    Memory,
}

impl Peer {
    /// The address of a TCP peer.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Peer::Ip(address) => Some(*address),
            Peer::Unix | Peer::Memory => None,
        }
    }
}

/// A request, borrowed from the connection.
pub struct Request<'a> {
    head: Head<'a>,
    body: &'a [u8],
    peer: Peer,
    /// Microseconds since 1970 when the turn began that took the request; 0 is not known.
    unix_us: u64,
    /// Set by the app when it takes the request, because the server makes the request first.
    bound: Cell<Option<Bound<'a>>>,
    notes: Holder<'a>,
    trace: Option<&'a Trace>,
}

/// The route, its captures and the shared state.
#[derive(Clone, Copy)]
pub(super) struct Bound<'a> {
    pub(super) found: &'a Match,
    pub(super) info: &'a Arc<RouteInfo>,
    pub(super) states: &'a Arc<States>,
    pub(super) trust: &'a Arc<Trust>,
}

/// What happened to a request on its way.
#[derive(Default)]
struct Notes {
    id: OnceCell<RequestId>,
    /// How many of the route's middlewares ran their first half and not yet their second.
    ran: Cell<u32>,
    /// What it has in common with its copies. Made by the first use: most requests have none.
    common: OnceCell<Arc<Common>>,
}

enum Holder<'a> {
    Own(Notes),
    Lent(&'a Notes),
}

type Local = (TypeId, Box<dyn Any + Send>);

/// What a request and its copies have in common, whichever of them learns it.
#[derive(Default)]
struct Common(Mutex<Known>);

#[derive(Default)]
struct Known {
    id: Option<RequestId>,
    ran: u32,
    /// The second halves ran, or run: not again for another copy.
    finished: bool,
    locals: Vec<Local>,
}

impl Common {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline(never)]
    fn set_ran(&self, count: u32) {
        self.lock().ran = count;
    }

    #[inline(never)]
    fn take_ran(&self) -> u32 {
        let mut known = self.lock();
        match std::mem::replace(&mut known.finished, true) {
            false => known.ran,
            true => 0,
        }
    }
}

impl<'a> Request<'a> {
    /// A request from its parts, as the server and tests make it.
    #[inline]
    pub fn new(head: Head<'a>, body: &'a [u8], peer: Peer) -> Request<'a> {
        Request::taken_at(0, head, body, peer)
    }

    /// The same, and when it was taken.
    #[inline]
    pub(crate) fn taken_at(
        unix_us: u64,
        head: Head<'a>,
        body: &'a [u8],
        peer: Peer,
    ) -> Request<'a> {
        Request {
            head,
            body,
            peer,
            unix_us,
            bound: Cell::new(None),
            notes: Holder::Own(Notes::default()),
            trace: None,
        }
    }

    /// The same request, with everything that is decided about it noted. A copy that leaves the
    /// thread is not noted.
    #[must_use]
    pub fn traced(mut self, trace: &'a Trace) -> Request<'a> {
        self.trace = Some(trace);
        self
    }

    /// Where to note what is decided about it, if somebody wants to know.
    #[inline]
    pub fn trace(&self) -> Option<&'a Trace> {
        self.trace
    }

    /// When the server took the request, in microseconds since 1970: the clock of its loop, which
    /// moves once a turn. A request that no server took has the time of asking.
    pub fn unix_us(&self) -> u64 {
        if self.unix_us != 0 {
            return self.unix_us;
        }
        // A clock before 1970 is an unset clock.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    #[inline]
    pub(super) fn bind(&self, bound: Bound<'a>) {
        self.bound.set(Some(bound));
    }

    #[inline]
    fn notes(&self) -> &Notes {
        match &self.notes {
            Holder::Own(notes) => notes,
            Holder::Lent(notes) => notes,
        }
    }

    /// How many middlewares are to run their second half. None, once this was asked of the request
    /// or of a copy: an answer that a client got before the handler's own is the one they run over.
    #[inline]
    pub(super) fn take_middlewares_ran(&self) -> usize {
        let notes = self.notes();
        let ran = match notes.common.get() {
            None => notes.ran.take(),
            Some(common) => common.take_ran(),
        };
        ran as usize
    }

    #[inline]
    pub(super) fn set_middlewares_ran(&self, count: usize) {
        let notes = self.notes();
        match notes.common.get() {
            None => notes.ran.set(count as u32),
            Some(common) => common.set_ran(count as u32),
        }
    }

    /// The head.
    #[inline]
    pub fn head(&self) -> &Head<'a> {
        &self.head
    }

    /// The method. A GET route also sees HEAD, whose body the server leaves out.
    #[inline]
    pub fn method(&self) -> Method {
        self.head.method()
    }

    /// The path as sent, percent-encoded.
    #[inline]
    pub fn path(&self) -> &'a str {
        self.head.path()
    }

    /// The query string as sent, without the `?`.
    #[inline]
    pub fn query_str(&self) -> Option<&'a str> {
        self.head.query()
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The host and port that the request is for, as sent.
    pub fn host(&self) -> Option<&'a str> {
        self.head.host()
    }

    /// The first value of a field.
    #[inline]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.head.field(name)
    }

    /// The first value of a field when it is UTF-8.
    pub fn field_str(&self, name: &str) -> Option<&'a str> {
        self.head.field_str(name)
    }

    /// The body, whole. Empty for an upload handler, which reads it as a stream.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The body as text; 400 when it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.body)
            .map_err(|_| Error::new(Status::BAD_REQUEST, "the body is not UTF-8"))
    }

    /// The media type of the body, without parameters.
    pub fn media_type(&self) -> Option<&'a str> {
        let value = self.field_str("content-type")?;
        Some(value.split(';').next().unwrap_or_default().trim_ascii())
    }

    /// A capture of the route, decoded. In a `{*name}` an escaped slash reads like any other;
    /// [`Request::param_raw`] tells them apart.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        let bound = self.bound.get()?;
        bound.found.param(self.head.path_bytes(), bound.info, name)
    }

    /// A capture of the route as it was sent.
    pub fn param_raw(&self, name: &str) -> Option<&'a str> {
        let bound = self.bound.get()?;
        bound
            .found
            .param_raw(self.head.path_bytes(), bound.info, name)
    }

    /// A capture of the route, read as a `T`; 400 when it does not read as one. A name that the
    /// route does not have is the program's mistake and a 500.
    pub fn path_as<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        let Some(text) = self.param(name) else {
            let missing = format!("the route '{}' has no capture '{name}'", self.route());
            return Err(Error::from(Status::INTERNAL_SERVER_ERROR).with_source(missing));
        };
        parse_value("path segment", name, text)
    }

    /// The template of the route, such as `/users/{id}`; empty when none matched.
    pub fn route(&self) -> &'a str {
        self.bound.get().map_or("", |bound| &bound.info.template)
    }

    /// A value set by [`Router::state`](super::Router::state).
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<&'a T> {
        self.bound.get()?.states.find()
    }

    /// Who asks.
    #[inline]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The client's address: the peer's, or what a trusted proxy says (see
    /// [`Router::trust`](super::Router::trust)). `None` on a Unix socket without such a proxy.
    pub fn client(&self) -> Option<IpAddr> {
        match self.bound.get() {
            Some(bound) => bound.trust.client(&self.head, &self.peer),
            None => self
                .peer
                .address()
                .map(|address| address.ip().to_canonical()),
        }
    }

    /// Whether the peer is a trusted proxy.
    pub fn is_proxied(&self) -> bool {
        let trusts = |bound: Bound<'_>| bound.trust.trusts(&self.peer);
        self.bound.get().is_some_and(trusts)
    }

    /// Whether the client spoke HTTPS with the trusted proxy before us.
    pub fn is_https(&self) -> bool {
        let https = |bound: Bound<'_>| bound.trust.is_https(&self.head, &self.peer);
        self.bound.get().is_some_and(https)
    }

    /// The host and port that the client asked for: what a trusted proxy says, else
    /// [`Request::host`].
    pub fn authority(&self) -> Option<&'a str> {
        let told = |bound: Bound<'a>| bound.trust.host(&self.head, &self.peer);
        self.bound.get().and_then(told).or_else(|| self.host())
    }

    /// The same as bytes, for who only copies.
    pub fn authority_bytes(&self) -> Option<&'a [u8]> {
        let told = |bound: Bound<'a>| bound.trust.host(&self.head, &self.peer);
        let told = self.bound.get().and_then(told).map(str::as_bytes);
        told.or_else(|| self.head.host_bytes())
    }

    /// The request's id, when something gave it one.
    pub fn id(&self) -> Option<&str> {
        self.notes().id.get().map(RequestId::as_str)
    }

    /// The same as it was made or taken over.
    #[inline]
    pub fn request_id(&self) -> Option<&RequestId> {
        self.notes().id.get()
    }

    /// Gives the request and its copies their id; the first stays.
    pub fn set_id(&self, id: RequestId) {
        let notes = self.notes();
        let _ = match notes.common.get() {
            None => notes.id.set(id),
            Some(common) => notes.id.set(common.lock().id.get_or_insert(id).clone()),
        };
    }

    /// What this request has in common with the copies that there will be.
    fn common(&self) -> &Arc<Common> {
        let notes = self.notes();
        notes.common.get_or_init(|| {
            Arc::new(Common(Mutex::new(Known {
                id: notes.id.get().cloned(),
                ran: notes.ran.get(),
                ..Known::default()
            })))
        })
    }

    /// Attaches a value for this request, in the place of one of the same type.
    pub fn set<T: Send + 'static>(&self, value: T) {
        let id = TypeId::of::<T>();
        let mut known = self.common().lock();
        let locals = &mut known.locals;
        let old = locals
            .iter()
            .position(|(known, _)| *known == id)
            .map(|at| locals.remove(at));
        locals.push((id, Box::new(value)));
        drop(known);
        // Dropped outside the lock: its destructor is the user's.
        drop(old);
    }

    /// A value attached to this request.
    pub fn local<T: Clone + 'static>(&self) -> Option<T> {
        let known = self.notes().common.get()?.lock();
        let (_, value) = known
            .locals
            .iter()
            .find(|(known, _)| *known == TypeId::of::<T>())?;
        value.downcast_ref::<T>().cloned()
    }

    /// A copy that borrows nothing and may leave the thread. Its id and local values are this
    /// request's, whichever of the two they were given to.
    pub fn to_owned(&self) -> RequestOwned {
        self.copy(self.body)
    }

    /// The same without the body, for what only tells of the request.
    pub(crate) fn to_owned_bare(&self) -> RequestOwned {
        self.copy(&[])
    }

    fn copy(&self, body: &[u8]) -> RequestOwned {
        RequestOwned {
            head: self.head.to_owned(),
            body: body.to_vec(),
            peer: self.peer,
            unix_us: self.unix_us,
            bound: self.bound.get().map(|bound| BoundOwned {
                found: bound.found.clone(),
                info: Arc::clone(bound.info),
                states: Arc::clone(bound.states),
                trust: Arc::clone(bound.trust),
            }),
            notes: Notes {
                common: OnceCell::from(Arc::clone(self.common())),
                ..Notes::default()
            },
        }
    }
}

/// A request that owns its bytes.
pub struct RequestOwned {
    head: HeadOwned,
    body: Vec<u8>,
    peer: Peer,
    unix_us: u64,
    bound: Option<BoundOwned>,
    notes: Notes,
}

struct BoundOwned {
    found: Match,
    info: Arc<RouteInfo>,
    states: Arc<States>,
    trust: Arc<Trust>,
}

impl RequestOwned {
    /// The request. What is attached to it stays attached.
    pub fn borrow(&self) -> Request<'_> {
        if let Some(id) = self.notes.common.get().and_then(|c| c.lock().id.clone()) {
            let _ = self.notes.id.set(id);
        }
        let bound = self.bound.as_ref();
        Request {
            head: self.head.borrow(),
            body: &self.body,
            peer: self.peer,
            unix_us: self.unix_us,
            bound: Cell::new(bound.map(|bound| Bound {
                found: &bound.found,
                info: &bound.info,
                states: &bound.states,
                trust: &bound.trust,
            })),
            notes: Holder::Lent(&self.notes),
            trace: None,
        }
    }
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} ({} bytes)",
            self.method().as_str(),
            self.path(),
            self.body.len()
        )
    }
}

impl std::fmt::Debug for RequestOwned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.borrow().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Scratch, parse_head};
    use crate::limits::Limits;

    fn check(head: &str, body: &[u8], look: impl Fn(&Request<'_>)) {
        let mut scratch = Scratch::new();
        let text = format!("{head}\r\nHost: a\r\n\r\n");
        let parsed = parse_head(text.as_bytes(), &mut scratch, &Limits::DEFAULT);
        let (head, _) = parsed.unwrap().unwrap();
        let request = Request::new(head, body, Peer::Memory);
        look(&request);
        let owned = request.to_owned();
        drop(request);
        look(&std::thread::spawn(move || owned).join().unwrap().borrow());
    }

    #[test]
    fn a_copy_answers_like_the_request() {
        check(
            "GET /a%20b?x=1&y=%C3%BC HTTP/1.1\r\nX-A: v",
            b"body",
            |request| {
                assert_eq!(request.path(), "/a%20b");
                assert_eq!(request.query("y").as_deref(), Some("ü"));
                assert_eq!(request.query_as::<u8>("x").unwrap(), Some(1));
                assert_eq!(request.query_as::<u8>("z").unwrap(), None);
                assert_eq!(
                    request.query_as::<u8>("y").unwrap_err().status(),
                    Status::BAD_REQUEST
                );
                assert_eq!(request.field_str("x-a"), Some("v"));
                assert_eq!(request.text().unwrap(), "body");
                assert_eq!(request.host(), Some("a"));
                assert_eq!((request.route(), request.param("x")), ("", None));
                assert_eq!(request.peer().address(), None);
            },
        );
    }

    #[test]
    fn what_is_attached_to_a_copy_is_seen_by_the_request() {
        check("GET / HTTP/1.1", b"", |request| {
            request.set(1u32);
            let owned = request.to_owned();
            owned.borrow().set(2u32);
            owned.borrow().set("text");
            assert_eq!(request.local::<u32>(), Some(2));
            assert_eq!(request.local::<&str>(), Some("text"));
            assert_eq!(request.local::<u64>(), None);
        });
    }

    #[test]
    fn the_first_id_is_that_of_the_request_and_all_copies() {
        let id = |text: &str| RequestId::parse(text.as_bytes()).unwrap();
        check("GET / HTTP/1.1", b"", |request| {
            let (one, other) = (request.to_owned(), request.to_owned());
            one.borrow().set_id(id("first"));
            other.borrow().set_id(id("second"));
            request.set_id(id("third"));
            assert_eq!(request.id(), Some("first"));
            assert_eq!(one.borrow().id(), Some("first"));
            assert_eq!(other.borrow().id(), Some("first"));
        });
        check("GET / HTTP/1.1", b"", |request| {
            request.set_id(id("before"));
            let copy = request.to_owned();
            copy.borrow().set_id(id("after"));
            assert_eq!(
                (request.id(), copy.borrow().id()),
                (Some("before"), Some("before"))
            );
        });
    }

    #[test]
    fn second_halves_are_to_run_once_for_a_request_and_its_copies() {
        let taken = Cell::new(Vec::new());
        check("GET / HTTP/1.1", b"", |request| {
            let (handled, answered) = (request.to_owned(), request.to_owned());
            handled.borrow().set_middlewares_ran(2);
            let mut so_far = taken.take();
            for copy in [answered.borrow(), handled.borrow()] {
                so_far.push(copy.take_middlewares_ran());
                handled.borrow().set_middlewares_ran(3);
            }
            taken.set(so_far);
        });
        // The last two are those of the copy that `check` makes.
        assert_eq!(taken.take(), [2, 0, 0, 0]);
    }

    #[test]
    fn a_body_that_is_not_what_was_asked_for_is_the_clients_mistake() {
        check(
            "POST / HTTP/1.1\r\nContent-Type: text/plain",
            b"\xff",
            |request| {
                assert_eq!(request.text().unwrap_err().status(), Status::BAD_REQUEST);
                assert_eq!(
                    request.form().unwrap_err().status(),
                    Status::UNSUPPORTED_MEDIA_TYPE
                );
            },
        );
        let form = "POST / HTTP/1.1\r\nContent-Type: Application/X-WWW-Form-urlencoded ; charset=x";
        check(form, b"a=1&b=x+y", |request| {
            let form = request.form().unwrap();
            assert_eq!(form.field("b").as_deref(), Some("x y"));
            assert_eq!(form.field_as::<u8>("a").unwrap(), Some(1));
            assert!(form.field_as::<u8>("b").is_err());
        });
    }

    #[test]
    fn the_first_id_stays() {
        check("GET / HTTP/1.1", b"", |request| {
            request.set_id(RequestId::parse(b"one").unwrap());
            request.set_id(RequestId::parse(b"two").unwrap());
            assert_eq!(request.id(), Some("one"));
        });
    }
}
