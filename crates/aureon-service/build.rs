//! Packs the files of `site/`, the page that is built in: half of their size.
//!
//! `src/unpack.rs` says how a packed text looks, and proves here that this one comes out whole.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

#[path = "src/unpack.rs"]
mod unpack;

use unpack::{COPY_BYTES_MIN, COUNT_MAX};

/// The largest number that two bytes hold.
const NUMBER_MAX: usize = (1 << 14) - 1;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=site");
    println!("cargo::rerun-if-changed=src/unpack.rs");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir("site")? {
        paths.push(entry?.path());
    }
    paths.sort_unstable();
    let mut text = Vec::new();
    let mut files = String::new();
    for path in paths {
        let bytes = std::fs::read(&path)?;
        let name = path.file_name().and_then(|name| name.to_str());
        writeln!(files, "({:?}, {}),", name.ok_or("no name")?, bytes.len())?;
        text.extend(bytes);
    }
    let packed = pack(&text);
    if unpack::unpack(&packed).as_ref() != Some(&text) {
        return Err("the packed site does not come out whole".into());
    }
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("site.packed"), packed)?;
    std::fs::write(Path::new(&out).join("site.rs"), format!("&[{files}]"))?;
    Ok(())
}

/// The shortest row of pieces, from the end to the beginning: what is best for the rest is known.
fn pack(text: &[u8]) -> Vec<u8> {
    let copies = longest_copies(text);
    // Bytes of the rest when packed, and the copy it begins with; none where a byte stands alone.
    let mut best = vec![(0, None); text.len() + 1];
    for at in (0..text.len()).rev() {
        best[at] = (best[at + 1].0 + 1, None);
        let (longest, back) = copies[at];
        for length in COPY_BYTES_MIN..=longest {
            let piece = 1 + count_bytes(length - COPY_BYTES_MIN) + number_bytes(back);
            let bytes = best[at + length].0 + piece;
            if bytes < best[at].0 {
                best[at] = (bytes, Some((length, back)));
            }
        }
    }
    let mut packed = Vec::new();
    let (mut at, mut plain_at) = (0, 0);
    while at < text.len() {
        if let Some((length, back)) = best[at].1 {
            put_piece(&mut packed, &text[plain_at..at], length - COPY_BYTES_MIN);
            put_number(&mut packed, back);
            at += length;
            plain_at = at;
        } else {
            at += 1;
        }
    }
    // The last piece copies nothing; what it would copy is not there.
    put_piece(&mut packed, &text[plain_at..], 0);
    packed
}

/// For each place, the longest copy that can stand there and how far back it begins: the nearest
/// of the longest ones.
fn longest_copies(text: &[u8]) -> Vec<(usize, usize)> {
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let mut copies = vec![(0, 0); text.len()];
    for (at, start) in text.windows(COPY_BYTES_MIN).enumerate() {
        let earlier = places.entry(start).or_default();
        for from in earlier
            .iter()
            .rev()
            .filter(|from| at - **from <= NUMBER_MAX)
        {
            let pairs = text[at..].iter().zip(&text[*from..]);
            let length = pairs.take_while(|(here, there)| here == there).count();
            if length > copies[at].0 {
                copies[at] = (length.min(NUMBER_MAX), at - from);
            }
        }
        earlier.push(at);
    }
    copies
}

/// Writes a piece but for how far back its copy begins.
fn put_piece(packed: &mut Vec<u8>, plain: &[u8], copied: usize) {
    let counts = [plain.len(), copied].map(|count| count.min(COUNT_MAX));
    packed.push((counts[0] << 4 | counts[1]) as u8);
    if counts[0] == COUNT_MAX {
        put_number(packed, plain.len() - COUNT_MAX);
    }
    packed.extend(plain);
    if counts[1] == COUNT_MAX {
        put_number(packed, copied - COUNT_MAX);
    }
}

/// Bytes that a count takes beside its four bits.
fn count_bytes(count: usize) -> usize {
    match count.checked_sub(COUNT_MAX) {
        Some(more) => number_bytes(more),
        None => 0,
    }
}

fn number_bytes(number: usize) -> usize {
    1 + usize::from(number > 127)
}

fn put_number(packed: &mut Vec<u8>, number: usize) {
    if number > 127 {
        packed.push((number & 127) as u8 | 128);
        packed.push((number >> 7) as u8);
    } else {
        packed.push(number as u8);
    }
}
