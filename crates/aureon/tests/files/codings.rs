//! Precompressed siblings and how long things may be kept.

use super::*;

#[test]
fn siblings_are_chosen_by_q_value_and_have_their_own_tag() {
    let tree = Tree::with(&[
        ("app.js", "identity"),
        ("app.js.br", "brotli"),
        ("app.js.zst", "zstd"),
        ("app.js.gz", "gzip"),
        ("plain.js", "plain"),
    ]);
    tree.age("app.js", 10);
    let site = tree.site();
    let mut tags = Vec::new();
    for (accept, coding, body) in [
        ("gzip, deflate, br, zstd", Some("br"), "brotli"),
        ("gzip, zstd", Some("zstd"), "zstd"),
        ("gzip;q=1, br;q=0.1", Some("gzip"), "gzip"),
        ("identity", None, "identity"),
        ("br;q=0, identity;q=0.5", None, "identity"),
    ] {
        let answer = site.get_with("/app.js", "Accept-Encoding", accept);
        assert_eq!((answer.status, answer.text()), (200, body), "{accept}");
        assert_eq!(answer.field("content-encoding"), coding);
        assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
        assert_eq!(
            answer.field("content-type"),
            Some("text/javascript; charset=utf-8")
        );
        tags.push(answer.field("etag").unwrap().to_owned());
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4);
    site.check("/app.js", 200, "identity");
    let plain = site.get_with("/plain.js", "Accept-Encoding", "br");
    assert_eq!((plain.text(), plain.field("vary")), ("plain", None));
    let off = Site::new(tree.files().precompressed(false));
    assert_eq!(
        off.get_with("/app.js", "Accept-Encoding", "br").text(),
        "identity"
    );
}

#[test]
fn conditions_and_ranges_are_of_the_chosen_coding() {
    let tree = Tree::with(&[("app.js", "identity"), ("app.js.br", "0123456789")]);
    tree.age("app.js", 10);
    let site = tree.site();
    let brotli = ("Accept-Encoding", "br");
    let tag = site
        .ask("GET", "/app.js", &[brotli])
        .field("etag")
        .unwrap()
        .to_owned();
    assert_eq!(
        site.ask("GET", "/app.js", &[brotli, ("If-None-Match", &tag)])
            .status,
        304
    );
    assert_eq!(
        site.ask("GET", "/app.js", &[("If-None-Match", &tag)])
            .status,
        200
    );
    let part = site.ask(
        "GET",
        "/app.js",
        &[brotli, ("Range", "bytes=2-3"), ("If-Range", &tag)],
    );
    assert_eq!((part.status, part.text()), (206, "23"));
    assert_eq!(part.field("content-encoding"), Some("br"));
}

#[test]
fn a_sibling_older_than_the_original_is_not_sent() {
    let tree = Tree::with(&[("app.js", "new"), ("app.js.gz", "old")]);
    tree.age("app.js.gz", 10);
    let site = tree.site();
    let answer = site.get_with("/app.js", "Accept-Encoding", "gzip");
    assert_eq!((answer.text(), answer.field("vary")), ("new", None));
    tree.age("app.js", 20);
    assert_eq!(
        site.get_with("/app.js", "Accept-Encoding", "gzip").text(),
        "old"
    );
}

#[test]
fn hashed_names_are_kept_and_pages_are_revalidated() {
    let tree = Tree::with(&[
        ("index.html", "x"),
        ("assets/app-BxK3f9aZ.js", "x"),
        ("logo.png", "x"),
        ("site.css", "x"),
    ]);
    let site = tree.site();
    for (path, policy) in [
        ("/", "no-cache"),
        (
            "/assets/app-BxK3f9aZ.js",
            "public, max-age=31536000, immutable",
        ),
        ("/logo.png", "public, max-age=3600"),
        ("/site.css", "no-cache"),
    ] {
        assert_eq!(
            site.get(path).field("cache-control"),
            Some(policy),
            "{path}"
        );
    }
    let own = Site::new(tree.files().cache_control("private, max-age=5").unwrap());
    assert_eq!(
        own.get("/").field("cache-control"),
        Some("private, max-age=5")
    );
    assert!(tree.files().cache_control("a\r\nX: y").is_err());
}
