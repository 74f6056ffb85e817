//! The service: a configuration, routes, and a server around them until somebody says stop.
//!
//! [`Service::run`] puts the parts together in one visible order, then leaves them to the
//! [`supervisor`](crate::supervisor). A backend of one's own is this with routes added; what it
//! does not set is what `aureond` does.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use aureon::Router;
use aureon::app::{Compression, Cors, RequestIds, SecurityHeaders};
use aureon::files::Files;
use aureon::server::Server;

use crate::access_log::AccessLog;
use crate::address::Address;
use crate::config::Loaded;
use crate::line::Form;
use crate::observer::{LogObserver, now_ms};
use crate::problem::Exit;
use crate::settings::Config;
use crate::supervisor::Supervisor;
use crate::{address, api, check, site};

/// How long lines of the log may take to leave at the end. 2 s: whoever reads them is stuck.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// A service that is being put together.
pub struct Service {
    loaded: Loaded,
    router: Router,
}

/// Why a service did not run: what to tell the operator, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened and what to do, one line each.
    pub lines: Vec<String>,
    /// The code to leave with.
    pub exit: Exit,
}

impl Failure {
    fn new(exit: Exit, line: String) -> Failure {
        Failure {
            lines: vec![line],
            exit,
        }
    }
}

impl Service {
    /// A service for a configuration, with no routes but its own.
    pub fn new(loaded: Loaded) -> Service {
        Service {
            loaded,
            router: Router::new(),
        }
    }

    /// Adds routes. They stand beside the service's own; a route that is registered twice is
    /// refused when the service starts, with both places named.
    #[must_use]
    pub fn routes(mut self, add: impl FnOnce(&mut Router)) -> Service {
        add(&mut self.router);
        self
    }

    /// Serves until a signal says stop. `Ok` after a drain that ended by itself.
    pub fn run(self) -> Result<(), Failure> {
        let addresses = check::present_addresses(&self.loaded);
        let config = self.loaded.config;
        let app = with_own_routes(self.router, &config)?
            .build()
            .map_err(|errors| Failure {
                lines: errors.iter().map(ToString::to_string).collect(),
                exit: Exit::Failed,
            })?;
        let workers = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let mut server = Server::new(app).limits(config.limits).workers(workers);
        for address in &addresses {
            server = server.listen(&address.show()).map_err(|error| {
                Failure::new(Exit::Failed, address::explain(address, &error.source))
            })?;
        }
        // Before any worker exists, so that a signal in between is not lost.
        let supervisor = Supervisor::new()?;
        let log = start_log(&config, workers)?;
        let exchanges = config.log != "off";
        let observer = LogObserver::new(log.clone(), exchanges, config.log_health);
        let running = server
            .observer(observer)
            .start()
            .map_err(|error| failed("cannot start the workers", &error))?;
        announce(&config, running.addresses());
        let ended = supervisor.run(running, config.limits.drain_timeout_ms)?;
        if !log.close(LOG_PATIENCE) {
            say("the reader of the access log is stuck; its last lines are lost");
        }
        ended.map_err(|error| failed("a worker could not go on", &error))?;
        say("stopped");
        Ok(())
    }
}

pub(crate) fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, [what, ": ", &error.to_string()].concat())
}

/// Everything around the user's routes, outermost first.
fn with_own_routes(mut router: Router, config: &Config) -> Result<Router, Failure> {
    router.with(RequestIds::new());
    if config.security_headers {
        let mut headers = SecurityHeaders::new();
        if config.root.is_none() {
            headers = headers.content_security_policy(site::CONTENT_POLICY);
        }
        router.with(headers);
    }
    if config.gzip {
        router.with(Compression::new());
    }
    router.get(api::HEALTH_PATH, api::health);
    if config.api {
        let mut inner = api::routes(&config.message);
        match config.cors_origin.as_str() {
            "none" => {}
            "*" => {
                inner.with(Cors::any());
            }
            origins => {
                inner.with(Cors::only(origins.split(',').map(str::trim)));
            }
        }
        router.nest("/api", inner);
    }
    let files = match &config.root {
        None => Files::embedded(site::ASSETS),
        Some(root) => open_root(root)?,
    };
    let files = files.listing(config.listing);
    router.mount(
        "/",
        if config.spa {
            files.spa("index.html")
        } else {
            files
        },
    );
    Ok(router)
}

fn open_root(root: &Path) -> Result<Files, Failure> {
    if let Some(problem) = check::root_problem(root) {
        return Err(Failure::new(Exit::Config, problem));
    }
    Files::new(root).map_err(|error| failed(&check::absolute(root), &error))
}

fn start_log(config: &Config, workers: usize) -> Result<AccessLog, Failure> {
    let terminal = io::stdout().is_terminal();
    let form = match config.log.as_str() {
        "json" => Form::Json,
        "pretty" => Form::Pretty(colours(terminal)),
        // "off" keeps the form that failures are told in.
        _ if terminal => Form::Pretty(colours(terminal)),
        _ => Form::Json,
    };
    AccessLog::start(workers, form, Box::new(io::stdout()), now_ms)
        .map_err(|error| failed("cannot start the log", &error))
}

/// Colours for eyes, unless these asked for none (no-color.org: set and not empty).
fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes a line to standard error; if that is gone there is nobody to tell.
pub fn say(line: &str) {
    drop(io::stderr().write_all(["aureond: ", line, "\n"].concat().as_bytes()));
}

fn announce(config: &Config, addresses: &[aureon::server::Address]) {
    match &config.root {
        Some(root) => say(&["serving ", &check::absolute(root)].concat()),
        None => say("serving the built-in page; `aureond DIR` serves a directory"),
    }
    for address in addresses {
        let url = match address {
            aureon::server::Address::Ip(ip) => check::url(&Address::Ip(*ip)),
            other => other.to_string(),
        };
        say(&["listening on ", &url].concat());
    }
}
