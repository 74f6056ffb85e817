//! What users write against: handlers, routes, requests, responses.
//!
//! In reading order: a [`Router`] collects routes and becomes an [`App`]; the server asks it for
//! a [`Match`] and an answer; a handler is a function from [`Request`] to anything that is
//! [`IntoResponse`]. A [`Response`] has a [`Body`], which may be a stream over a [`Pipe`] or come
//! later from a [`Responder`]. [`Middleware`] stands around handlers. Nothing here does IO but
//! the producers and handlers that users bring; nothing knows a socket.

mod body;
mod captures;
mod client;
#[cfg(feature = "gzip")]
mod compression;
mod cookies;
mod cors;
mod dispatch;
mod error;
mod fault;
mod fields;
#[cfg(feature = "json")]
mod json;
mod later;
mod middleware;
mod multipart;
mod pattern;
pub mod percent;
mod pipe;
mod request;
mod request_id;
mod response;
mod router;
mod security_headers;
mod stock;
mod table;
mod trace;
mod trust;
mod urlencoded;

pub use body::{Body, FileRange, Part, Producer, run_producer};
pub use captures::Match;
pub use client::{Answer, Ask, Client};
#[cfg(feature = "gzip")]
pub use compression::Compression;
pub use cookies::{SameSite, SetCookie};
pub use cors::Cors;
pub use dispatch::{App, Work};
pub use error::{Error, IntoResponse};
pub use fault::Fault;
pub use fields::{Prepared, prepare_fields};
#[cfg(feature = "json")]
pub use json::Json;
pub use later::{LaterSlot, Responder};
pub use middleware::Middleware;
pub use multipart::{FormPart, Multipart};
pub use pipe::{BodyReader, BodyWriter, Notify, Pipe, PipeReader, PipeWriter, Pull, Push};
pub use request::{Peer, Request, RequestOwned};
pub use request_id::{RequestId, RequestIds};
pub use response::Response;
pub use router::{Mount, RouteError, RouteErrors, Router};
pub use security_headers::SecurityHeaders;
pub(crate) use stock::{give_buffer, take_buffer};
pub use trace::{NOT_RUN, Step, Trace};
pub use trust::{NamedBy, Network, Trust};
pub use urlencoded::{Form, Pairs};
