//! The admin listener: what the service tells about itself, and takes orders from.
//!
//! A server of the engine beside the main one, with one worker, small limits and an application
//! of its own; a main server that is busy or drains does not silence it. On a Unix socket, which
//! only the service's own user may open, everything can be read and ordered. On a TCP address,
//! which anybody on the machine reaches and every web page in a browser there, only metrics and
//! health are answered. It is handed over in an upgrade like the main listeners.
//!
//! ```text
//! GET  /metrics          Prometheus text       GET  /config       values and their sources
//! GET  /api/metrics      the same as JSON      POST /reload       as HUP, with the outcome
//! GET  /status           JSON                  POST /upgrade      as USR2, with the outcome
//! GET  /status.txt       for people            POST /log-level?LEVEL
//! GET  /exchanges        the last 1,000        GET  /healthz /readyz ...
//! ```

use std::sync::Arc;
use std::time::Instant;

use aureon::app::Peer;
use aureon::server::{Running, Server};
use aureon::{Limits, Method, Request, Response, Router, Status};

use crate::config::Loaded;
use crate::exchanges::{EXCHANGES_MAX, Exchanges};
use crate::exposition;
use crate::inherit::Inherited;
use crate::json::{List, Object};
use crate::logging::{Level, Policy};
use crate::metrics::Sources;
use crate::queue::queue;
use crate::service::{Failure, failed};
use crate::status::Report;
use crate::supervisor::{Ask, Control, Order};
use crate::upgrade::PATIENCE;

/// Permissions of the Unix socket: its owner, who can end the process anyway.
const SOCKET_MODE: u32 = 0o600;

/// Bounds of the admin server: a scraper, a person and a doctor at a time.
const LIMITS: Limits = Limits {
    connections_max: 64,
    body_bytes_max: 4 << 10,
    upload_bytes_max: 4 << 10,
    pool_threads_max: 4,
    pool_queue_max: 16,
    // An upgrade is answered when it is through.
    answer_timeout_ms: PATIENCE.as_millis() as u32 + 5_000,
    ..Limits::DEFAULT
};

/// What its handlers read and order.
#[derive(Clone)]
pub struct Admin {
    /// Where the numbers come from.
    pub sources: Sources,
    /// The last exchanges.
    pub exchanges: Arc<Exchanges>,
    /// The log's level.
    pub policy: Arc<Policy>,
    /// Who obeys.
    pub control: Control,
    /// Addresses of the main server, as they are shown.
    pub addresses: Arc<Vec<String>>,
}

impl Admin {
    /// Listens and serves; `None` when the configuration names no admin address.
    ///
    /// # Errors
    ///
    /// An address can not be bound, or there is no thread or descriptor left.
    pub fn start(self, inherited: &Inherited, loaded: &Loaded) -> Result<Option<Running>, Failure> {
        if loaded.admin.is_empty() {
            return Ok(None);
        }
        let router = self.router();
        let app = router.build().map_err(|errors| {
            let lines = errors.iter().map(ToString::to_string);
            failed_lines(lines.collect())
        })?;
        let server = Server::new(app)
            .limits(LIMITS)
            .workers(1)
            .unix_mode(SOCKET_MODE);
        let server = inherited.listen_admin(server, &loaded.admin)?;
        let running = server.start();
        running
            .map(Some)
            .map_err(|error| failed("cannot start the admin listener", &error))
    }

    fn router(&self) -> Router {
        let mut router = Router::new();
        self.sources.health.add_routes(&mut router);
        let sources = self.sources.clone();
        router.get("/metrics", move |_: &Request<'_>| {
            let mut out = Vec::new();
            exposition::write_text(&sources.families(), &mut out);
            fresh(Response::bytes(exposition::TEXT_TYPE, out))
        });
        let sources = self.sources.clone();
        router.get("/api/metrics", move |_: &Request<'_>| {
            let mut out = Vec::new();
            exposition::write_json(&sources.families(), &mut out);
            fresh(Response::json_bytes(out))
        });
        self.add_reports(&mut router);
        self.add_orders(&mut router);
        router
    }

    fn add_reports(&self, router: &mut Router) {
        let admin = self.clone();
        router.get("/status", move |request: &Request<'_>| {
            owner_only(request, || {
                fresh(Response::json_bytes(Report::new(&admin).write_json()))
            })
        });
        let admin = self.clone();
        router.get("/status.txt", move |request: &Request<'_>| {
            owner_only(request, || {
                fresh(Response::text(Report::new(&admin).write_text()))
            })
        });
        let exchanges = Arc::clone(&self.exchanges);
        router.get("/exchanges", move |request: &Request<'_>| {
            owner_only(request, || {
                let mut out = Vec::new();
                exchanges.write_json(EXCHANGES_MAX, &mut out);
                fresh(Response::json_bytes(out))
            })
        });
        let control = self.control.clone();
        router.blocking(Method::Get, "/config", move |request: &Request<'_>| {
            owner_only(request, || match control.ask(Ask::Config) {
                Ok(json) => fresh(Response::json_bytes(json.concat().into_bytes())),
                Err(reasons) => refused(&reasons),
            })
        });
    }

    fn add_orders(&self, router: &mut Router) {
        for (path, ask) in [("/reload", Ask::Reload), ("/upgrade", Ask::Upgrade)] {
            let control = self.control.clone();
            router.blocking(Method::Post, path, move |request: &Request<'_>| {
                owner_only(request, || match control.ask(ask) {
                    Ok(lines) => outcome(Status::OK, &lines),
                    Err(reasons) => refused(&reasons),
                })
            });
        }
        let policy = Arc::clone(&self.policy);
        router.post("/log-level", move |request: &Request<'_>| {
            owner_only(request, || {
                match request.query_str().and_then(Level::parse) {
                    Some(level) => {
                        policy.set_level(level);
                        let line = ["log_level: ", level.name(), ", until the next reload"];
                        outcome(Status::OK, &[line.concat()])
                    }
                    None => outcome(
                        Status::BAD_REQUEST,
                        &["write /log-level?error, ?warn or ?info".to_owned()],
                    ),
                }
            })
        });
    }
}

impl Control {
    /// Gives an order and waits for what came of it.
    fn ask(&self, ask: Ask) -> Result<Vec<String>, Vec<String>> {
        let (reply, answer) = queue(1);
        self.send(Order::Ask(ask, reply));
        let answered = answer.receive(Some(Instant::now() + PATIENCE + PATIENCE / 10));
        answered.unwrap_or_else(|| Err(vec!["the service is ending".to_owned()]))
    }
}

/// Whoever may open the socket owns the service; whoever reaches a port may be anybody.
fn owner_only(request: &Request<'_>, answer: impl FnOnce() -> Response) -> Response {
    if matches!(request.peer(), Peer::Unix) {
        return answer();
    }
    let mut response = Response::text("this is told on the Unix socket only\n");
    response.set_status(Status::FORBIDDEN);
    response
}

fn fresh(response: Response) -> Response {
    response.with_field("Cache-Control", "no-store")
}

fn refused(reasons: &[String]) -> Response {
    outcome(Status::CONFLICT, reasons)
}

/// `{"ok":true,"lines":[...]}`.
fn outcome(status: Status, lines: &[String]) -> Response {
    let mut list = List::default();
    for line in lines {
        list.string(line);
    }
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.bool("ok", status == Status::OK);
    object.raw("lines", &list.end());
    object.end();
    let mut response = fresh(Response::json_bytes(out));
    response.set_status(status);
    response
}

fn failed_lines(lines: Vec<String>) -> Failure {
    Failure {
        lines,
        exit: crate::problem::Exit::Failed,
    }
}
