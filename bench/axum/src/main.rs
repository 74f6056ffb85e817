//! axum with everything at its defaults, in the shape its examples teach: `axum::serve`, a
//! multi-threaded tokio, `ServeDir` for the files.
//!
//! `axum-peer ADDRESS DIR`. Besides the files, two handlers that go wrong: `/panic`, and `/hang`,
//! which never answers.

use axum::Router;
use axum::routing::get;
use tower_http::services::ServeDir;

async fn panics() -> &'static str {
    panic!("as it was asked to");
}

async fn hangs() -> &'static str {
    std::future::pending().await
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("usage: axum-peer ADDRESS:PORT DIR"));
    };
    let app = Router::new()
        .route("/panic", get(panics))
        .route("/hang", get(hangs))
        .fallback_service(ServeDir::new(directory));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await
}
