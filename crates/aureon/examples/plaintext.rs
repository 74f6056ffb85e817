//! The server that the benchmarks measure: `plaintext ADDRESS WORKERS [DIR]`.
//!
//! `/plaintext` answers 13 bytes of text, `POST /echo` its body (for the soak), and `DIR`, when
//! given, is served at `/`. Everything else is at its default: limits, strict parsing, routing,
//! `Date`.

use aureon::{Files, Response, Router, Server};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let workers = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let mut router = Router::new();
    router.get("/plaintext", |_| Response::text("Hello, World!"));
    router.post("/echo", |request| {
        Response::bytes("application/octet-stream", request.body().to_vec())
    });
    if let Some(root) = arguments.next() {
        router.mount("/", Files::new(root)?);
    }
    let server = Server::new(router.build()?)
        .workers(workers)
        .listen(&address)?;
    server.start()?.join()?;
    Ok(())
}
