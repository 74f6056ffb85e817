//! `aureond explain`, as the real binary says it: golden texts, every rule that may decide, and
//! that what it says is what a server then does.

#![cfg_attr(windows, allow(unused_imports, dead_code))]
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::fs::{self, File};
#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use daemon::{Daemon, Place, run, text};
use serde_json::Value;

/// 2024-01-01T00:00:00Z.
const MODIFIED_S: u64 = 1_704_067_200;

/// A file that was written long ago, so that its date is the same in every run.
fn write(place: &Place, name: &str, content: impl AsRef<[u8]>) {
    write_at(place, name, content, MODIFIED_S);
}

fn write_at(place: &Place, name: &str, content: impl AsRef<[u8]>, modified_s: u64) {
    let path = place.0.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    let when = SystemTime::UNIX_EPOCH + Duration::from_secs(modified_s);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(when).unwrap();
}

/// A site with one of everything.
fn site(name: &str) -> Place {
    let place = Place::new(name);
    write(&place, "public/index.html", "<h1>home</h1>\n");
    write(&place, "public/docs/index.html", "<h1>docs</h1>\n");
    write(&place, "public/empty/note.txt", "a note\n");
    write(&place, "public/style.css", "a { color: red }\n".repeat(100));
    write(&place, "public/app.3f9a2b1c.js", "let a = 1;\n".repeat(500));
    write(&place, "public/app.3f9a2b1c.js.gz", "as if by gzip");
    write(&place, "public/app.3f9a2b1c.js.br", "as if by br");
    write_at(&place, "public/style.css.br", "old", MODIFIED_S - 1);
    write(&place, "public/.git/config", "secret");
    write(&place, "public/photo.jpg", "as if a picture");
    place
}

fn explained(place: &Place, arguments: &[&str]) -> String {
    let output = run(place, &[&["explain"], arguments].concat());
    let told = text(&output.stdout).to_owned();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    told
}

/// Compares with a golden file, but for what is of this run alone.
fn check_golden(place: &Place, name: &str, arguments: &[&str]) {
    let told = explained(place, arguments);
    let told = told.replace(&place.0.display().to_string(), "/place");
    let told = told.replace("/place\\", "/place/");
    let mut lines: Vec<String> = Vec::new();
    for line in told.lines() {
        let line = match line.split_once("X-Request-Id: ") {
            Some((before, _)) => [before, "X-Request-Id: (one of its own)"].concat(),
            None => line.to_owned(),
        };
        lines.push(match line.starts_with("Date: ") {
            true => "Date: (now)".to_owned(),
            false => line.trim_end().to_owned(),
        });
    }
    let told = [&lines.join("\n"), "\n"].concat();
    let path = format!("{}/tests/explain/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("GOLDEN").is_some() {
        fs::write(&path, &told).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    let hint = "after a wanted change: GOLDEN=1 cargo test -p aureon-service --test explain";
    assert_eq!(told, golden, "{hint}");
}

#[test]
fn people_read_the_steps_in_their_order() {
    let place = site("explain-golden");
    check_golden(&place, "page", &["GET", "/", "--root", "public"]);
    check_golden(&place, "slash", &["/docs?a=b", "public"]);
    let fields = [
        "-H",
        "Accept-Encoding: gzip;q=0.5, br;q=0.8",
        "-H",
        "Range: bytes=0-3",
    ];
    let asked = ["GET", "/app.3f9a2b1c.js", "public"];
    check_golden(&place, "hashed", &[&asked[..], &fields].concat());
    check_golden(&place, "method", &["POST", "/api/status", "--no-gzip"]);
    check_golden(&place, "refused", &["GET", "/a", "-H", "Host: a b"]);
}

/// The explanation as JSON.
fn told(place: &Place, arguments: &[&str]) -> Value {
    let json = explained(place, &[arguments, &["--json"]].concat());
    serde_json::from_str(&json).unwrap()
}

/// The steps by a rule, as subject and outcome.
fn steps<'v>(told: &'v Value, rule: &str) -> Vec<(&'v str, &'v str)> {
    let steps = told["steps"].as_array().unwrap().iter();
    steps
        .filter(|step| step["rule"] == rule)
        .map(|step| {
            let word = |key: &str| step[key].as_str().unwrap();
            (word("subject"), word("outcome"))
        })
        .collect()
}

fn field<'v>(told: &'v Value, name: &str) -> Option<&'v str> {
    let mut fields = told["fields"].as_array().unwrap().iter();
    let field = fields.find(|field| field["name"] == name)?;
    field["value"].as_str()
}

#[test]
fn what_caches_may_do_has_its_reason() {
    let place = site("explain-caching");
    write(&place, "public/404.html", "<h1>not here</h1>\n");
    for (target, caching) in [
        ("/", "no-cache"),
        ("/style.css", "no-cache"),
        ("/photo.jpg", "public, max-age=3600"),
        ("/app.3f9a2b1c.js", "public, max-age=31536000, immutable"),
        ("/empty/", "no-cache"),
        ("/none", "no-cache"),
        ("/api/status", "no-store"),
        ("/api/greet?name=a", "no-store"),
        ("/api/health", "no-store"),
        ("/healthz", "no-store"),
        ("/readyz", "no-store"),
    ] {
        let told = told(&place, &["GET", target, "public", "--listing"]);
        assert_eq!(field(&told, "Cache-Control"), Some(caching), "{target}");
        let steps = steps(&told, "caching");
        let [(subject, reason)] = steps[..] else {
            panic!("{target}: {steps:?}")
        };
        assert_eq!(subject, caching, "{target}");
        assert!(!reason.is_empty(), "{target}");
    }
    // What says nothing of caches needs no reason.
    for asked in [["GET", "/docs"], ["POST", "/api/status"]] {
        let told = told(&place, &[&asked[..], &["public"]].concat());
        assert_eq!(field(&told, "Cache-Control"), None);
        assert_eq!(steps(&told, "caching"), []);
    }
}

#[test]
fn programs_read_stable_keys() {
    let place = site("explain-keys");
    let told = told(&place, &["GET", "/style.css", "public"]);
    let keys: Vec<&str> = told.as_object().unwrap().keys().map(|key| &**key).collect();
    // In alphabetical order, as the parser keeps them.
    let expected = [
        "complete",
        "content_bytes",
        "fields",
        "method",
        "route",
        "status",
        "steps",
        "target",
    ];
    assert_eq!(keys, expected);
    assert_eq!(
        (&told["method"], &told["target"]),
        (&"GET".into(), &"/style.css".into())
    );
    assert_eq!(
        (&told["route"], &told["status"]),
        (&"/{*rest}".into(), &200.into())
    );
    assert_eq!(
        (&told["complete"], &told["content_bytes"]),
        (&true.into(), &1700.into())
    );
    assert_eq!(
        field(&told, "Content-Type"),
        Some("text/css; charset=utf-8")
    );
    let root = place.0.join("public").display().to_string();
    assert_eq!(steps(&told, "root"), [("DIR", &*root)]);
}

#[test]
fn routes_methods_and_captures_are_told() {
    let place = site("explain-routes");
    let head = told(&place, &["HEAD", "/api/greet?name=x"]);
    assert_eq!(
        (&head["route"], &head["status"]),
        (&"/api/greet".into(), &200.into())
    );
    assert_eq!(head["content_bytes"], 0);
    assert_eq!(field(&head, "Content-Length"), Some("23"));
    assert_eq!(
        steps(&head, "method"),
        [
            ("HEAD", "answered like GET, without the content"),
            ("HEAD", "a handler answers")
        ]
    );
    let options = told(&place, &["OPTIONS", "/api/greet"]);
    assert_eq!(options["status"], 204);
    assert_eq!(field(&options, "Allow"), Some("GET, HEAD, OPTIONS"));
    let expected = "answered by the router: 204, and Allow lists the methods";
    assert_eq!(steps(&options, "method"), [("OPTIONS", expected)]);
    let preflight = told(
        &place,
        &[
            "OPTIONS",
            "/api/greet",
            "-H",
            "Origin: https://a.example",
            "-H",
            "Access-Control-Request-Method: GET",
        ],
    );
    let cors = ("Cors", "answers by itself");
    assert!(
        steps(&preflight, "middleware").contains(&cors),
        "{preflight}"
    );
    let asterisk = told(&place, &["OPTIONS", "*"]);
    assert_eq!(
        (&asterisk["route"], &asterisk["status"]),
        (&"".into(), &204.into())
    );
    for target in ["/%zz", "/a%01", "/%ff"] {
        let malformed = told(&place, &["GET", target]);
        assert_eq!(malformed["status"], 400);
        let expected = [("GET", "the path can not be decoded: 400")];
        assert_eq!(steps(&malformed, "method"), expected);
        assert_eq!(steps(&malformed, "route"), []);
    }
    let routes = steps(&head, "route");
    for (subject, outcome) in [
        ("GET HEAD /api/greet", "matches"),
        ("GET HEAD /{*rest}", "no: it matches too, but less exactly"),
        (
            "GET HEAD /healthz",
            "no: the path has \"api\" where it has \"healthz\"",
        ),
        (
            "GET HEAD /api/status",
            "no: the path has \"greet\" where it has \"status\"",
        ),
    ] {
        assert!(
            routes.contains(&(subject, outcome)),
            "{subject} in {routes:?}"
        );
    }
}

#[test]
fn a_path_that_is_refused_says_why() {
    let place = site("explain-refused");
    for (target, status, why) in [
        ("/../etc/passwd", 404, "refused: a segment . or .."),
        ("/%2e%2e/etc/passwd", 404, "refused: a segment . or .."),
        (
            "/..%2fetc/passwd",
            404,
            "refused: an encoded slash, or a backslash",
        ),
        ("/a%5cb", 404, "refused: an encoded slash, or a backslash"),
        ("//etc/passwd", 404, "refused: two slashes in a row"),
        ("/.git/config", 404, "refused: a name begins with a dot"),
    ] {
        let told = told(&place, &["GET", target, "public"]);
        assert_eq!(told["status"], status, "{target}: {told}");
        let outcomes: Vec<&str> = steps(&told, "path").iter().map(|step| step.1).collect();
        assert_eq!(outcomes, [why], "{target}");
        assert!(steps(&told, "index").is_empty(), "nothing was looked for");
    }
    for (field, error) in [
        ("Host: a b", "Host"),
        ("Content-Length: 1", "ContentUnexpected"),
        ("Transfer-Encoding: gzip", "TransferEncoding"),
        ("A: b\r\n\r\nGET / HTTP/1.1", "LineEnd"),
    ] {
        let told = told(&place, &["/", "-H", field]);
        let refused = [(error, "refused, and the connection closes")];
        assert_eq!(steps(&told, "request"), refused);
        assert_eq!(field_of_refusal(&told), Some("close"));
    }
    let told = told(&place, &["BREW", "/"]);
    assert_eq!((&told["status"], &told["route"]), (&501.into(), &"".into()));
}

fn field_of_refusal(told: &Value) -> Option<&str> {
    field(told, "Connection")
}

#[test]
fn a_directory_is_its_index_a_redirect_a_listing_or_nothing() {
    let place = site("explain-directory");
    let index = told(&place, &["GET", "/docs/", "public"]);
    assert_eq!(steps(&index, "index"), [("docs/index.html", "a file")]);
    let slash = told(&place, &["GET", "/docs", "public"]);
    assert_eq!(
        (&slash["status"], field(&slash, "Location")),
        (&308.into(), Some("/docs/"))
    );
    let expected = [("docs", "a directory, asked for without its slash: 308")];
    assert_eq!(steps(&slash, "directory"), expected);
    let none = told(&place, &["GET", "/empty/", "public"]);
    assert_eq!(none["status"], 404);
    assert_eq!(steps(&none, "listing"), [("empty/", "off")]);
    let missing = ("empty/index.html", "not there, or no file beneath the root");
    assert_eq!(steps(&none, "index"), [missing]);
    let listed = told(&place, &["GET", "/empty/", "public", "--listing"]);
    assert_eq!(listed["status"], 200);
    let expected = [("empty/", "on: the directory's names are the answer")];
    assert_eq!(steps(&listed, "listing"), expected);
}

#[test]
fn codings_are_told_with_their_weights() {
    let place = site("explain-codings");
    let coding = |target: &str, accept: &str| {
        let accept = ["Accept-Encoding: ", accept].concat();
        let told = told(&place, &["GET", target, "public", "-H", &accept]);
        let steps = steps(&told, "coding");
        let steps = steps
            .iter()
            .map(|(subject, outcome)| format!("{subject} {outcome}"));
        let sent = field(&told, "Content-Encoding").map(str::to_owned);
        (steps.collect::<Vec<String>>(), sent)
    };
    let js = "/app.3f9a2b1c.js";
    assert_eq!(
        coding(js, "gzip, br;q=0.105"),
        (
            vec![
                "app.3f9a2b1c.js.br not sent: q=0.105".to_owned(),
                "app.3f9a2b1c.js.gz sent: q=1.000".to_owned(),
            ],
            Some("gzip".to_owned())
        )
    );
    let (steps_told, sent) = coding(js, "zstd");
    assert_eq!(
        sent.as_deref(),
        None,
        "a choice of siblings is not compressed again"
    );
    assert_eq!(
        steps_told,
        [
            "app.3f9a2b1c.js.br not sent: q=0.000",
            "app.3f9a2b1c.js.gz not sent: q=0.000",
            "app.3f9a2b1c.js sent as it is",
        ]
    );
    // A sibling that is older than its file is none, and then gzip is made on the fly.
    let (steps_told, sent) = coding("/style.css", "br, gzip;q=0.5");
    assert_eq!(sent.as_deref(), Some("gzip"));
    assert_eq!(
        steps_told,
        [
            "style.css.br not used: older than the file, or no file",
            "style.css nothing compressed beside it",
        ]
    );
}

#[test]
fn compressing_on_the_fly_says_why_or_why_not() {
    let place = site("explain-gzip");
    write(&place, "public/large.txt", "x".repeat(70_000));
    write(&place, "public/noise.bin", "y".repeat(2_000));
    let gzip = |arguments: &[&str]| {
        let fields = ["-H", "Accept-Encoding: gzip"];
        let told = told(&place, &[arguments, &["public"], &fields].concat());
        let steps = steps(&told, "gzip");
        assert_eq!(steps.len(), 1, "{told}");
        format!("{} {}", steps[0].0, steps[0].1)
    };
    assert_eq!(
        gzip(&["/style.css"]),
        "1700 bytes yes: compressed on the fly"
    );
    assert_eq!(gzip(&["/"]), "14 bytes no: so little does not pay");
    assert_eq!(
        gzip(&["/noise.bin"]),
        "2000 bytes no: its type does not shrink"
    );
    assert_eq!(gzip(&["/app.3f9a2b1c.js", "-H", "Accept-Encoding: br"]), {
        "11 bytes no: so little does not pay"
    });
    assert_eq!(
        gzip(&["/style.css", "-H", "Range: bytes=0-1499"]),
        "1500 bytes no: it is a part of something, or nothing"
    );
    let plain = told(&place, &["/style.css", "public"]);
    let expected = [("1700 bytes", "no: Accept-Encoding does not take it")];
    assert_eq!(steps(&plain, "gzip"), expected);
    let off = told(&place, &["/style.css", "public", "--no-gzip"]);
    assert_eq!(steps(&off, "gzip"), []);
    let large = told(&place, &["/large.txt", "public"]);
    let sizes: Vec<&str> = steps(&large, "gzip").iter().map(|step| step.1).collect();
    let first = sizes[0];
    assert!(first.starts_with("no: "), "{first}");
}

#[test]
fn conditions_and_ranges_that_were_given_are_evaluated() {
    let place = site("explain-conditions");
    let first = told(&place, &["/style.css", "public"]);
    let etag = field(&first, "ETag").unwrap().to_owned();
    let ask = |field: &str| told(&place, &["/style.css", "public", "-H", field]);
    let same = ask(&["If-None-Match: ", &etag].concat());
    assert_eq!(
        (&same["status"], &same["content_bytes"]),
        (&304.into(), &0.into())
    );
    assert_eq!(
        steps(&same, "conditions"),
        [(&*etag, "the client has it: 304")]
    );
    let since = ask("If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT");
    assert_eq!(since["status"], 304);
    let older = ask("If-Modified-Since: Sun, 31 Dec 2023 23:59:59 GMT");
    assert_eq!(older["status"], 200);
    assert_eq!(
        steps(&older, "conditions"),
        [(&*etag, "the client needs it")]
    );
    let other = ask("If-Match: \"x\"");
    assert_eq!(other["status"], 412);
    for (range, status, outcome) in [
        ("bytes=0-3", 206, "one part: 206"),
        ("bytes=0-3,1000-1003", 206, "several parts: 206"),
        ("bytes=99999-", 416, "beyond the end: 416"),
        (
            "lines=1-2",
            200,
            "not applied: not understood, or too many ranges",
        ),
    ] {
        let told = ask(&["Range: ", range].concat());
        assert_eq!(told["status"], status, "{range}");
        assert_eq!(steps(&told, "range"), [(range, outcome)]);
    }
    let fields = ["-H", "Range: bytes=0-3", "-H", "If-Range: \"x\""];
    let told = told(&place, &[&["/style.css", "public"], &fields[..]].concat());
    let outcome = "not applied: no GET, or If-Range names another state";
    assert_eq!(steps(&told, "range"), [("bytes=0-3", outcome)]);
}

#[test]
fn caching_has_its_reason() {
    let place = site("explain-caching");
    for (target, value, reason) in [
        ("/", "no-cache", "a page is asked for again each time"),
        (
            "/app.3f9a2b1c.js",
            "public, max-age=31536000, immutable",
            "the name has a hash of the content, which so never changes",
        ),
        (
            "/photo.jpg",
            "public, max-age=3600",
            "media may be an hour old",
        ),
        (
            "/style.css",
            "no-cache",
            "no hash in the name: it has to match the pages that use it",
        ),
    ] {
        let told = told(&place, &[target, "public"]);
        assert_eq!(steps(&told, "caching"), [(value, reason)]);
        assert_eq!(field(&told, "Cache-Control"), Some(value));
    }
}

#[test]
fn what_is_nowhere_is_the_applications_the_404_pages_or_nobodys() {
    let place = site("explain-nowhere");
    let html = ["-H", "Accept: text/html"];
    let ask = |arguments: &[&str]| told(&place, &[arguments, &["public"]].concat());
    let plain = ask(&["/nowhere"]);
    assert_eq!(
        (&plain["status"], steps(&plain, "spa")),
        (&404.into(), vec![("", "off")])
    );
    let spa = ask(&["/nowhere", "--spa", html[0], html[1]]);
    assert_eq!(spa["status"], 200);
    let expected = [("index.html", "answers pages that are not there")];
    assert_eq!(steps(&spa, "spa"), expected);
    let no_page = ask(&["/nowhere.png", "--spa", html[0], html[1]]);
    let expected = [("index.html", "no: a name with an extension is no page")];
    assert_eq!(
        (&no_page["status"], steps(&no_page, "spa")),
        (&404.into(), expected.to_vec())
    );
    let no_html = ask(&["/nowhere", "--spa"]);
    let expected = [("index.html", "no: Accept does not name text/html")];
    assert_eq!(
        (&no_html["status"], steps(&no_html, "spa")),
        (&404.into(), expected.to_vec())
    );
    let missing = ("404.html", "not there, or no file beneath the root");
    assert!(steps(&plain, "file").contains(&missing), "{plain}");
    write(&place, "public/404.html", "<h1>nothing here</h1>");
    let page = ask(&["/nowhere"]);
    assert_eq!(
        (&page["status"], &page["content_bytes"]),
        (&404.into(), &21.into())
    );
    assert_eq!(steps(&page, "file").last(), Some(&("404.html", "a file")));
}

#[test]
#[cfg(unix)] // A link.
fn what_a_link_leads_out_to_is_nowhere() {
    let place = site("explain-link");
    symlink("/etc/hostname", place.0.join("public/out")).unwrap();
    let out = told(&place, &["/out", "public"]);
    let outside = ("out", "not there, or no file beneath the root");
    assert_eq!(
        (&out["status"], steps(&out, "file")[0]),
        (&404.into(), outside)
    );
}

#[test]
fn the_configuration_is_the_one_that_serve_would_have() {
    let place = site("explain-configuration");
    place.write(
        "aureon.toml",
        "root = \"public\"\nspa = true\nsecurity_headers = false\n",
    );
    let told = told(&place, &["/", "--no-gzip"]);
    let root = place.0.join("public").display().to_string();
    assert_eq!(steps(&told, "root"), [("aureon.toml:1:8", &*root)]);
    let middleware: Vec<&str> = steps(&told, "middleware")
        .iter()
        .map(|step| step.0)
        .collect();
    assert_eq!(middleware, ["RequestIds"]);
    place.write("aureon.toml", "rooot = \"public\"\n");
    let output = run(&place, &["explain", "/"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).starts_with("aureon.toml:1:1: unknown key `rooot`"));
    place.write("aureon.toml", "root = \"nowhere\"\n");
    let output = run(&place, &["explain", "/"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("there is no "));
    let output = run(&place, &["explain", "GET"]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("write aureond explain GET /path"), "{told}");
}

#[test]
fn what_is_explained_is_what_is_served_and_nothing_is_written() {
    let place = site("explain-served");
    let root = place.0.join("public");
    // A root that nobody may write to is explained all the same.
    #[cfg(unix)]
    fs::set_permissions(&root, fs::Permissions::from_mode(0o555)).unwrap();
    let daemon = Daemon::start(&place, &["public"]);
    for target in [
        "/",
        "/docs",
        "/style.css",
        "/nowhere",
        "/api/message",
        "/.git/config",
        "/docs/",
    ] {
        let told = told(&place, &["GET", target, "public"]);
        let served = daemon.get(target);
        assert_eq!(told["status"].to_string(), served.status(), "{target}");
        let fields = told["fields"].as_array().unwrap();
        for field in fields {
            let (name, value) = (field["name"].as_str().unwrap(), &field["value"]);
            if !matches!(name, "Date" | "X-Request-Id") {
                assert_eq!(value.as_str(), served.field(name), "{target} {name}");
            }
        }
        // The server closes after this exchange, as it was asked to.
        let sent = served
            .head
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with("Connection:"));
        assert_eq!(fields.len(), sent.count(), "{target}: {}", served.head);
        assert_eq!(
            told["content_bytes"].as_u64(),
            Some(served.body.len() as u64)
        );
    }
    #[cfg(unix)]
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
}
