//! AUREON as a daemon: configuration, access log, the API and a site around the engine.
//!
//! A backend of one's own is this library plus routes; it has the command line, the settings,
//! the log and the signals of `aureond`:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     aureon_service::main(|router| {
//!         router.get("/hello", |_: &aureon::Request<'_>| "Hello");
//!     })
//! }
//! ```
//!
//! The modules in reading order: [`value`] and [`settings`] say what can be set; [`document`]
//! reads the file, [`arguments`] the command line and [`config`] puts them and the environment
//! together; [`address`] resolves where to listen, [`check`] looks whether it would work and what
//! the [`machine`] allows; [`help`], [`completions`] and [`problem`] are what the operator reads.
//! [`command`] dispatches; [`service`] starts what [`routes`] puts together ([`health`], the
//! [`api`], the [`site`]) in its [`sandbox`] on what it may [`inherit`], and is [`ready`] when it
//! has answered itself. Then [`supervisor`] obeys orders: [`reload`], [`upgrade`], stop; it
//! tells [`systemd`] and keeps the [`watchdog`]. [`asking`] asks a service that runs, [`explain`]
//! one that does not, and `managed` the manager of services that Windows has.
//! [`observer`] hears of each exchange, [`access_log`] carries its [`line`](mod@line) to standard
//! output or a [`log_file`], as [`logging`] has it; [`exchanges`] keeps the last ones. [`admin`]
//! tells them, the [`metrics`] by [`exposition`] and the [`status`], and takes orders through a
//! [`queue`]. [`json`] and [`stamp`] write their parts, [`small_file`] reads.

pub mod access_log;
pub mod address;
pub mod admin;
pub mod api;
pub mod arguments;
pub mod asking;
pub mod check;
pub mod command;
pub mod completions;
pub mod config;
pub mod document;
pub mod exchanges;
pub mod explain;
pub mod exposition;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod health;
pub mod help;
pub mod inherit;
pub mod json;
pub mod kept;
pub mod lane;
mod life;
pub mod line;
pub mod log_file;
pub mod log_pipe;
pub mod logging;
pub mod machine;
mod managed;
pub mod metrics;
pub mod observer;
pub mod pen;
pub mod problem;
pub mod proxies;
pub mod queue;
pub mod ready;
pub mod reload;
pub mod routes;
pub mod sandbox;
pub mod service;
pub mod settings;
pub mod site;
pub mod small_file;
pub mod stamp;
pub mod status;
pub mod supervisor;
pub mod systemd;
mod unpack;
pub mod upgrade;
pub mod value;
pub mod watchdog;

pub use service::Service;

/// Runs the command line of this process, with these routes beside the service's own.
pub fn main(routes: impl FnOnce(&mut aureon::Router)) -> std::process::ExitCode {
    run(|service| service.routes(routes))
}

/// The same for a service that has more than routes, such as checks of its health:
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     aureon_service::run(|service| {
///         let service = service.routes(|router| {
///             router.get("/hello", |_: &aureon::Request<'_>| "Hello");
///         });
///         service.check("database", || {
///             let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5432));
///             match std::net::TcpStream::connect(address) {
///                 Ok(_) => Ok(()),
///                 Err(error) => Err(error.to_string()),
///             }
///         })
///     })
/// }
/// ```
pub fn run(build: impl FnOnce(Service) -> Service) -> std::process::ExitCode {
    let mut arguments = Vec::new();
    for argument in std::env::args_os().skip(1) {
        arguments.push(argument);
    }
    command::run(arguments, build).into()
}
