//! One range, several, none (RFC 9110 §14).

use super::*;

#[test]
fn one_range_is_a_part_with_its_place() {
    let tree = Tree::with(&[("a.txt", "0123456789")]);
    let site = tree.site();
    for (range, body, place) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-500", "56789", "bytes 5-9/10"),
        ("bytes=0-1,2-3", "0123", "bytes 0-3/10"),
    ] {
        let answer = site.get_with("/a.txt", "Range", range);
        assert_eq!((answer.status, answer.text()), (206, body), "{range}");
        assert_eq!(answer.field("content-range"), Some(place));
        assert_eq!(
            answer.field("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(answer.field("etag").is_some());
    }
}

#[test]
fn a_range_beyond_the_end_is_told_the_length() {
    let tree = Tree::with(&[("a.txt", "0123456789"), ("empty", "")]);
    let site = tree.site();
    let answer = site.get_with("/a.txt", "Range", "bytes=10-");
    assert_eq!(
        (answer.status, answer.field("content-range")),
        (416, Some("bytes */10"))
    );
    let answer = site.get_with("/empty", "Range", "bytes=0-");
    assert_eq!(
        (answer.status, answer.field("content-range")),
        (416, Some("bytes */0"))
    );
}

#[test]
fn a_range_that_is_not_for_us_is_ignored() {
    let tree = Tree::with(&[("a.txt", "0123456789")]);
    let site = tree.site();
    for range in ["lines=0-1", "bytes=x", "bytes=3-1", "0-1"] {
        assert_eq!(
            site.get_with("/a.txt", "Range", range).status,
            200,
            "{range}"
        );
    }
    let head = site.ask("HEAD", "/a.txt", &[("Range", "bytes=0-1")]);
    assert_eq!((head.status, head.field("content-range")), (200, None));
}

#[test]
fn if_range_sends_the_whole_when_the_client_has_another_state() {
    let tree = Tree::with(&[("a.txt", "0123456789")]);
    tree.age("a.txt", 100);
    let site = tree.site();
    let first = site.get("/a.txt");
    let (tag, date) = (
        first.field("etag").unwrap(),
        first.field("last-modified").unwrap(),
    );
    for (condition, status) in [
        (tag, 206),
        (date, 206),
        ("\"other\"", 200),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ("nonsense", 200),
    ] {
        let fields = [("Range", "bytes=0-1"), ("If-Range", condition)];
        assert_eq!(
            site.ask("GET", "/a.txt", &fields).status,
            status,
            "{condition}"
        );
    }
    let weak = format!("W/{tag}");
    let fields = [("Range", "bytes=0-1"), ("If-Range", weak.as_str())];
    assert_eq!(site.ask("GET", "/a.txt", &fields).status, 200);
    let fields = [("Range", "bytes=0-1"), ("If-None-Match", tag)];
    assert_eq!(site.ask("GET", "/a.txt", &fields).status, 304);
}

/// Reads a `multipart/byteranges` body back as pairs of place and content.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let content_type = answer.field("content-type").unwrap();
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let text: String = answer.body.iter().map(|byte| char::from(*byte)).collect();
    let inner = text.strip_prefix(&format!("--{boundary}\r\n")).unwrap();
    let inner = inner
        .strip_suffix(&format!("\r\n--{boundary}--\r\n"))
        .unwrap();
    inner
        .split(&format!("\r\n--{boundary}\r\n"))
        .map(|part| {
            let (head, content) = part.split_once("\r\n\r\n").unwrap();
            let place = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Range: "));
            assert!(head.contains("Content-Type: "));
            (
                place.unwrap().to_owned(),
                content.chars().map(|char| char as u8).collect(),
            )
        })
        .collect()
}

#[test]
fn several_ranges_come_as_parts_from_memory_and_from_a_descriptor() {
    let tree = Tree::new();
    let content: Vec<u8> = (0..150_000u32).map(|n| (n / 7) as u8).collect();
    tree.write("large.bin", &content);
    tree.write("small.bin", &content[..1_000]);
    for (path, len) in [("/large.bin", 150_000), ("/small.bin", 1_000)] {
        let answer = tree.site().get_with(path, "Range", "bytes=-10,0-9,500-599");
        assert_eq!(answer.status, 206);
        assert_eq!(answer.field("content-range"), None);
        let expected: Vec<(String, Vec<u8>)> = [(0, 9), (500, 599), (len - 10, len - 1)]
            .into_iter()
            .map(|(first, last)| {
                (
                    format!("bytes {first}-{last}/{len}"),
                    content[first..=last].to_vec(),
                )
            })
            .collect();
        assert_eq!(parts(&answer), expected);
        assert_eq!(answer.response.body().len(), Some(answer.body.len() as u64));
    }
}

#[test]
fn boundaries_differ_between_answers() {
    let tree = Tree::new();
    tree.write("a.bin", vec![0; 1_000]);
    let site = tree.site();
    let boundary = || {
        let answer = site.get_with("/a.bin", "Range", "bytes=0-0,500-500");
        answer.field("content-type").unwrap().to_owned()
    };
    assert_ne!(boundary(), boundary());
}

#[test]
fn a_flood_of_ranges_gets_the_whole_once() {
    let tree = Tree::new();
    tree.write("a.bin", vec![0; 100_000]);
    let flood: Vec<String> = (0..200)
        .map(|n| format!("{}-{}", n * 200, n * 200))
        .collect();
    let answer = tree
        .site()
        .get_with("/a.bin", "Range", &format!("bytes={}", flood.join(",")));
    assert_eq!((answer.status, answer.body.len()), (200, 100_000));
}
