//! The page built into the binary, served when no directory is named.
//!
//! Its files stand in `site/` beside `src/` and are compiled in, packed by `build.rs` and without
//! comments and indentation, so a binary alone shows that it works. It loads nothing from
//! elsewhere, which [`CONTENT_POLICY`] makes a promise.

use std::sync::OnceLock;

use aureon::files::Asset;

use crate::unpack::unpack;

/// What the page may load: its own files and its own API.
pub const CONTENT_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The files' names and lengths, in the order of their content.
const FILES: &[(&str, usize)] = include!(concat!(env!("OUT_DIR"), "/site.rs"));

/// Their content, one after the other.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/site.packed"));

/// The files, by path. They are unpacked once, and kept as long as the process lives.
pub fn assets() -> &'static [Asset] {
    static ASSETS: OnceLock<Vec<Asset>> = OnceLock::new();
    ASSETS.get_or_init(|| {
        let mut length = 0;
        for (_, bytes) in FILES {
            length += bytes;
        }
        let mut rest: &[u8] = unpack(PACKED, length).unwrap_or_default().leak();
        let mut assets = Vec::new();
        for (path, length) in FILES {
            let (bytes, after) = rest.split_at_checked(*length).unwrap_or_default();
            rest = after;
            assets.push(Asset { path, bytes });
        }
        assets
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_built_in_but_for_comments_and_the_space_around_lines() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/site");
        assert_eq!(
            assets().len(),
            std::fs::read_dir(directory).unwrap().count()
        );
        for asset in assets() {
            let text = std::fs::read_to_string(format!("{directory}/{}", asset.path)).unwrap();
            let built_in = std::str::from_utf8(asset.bytes).unwrap();
            let mut lines = built_in.lines();
            let mut next = lines.next();
            let mut left_out = String::new();
            for line in text.lines().map(str::trim) {
                if next == Some(line) {
                    next = lines.next();
                } else {
                    left_out.push_str(line);
                    left_out.push('\n');
                }
            }
            assert_eq!(next, None, "{}", asset.path);
            let (begin, end) = match asset.path.rsplit_once('.').unwrap().1 {
                "css" => ("/*", "*/"),
                "js" => ("//", "\n"),
                _ => ("<!--", "-->"),
            };
            let mut rest = left_out.trim_start();
            while !rest.is_empty() {
                assert!(rest.starts_with(begin), "{}: {rest}", asset.path);
                rest = rest.split_once(end).unwrap().1.trim_start();
            }
        }
    }

    #[test]
    fn what_is_packed_is_needed_to_its_end() {
        let length = FILES.iter().map(|(_, length)| length).sum();
        let whole = unpack(PACKED, length).unwrap();
        for cut in [0, 1, PACKED.len() / 2, PACKED.len() - 2] {
            assert_ne!(unpack(&PACKED[..cut], length).as_ref(), Some(&whole));
        }
    }
}
