//! aureond with two handlers that go wrong: `/panic`, and `/hang`, which never returns. The latter
//! is registered as blocking, as SECURITY.md says of handlers that may take long.

use aureon::{Method, Request};
use std::process::ExitCode;

fn panics(_: &Request<'_>) -> &'static str {
    panic!("as it was asked to");
}

fn hangs(_: &Request<'_>) -> &'static str {
    loop {
        std::thread::park();
    }
}

fn main() -> ExitCode {
    aureon_service::main(|router| {
        router.get("/panic", panics);
        router.blocking(Method::Get, "/hang", hangs);
    })
}
