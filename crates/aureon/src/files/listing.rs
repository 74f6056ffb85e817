//! A directory as an HTML page, where the operator asked for that.
//!
//! Owns the page: names escaped for HTML and for URLs, directories first, then by name; sizes
//! and UTC dates. Names that [`super::resolve`] would refuse are left out, so every link works.

use std::fmt::Write;

use super::resolve::resolve;
use crate::http::date::civil_from_days;
use crate::sys::dir::{Entry, Facts, Kind};

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;\
max-width:60rem;padding:0 1rem}h1{font-size:1.25rem;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .5rem;text-align:left}\
td:not(:first-child){white-space:nowrap;font-variant-numeric:tabular-nums}\
td:nth-child(2),th:nth-child(2){text-align:right}tr:hover{background:#8882}";

/// What the page may do: nothing but its own style.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Makes the page for the directory at `path`, a decoded path below the root that is empty or
/// ends in a slash. `is_cut` says that the directory holds more entries than are given.
pub(super) fn write_listing(
    path: &str,
    mut entries: Vec<Entry>,
    is_cut: bool,
    shows_hidden: bool,
) -> String {
    entries.retain(|entry| is_shown(entry, shows_hidden));
    entries.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name)));
    let title = escape(path);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Index of /{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>Index of /{title}</h1>\n<table>\
         <tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr>\n"
    );
    if !path.is_empty() {
        page.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in &entries {
        let slash = if entry.facts.kind == Kind::Directory {
            "/"
        } else {
            ""
        };
        // Writing to a string cannot fail. `./` keeps a colon from looking like a scheme.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"./{}{slash}\">{}{slash}</a></td><td>{}</td><td>{}</td></tr>",
            encode(&entry.name),
            escape(&entry.name),
            size(&entry.facts),
            date(entry.facts.modified_s),
        );
    }
    page.push_str("</table>\n");
    if is_cut {
        let _ = writeln!(
            page,
            "<p>The directory holds more than the {} entries shown.</p>",
            { entries.len() }
        );
    }
    page.push_str("</body></html>\n");
    page
}

fn is_shown(entry: &Entry, shows_hidden: bool) -> bool {
    let is_servable = resolve(&encode(&entry.name)).is_ok();
    let is_hidden = entry.name.starts_with('.') && !shows_hidden;
    is_servable && !is_hidden && entry.facts.kind != Kind::Other
}

fn rank(entry: &Entry) -> u8 {
    u8::from(entry.facts.kind != Kind::Directory)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(char),
        }
    }
    escaped
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 §2.3.
fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn size(facts: &Facts) -> String {
    if facts.kind != Kind::File {
        return String::from("–");
    }
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if facts.len < 1024 {
        return format!("{} B", facts.len);
    }
    // With tenths of the unit, by shifting: no floating point for a file size. Ten times what is
    // left over fits: a unit is at most 2^60.
    let mut unit = 0;
    let mut shift = 10;
    while unit + 1 < UNITS.len() && facts.len >> shift >= 1024 {
        unit += 1;
        shift += 10;
    }
    let rest = facts.len % (1 << shift);
    let tenths = (rest * 10) >> shift;
    format!("{}.{tenths} {}", facts.len >> shift, UNITS[unit])
}

fn date(seconds: i64) -> String {
    let Ok(seconds) = u64::try_from(seconds) else {
        return String::from("–");
    };
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let minutes = seconds / 60;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        minutes / 60 % 24,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: Kind, len: u64) -> Entry {
        let facts = Facts {
            kind,
            len,
            modified_s: 784_903_526,
            modified_ns: 0,
            changed_s: 0,
            changed_ns: 0,
            inode: 1,
            device: 1,
        };
        Entry {
            name: name.to_owned(),
            facts,
        }
    }

    #[test]
    fn shows_directories_first_then_names_with_sizes_and_dates() {
        let entries = vec![
            entry("b.txt", Kind::File, 1536),
            entry("a.txt", Kind::File, 5),
            entry("z", Kind::Directory, 4096),
        ];
        let page = write_listing("docs/", entries, false, false);
        let at = |text: &str| {
            page.find(text)
                .unwrap_or_else(|| panic!("{text} in {page}"))
        };
        assert!(at("../") < at("./z/") && at("./z/") < at("a.txt") && at("a.txt") < at("b.txt"));
        at("<h1>Index of /docs/</h1>");
        at("<td>5 B</td><td>1994-11-15 12:45</td>");
        at("<td>1.5 KiB</td>");
        at("<td>–</td>");
        assert!(!page.contains("more than"));
    }

    #[test]
    fn no_name_can_become_markup_or_another_link() {
        let names = [
            "<script>alert(1)</script>",
            "\"onx=\"'&",
            "javascript:alert(1)",
            "a b%20",
        ];
        let entries = names.map(|name| entry(name, Kind::File, 1));
        let page = write_listing("<b>/", Vec::from(entries), false, false);
        for raw in [
            "<script>alert",
            "<b>",
            "\"onx",
            "href=\"javascript:",
            "href=\"./a b",
        ] {
            assert!(!page.contains(raw), "{raw}");
        }
        // Windows has no such name: it would be a stream of a file.
        let link = "href=\"./javascript%3Aalert%281%29\"";
        assert_eq!(page.contains(link), !crate::sys::WINDOWS_NAMES);
        assert!(page.contains("href=\"./a%20b%2520\""));
    }

    #[test]
    fn leaves_out_what_could_not_be_served() {
        let entries = || {
            vec![
                entry(".env", Kind::File, 1),
                entry("fifo", Kind::Other, 0),
                entry("over\\there", Kind::File, 1),
                entry("new\nline", Kind::File, 1),
            ]
        };
        let page = write_listing("", entries(), true, false);
        for name in [".env", "fifo", "over\\there", "new\nline", "../"] {
            assert!(!page.contains(name), "{name}");
        }
        assert!(page.contains("more than the 0 entries"));
        assert!(write_listing("", entries(), false, true).contains(".env"));
    }

    #[test]
    fn sizes_are_short() {
        let of = |len| size(&entry("a", Kind::File, len).facts);
        assert_eq!(of(0), "0 B");
        assert_eq!(of(1023), "1023 B");
        assert_eq!(of(1024), "1.0 KiB");
        assert_eq!(of(1024 * 1024 - 1), "1023.9 KiB");
        assert_eq!(of(10 * 1024 * 1024), "10.0 MiB");
        assert_eq!(of(u64::MAX), "15.9 EiB");
    }
}
