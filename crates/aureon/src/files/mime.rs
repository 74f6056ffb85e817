//! Content types by file extension, and what follows from a type.
//!
//! Owns one table after the IANA registry and common practice, and the rule for names
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
    let has = |extensions: &str| {
        let mut extensions = extensions.split(' ');
        extensions.any(|known| known.eq_ignore_ascii_case(extension))
    };
    let mut rows = TYPES.lines().filter_map(|row| row.split_once('|'));
    rows.find(|row| has(row.1)).map_or(UNKNOWN, |row| row.0)
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
/// A type and its extensions a line: as rows of pointers it would take twice the bytes. What most
/// sites are made of comes first, because it is searched from the top.
const TYPES: &str = "\
text/html; charset=utf-8|htm html
text/css; charset=utf-8|css
text/javascript; charset=utf-8|cjs js mjs
image/svg+xml|svg
image/png|png
image/jpeg|jfif jpeg jpg
image/webp|webp
font/woff2|woff2
font/woff|woff
application/json5|json5
application/jsonl|jsonl
application/json|json map
text/plain; charset=utf-8|asc c cfg conf cpp go h ini log patch pl py rs sh srt txt
application/wasm|wasm
application/atom+xml; charset=utf-8|atom
application/dash+xml|mpd
application/epub+zip|epub
application/geo+json|geojson
application/gpx+xml|gpx
application/gzip|gz tgz
application/java-archive|jar
application/ld+json|jsonld
application/manifest+json|webmanifest
application/msword|doc
application/octet-stream|bin br dmg exe msi
application/ogg|ogx
application/pdf|pdf
application/postscript|ai eps ps
application/rdf+xml; charset=utf-8|rdf
application/rss+xml; charset=utf-8|rss
application/rtf|rtf
application/sql|sql
application/toml|toml
application/vnd.amazon.ebook|azw
application/vnd.android.package-archive|apk
application/vnd.apple.keynote|key
application/vnd.apple.mpegurl|m3u8
application/vnd.apple.numbers|numbers
application/vnd.apple.pages|pages
application/vnd.apple.pkpass|pkpass
application/vnd.debian.binary-package|deb
application/vnd.google-earth.kml+xml|kml
application/vnd.google-earth.kmz|kmz
application/vnd.ms-excel|xls
application/vnd.ms-fontobject|eot
application/vnd.ms-powerpoint|ppt
application/vnd.oasis.opendocument.presentation|odp
application/vnd.oasis.opendocument.spreadsheet|ods
application/vnd.oasis.opendocument.text|odt
application/vnd.openxmlformats-officedocument.presentationml.presentation|pptx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet|xlsx
application/vnd.openxmlformats-officedocument.wordprocessingml.document|docx
application/vnd.rar|rar
application/x-7z-compressed|7z
application/x-apple-aspen-config|mobileconfig
application/x-bittorrent|torrent
application/x-bzip2|bz2
application/x-chrome-extension|crx
application/x-iso9660-image|iso
application/x-mobipocket-ebook|mobi
application/x-ndjson|ndjson
application/x-pem-file|pem
application/x-rpm|rpm
application/x-shockwave-flash|swf
application/x-tar|tar
application/x-x509-ca-cert|crt
application/x-xz|xz
application/xhtml+xml; charset=utf-8|xhtml
application/xml; charset=utf-8|xml
application/xslt+xml; charset=utf-8|xsl xslt
application/yaml|yaml yml
application/zip|zip
application/zstd|zst
audio/aac|aac
audio/aiff|aif aiff
audio/flac|flac
audio/midi|mid midi
audio/mp4|m4a
audio/mpeg|mp3
audio/ogg|oga ogg opus
audio/wav|wav
audio/webm|weba
audio/x-ms-wma|wma
font/collection|ttc
font/otf|otf
font/ttf|ttf
image/apng|apng
image/avif|avif
image/bmp|bmp
image/gif|gif
image/heic|heic
image/heif|heif
image/jxl|jxl
image/tiff|tif tiff
image/x-icon|cur ico
model/gltf+json|gltf
model/gltf-binary|glb
model/obj|obj
model/stl|stl
text/cache-manifest; charset=utf-8|appcache
text/calendar; charset=utf-8|ics
text/csv; charset=utf-8|csv
text/markdown; charset=utf-8|markdown md
text/tab-separated-values; charset=utf-8|tsv
text/vcard; charset=utf-8|vcf
text/vtt; charset=utf-8|vtt
text/x-component; charset=utf-8|htc
video/3gpp2|3g2
video/3gpp|3gp
video/mp2t|ts
video/mp4|m4v mp4
video/mpeg|mpeg mpg
video/ogg|ogv
video/quicktime|mov
video/webm|webm
video/x-flv|flv
video/x-matroska|mkv
video/x-ms-wmv|wmv";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_extension_once_in_lower_case() {
        let mut all: Vec<&str> = Vec::new();
        for row in TYPES.lines() {
            let (kind, extensions) = row.split_once('|').expect("a type and its extensions");
            let (family, rest) = kind.split_once('/').expect("a type and a subtype");
            assert!(!family.is_empty() && !rest.is_empty(), "{row}");
            assert_eq!(
                family == "text",
                kind.starts_with("text/") && kind.contains("charset")
            );
            all.extend(extensions.split(' '));
        }
        for extension in &all {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            assert!(!extension.is_empty() && extension.bytes().all(is_plain));
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), count), (157, 157));
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
