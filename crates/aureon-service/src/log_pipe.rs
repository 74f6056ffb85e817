//! Standard output as the access log's place: a pipe or the journal's socket may have two writers.
//!
//! While another process takes over, it and the old one write to the same pipe, and whatever one
//! of them can not write at once the other may run into. A write of at most `PIPE_BUF` bytes goes
//! in whole (pipe(7)), and a socket takes as little in one message; so lines go out in pieces of
//! that size that end where a line does. A process that ends in the middle tears none either. A
//! file or a terminal takes everything at once.

use std::io::{self, Write};

use aureon::sys::output;

/// Standard output.
#[derive(Debug)]
pub struct Standard {
    piece_bytes_max: usize,
}

impl Standard {
    /// Looks at what it is.
    pub fn open() -> Standard {
        Standard {
            piece_bytes_max: output::whole_bytes_max(),
        }
    }
}

impl Write for Standard {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        io::stdout().write(piece(lines, self.piece_bytes_max))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// As many whole lines as fit, or one that does not.
fn piece(lines: &[u8], bytes_max: usize) -> &[u8] {
    let Some(fits) = lines.get(..bytes_max) else {
        return lines;
    };
    let ends = |byte: &u8| *byte == b'\n';
    let last = fits.iter().rposition(ends);
    let end = last.or_else(|| lines.iter().position(ends));
    end.and_then(|end| lines.get(..=end)).unwrap_or(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_as_many_lines_as_fit_or_a_long_one() {
        let check = |lines: &str, piece_of_8: &str| {
            let found = piece(lines.as_bytes(), 8);
            assert_eq!(std::str::from_utf8(found).unwrap(), piece_of_8, "{lines:?}");
        };
        check("", "");
        check("ab\ncd\n", "ab\ncd\n");
        check("ab\ncdef\n", "ab\ncdef\n");
        check("ab\ncdefg\n", "ab\n");
        check("abcdefghij\nk\n", "abcdefghij\n");
        check("abcdefghij", "abcdefghij");
        assert_eq!(piece(b"a\nb\n", usize::MAX), b"a\nb\n");
    }
}
