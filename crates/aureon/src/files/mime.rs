//! Content types by file extension, and what follows from a type.
//!
//! Owns one sorted table after the IANA registry and common practice, and the rule for names
//! that are hashes of their content. Pure. Content is never sniffed: a wrong extension is the
//! operator's to mend. Text carries `charset=utf-8`, since a page in another encoding says so
//! itself and everything else is UTF-8 today.

/// The content type for a path or name, by its last extension in any case.
pub fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    // Apple fetches this one without an extension and wants JSON.
    if name == "apple-app-site-association" {
        return "application/json";
    }
    let Some(extension) = extension(name) else {
        return UNKNOWN;
    };
    let mut lower = [0; EXTENSION_BYTES_MAX];
    let Some(lower) = lower.get_mut(..extension.len()) else {
        return UNKNOWN;
    };
    lower.copy_from_slice(extension.as_bytes());
    lower.make_ascii_lowercase();
    match TYPES.binary_search_by(|(known, _)| known.as_bytes().cmp(lower)) {
        Ok(at) => TYPES[at].1,
        Err(_) => UNKNOWN,
    }
}

/// What follows the last dot of a name, unless the dot comes first or last.
pub(crate) fn extension(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then_some(extension)
}

/// The `Cache-Control` for a path of this type when the operator chose none.
///
/// A name that holds a hash of its content never changes, so it is kept for a year. Pictures,
/// fonts, sound and film that may change are kept for an hour. Everything else (pages, but also
/// styles and scripts without a hash, which belong to a page and must change with it) is
/// revalidated each time, which costs a 304.
pub fn cache_control(path: &str, content_type: &str) -> &'static str {
    caching(path, content_type).0
}

/// The same with the reason.
pub(super) fn caching(path: &str, content_type: &str) -> (&'static str, &'static str) {
    if content_type.starts_with("text/html") {
        return (REVALIDATE, "a page is asked for again each time");
    }
    if is_hashed(path) {
        let value = "public, max-age=31536000, immutable";
        return (
            value,
            "the name has a hash of the content, which so never changes",
        );
    }
    let family = content_type.split('/').next().unwrap_or(content_type);
    if matches!(family, "image" | "font" | "audio" | "video") {
        ("public, max-age=3600", "media may be an hour old")
    } else {
        (
            REVALIDATE,
            "no hash in the name: it has to match the pages that use it",
        )
    }
}

/// Whether a name carries a hash of its content, as bundlers write it: `app.3f9a2b1c.js`,
/// `index-BxK3f9aZ.css`, `chunk_ES5KQ2XX.mjs`.
///
/// A false yes would pin a changing file for a year, so what looks like a date, a version or a
/// word is refused: digits and letters must alternate. A hash that happens not to alternate only
/// loses its year.
pub fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut pieces = name.rsplit('.');
    let Some(_extension) = pieces.next() else {
        return false;
    };
    // `app.3f9a2b1c.js.map` and `app.3f9a2b1c.min.js` have it one place further left.
    let pieces: [Option<&str>; 2] = [pieces.next(), pieces.next()];
    pieces.into_iter().flatten().any(|piece| {
        let last = piece.rsplit(['-', '_']).next().unwrap_or(piece);
        // The name must be more than the hash alone or at least end in one that is long enough.
        looks_like_hash(last) && (last.len() < name.len())
    })
}

fn looks_like_hash(text: &str) -> bool {
    if !matches!(text.len(), 8 | 10 | 12 | 16 | 20 | 24 | 32 | 40 | 64) {
        return false;
    }
    #[derive(PartialEq, Clone, Copy)]
    enum Class {
        Digit,
        Lower,
        Upper,
    }
    let mut changes = 0;
    let mut last = None;
    let mut is_hex = true;
    for byte in text.bytes() {
        let class = match byte {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            _ => return false,
        };
        is_hex &= matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        changes += usize::from(last.is_some_and(|last| last != class));
        last = Some(class);
    }
    changes >= if is_hex { 2 } else { 4 }
}

const REVALIDATE: &str = "no-cache";
const UNKNOWN: &str = "application/octet-stream";
/// `webmanifest` and `mobileconfig`, the longest; the table's test watches it.
const EXTENSION_BYTES_MAX: usize = 12;

const TYPES: &[(&str, &str)] = &[
    ("3g2", "video/3gpp2"),
    ("3gp", "video/3gpp"),
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("ai", "application/postscript"),
    ("aif", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("apk", "application/vnd.android.package-archive"),
    ("apng", "image/apng"),
    ("appcache", "text/cache-manifest; charset=utf-8"),
    ("asc", "text/plain; charset=utf-8"),
    ("atom", "application/atom+xml; charset=utf-8"),
    ("avif", "image/avif"),
    ("azw", "application/vnd.amazon.ebook"),
    ("bin", "application/octet-stream"),
    ("bmp", "image/bmp"),
    ("br", "application/octet-stream"),
    ("bz2", "application/x-bzip2"),
    ("c", "text/plain; charset=utf-8"),
    ("cfg", "text/plain; charset=utf-8"),
    ("cjs", "text/javascript; charset=utf-8"),
    ("conf", "text/plain; charset=utf-8"),
    ("cpp", "text/plain; charset=utf-8"),
    ("crt", "application/x-x509-ca-cert"),
    ("crx", "application/x-chrome-extension"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("cur", "image/x-icon"),
    ("deb", "application/vnd.debian.binary-package"),
    ("dmg", "application/octet-stream"),
    ("doc", "application/msword"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("eot", "application/vnd.ms-fontobject"),
    ("eps", "application/postscript"),
    ("epub", "application/epub+zip"),
    ("exe", "application/octet-stream"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("go", "text/plain; charset=utf-8"),
    ("gpx", "application/gpx+xml"),
    ("gz", "application/gzip"),
    ("h", "text/plain; charset=utf-8"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("htc", "text/x-component; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("ini", "text/plain; charset=utf-8"),
    ("iso", "application/x-iso9660-image"),
    ("jar", "application/java-archive"),
    ("jfif", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("json5", "application/json5"),
    ("jsonl", "application/jsonl"),
    ("jsonld", "application/ld+json"),
    ("jxl", "image/jxl"),
    ("key", "application/vnd.apple.keynote"),
    ("kml", "application/vnd.google-earth.kml+xml"),
    ("kmz", "application/vnd.google-earth.kmz"),
    ("log", "text/plain; charset=utf-8"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("map", "application/json"),
    ("markdown", "text/markdown; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mkv", "video/x-matroska"),
    ("mobi", "application/x-mobipocket-ebook"),
    ("mobileconfig", "application/x-apple-aspen-config"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("msi", "application/octet-stream"),
    ("ndjson", "application/x-ndjson"),
    ("numbers", "application/vnd.apple.numbers"),
    ("obj", "model/obj"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("ogx", "application/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pages", "application/vnd.apple.pages"),
    ("patch", "text/plain; charset=utf-8"),
    ("pdf", "application/pdf"),
    ("pem", "application/x-pem-file"),
    ("pkpass", "application/vnd.apple.pkpass"),
    ("pl", "text/plain; charset=utf-8"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    ("ps", "application/postscript"),
    ("py", "text/plain; charset=utf-8"),
    ("rar", "application/vnd.rar"),
    ("rdf", "application/rdf+xml; charset=utf-8"),
    ("rpm", "application/x-rpm"),
    ("rs", "text/plain; charset=utf-8"),
    ("rss", "application/rss+xml; charset=utf-8"),
    ("rtf", "application/rtf"),
    ("sh", "text/plain; charset=utf-8"),
    ("sql", "application/sql"),
    ("srt", "text/plain; charset=utf-8"),
    ("stl", "model/stl"),
    ("svg", "image/svg+xml"),
    ("swf", "application/x-shockwave-flash"),
    ("tar", "application/x-tar"),
    ("tgz", "application/gzip"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("torrent", "application/x-bittorrent"),
    ("ts", "video/mp2t"),
    ("tsv", "text/tab-separated-values; charset=utf-8"),
    ("ttc", "font/collection"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("vcf", "text/vcard; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("wma", "audio/x-ms-wma"),
    ("wmv", "video/x-ms-wmv"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml; charset=utf-8"),
    ("xls", "application/vnd.ms-excel"),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    ("xml", "application/xml; charset=utf-8"),
    ("xsl", "application/xslt+xml; charset=utf-8"),
    ("xslt", "application/xslt+xml; charset=utf-8"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_lower_case_and_fits() {
        for pair in TYPES.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
        for (extension, kind) in TYPES {
            assert!(extension.len() <= EXTENSION_BYTES_MAX, "{extension}");
            assert!(
                !extension.bytes().any(|byte| byte.is_ascii_uppercase()),
                "{extension}"
            );
            let (family, rest) = kind.split_once('/').expect("a type and a subtype");
            assert!(!family.is_empty() && !rest.is_empty(), "{extension}");
            assert_eq!(
                family == "text",
                kind.starts_with("text/") && kind.contains("charset")
            );
        }
    }

    #[test]
    fn finds_types_by_extension_in_any_case() {
        assert_eq!(content_type("index.html"), "text/html; charset=utf-8");
        assert_eq!(content_type("a/b.c/INDEX.HTM"), "text/html; charset=utf-8");
        assert_eq!(content_type("app.min.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("x.woff2"), "font/woff2");
        assert_eq!(content_type("x.wasm"), "application/wasm");
        assert_eq!(
            content_type(".well-known/apple-app-site-association"),
            "application/json"
        );
    }

    #[test]
    fn does_not_guess() {
        for path in [
            "README",
            "a.unknownext",
            "html",
            ".html",
            "x.",
            "dir.html/file",
            "",
            "a.ä",
        ] {
            assert_eq!(content_type(path), UNKNOWN, "{path}");
        }
        assert_eq!(content_type("a.averyveryverylongextension"), UNKNOWN);
    }

    #[test]
    fn knows_bundlers_names() {
        for name in [
            "app.3f9a2b1c.js",
            "assets/index-BxK3f9aZ.css",
            "chunk_ES5KQ2XX.mjs",
            "main.0d1e2f3a4b5c6d7e8f90.js",
            "app.3f9a2b1c.js.map",
            "app.3f9a2b1c.min.js",
            "logo-9b74c9897bac770ffc029102a200c5de.png",
        ] {
            assert!(is_hashed(name), "{name}");
        }
    }

    #[test]
    fn does_not_take_words_dates_and_versions_for_hashes() {
        for name in [
            "report-20240115.pdf",
            "poster-Summer24.jpg",
            "photo-iPhone15.jpg",
            "decade20.css",
            "a-facade12.css",
            "jquery-3.7.1.min.js",
            "bootstrap.bundle.min.js",
            "index.html",
            "3f9a2b1c",
            "logo.svg",
            "TypeScript.md",
            "IMG_20240115.jpg",
            "archive.tar.gz",
            "",
        ] {
            assert!(!is_hashed(name), "{name}");
        }
    }

    #[test]
    fn caches_by_what_a_change_would_break() {
        let policy = |path: &str| cache_control(path, content_type(path));
        assert_eq!(policy("index.html"), "no-cache");
        assert_eq!(policy("page-BxK3f9aZ.html"), "no-cache");
        assert_eq!(policy("style.css"), "no-cache");
        assert_eq!(policy("logo.png"), "public, max-age=3600");
        assert_eq!(
            policy("assets/app.3f9a2b1c.js"),
            "public, max-age=31536000, immutable"
        );
    }
}
