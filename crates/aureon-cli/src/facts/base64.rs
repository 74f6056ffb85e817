//! Base64 (RFC 4648 §4), which is how anything passes through a line of text.
//!
//! coreutils has it on every host, and so scripts and inputs travel in it. Reading is strict: what
//! `base64` does not write is refused.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With padding, on one line.
#[must_use]
pub fn write_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            let used = place <= chunk.len();
            out.push(if used { char::from(letter) } else { '=' });
        }
    }
    out
}

/// Nothing when it is no base64.
#[must_use]
pub fn parse_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let groups = text.len() / 4;
    for (group, letters) in text.chunks(4).enumerate() {
        let padding = letters
            .iter()
            .rev()
            .take_while(|letter| **letter == b'=')
            .count();
        if padding > 2 || padding > 0 && group + 1 < groups {
            return None;
        }
        let mut bits = 0u32;
        for letter in &letters[..4 - padding] {
            let value = LETTERS.iter().position(|known| known == letter)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        bits <<= 6 * padding;
        let bytes = bits.to_be_bytes();
        // What padding stands for is zero, or two texts would mean the same.
        if bytes[4 - padding..].iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..4 - padding]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_the_examples_of_the_rfc() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in pairs {
            assert_eq!(write_base64(plain.as_bytes()), coded);
            assert_eq!(parse_base64(coded).unwrap(), plain.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(parse_base64(&write_base64(&all)).unwrap(), all);
    }

    #[test]
    fn refuses_what_is_no_base64() {
        for text in [
            "Z", "Zg=", "Zg==Zg==", "Z===", "====", "Zh==", "Zm9=", "Zm 9", "Zm9v\n",
        ] {
            assert_eq!(parse_base64(text), None, "{text}");
        }
    }
}
