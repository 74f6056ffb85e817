//! A backend's own routes, explained: they are shown, and nothing of them is run.
//!
//! The program is its own subject: with the variable below it is the backend, without a harness so
//! that it can be, and otherwise the test that starts it.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, ExitCode};

use aureon::app::Middleware;
use aureon::{Method, Request, Response};
use serde_json::Value;

/// Names the file that everything which must not be run would write.
const BACKEND: &str = "EXPLAINED_BACKEND";

fn ran(what: &str) -> String {
    let path = std::env::var_os(BACKEND).unwrap();
    std::fs::write(path, what).unwrap();
    what.to_owned()
}

struct Guard;

impl Middleware for Guard {
    fn before(&self, _: &Request<'_>) -> Option<Response> {
        ran("guard");
        None
    }
}

fn backend() -> ExitCode {
    aureon_service::run(|service| {
        let service = service.routes(|router| {
            router.get("/users/{id}", |_: &Request<'_>| ran("get"));
            router.blocking(Method::Post, "/users/{id}", |_: &Request<'_>| ran("post"));
            router.body_limit("/users/{id}", 10);
            router.mount("/own", aureon::Files::new(".").unwrap());
            let mut inner = aureon::Router::new();
            inner.get("/x", |_: &Request<'_>| ran("inner")).with(Guard);
            router.nest("/inner", inner);
        });
        service.check("database", || {
            ran("check");
            Ok(())
        })
    })
}

struct Backend<'p> {
    place: &'p Path,
}

impl Backend<'_> {
    fn explain(&self, arguments: &[&str]) -> String {
        let ran = self.place.join("ran");
        let output = Command::new(std::env::current_exe().unwrap())
            .arg("explain")
            .args(arguments)
            .current_dir(self.place)
            .env(BACKEND, &ran)
            .env_remove("PORT")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(!ran.exists(), "{arguments:?} ran {:?}", std::fs::read(&ran));
        told
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let told = self.explain(&[arguments, &["--json"]].concat());
        serde_json::from_str(&told).unwrap()
    }
}

/// Subjects and outcomes of a rule's steps.
fn steps(told: &Value, rule: &str) -> Vec<String> {
    let steps = told["steps"].as_array().unwrap().iter();
    let steps = steps.filter(|step| step["rule"] == rule);
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    steps
        .map(|step| [word(&step["subject"]), word(&step["outcome"])].join(": "))
        .collect()
}

fn main() -> ExitCode {
    if std::env::var_os(BACKEND).is_some() {
        return backend();
    }
    // What `cargo test -- FILTER` passes is not for us; there is one test, and it runs.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("explain-own");
    drop(std::fs::remove_dir_all(&place));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("page.html"), "<h1>own</h1>").unwrap();
    own_routes_are_shown_and_not_run(&Backend { place: &place });
    drop(std::fs::remove_dir_all(&place));
    ExitCode::SUCCESS
}

fn own_routes_are_shown_and_not_run(backend: &Backend<'_>) {
    let told = backend.json(&["GET", "/users/7"]);
    assert_eq!(told["route"], "/users/{id}");
    assert_eq!(told["complete"], false);
    assert_eq!(
        (&told["status"], &told["fields"]),
        (&Value::Null, &Value::Null)
    );
    assert!(steps(&told, "route").contains(&"GET HEAD POST /users/{id}: matches".to_owned()));
    assert_eq!(steps(&told, "capture"), ["id: 7"]);
    assert_eq!(
        steps(&told, "not run"),
        ["handler: a handler that is not ours"]
    );
    let text = backend.explain(&["/users/7"]);
    assert!(text.ends_with("The answer is that handler's; around it stands what is said above.\n"));
    assert!(!text.contains("HTTP/1.1 200"), "{text}");

    // Its limits are the router's business, so they are known.
    let told = backend.json(&["POST", "/users/7", "-H", "Content-Length: 11"]);
    assert_eq!(
        (&told["status"], &told["complete"]),
        (&413.into(), &true.into())
    );
    assert_eq!(steps(&told, "body"), [": at most 10 bytes"]);
    let told = backend.json(&["DELETE", "/users/7"]);
    assert_eq!(
        (&told["status"], &told["complete"]),
        (&405.into(), &true.into())
    );

    // Files are read, whoever mounted them.
    let told = backend.json(&["/own/page.html"]);
    assert_eq!(
        (&told["status"], &told["complete"]),
        (&200.into(), &true.into())
    );
    assert_eq!(steps(&told, "file"), ["page.html: a file"]);

    let told = backend.json(&["/inner/x"]);
    let expected = [
        "Guard: a middleware that is not ours",
        "handler: a handler that is not ours",
    ];
    assert_eq!(steps(&told, "not run"), expected);

    let told = backend.json(&["/readyz"]);
    assert_eq!(
        (&told["status"], &told["complete"]),
        (&200.into(), &false.into())
    );
    let text = backend.explain(&["/readyz"]);
    assert!(text.contains("Unless something that was not run says otherwise:\n\nHTTP/1.1 200"));
    assert_eq!(backend.json(&["/healthz"])["complete"], true);
}
