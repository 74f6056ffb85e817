//! Assets compiled into the program.

use super::*;

static ASSETS: &[Asset] = &[
    Asset {
        path: "index.html",
        bytes: b"<p>landing",
    },
    Asset {
        path: "css/site.css",
        bytes: b"0123456789",
    },
    Asset {
        path: "css/site.css.gz",
        bytes: b"packed",
    },
    Asset {
        path: "docs/index.html",
        bytes: b"docs",
    },
    Asset {
        path: "404.html",
        bytes: b"gone",
    },
];

#[test]
fn embedded_assets_are_answered_like_files() {
    let site = Site::new(Files::embedded(ASSETS));
    site.check("/", 200, "<p>landing");
    site.check("/docs/", 200, "docs");
    site.check("/nothing", 404, "gone");
    site.check("/css/", 404, "gone");
    site.check("/../secret.txt", 404, "gone");
    assert_eq!(site.get("/docs?x").field("location"), Some("/docs/?x"));
    let answer = site.get("/css/site.css");
    assert!(matches!(
        answer.response.body(),
        Body::Static(b"0123456789")
    ));
    assert_eq!(
        answer.field("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(answer.field("last-modified"), None);
    let tag = answer.field("etag").unwrap();
    assert_eq!(
        site.get_with("/css/site.css", "If-None-Match", tag).status,
        304
    );
    assert_eq!(
        site.get_with("/css/site.css", "Range", "bytes=2-3").text(),
        "23"
    );
    assert_eq!(
        site.get_with("/css/site.css", "Range", "bytes=10-").status,
        416
    );
    let packed = site.get_with("/css/site.css", "Accept-Encoding", "gzip");
    assert_eq!(
        (packed.text(), packed.field("content-encoding")),
        ("packed", Some("gzip"))
    );
    assert_ne!(packed.field("etag"), Some(tag));
}
