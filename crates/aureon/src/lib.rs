//! AUREON's engine: an HTTP/1.1 server straight on the operating system's sockets.
//!
//! No framework, no async runtime, no dependency but the bindings of the operating system.
//! The modules in reading order: [`limits`] holds every bound; [`http`] turns bytes into events
//! and back without doing any IO.

pub mod app;
pub mod files;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod limits;
pub mod server;
pub mod sys;

pub use app::{
    App, Body, BodyReader, BodyWriter, Error, FileRange, IntoResponse, Middleware, Part, Peer,
    Request, Responder, Response, Router,
};
pub use http::{Head, Method, Status, Version};
pub use limits::Limits;
pub use server::{Address, Ending, Exchange, ListenError, Observer, Running, Server, Stopper};
