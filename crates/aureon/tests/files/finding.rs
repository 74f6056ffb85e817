//! What a path leads to: types, indexes, directories, large files.

use super::*;

#[test]
fn serves_a_tree_with_types_and_indexes() {
    let tree = Tree::with(&[
        ("index.html", "<p>home"),
        ("css/site.css", "a{}"),
        ("docs/index.html", "<p>docs"),
        ("a b/ä.txt", "umlaut"),
        ("empty.txt", ""),
    ]);
    let site = tree.site();
    site.check("/", 200, "<p>home");
    site.check("/index.html", 200, "<p>home");
    site.check("/docs/", 200, "<p>docs");
    site.check("/a%20b/%C3%A4.txt", 200, "umlaut");
    site.check("/empty.txt", 200, "");
    site.check("/css/site.css?v=1", 200, "a{}");
    assert_eq!(
        site.get("/").field("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(
        site.get("/css/site.css").field("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(
        site.get("/css/site.css").field("accept-ranges"),
        Some("bytes")
    );
    assert_eq!(site.get("/nothing.css").status, 404);
    assert_eq!(site.get("/css/site.css/").status, 404);
    assert_eq!(site.get("/css/site.css/more").status, 404);
}

#[test]
fn the_first_existing_index_stands_for_its_directory() {
    let tree = Tree::with(&[("a/default.htm", "second"), ("b/index.html", "other name")]);
    let site = Site::new(tree.files().index(&["home.html", "default.htm"]));
    site.check("/a/", 200, "second");
    tree.write("a/home.html", "first");
    site.check("/a/", 200, "first");
    assert_eq!(site.get("/b/").status, 404);
}

#[test]
fn a_large_file_is_sent_from_its_descriptor() {
    let tree = Tree::new();
    let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    tree.write("large.bin", &content);
    let answer = tree.site().get("/large.bin");
    assert!(matches!(answer.response.body(), Body::File(_)));
    assert_eq!(answer.response.body().len(), Some(200_000));
    assert_eq!(answer.body, content);
    let small = Tree::with(&[("small.bin", "x")]);
    assert!(matches!(
        small.site().get("/small.bin").response.body(),
        Body::Shared(_)
    ));
}

#[test]
fn head_is_answered_like_get() {
    let tree = Tree::with(&[("a.txt", "abc")]);
    let site = tree.site();
    let (get, head) = (site.get("/a.txt"), site.ask("HEAD", "/a.txt", &[]));
    assert_eq!(get.response.field_lines(), head.response.field_lines());
    assert_eq!(get.response.body().len(), head.response.body().len());
}

#[test]
fn other_methods_are_not_for_files() {
    let tree = Tree::with(&[("a.txt", "abc")]);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = tree
            .site()
            .ask(method, "/a.txt", &[("Content-Length", "0")]);
        assert_eq!(
            (answer.status, answer.field("allow")),
            (405, Some("GET, HEAD, OPTIONS"))
        );
    }
}

#[test]
fn a_directory_without_its_slash_is_redirected_and_keeps_the_query() {
    let tree = Tree::with(&[("docs/index.html", "x"), ("evil.com/index.html", "y")]);
    let site = tree.site();
    let answer = site.get("/docs?a=1&b=%2f");
    assert_eq!(
        (answer.status, answer.field("location")),
        (308, Some("/docs/?a=1&b=%2f"))
    );
    assert_eq!(site.get("/docs").field("location"), Some("/docs/"));
    assert_eq!(site.get("/docs?").field("location"), Some("/docs/?"));
}

#[test]
fn a_redirect_never_leaves_the_host() {
    let tree = Tree::with(&[("evil.com/index.html", "y")]);
    let site = tree.site();
    for below in ["/evil.com", "evil.com"] {
        // A mount that leaves the second slash to us, or takes it away.
        for target in ["//evil.com", "///evil.com", "/evil.com"] {
            let answer = site.ask_below(target, below);
            assert_eq!(
                (answer.status, answer.field("location")),
                (308, Some("/evil.com/"))
            );
        }
    }
    assert_eq!(site.get("//evil.com").status, 404);
    assert_eq!(site.get("//evil.com/").status, 404);
}

#[test]
fn a_root_that_does_not_exist_is_an_error_at_once() {
    let tree = Tree::with(&[("file", "x")]);
    assert!(Files::new(tree.0.join("nothing")).is_err());
    assert!(Files::new(tree.root().join("file")).is_err());
}
