//! hyper 1 on one current-thread tokio runtime, in the shape its guide teaches, with the settings
//! its fastest public benchmark entries use (`pipeline_flush`, `TCP_NODELAY`).
//!
//! `hyper-peer ADDRESS [DIR]`: `/plaintext`, and files of DIR read by `tokio::fs::read`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

async fn answer(
    request: Request<Incoming>,
    root: Arc<PathBuf>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let (status, kind, body) = if path == "/plaintext" {
        let text = Bytes::from_static(b"Hello, World!");
        (StatusCode::OK, "text/plain; charset=utf-8", text)
    } else if path.contains("..") {
        (
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            Bytes::new(),
        )
    } else {
        match tokio::fs::read(root.join(path.trim_start_matches('/'))).await {
            Ok(bytes) => (
                StatusCode::OK,
                "application/octet-stream",
                Bytes::from(bytes),
            ),
            Err(_) => (
                StatusCode::NOT_FOUND,
                "text/plain; charset=utf-8",
                Bytes::new(),
            ),
        }
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(address) = arguments.next() else {
        return Err(std::io::Error::other(
            "usage: hyper-peer ADDRESS:PORT [DIR]",
        ));
    };
    let root = Arc::new(PathBuf::from(
        arguments.next().unwrap_or_else(|| ".".into()),
    ));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let root = Arc::clone(&root);
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| answer(request, Arc::clone(&root)));
                // A peer that goes away ends its own connection only.
                let _ = http1::Builder::new()
                    .pipeline_flush(true)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}
