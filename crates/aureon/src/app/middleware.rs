//! What stands around handlers: one trait, two halves.
//!
//! `before` may answer in the handler's place, `after` may change any answer, early, late and
//! failed ones included. A handler that gives none in time is answered for: `after` runs over that
//! answer, with the request but not the body that its handler has, and not again over the handler's
//! own. A middleware holds no state of one request in itself; it attaches that to the request
//! ([`Request::set`]).

use super::{Request, Response};

/// Something that runs around handlers, in the order of [`Router::with`](super::Router::with).
pub trait Middleware: Send + Sync + 'static {
    /// Runs before the handler. `Some` is the answer: neither the middlewares after this one nor
    /// the handler run, but `after` of this one and of those before it does.
    fn before(&self, request: &Request<'_>) -> Option<Response> {
        let _ = request;
        None
    }

    /// Runs when the answer is there, in reverse order.
    fn after(&self, request: &Request<'_>, response: &mut Response) {
        let _ = (request, response);
    }

    /// Runs over a 503 that a worker gives because there was no thread: for the handler and these
    /// halves, which [`Router::blocking`](super::Router::blocking) and uploads run on the pool, or
    /// for the stream that the handler answered with. Does nothing unless a middleware has
    /// something for that answer.
    fn unhandled(&self, request: &Request<'_>, response: &mut Response) {
        let _ = (request, response);
    }

    /// What it is called when an answer is explained: the name of its type.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}
