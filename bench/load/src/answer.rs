//! Reading answers: just enough HTTP to know where one ends and whether it is what was asked for.
//! Refuses what a measured server must not send: another status, another length, no length.

use crate::Failure;

/// A whole head: its length in bytes, and what it says about the answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) bytes: usize,
    pub(crate) status: u16,
    /// `None` when the body is chunked.
    pub(crate) body_bytes: Option<usize>,
    pub(crate) close: bool,
}

/// Where the blank line ends, if it is there.
pub(crate) fn head_end(input: &[u8]) -> Option<usize> {
    let (pointer, blank) = (input.as_ptr(), b"\r\n\r\n");
    // SAFETY: both pointers and sizes describe live slices.
    let found = unsafe {
        libc::memmem(
            pointer.cast(),
            input.len(),
            blank.as_ptr().cast(),
            blank.len(),
        )
    };
    if found.is_null() {
        None
    } else {
        Some(found as usize - pointer as usize + 4)
    }
}

/// The value of a field in a head, without surrounding white space.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Parses the head at the start of `input`, or `None` while it is incomplete.
pub(crate) fn parse_head(input: &[u8]) -> Result<Option<Head>, Failure> {
    let Some(bytes) = head_end(input) else {
        return if input.len() > 65_536 {
            Err("a head above 64 KiB".into())
        } else {
            Ok(None)
        };
    };
    let head = std::str::from_utf8(&input[..bytes]).map_err(|_| "a head that is not UTF-8")?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| format!("no status line: {:?}", head.lines().next()))?;
    let chunked = field(head, "transfer-encoding").is_some_and(|v| v.contains("chunked"));
    let body_bytes = match field(head, "content-length") {
        _ if status == 204 || status == 304 || status < 200 => Some(0),
        _ if chunked => None,
        Some(value) => Some(
            value
                .parse()
                .map_err(|_| format!("Content-Length: {value}"))?,
        ),
        None => return Err(format!("an answer without a length: {head:?}")),
    };
    let close = field(head, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    Ok(Some(Head {
        bytes,
        status,
        body_bytes,
        close,
    }))
}

/// Checks answers that are all alike, at the cost of a few comparisons: where the last head ended
/// and stood its length, this one must too, or it is parsed in full.
pub(crate) struct Checker {
    body_bytes: usize,
    /// The last head that was parsed in full.
    known: Vec<u8>,
    /// Its `Content-Length` line, from the name to the end of the line.
    length_line: std::ops::Range<usize>,
}

impl Checker {
    pub(crate) fn new(body_bytes: usize) -> Checker {
        Checker {
            body_bytes,
            known: Vec::new(),
            length_line: 0..0,
        }
    }

    /// The length of the head at the start of `input` when it is the expected one.
    pub(crate) fn take_head(&mut self, input: &[u8]) -> Result<Option<usize>, Failure> {
        let length = self.known.len();
        if length > 0
            && input.len() >= length
            && input[..12] == self.known[..12]
            && input[length - 4..length] == self.known[length - 4..]
            && input[self.length_line.clone()] == self.known[self.length_line.clone()]
        {
            return Ok(Some(length));
        }
        let Some(head) = parse_head(input)? else {
            return Ok(None);
        };
        if head.status != 200 {
            return Err(format!("status {}", head.status));
        }
        if head.body_bytes != Some(self.body_bytes) {
            let expected = self.body_bytes;
            return Err(format!(
                "a body of {:?} bytes, expected {expected}",
                head.body_bytes
            ));
        }
        self.known = input[..head.bytes].to_vec();
        let lower = self.known.to_ascii_lowercase();
        let name = b"\r\ncontent-length:";
        let start = lower
            .windows(name.len())
            .position(|window| window == name)
            .unwrap_or(0);
        let end = lower[start + 2..]
            .windows(2)
            .position(|window| window == b"\r\n")
            .unwrap_or(0);
        self.length_line = start..start + 2 + end + 2;
        Ok(Some(head.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 2\r\n\r\nhi";

    #[test]
    fn reads_the_length_and_the_end_of_a_head() {
        let head = parse_head(ANSWER).unwrap().unwrap();
        let expected = Head {
            bytes: ANSWER.len() - 2,
            status: 200,
            body_bytes: Some(2),
            close: false,
        };
        assert_eq!(head, expected);
        assert_eq!(parse_head(&ANSWER[..20]).unwrap(), None);
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse_head(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn notices_another_length_or_status_after_many_alike() {
        let mut checker = Checker::new(2);
        for _ in 0..3 {
            assert_eq!(checker.take_head(ANSWER), Ok(Some(ANSWER.len() - 2)));
        }
        let other = |from: &str, to: &str| {
            String::from_utf8_lossy(ANSWER)
                .replace(from, to)
                .into_bytes()
        };
        assert!(checker.take_head(&other("length: 2", "length: 3")).is_err());
        assert!(checker.take_head(&other("200 OK", "503 No")).is_err());
        assert_eq!(
            checker.take_head(&other("Date: x", "Date: xyz")),
            Ok(Some(ANSWER.len()))
        );
        assert!(checker.take_head(&other("Date: x", "Date: xyzw")).is_ok());
    }
}
