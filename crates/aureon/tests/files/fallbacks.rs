//! What answers for a path that leads nowhere: application, 404 page, listing.

use super::*;

#[test]
fn an_application_gets_navigation_and_nothing_else() {
    let tree = Tree::with(&[("index.html", "app"), ("404.html", "gone"), ("a.js", "x")]);
    let site = Site::new(tree.files().spa("index.html"));
    let html = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    for path in ["/users/7", "/users/", "/a/b/c"] {
        for method in ["GET", "HEAD"] {
            let answer = site.ask(method, path, &html);
            assert_eq!((answer.status, answer.text()), (200, "app"), "{path}");
            assert_eq!(answer.field("vary"), Some("Accept"));
            assert_eq!(answer.field("cache-control"), Some("no-cache"));
        }
    }
    assert_eq!(site.ask("GET", "/missing.js", &html).status, 404);
    assert_eq!(site.ask("GET", "/.env", &html).status, 404);
    assert_eq!(site.ask("GET", "/a.js", &html).text(), "x");
    assert_eq!(site.get_with("/users/7", "Accept", "*/*").status, 404);
    assert_eq!(site.get("/users/7").status, 404);
    let tag = site
        .ask("GET", "/users/7", &html)
        .field("etag")
        .unwrap()
        .to_owned();
    let again = site.ask("GET", "/users/8", &[html[0], ("If-None-Match", &tag)]);
    assert_eq!(again.status, 304);
}

#[test]
fn a_404_page_goes_with_every_404() {
    let tree = Tree::with(&[
        ("404.html", "<p>gone"),
        ("404.html.gz", "packed"),
        ("docs/x", "x"),
    ]);
    tree.age("404.html", 10);
    let site = tree.site();
    for path in ["/nothing", "/.env", "/docs/", "/a//b"] {
        let answer = site.get(path);
        assert_eq!((answer.status, answer.text()), (404, "<p>gone"), "{path}");
        assert_eq!(
            answer.field("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(answer.field("cache-control"), Some("no-cache"));
        assert_eq!(answer.field("etag"), None);
    }
    let packed = site.get_with("/nothing", "Accept-Encoding", "gzip");
    assert_eq!((packed.status, packed.text()), (404, "packed"));
    assert_eq!(packed.field("content-encoding"), Some("gzip"));
    assert_eq!(packed.field("vary"), Some("Accept-Encoding"));
    let without = Site::new(tree.files().not_found(None));
    without.check("/nothing", 404, "Not Found");
}

#[test]
fn directories_are_listed_only_when_asked_for() {
    // Windows has no name with an angle bracket in it.
    let (name, escaped) = match cfg!(windows) {
        true => ("docs/a &i;.txt", "a%20%26i%3B.txt"),
        false => ("docs/a <i>.txt", "a%20%3Ci%3E.txt"),
    };
    let tree = Tree::with(&[
        ("docs/b.txt", "bb"),
        (name, "a"),
        ("docs/.hidden", "h"),
        ("docs/sub/x", "x"),
        ("with-index/index.html", "index"),
    ]);
    #[cfg(unix)]
    symlink("../../secret.txt", tree.root().join("docs/out")).unwrap();
    assert_eq!(tree.site().get("/docs/").status, 404);
    let site = Site::new(tree.files().listing(true));
    let answer = site.get("/docs/");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.field("content-type"),
        Some("text/html; charset=utf-8")
    );
    let page = answer.text();
    for wanted in [
        "Index of /docs/",
        "href=\"./sub/\"",
        "href=\"./b.txt\"",
        escaped,
    ] {
        assert!(page.contains(wanted), "{wanted} in {page}");
    }
    for unwanted in ["<i>", ".hidden", "out", "secret"] {
        assert!(!page.contains(unwanted), "{unwanted} in {page}");
    }
    site.check(&format!("/docs/{escaped}"), 200, "a");
    site.check("/with-index/", 200, "index");
    assert_eq!(site.get("/nothing/").status, 404);
    assert_eq!(site.get("/docs/b.txt/").status, 404);
    assert_eq!(site.get("/").status, 200);
}
