//! AUREON's engine: an HTTP/1.1 server straight on the operating system's sockets.
//!
//! No framework, no async runtime, no dependency but the bindings of the operating system.
//! The modules in reading order: [`limits`] holds every bound; [`http`] turns bytes into events
//! and back without doing any IO; [`sys`] is the operating system behind one contract; [`app`]
//! is what you write against, [`files`] a handler that serves a directory; [`server`] runs it
//! all and is the only one that sees both the protocol and the system; [`metrics`] is what
//! it counts.
//!
//! ```no_run
//! use aureon::{Router, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut router = Router::new();
//! router.get("/", |_| "Hello");
//! Server::new(router.build()?).listen("127.0.0.1:8080")?.start()?.join()?;
//! # Ok(())
//! # }
//! ```

pub mod app;
pub mod files;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod server;
pub mod sys;

pub use app::{
    App, Body, BodyReader, BodyWriter, Error, FileRange, IntoResponse, Middleware, Part, Peer,
    Request, Responder, Response, Router,
};
pub use files::Files;
pub use http::{Head, Method, Status, Version};
pub use limits::Limits;
pub use server::{
    Address, Ending, Exchange, ListenError, Observer, Running, Sandbox, Server, Stopper,
};
