//! The service: a configuration, routes, and a server around them until somebody says stop.
//!
//! [`Service::run`] puts the parts together in one visible order, then leaves them to the
//! [`supervisor`](crate::supervisor). A backend of one's own is this with routes added; what it
//! does not set is what `aureond` does.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use aureon::Router;
use aureon::server::{Running, Server};
use aureon::sys::{descriptors, services, signal};

use crate::address::Address;
use crate::admin::Admin;
use crate::check;
use crate::config::{Loaded, Source};
use crate::exchanges::Exchanges;
use crate::explain::{Explanation, Question, explain};
use crate::health::{Health, State};
use crate::inherit::Inherited;
use crate::logging::Logging;
use crate::metrics::Sources;
use crate::observer::{LogObserver, now_ms};
use crate::problem::{Exit, Problem, with_error};
use crate::ready::wait_until_served;
use crate::reload::Reload;
use crate::routes::{Lasting, build_app};
use crate::sandbox;
use crate::settings::Config;
use crate::stamp::write_stamp;
use crate::status::Report;
use crate::supervisor::Supervisor;
use crate::systemd::Manager;

/// A service that is being put together.
pub struct Service {
    source: Source,
    loaded: Box<Loaded>,
    router: Router,
    health: Health,
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
    pub(crate) fn new(exit: Exit, line: String) -> Failure {
        Failure {
            lines: vec![line],
            exit,
        }
    }
}

impl Service {
    /// A service for a configuration, with no routes but its own; a reload reads the source
    /// again.
    ///
    /// # Errors
    ///
    /// Every mistake in the configuration.
    pub fn new(source: Source) -> Result<Service, Vec<Problem>> {
        let loaded = source.load()?;
        Ok(Service::of(source, loaded))
    }

    /// The same where it was read already.
    pub(crate) fn of(source: Source, loaded: Box<Loaded>) -> Service {
        Service {
            source,
            loaded,
            router: Router::new(),
            health: Health::default(),
        }
    }

    /// Adds a check of what the service needs, such as its database. While one fails `/readyz`
    /// answers 503 with its reason. See [`health`](crate::health) for how often it runs.
    #[must_use]
    pub fn check(
        mut self,
        name: &str,
        run: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Service {
        if !self.health.add(name, run) {
            say_parts(&["too many checks, left out: ", name]);
        }
        self
    }

    /// Adds routes. They stand beside the service's own; a route that is registered twice is
    /// refused when the service starts, with both places named.
    #[must_use]
    pub fn routes(mut self, add: impl FnOnce(&mut Router)) -> Service {
        add(&mut self.router);
        self
    }

    /// Says what would answer a request and why, without serving.
    ///
    /// # Errors
    ///
    /// What serving would fail with.
    pub fn explain(self, question: Question) -> Result<Explanation, Failure> {
        let checks = self.health.has_checks();
        explain(self.router, &self.loaded, checks, question)
    }

    /// Serves until a signal says stop. `Ok` after a drain that ended by itself.
    pub fn run(self) -> Result<(), Failure> {
        let config = &self.loaded.config;
        let lasting = Lasting {
            health: self.health,
            started: Instant::now(),
        };
        if let Some((exit, problem)) = check::problems(&self.loaded).first() {
            return Err(Failure::new(*exit, problem.show()));
        }
        let own = !self.router.is_empty() || lasting.health.has_checks();
        let confined = sandbox::rules(config, own);
        let app = build_app(self.router.clone(), config, &lasting)?;
        let workers = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        // A kernel that allows less than it says is no reason not to serve.
        let _ = descriptors::raise();
        let mut server = Server::new(app).limits(config.limits).workers(workers);
        let mut inherited = Inherited::from_environment()?;
        server = inherited.listen(server, &self.loaded)?;
        if let Some(sandbox) = &confined {
            server = server.sandbox(sandbox.clone());
        }
        // Before any worker exists, so that a signal in between is not lost.
        let supervisor = Supervisor::new()?;
        let logging = Logging::start(config, workers)?;
        let asked = !self.loaded.admin.is_empty();
        let exchanges = asked.then(|| Arc::new(Exchanges::new(workers)));
        let observer = LogObserver::new(logging.clone(), exchanges.clone());
        let running = server
            .metrics(asked)
            .observer(observer)
            .start()
            .map_err(|error| failed("cannot start the workers", &error))?;
        let admin = exchanges.map(|exchanges| Admin {
            sources: Sources::new(running.meter(), &logging, &lasting),
            exchanges,
            policy: Arc::clone(&logging.policy),
            control: supervisor.control(),
            addresses: Arc::new(show_addresses(running.addresses())),
        });
        let reload = Reload {
            source: self.source,
            routes: self.router,
            loaded: self.loaded,
            lasting,
            logging: logging.clone(),
            sandbox: confined.filter(|_| running.is_sandboxed()),
        };
        let counted = admin.clone();
        let ended = match begin(&running, admin, &mut inherited, &reload) {
            Ok((manager, admin)) => {
                supervisor.run(running, reload, manager, inherited.held, admin)?
            }
            Err(failure) => {
                drop(running.join());
                logging.close();
                return Err(failure);
            }
        };
        if !logging.close() {
            say("the reader of the access log is stuck; its last lines are lost");
        }
        ended.map_err(|error| failed("a worker could not go on", &error))?;
        counted.iter().for_each(say_counted);
        say("stopped");
        Ok(())
    }
}

/// What the admin socket could still have told when the last exchange was over.
fn say_counted(admin: &Admin) {
    let report = Report::new(admin).write_json();
    say_parts(&["counted ", String::from_utf8_lossy(&report).trim_end()]);
}

/// Starts the admin listener and serves; what can not serve gives back what it has.
fn begin(
    running: &Running,
    admin: Option<Admin>,
    inherited: &mut Inherited,
    reload: &Reload,
) -> Result<(Manager, Option<Running>), Failure> {
    let taking_over = inherited.handed.is_some();
    let admin = match admin {
        Some(admin) => admin.start(inherited, &reload.loaded),
        None => Ok(None),
    };
    let admin = admin.inspect_err(|_| give_back(running, taking_over))?;
    match serve(running, inherited, reload) {
        Ok(manager) => {
            for address in admin.iter().flat_map(Running::addresses) {
                say_parts(&["admin on ", &show_address(address)]);
            }
            Ok((manager, admin))
        }
        Err(failure) => {
            give_back(running, taking_over);
            if let Some(admin) = admin {
                give_back(&admin, taking_over);
                drop(admin.join());
            }
            Err(failure)
        }
    }
}

/// Makes sure that requests are answered, then tells whoever waits for that.
fn serve(
    running: &Running,
    inherited: &mut Inherited,
    reload: &Reload,
) -> Result<Manager, Failure> {
    let gone = |error: io::Error| failed("the process to take over from is gone", &error);
    if let Some(handed) = &mut inherited.handed {
        handed.start().map_err(gone)?;
    }
    let health = &reload.lasting.health;
    if let Err((address, error)) =
        wait_until_served(running.addresses(), &inherited.proxied, health)
    {
        let line = ["the service does not answer itself on ", &address].concat();
        return Err(failed(&line, &error));
    }
    health.enter(State::Serving);
    let manager = Manager::from_environment();
    if let Some(handed) = inherited.handed.take() {
        handed.finish().map_err(gone)?;
    }
    // So that whoever knows the configuration finds the process.
    if let (true, Some(aureon::server::Address::Ip(address))) =
        (signal::BY_NAME, running.addresses().first())
        && let Err(error) = signal::answer_to(&address.to_string())
    {
        say_parts(&["`aureond reload` will not be heard: ", &error.text()]);
    }
    manager.ready("serving");
    announce(
        &reload.loaded.config,
        running.addresses(),
        &inherited.proxied,
    );
    Ok(manager)
}

pub(crate) fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, with_error(&[what], error))
}

/// Writes a line to standard error.
pub fn say(line: &str) {
    say_parts(&[line]);
}

/// The same for a line in parts.
pub(crate) fn say_parts(parts: &[&str]) {
    let mut text = Vec::new();
    // A service manager that keeps messages puts the time before each; a file does not.
    if services::is_redirected() {
        text.extend_from_slice(&write_stamp(now_ms()));
        text.push(b' ');
    }
    text.extend_from_slice(b"aureond: ");
    for part in parts {
        text.extend_from_slice(part.as_bytes());
    }
    text.push(b'\n');
    write_error(&text);
}

/// Writes to standard error; if that is gone there is nobody to tell. A panic goes no further: it
/// would be one that everybody who says something has to let pass.
#[allow(improper_ctypes_definitions, reason = "called from here alone")]
pub(crate) extern "C" fn write_error(text: &[u8]) {
    drop(io::stderr().write_all(text));
}

/// Ends a server that could not be started whole; what was accepted meanwhile is still answered.
/// The sockets of a process that we were to take over from stay its own.
fn give_back(running: &Running, taking_over: bool) {
    let stopper = running.stopper();
    if taking_over {
        stopper.hand_over();
    } else {
        stopper.drain();
    }
}

fn show_address(address: &aureon::server::Address) -> String {
    match address {
        aureon::server::Address::Ip(ip) => check::url(&Address::Ip(*ip)),
        other => other.to_string(),
    }
}

fn show_addresses(addresses: &[aureon::server::Address]) -> Vec<String> {
    let mut shown = Vec::new();
    for address in addresses {
        shown.push(show_address(address));
    }
    shown
}

fn announce(
    config: &Config,
    addresses: &[aureon::server::Address],
    proxied: &[aureon::server::Address],
) {
    match &config.root {
        Some(root) => say_parts(&["serving ", &check::absolute(root)]),
        None => say("serving the built-in page; `aureond DIR` serves a directory"),
    }
    for address in addresses {
        let how = if proxied.contains(address) {
            " with PROXY headers"
        } else {
            ""
        };
        say_parts(&["listening on ", &show_address(address), how]);
    }
}
