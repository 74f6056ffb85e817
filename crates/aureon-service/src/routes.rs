//! Everything around a user's own routes: middleware, health, the API, the files.
//!
//! [`build_app`] is called at start and for each reload, with the same routes of the user's and
//! another configuration; what has to live longer than an application comes in from outside.

use std::path::Path;
use std::time::Instant;

use aureon::app::{Compression, Cors, RequestIds, SecurityHeaders};
use aureon::files::Files;
use aureon::{App, Router};

use crate::health::Health;
use crate::problem::Exit;
use crate::service::{Failure, failed};
use crate::settings::Config;
use crate::{api, check, proxies, site};

/// What outlives a reload.
#[derive(Clone, Debug)]
pub struct Lasting {
    /// State and checks.
    pub health: Health,
    /// When the process began.
    pub started: Instant,
}

/// The application for a configuration.
///
/// # Errors
///
/// Routes contradict each other, or the root can not be served.
pub fn build_app(routes: Router, config: &Config, lasting: &Lasting) -> Result<App, Failure> {
    let router = with_own_routes(routes, config, lasting)?;
    router.build().map_err(|errors| Failure {
        lines: errors.iter().map(ToString::to_string).collect(),
        exit: Exit::Config,
    })
}

/// Everything around the user's routes, outermost first.
fn with_own_routes(
    mut router: Router,
    config: &Config,
    lasting: &Lasting,
) -> Result<Router, Failure> {
    router.trust(proxies::trust(config)?);
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
    lasting.health.add_routes(&mut router);
    if config.api {
        let mut inner = api::routes(&config.message, lasting.started);
        match config.cors_origin.as_str() {
            "none" => {}
            "*" => {
                inner.with(Cors::any());
            }
            origins => {
                inner.with(Cors::only(origins.split(',').map(str::trim_ascii)));
            }
        }
        router.nest("/api", inner);
    }
    let files = match &config.root {
        None => Files::embedded(site::assets()),
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
    if let Some((exit, problem)) = check::root_problem(root) {
        return Err(Failure::new(exit, problem));
    }
    Files::new(root).map_err(|error| failed(&check::absolute(root), &error))
}
