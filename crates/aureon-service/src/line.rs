//! One line of the access log: pretty for a person at a terminal, JSON for everything else.
//!
//! Formats into a byte vector that is used again, so at steady state nothing is allocated. The
//! fields are a list of what may be logged; Authorization, Cookie and the query, where secrets
//! travel, are not on it. Lengths are bounded and control characters escaped: a line is a line
//! whatever a client sent. Called by `access_log` on the workers.

use std::io::Write;

use aureon::app::RequestId;

use crate::json::{Object, write_clipped, write_ipv4, write_number, write_seconds};
use crate::logging::Level;
use crate::stamp::{STAMP_BYTES, Stamps, write_stamp};

/// Bytes of a path that are logged. 2 KiB: longer than any link people share.
pub const PATH_BYTES_MAX: usize = 2 * 1024;

/// Bytes of any other text that are logged. 512: browsers' longest User-Agent has about 300.
pub const TEXT_BYTES_MAX: usize = 512;

type Stamp = [u8; STAMP_BYTES];

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Aligned for eyes; with colours if true.
    Pretty(bool),
    /// One JSON object.
    Json,
    /// Apache's and nginx's Combined Log Format.
    Combined,
}

/// Something the server says about itself in the log.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// `warn` or `error`.
    pub level: &'static str,
    /// What happened.
    pub message: &'a str,
    /// How often, under the name this count has in JSON.
    pub count: (&'static str, u64),
}

impl Event<'_> {
    /// Writes the event with its line feed.
    pub fn write(&self, form: Form, out: &mut Vec<u8>) {
        let stamp = write_stamp(self.unix_ms);
        let (name, count) = self.count;
        if form == Form::Json {
            let mut object = Object::new(out);
            object.string("ts", stamp);
            object.string("level", self.level);
            object.clipped("message", self.message.as_bytes(), TEXT_BYTES_MAX);
            object.number(name, count);
            object.end();
        } else {
            out.extend_from_slice(&stamp[11..STAMP_BYTES - 1]);
            for part in [" ", self.level, ": ", self.message, " (", name, ": "] {
                write_printable(out, clip(part.as_bytes(), TEXT_BYTES_MAX));
            }
            write_number(out, count);
            out.push(b')');
        }
        out.push(b'\n');
    }
}

/// What a line says.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the exchange ended, in milliseconds since 1970.
    pub unix_ms: u64,
    /// `GET`, …; empty when the request line could not be read.
    pub method: &'a str,
    /// The path as sent, without the query.
    pub path: &'a [u8],
    /// Status code of the answer.
    pub status: u16,
    /// Bytes sent, head included.
    pub bytes: u64,
    /// Microseconds from the head's first byte to the answer's last.
    pub duration_us: u64,
    /// Address of the client; none on a Unix socket.
    pub client: Option<std::net::IpAddr>,
    /// The Host as sent.
    pub host: &'a [u8],
    /// User-Agent as sent.
    pub user_agent: &'a [u8],
    /// Referer as sent; its query is not written.
    pub referer: &'a [u8],
    /// It took longer than it should.
    pub slow: bool,
    /// The request's id, if it has one.
    pub request_id: Option<&'a RequestId>,
    /// Template of the route that answered, if one did.
    pub route: &'a str,
    /// How it ended, when not by a whole answer: `peer-gone`, `write-stalled`, …
    pub ending: Option<&'static str>,
    /// What went wrong in the handler, and whether it panicked.
    pub fault: Option<(&'a str, bool)>,
}

impl Line<'_> {
    /// Writes the line with its line feed.
    pub fn write(&self, form: Form, stamps: &mut Stamps, out: &mut Vec<u8>) {
        let stamp = stamps.at(self.unix_ms);
        match form {
            Form::Json => self.write_json(stamp, out),
            Form::Pretty(colours) => self.write_pretty(colours, stamp, out),
            Form::Combined => self.write_combined(stamp, out),
        }
        out.push(b'\n');
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        if self.fault.is_some() || self.status >= 500 {
            Level::Error
        } else if self.slow {
            Level::Warn
        } else {
            Level::Info
        }
    }

    /// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`, as Apache's mod_log_config has
    /// it. The request line is without the query, where secrets travel.
    fn write_combined(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        self.write_client(out);
        let (date, time) = (&stamp[..10], &stamp[11..19]);
        let month = (usize::from(date[5] - b'0') * 10 + usize::from(date[6] - b'0')).clamp(1, 12);
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(&date[8..]);
        out.push(b'/');
        out.extend_from_slice(&b"JanFebMarAprMayJunJulAugSepOctNovDec"[month * 3 - 3..month * 3]);
        out.push(b'/');
        out.extend_from_slice(&date[..4]);
        out.push(b':');
        out.extend_from_slice(time);
        out.extend_from_slice(b" +0000] \"");
        if self.method.is_empty() {
            out.push(b'-');
        } else {
            out.extend_from_slice(self.method.as_bytes());
            out.push(b' ');
            write_escaped(out, clip(self.path, PATH_BYTES_MAX));
            out.extend_from_slice(b" HTTP/1.1");
        }
        out.extend_from_slice(b"\" ");
        write_number(out, u64::from(self.status));
        out.push(b' ');
        if self.bytes == 0 {
            out.push(b'-');
        } else {
            write_number(out, self.bytes);
        }
        let referer = self
            .referer
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        for field in [referer, self.user_agent] {
            out.extend_from_slice(b" \"");
            if field.is_empty() {
                out.push(b'-');
            }
            write_escaped(out, clip(field, TEXT_BYTES_MAX));
            out.push(b'"');
        }
    }

    fn write_client(&self, out: &mut Vec<u8>) {
        match self.client {
            Some(std::net::IpAddr::V4(ip)) => write_ipv4(out, ip),
            // Writing into a vector cannot fail.
            Some(ip) => drop(write!(out, "{ip}")),
            None => out.extend_from_slice(b"unix"),
        }
    }

    /// Written out, because it is most of what a line costs: what is constant between two values
    /// is one piece, and nothing is moved twice.
    fn write_json(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ts\":\"");
        out.extend_from_slice(stamp);
        out.extend_from_slice(match self.level() {
            Level::Info => b"\",\"level\":\"info\",\"method\":\"",
            Level::Warn => b"\",\"level\":\"warn\",\"method\":\"",
            Level::Error => b"\",\"level\":\"error\",\"method\":\"".as_slice(),
        });
        // Methods are words of ours.
        out.extend_from_slice(self.method.as_bytes());
        out.extend_from_slice(b"\",\"path\":\"");
        write_clipped(out, self.path, PATH_BYTES_MAX);
        out.extend_from_slice(b"\",\"status\":");
        write_number(out, u64::from(self.status));
        out.extend_from_slice(b",\"bytes\":");
        write_number(out, self.bytes);
        out.extend_from_slice(b",\"duration\":");
        write_seconds(out, self.duration_us);
        out.extend_from_slice(b",\"client_ip\":\"");
        self.write_client(out);
        out.extend_from_slice(b"\",\"host\":\"");
        write_clipped(out, self.host, TEXT_BYTES_MAX);
        out.extend_from_slice(b"\",\"user_agent\":\"");
        write_clipped(out, self.user_agent, TEXT_BYTES_MAX);
        out.extend_from_slice(b"\",\"request_id\":\"");
        if let Some(id) = self.request_id {
            // Let in or made without anything that needs an escape.
            out.extend_from_slice(id.as_bytes());
        }
        out.extend_from_slice(b"\",\"route\":\"");
        write_clipped(out, self.route.as_bytes(), usize::MAX);
        out.push(b'"');
        if self.slow || self.ending.is_some() || self.fault.is_some() {
            self.write_json_rare(out);
        }
        out.push(b'}');
    }

    #[cold]
    fn write_json_rare(&self, out: &mut Vec<u8>) {
        let mut object = Object::resume(out);
        if self.slow {
            object.bool("slow", true);
        }
        if let Some(ending) = self.ending {
            object.string("ending", ending);
        }
        if let Some((message, panicked)) = self.fault {
            let name = if panicked { "panic" } else { "error" };
            object.clipped(name, message.as_bytes(), TEXT_BYTES_MAX);
        }
    }

    fn write_pretty(&self, colours: bool, stamp: &Stamp, out: &mut Vec<u8>) {
        // The time of day; a terminal's reader knows the date.
        out.extend_from_slice(&stamp[11..STAMP_BYTES - 1]);
        out.push(b' ');
        let colour: &[u8] = match self.status / 100 {
            2 => b"\x1b[32m",
            3 => b"\x1b[36m",
            4 => b"\x1b[33m",
            _ => b"\x1b[31m",
        };
        if colours {
            out.extend_from_slice(colour);
        }
        write_number(out, u64::from(self.status));
        if colours {
            out.extend_from_slice(b"\x1b[0m");
        }
        out.push(b' ');
        let from = out.len();
        out.extend_from_slice(self.method.as_bytes());
        pad_left_aligned(out, from, 7);
        let from = out.len();
        write_printable(out, clip(self.path, PATH_BYTES_MAX));
        pad_left_aligned(out, from, 36);
        let from = out.len();
        write_number(out, self.bytes);
        out.push(b'B');
        pad_left_aligned(out, from, 10);
        let from = out.len();
        write_short_duration(self.duration_us, out);
        pad_left_aligned(out, from, 8);
        self.write_client(out);
        if self.slow {
            out.extend_from_slice(b" slow");
        }
        if let Some(ending) = self.ending {
            out.push(b' ');
            out.extend_from_slice(ending.as_bytes());
        }
        if let Some((message, panicked)) = self.fault {
            out.extend_from_slice(if panicked {
                b" panic in "
            } else {
                b" error in "
            });
            out.extend_from_slice(self.route.as_bytes());
            out.extend_from_slice(b": ");
            write_printable(out, clip(message.as_bytes(), TEXT_BYTES_MAX));
        }
    }
}

/// The first `max` bytes.
fn clip(bytes: &[u8], max: usize) -> &[u8] {
    bytes.get(..max).unwrap_or(bytes)
}

fn pad_left_aligned(out: &mut Vec<u8>, from: usize, width: usize) {
    let to = (from + width).max(out.len()) + 1;
    out.resize(to, b' ');
}

/// Writes visible ASCII as it is and a question mark for every other byte: what a client sends
/// must not move the cursor of whoever reads it.
fn write_printable(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().map(|&byte| {
        if matches!(byte, b' '..=b'~') {
            byte
        } else {
            b'?'
        }
    }));
}

/// Writes as Apache does: a quote and a backslash behind a backslash, and `\xhh` for every byte
/// that is no visible ASCII.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                let (high, low) = (
                    DIGITS[usize::from(byte >> 4)],
                    DIGITS[usize::from(byte & 15)],
                );
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }
}

/// `873us`, `12.3ms`, `4.0s`: three digits are all an eye compares.
fn write_short_duration(us: u64, out: &mut Vec<u8>) {
    let (tenths, unit): (u64, &[u8]) = match us {
        0..1_000 => {
            write_number(out, us);
            return out.extend_from_slice(b"us");
        }
        1_000..1_000_000 => (us / 100, b"ms"),
        _ => (us / 100_000, b"s"),
    };
    write_number(out, tenths / 10);
    out.push(b'.');
    write_number(out, tenths % 10);
    out.extend_from_slice(unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line<'_> = Line {
        unix_ms: 1_795_334_703_042,
        method: "GET",
        path: b"/api/greet",
        status: 200,
        bytes: 321,
        duration_us: 1_234,
        client: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        host: b"localhost:8080",
        user_agent: b"curl/8",
        referer: b"",
        slow: false,
        request_id: None,
        route: "/api/greet",
        ending: None,
        fault: None,
    };

    fn written(line: &Line<'_>, form: Form) -> String {
        let mut out = Vec::new();
        line.write(form, &mut Stamps::new(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn json(line: &Line<'_>) -> serde_json::Value {
        let text = written(line, Form::Json);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn json_has_every_field_once() {
        let id = RequestId::parse(b"r1").unwrap();
        let line = Line {
            request_id: Some(&id),
            ..LINE
        };
        assert_eq!(
            written(&line, Form::Json),
            concat!(
                r#"{"ts":"2026-11-22T08:05:03.042Z","level":"info","method":"GET","#,
                r#""path":"/api/greet","status":200,"bytes":321,"duration":0.001234,"#,
                r#""client_ip":"127.0.0.1","host":"localhost:8080","user_agent":"curl/8","#,
                r#""request_id":"r1","route":"/api/greet"}"#,
                "\n"
            )
        );
        assert_eq!(json(&LINE)["duration"], 0.001234);
        assert_eq!(json(&LINE)["request_id"], "");
    }

    #[test]
    fn hostile_bytes_stay_inside_their_field() {
        let line = Line {
            path: b"/\"\n{}",
            user_agent: b"a\xff\x1b[2J\"}\n",
            host: &[b'h'; 70_000],
            client: None,
            ..LINE
        };
        let read = json(&line);
        assert_eq!(read["path"], "/\"\n{}");
        assert_eq!(read["user_agent"], "a\u{FFFD}\u{1b}[2J\"}\n");
        assert_eq!(
            read["host"].as_str().unwrap().chars().count(),
            TEXT_BYTES_MAX + 1
        );
        assert!(read["host"].as_str().unwrap().ends_with('…'));
        assert_eq!(read["client_ip"], "unix");
        let pretty = written(&line, Form::Pretty(false));
        assert!(
            pretty.contains("/\"?{}") && pretty.matches('\n').count() == 1,
            "{pretty}"
        );
        assert!(!pretty.contains('\x1b'));
    }

    #[test]
    fn pretty_lines_are_aligned_and_coloured_on_demand() {
        let plain = written(&LINE, Form::Pretty(false));
        let expected = format!(
            "08:05:03.042 200 {:7} {:36} {:10} {:8} 127.0.0.1\n",
            "GET", "/api/greet", "321B", "1.2ms"
        );
        assert_eq!(plain, expected);
        let coloured = written(&LINE, Form::Pretty(true));
        assert_eq!(
            coloured.replace("\x1b[32m", "").replace("\x1b[0m", ""),
            plain
        );
        assert_ne!(coloured, plain);
    }

    #[test]
    fn failures_are_errors_and_panics_name_their_route() {
        assert_eq!(
            json(&Line {
                status: 503,
                ..LINE
            })["level"],
            "error"
        );
        let line = Line {
            status: 500,
            fault: Some(("index 3", true)),
            ..LINE
        };
        assert_eq!(json(&line)["panic"], "index 3");
        assert_eq!(json(&line)["level"], "error");
        assert!(written(&line, Form::Pretty(false)).ends_with("panic in /api/greet: index 3\n"));
        let line = Line {
            fault: Some(("no disk", false)),
            ending: Some("peer-gone"),
            ..LINE
        };
        assert_eq!(json(&line)["error"], "no disk");
        assert_eq!(json(&line)["ending"], "peer-gone");
        let pretty = written(&line, Form::Pretty(false));
        assert!(pretty.ends_with("127.0.0.1 peer-gone error in /api/greet: no disk\n"));
    }

    #[test]
    fn combined_is_what_every_log_reader_knows() {
        let line = Line {
            referer: b"https://a.example/x?token=secret",
            user_agent: b"Mozilla/5.0 \"x\" \\ \xff\n",
            ..LINE
        };
        assert_eq!(
            written(&line, Form::Combined),
            concat!(
                r#"127.0.0.1 - - [22/Nov/2026:08:05:03 +0000] "GET /api/greet HTTP/1.1" 200 321 "#,
                r#""https://a.example/x" "Mozilla/5.0 \"x\" \\ \xff\x0a""#,
                "\n"
            )
        );
        let refused = Line {
            method: "",
            status: 400,
            bytes: 0,
            user_agent: b"",
            client: None,
            ..LINE
        };
        assert_eq!(
            written(&refused, Form::Combined),
            "unix - - [22/Nov/2026:08:05:03 +0000] \"-\" 400 - \"-\" \"-\"\n"
        );
        let first = Line { unix_ms: 0, ..LINE };
        assert!(written(&first, Form::Combined).contains("[01/Jan/1970:00:00:00 +0000]"));
    }

    #[test]
    fn a_slow_exchange_is_a_warning_that_says_so() {
        let slow = Line { slow: true, ..LINE };
        assert_eq!(json(&slow)["slow"], true);
        assert_eq!(json(&slow)["level"], "warn");
        assert!(written(&slow, Form::Pretty(false)).ends_with("127.0.0.1 slow\n"));
    }

    #[test]
    fn events_are_lines_too() {
        let event = Event {
            unix_ms: 0,
            level: "warn",
            message: "full\n",
            count: ("dropped", 3),
        };
        let mut out = Vec::new();
        event.write(Form::Json, &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["message"], "full\n");
        assert_eq!(json["dropped"], 3);
        out.clear();
        event.write(Form::Pretty(false), &mut out);
        assert_eq!(out, b"00:00:00.000 warn: full? (dropped: 3)\n");
    }

    #[test]
    fn durations_have_three_digits_at_most() {
        let shown = |us| {
            let mut out = Vec::new();
            write_short_duration(us, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(0), "0us");
        assert_eq!(shown(999), "999us");
        assert_eq!(shown(1_000), "1.0ms");
        assert_eq!(shown(12_345), "12.3ms");
        assert_eq!(shown(4_000_000), "4.0s");
    }
}
