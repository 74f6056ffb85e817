//! Small files that are read whole: the configuration, a file of ranges, what the kernel tells.
//!
//! Whoever names a wrong file, such as a disk image, learns so at once.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of such a file. 64 KiB: twenty times the example with every setting, two hundred times
/// today's ranges, and more than /proc tells of a process.
pub const BYTES_MAX: u64 = 64 << 10;

/// Reads it.
///
/// # Errors
///
/// It cannot be read, or is too large.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; BYTES_MAX as usize + 1];
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("larger than 64KiB"))
}

/// Reads it as text.
///
/// # Errors
///
/// Those of [`read`], or it is not UTF-8.
pub fn read_text(path: &str) -> io::Result<String> {
    let bytes = read(Path::new(path))?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_fits_and_is_text() {
        let path = std::env::temp_dir().join(format!("aureon-small-file-{}", std::process::id()));
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let text = read_text(path.to_str().unwrap());
            text.map(|text| text.len())
                .map_err(|error| error.to_string())
        };
        let most = BYTES_MAX as usize;
        assert_eq!(read(b"text"), Ok(4));
        assert_eq!(read(&vec![b'a'; most]), Ok(most));
        assert_eq!(
            read(&vec![b'a'; most + 1]),
            Err("larger than 64KiB".to_owned())
        );
        assert_eq!(read(b"\xff"), Err("not UTF-8".to_owned()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            super::read(&path).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
