//! The files that the file cells and the soak ask for. Their bytes follow from the position alone,
//! so that any range of any file can be checked without reading it.

use std::path::Path;

use crate::Failure;

/// Name and length. 1 KiB is the small file of the file cell; 100 KiB and 10 MiB go by sendfile.
pub(crate) const FILES: [(&str, usize); 3] = [
    ("1k.bin", 1_024),
    ("100k.bin", 102_400),
    ("10m.bin", 10_485_760),
];

/// The byte at a position of every file. The period is no power of two, so that a block sent
/// twice or left out does not look right.
pub(crate) fn byte_at(position: usize) -> u8 {
    ((position % 65_521) * 31 % 251) as u8
}

/// Where `bytes` differ from what a file holds from `start` on.
pub(crate) fn first_difference(bytes: &[u8], start: usize) -> Option<usize> {
    bytes
        .iter()
        .enumerate()
        .find(|(at, byte)| **byte != byte_at(start + at))
        .map(|(at, _)| at)
}

pub(crate) fn write_all(directory: &Path) -> Result<(), Failure> {
    for (name, length) in FILES {
        let bytes: Vec<u8> = (0..length).map(byte_at).collect();
        std::fs::write(directory.join(name), bytes).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}
