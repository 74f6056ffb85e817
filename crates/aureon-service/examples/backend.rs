//! A backend of your own: the daemon with routes beside its own.

use aureon::{Error, Request};
use std::process::ExitCode;

fn hello(request: &Request<'_>) -> Result<String, Error> {
    Ok(format!("Hi {}\n", request.path_as::<String>("name")?))
}

fn main() -> ExitCode {
    aureon_service::main(|router| {
        router.get("/hello/{name}", hello);
    })
}
