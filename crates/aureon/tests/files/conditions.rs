//! Validators and conditional requests (RFC 9110 §8.8, §13).

use super::*;

#[test]
fn equal_content_has_an_equal_strong_tag_and_other_content_another() {
    let tree = Tree::with(&[("a.txt", "same"), ("b.txt", "same"), ("c.txt", "else")]);
    let site = tree.site();
    let tag = |path: &str| site.get(path).field("etag").unwrap().to_owned();
    assert_eq!(tag("/a.txt"), tag("/b.txt"));
    assert_ne!(tag("/a.txt"), tag("/c.txt"));
    assert!(tag("/a.txt").starts_with('"'));
}

#[test]
fn a_client_that_has_it_is_told_so() {
    let tree = Tree::with(&[("a.txt", "abc")]);
    let site = tree.site();
    let first = site.get("/a.txt");
    let (tag, date) = (
        first.field("etag").unwrap(),
        first.field("last-modified").unwrap(),
    );
    for (name, value) in [("If-None-Match", tag), ("If-Modified-Since", date)] {
        for method in ["GET", "HEAD"] {
            let answer = site.ask(method, "/a.txt", &[(name, value)]);
            assert_eq!((answer.status, answer.text()), (304, ""), "{name}");
            assert_eq!(answer.field("etag"), Some(tag));
            assert_eq!(answer.field("cache-control"), first.field("cache-control"));
            assert_eq!(answer.field("content-type"), None);
        }
    }
    assert_eq!(
        site.get_with("/a.txt", "If-None-Match", "\"other\"").status,
        200
    );
    assert_eq!(site.get_with("/a.txt", "If-Match", "\"other\"").status, 412);
    assert_eq!(site.get_with("/a.txt", "If-Match", tag).status, 200);
    let old = "Sat, 01 Jan 2000 00:00:00 GMT";
    assert_eq!(
        site.get_with("/a.txt", "If-Unmodified-Since", old).status,
        412
    );
    assert_eq!(
        site.get_with("/a.txt", "If-Modified-Since", old).status,
        200
    );
}

#[test]
fn conditions_do_not_touch_what_does_not_exist() {
    let tree = Tree::with(&[("404.html", "gone")]);
    for (name, value) in [
        ("If-Match", "\"x\""),
        ("If-None-Match", "*"),
        ("Range", "bytes=0-0"),
    ] {
        let answer = tree.site().get_with("/nothing", name, value);
        assert_eq!((answer.status, answer.text()), (404, "gone"), "{name}");
    }
}

#[test]
fn a_date_in_the_future_is_not_passed_on() {
    let tree = Tree::with(&[("a.txt", "abc")]);
    let file = File::options()
        .append(true)
        .open(tree.root().join("a.txt"))
        .unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(86_400))
        .unwrap();
    let answer = tree.site().get("/a.txt");
    let date = answer.field("last-modified").unwrap();
    let seconds = aureon::http::date::parse_date(date.as_bytes()).unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(seconds <= now, "{date}");
}

#[test]
fn a_large_file_has_a_weak_tag_until_its_change_has_settled() {
    let tree = Tree::new();
    tree.write("large.bin", vec![7; 100_000]);
    let site = tree.site();
    let weak = site.get("/large.bin").field("etag").unwrap().to_owned();
    assert!(weak.starts_with("W/"), "{weak}");
    let ranged = site.ask(
        "GET",
        "/large.bin",
        &[("Range", "bytes=0-1"), ("If-Range", &weak)],
    );
    assert_eq!(ranged.status, 200, "a weak validator is none for If-Range");
    // Two seconds later no second change can hide behind the same time stamp.
    let begun = Instant::now();
    let strong = loop {
        let tag = site.get("/large.bin").field("etag").unwrap().to_owned();
        if !tag.starts_with("W/") {
            break tag;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "never settled");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(weak, format!("W/{strong}"));
    let ranged = site.ask(
        "GET",
        "/large.bin",
        &[("Range", "bytes=0-1"), ("If-Range", &strong)],
    );
    assert_eq!((ranged.status, ranged.body.len()), (206, 2));
    assert_eq!(
        site.get_with("/large.bin", "If-None-Match", &weak).status,
        304
    );
}
