//! Text as POSIX shell: words, here-documents, and bytes that are no text.
//!
//! Whatever is in a value, the shell that is made of it says that value and nothing else. People
//! read what is made here (`aureon plan --script`), so that text stays text.

/// One word: as it is when nothing in it means anything to a shell, else in single quotes.
#[must_use]
pub fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/@:+,=-%".contains(&byte);
    if !text.is_empty() && !text.starts_with('=') && text.bytes().all(plain) {
        return text.to_owned();
    }
    // What ends the quotes is put outside of them.
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Writes a file by the prelude's `put`: content as a here-document, or in base64 when a
/// here-document can not say it (zero bytes, carriage returns that editors lose, no newline at the
/// end, bytes that are no text).
#[must_use]
pub fn put(path: &str, mode: u32, owner: &str, content: &[u8]) -> String {
    let put = format!("put {} {mode:04o} {}", word(path), word(owner));
    match std::str::from_utf8(content) {
        Ok(text) if is_plain(text) => here_document(&put, text),
        _ => {
            let encoded = wrapped(&base64(content));
            here_document(&format!("base64 -d <<'{{}}' | {put}"), &encoded)
        }
    }
}

/// Runs `command` with `text`, which ends with a newline or is empty, as its standard input. A
/// command that has `<<'{}'` in it gets the here-document there.
#[must_use]
pub fn here_document(command: &str, text: &str) -> String {
    let end = delimiter(text);
    if command.contains("<<'{}'") {
        let command = command.replace("<<'{}'", &format!("<<'{end}'"));
        return format!("{command}\n{text}{end}\n");
    }
    format!("{command} <<'{end}'\n{text}{end}\n")
}

/// A comment of as many lines as the text needs.
#[must_use]
pub fn comment(text: &str) -> String {
    const WIDTH: usize = 98;
    let mut out = String::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                out.push_str(&format!("# {line}\n"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word.chars().filter(|c| !c.is_control()));
        }
        out.push_str(format!("# {line}").trim_end());
        out.push('\n');
    }
    out
}

/// Bytes in base64, RFC 4648 §4, on one line.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            if at > chunk.len() {
                out.push('=');
            } else {
                out.push(char::from(DIGITS[(word >> (18 - 6 * at) & 63) as usize]));
            }
        }
    }
    out
}

/// A here-document says it byte for byte, and it survives an editor.
fn is_plain(text: &str) -> bool {
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    (text.is_empty() || text.ends_with('\n')) && !text.chars().any(odd)
}

/// `END`, or `END1`, … : a line that is not in the text.
fn delimiter(text: &str) -> String {
    let mut end = "END".to_owned();
    let mut count = 0;
    while text.lines().any(|line| line == end) {
        count += 1;
        end = format!("END{count}");
    }
    end
}

/// Lines of 76, as base64(1) makes them.
fn wrapped(encoded: &str) -> String {
    let mut out = String::new();
    for (at, digit) in encoded.chars().enumerate() {
        if at > 0 && at % 76 == 0 {
            out.push('\n');
        }
        out.push(digit);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_they_are() {
        assert_eq!(word("/etc/nginx"), "/etc/nginx");
        assert_eq!(word(""), "''");
        assert_eq!(word("a b"), "'a b'");
        assert_eq!(word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(word("~root"), "'~root'");
        assert_eq!(word("=x"), "'=x'");
    }

    #[test]
    fn a_here_document_ends_with_a_line_that_is_not_in_it() {
        let shell = put("/etc/motd", 0o644, "root:root", b"a\nEND\nEND1\n");
        assert_eq!(
            shell,
            "put /etc/motd 0644 root:root <<'END2'\na\nEND\nEND1\nEND2\n"
        );
        assert_eq!(
            put("/x", 0o600, "0:0", b""),
            "put /x 0600 0:0 <<'END'\nEND\n"
        );
    }

    #[test]
    fn what_is_no_text_travels_in_base64() {
        for content in [
            &b"no newline"[..],
            b"a\r\n",
            b"\0\n",
            b"\xff\n",
            b"\x1b[31m\n",
        ] {
            let shell = put("/x", 0o644, "root:root", content);
            let wanted = format!(
                "base64 -d <<'END' | put /x 0644 root:root\n{}\nEND\n",
                base64(content)
            );
            assert_eq!(shell, wanted);
        }
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648 §10.
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, encoded) in vectors {
            assert_eq!(base64(bytes.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn comments_can_not_become_commands() {
        assert_eq!(comment("why\nrm -rf /\r\n"), "# why\n# rm -rf /\n");
        let long = comment(&"word ".repeat(60));
        assert!(
            long.lines()
                .all(|line| line.starts_with("# ") && line.len() <= 100)
        );
    }
}
