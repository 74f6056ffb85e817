//! The example of the README: a typed capture, an error answered by `?`, and a start.

use aureon::{Error, Request, Router, Server};

fn double(request: &Request<'_>) -> Result<String, Error> {
    let number: u32 = request.path_as("number")?;
    Ok(format!("{}\n", u64::from(number) * 2))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut router = Router::new();
    router.get("/", |_| "Hello from AUREON\n");
    router.get("/double/{number}", double);
    let server = Server::new(router.build()?).listen("127.0.0.1:8080")?;
    server.start()?.join()?;
    Ok(())
}
