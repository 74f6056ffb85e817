//! One line of the access log: pretty for a person at a terminal, JSON for everything else.
//!
//! Writes on a page that is used again, so at steady state nothing is allocated. The fields are a
//! list of what may be logged; Authorization, Cookie and the query, where secrets travel, are not
//! on it. Lengths are bounded and control characters escaped: a line is a line whatever a client
//! sent. Called by `access_log` on the workers.

use aureon::app::RequestId;
use aureon::http::Method;

use crate::json::{Object, Plain, four_digits, write_clipped, write_seconds};
use crate::kept::Kept;
use crate::logging::Level;
use crate::pen::{Page, Pen};
use crate::stamp::{STAMP_BYTES, write_stamp};

/// Bytes of a path that are logged. 2 KiB: longer than any link people share.
pub const PATH_BYTES_MAX: usize = 2 * 1024;

/// Bytes of any other text that are logged. 512: browsers' longest User-Agent has about 300.
pub const TEXT_BYTES_MAX: usize = 512;

/// Bytes that a byte of text takes when it is escaped: `\u001b`.
const ESCAPE_BYTES: usize = 6;

/// Bytes of a line beside its texts. 768: names 200, alignment 100, the request's id 64, an IPv6
/// address 45, numbers and a stamp 100, an ending and marks that texts were cut 100.
const FRAME_BYTES: usize = 768;

/// Bytes of a request's id that are copied whatever its length: a UUID's 36, in whole words.
const ID_BYTES: usize = 40;

/// The end of the microseconds that four digits can say: most exchanges end before.
const FOUR_END_US: u64 = 10_000;

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
    pub fn write(&self, form: Form, page: &mut Page) {
        let stamp = write_stamp(self.unix_ms);
        let (name, count) = self.count;
        let message = clip(self.message.as_bytes(), TEXT_BYTES_MAX).len();
        page.write(FRAME_BYTES + ESCAPE_BYTES * message, |room| {
            let mut pen = Pen::new(room);
            if form == Form::Json {
                let mut out = Vec::new();
                let mut object = Object::new(&mut out);
                object.string("ts", stamp);
                object.string("level", self.level);
                object.clipped("message", self.message.as_bytes(), TEXT_BYTES_MAX);
                object.number(name, count);
                object.end();
                pen.put(&out);
            } else {
                pen.put(&stamp[11..STAMP_BYTES - 1]);
                for part in [" ", self.level, ": ", self.message, " (", name, ": "] {
                    write_printable(&mut pen, clip(part.as_bytes(), TEXT_BYTES_MAX));
                }
                pen.number(count);
                pen.put(b")");
            }
            pen.put(b"\n");
            pen.written()
        });
    }
}

/// What a line says.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the exchange ended, in microseconds since 1970.
    pub unix_us: u64,
    /// None when the request line could not be read.
    pub method: Option<Method>,
    /// The path as sent, without the query.
    pub path: Plain<'a>,
    /// Status code of the answer.
    pub status: u16,
    /// Bytes sent, head included.
    pub bytes: u64,
    /// Microseconds from the request's last byte to the answer's last.
    pub duration_us: u64,
    /// Address of the client; none on a Unix socket.
    pub client: Option<std::net::IpAddr>,
    /// The Host as sent.
    pub host: &'a [u8],
    /// User-Agent as sent.
    pub user_agent: &'a [u8],
    /// Referer as sent; its query is not written.
    pub referer: &'a [u8],
    /// It took longer than it should, the most of it in this stage.
    pub slow: Option<&'static str>,
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
    #[inline(always)]
    pub fn write(&self, form: Form, kept: &mut Kept, page: &mut Page) {
        let bytes_max = self.bytes_max();
        match form {
            Form::Json => page.write(bytes_max, |room| self.write_json(kept, room)),
            _ => self.write_other(form, kept, page, bytes_max),
        }
    }

    #[inline(never)]
    fn write_other(&self, form: Form, kept: &mut Kept, page: &mut Page, bytes_max: usize) {
        page.write(bytes_max, |room| {
            let mut pen = Pen::new(room);
            match form {
                Form::Pretty(colours) => self.write_pretty(colours, kept, &mut pen),
                _ => self.write_combined(kept, &mut pen),
            }
            pen.written()
        });
    }

    /// Bytes that the line has at most.
    #[inline(always)]
    fn bytes_max(&self) -> usize {
        let fields = self.host.len() + self.user_agent.len() + self.referer.len();
        let fault = self.fault.map_or(0, |(message, _)| message.len());
        let all = fields + fault + self.path.bytes().len() + self.route.len();
        match all {
            0..=TEXT_BYTES_MAX => FRAME_BYTES + ESCAPE_BYTES * TEXT_BYTES_MAX,
            _ => self.long_bytes_max(fault),
        }
    }

    #[inline(never)]
    fn long_bytes_max(&self, fault: usize) -> usize {
        let texts = [
            self.host.len(),
            self.user_agent.len(),
            self.referer.len(),
            fault,
        ];
        let path = self.path.bytes().len().min(PATH_BYTES_MAX);
        let texts = texts
            .iter()
            .fold(path, |sum, bytes| sum + bytes.min(&TEXT_BYTES_MAX));
        FRAME_BYTES + ESCAPE_BYTES * (texts + self.route.len())
    }

    /// How bad it is.
    #[inline]
    pub fn level(&self) -> Level {
        if self.fault.is_some() || self.status >= 500 {
            Level::Error
        } else if self.slow.is_some() {
            Level::Warn
        } else {
            Level::Info
        }
    }

    /// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`, as Apache's mod_log_config has
    /// it. The request line is without the query, where secrets travel.
    fn write_combined(&self, kept: &mut Kept, pen: &mut Pen<'_>) {
        let stamp = kept.stamps.at(self.unix_us);
        pen.put(kept.client.address(self.client));
        let (date, time) = (&stamp[..10], &stamp[11..19]);
        let month = (usize::from(date[5] - b'0') * 10 + usize::from(date[6] - b'0')).clamp(1, 12);
        pen.put(b" - - [");
        pen.put(&date[8..]);
        pen.put(b"/");
        pen.put(&b"JanFebMarAprMayJunJulAugSepOctNovDec"[month * 3 - 3..month * 3]);
        pen.put(b"/");
        pen.put(&date[..4]);
        pen.put(b":");
        pen.put(time);
        pen.put(b" +0000] \"");
        if let Some(method) = self.method {
            pen.put(method.as_str().as_bytes());
            pen.put(b" ");
            write_escaped(pen, clip(self.path.bytes(), PATH_BYTES_MAX));
            pen.put(b" HTTP/1.1");
        } else {
            pen.put(b"-");
        }
        pen.put(b"\" ");
        pen.number(u64::from(self.status));
        pen.put(b" ");
        if self.bytes == 0 {
            pen.put(b"-");
        } else {
            pen.number(self.bytes);
        }
        let referer = self
            .referer
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        for field in [referer, self.user_agent] {
            pen.put(b" \"");
            if field.is_empty() {
                pen.put(b"-");
            }
            write_escaped(pen, clip(field, TEXT_BYTES_MAX));
            pen.put(b"\"");
        }
        pen.put(b"\n");
    }

    /// Written out, because it is most of what a line costs: what is constant between two values
    /// is one piece, and what was the same in a line before is copied from there.
    #[inline(always)]
    fn write_json(&self, kept: &mut Kept, room: &mut [u8]) -> usize {
        let mut pen = Pen::new(room);
        let (level, stamps) = (self.level(), &mut kept.stamps);
        let (start, len) = kept.start.of(self.unix_us, level, self.method, stamps);
        // In two: what is longer than 64 bytes is not a few stores but a loop of the processor's.
        let (first, second) = (start.first_chunk::<64>(), start.last_chunk::<16>());
        if let (Some(first), Some(second)) = (first, second) {
            pen.fixed(first);
            pen.padded(second, len - 64);
        }
        match self.path.bytes() {
            path if path.len() <= PATH_BYTES_MAX => pen.copy(path),
            path => pen.copy(rarely(&mut kept.rare, |out| {
                write_clipped(out, path, PATH_BYTES_MAX);
            })),
        }
        let (result, len) = kept.result.of(self.status, self.bytes);
        pen.padded(result, len);
        if self.duration_us < FOUR_END_US {
            pen.fixed(b"0.00");
            pen.fixed(&four_digits(self.duration_us as u32).to_le_bytes());
        } else {
            pen.copy(rarely(&mut kept.rare, |out| {
                write_seconds(out, self.duration_us);
            }));
        }
        pen.fixed(b",\"client_ip\":\"");
        let client = kept.client.of(self.client, self.host, self.user_agent);
        pen.blocks(client.blocks());
        if let Some(id) = self.request_id {
            // Let in or made without anything that needs an escape.
            match id.padded().first_chunk::<ID_BYTES>() {
                Some(piece) if id.len() <= ID_BYTES => pen.padded(piece, id.len()),
                _ => pen.copy(id.as_bytes()),
            }
        }
        pen.blocks(kept.routes.of(self.route).blocks());
        if self.slow.is_some() || self.ending.is_some() || self.fault.is_some() {
            pen.copy(rarely(&mut kept.rare, |out| self.write_rare_end(out)));
        } else {
            pen.fixed(b"\"}\n");
        }
        pen.written()
    }

    /// What few lines have, and the end.
    fn write_rare_end(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        let mut object = Object::resume(out);
        if let Some(stage) = self.slow {
            object.bool("slow", true);
            object.string("stage", stage);
        }
        if let Some(ending) = self.ending {
            object.string("ending", ending);
        }
        if let Some((message, panicked)) = self.fault {
            let name = if panicked { "panic" } else { "error" };
            object.clipped(name, message.as_bytes(), TEXT_BYTES_MAX);
        }
        object.end();
        out.push(b'\n');
    }

    fn write_pretty(&self, colours: bool, kept: &mut Kept, pen: &mut Pen<'_>) {
        let stamp = kept.stamps.at(self.unix_us);
        // The time of day; a terminal's reader knows the date.
        pen.put(&stamp[11..STAMP_BYTES - 1]);
        pen.put(b" ");
        let colour: &[u8] = match self.status / 100 {
            2 => b"\x1b[32m",
            3 => b"\x1b[36m",
            4 => b"\x1b[33m",
            _ => b"\x1b[31m",
        };
        if colours {
            pen.put(colour);
        }
        pen.number(u64::from(self.status));
        if colours {
            pen.put(b"\x1b[0m");
        }
        pen.put(b" ");
        let from = pen.written();
        pen.put(self.method.map_or("", Method::as_str).as_bytes());
        pad_left_aligned(pen, from, 7);
        let from = pen.written();
        write_printable(pen, clip(self.path.bytes(), PATH_BYTES_MAX));
        pad_left_aligned(pen, from, 36);
        let from = pen.written();
        pen.number(self.bytes);
        pen.put(b"B");
        pad_left_aligned(pen, from, 10);
        let from = pen.written();
        write_short_duration(self.duration_us, pen);
        pad_left_aligned(pen, from, 8);
        pen.put(kept.client.address(self.client));
        if let Some(stage) = self.slow {
            pen.put(b" slow to ");
            pen.put(stage.as_bytes());
        }
        if let Some(ending) = self.ending {
            pen.put(b" ");
            pen.put(ending.as_bytes());
        }
        if let Some((message, panicked)) = self.fault {
            pen.put(if panicked {
                b" panic in "
            } else {
                b" error in "
            });
            pen.put(self.route.as_bytes());
            pen.put(b": ");
            write_printable(pen, clip(message.as_bytes(), TEXT_BYTES_MAX));
        }
        pen.put(b"\n");
    }
}

/// What few lines have is written by itself.
#[cold]
#[inline(never)]
fn rarely(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
    out.clear();
    write(out);
    out
}

/// The first `max` bytes.
fn clip(bytes: &[u8], max: usize) -> &[u8] {
    bytes.get(..max).unwrap_or(bytes)
}

fn pad_left_aligned(pen: &mut Pen<'_>, from: usize, width: usize) {
    let written = pen.written() - from;
    pen.repeat(b' ', width.saturating_sub(written) + 1);
}

/// Writes visible ASCII as it is and a question mark for every other byte: what a client sends
/// must not move the cursor of whoever reads it.
fn write_printable(pen: &mut Pen<'_>, bytes: &[u8]) {
    for run in bytes.split_inclusive(|byte| !matches!(byte, b' '..=b'~')) {
        match run.split_last() {
            Some((last, clean)) if !matches!(last, b' '..=b'~') => {
                pen.put(clean);
                pen.put(b"?");
            }
            _ => pen.put(run),
        }
    }
}

/// Writes as Apache does: a quote and a backslash behind a backslash, and `\xhh` for every byte
/// that is no visible ASCII.
fn write_escaped(pen: &mut Pen<'_>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    for run in bytes.split_inclusive(|byte| !plain(byte)) {
        match run.split_last() {
            Some((&last, clean)) if !plain(&last) => {
                pen.put(clean);
                if matches!(last, b'"' | b'\\') {
                    pen.put(&[b'\\', last]);
                } else {
                    let high = DIGITS[usize::from(last >> 4)];
                    let low = DIGITS[usize::from(last & 15)];
                    pen.put(&[b'\\', b'x', high, low]);
                }
            }
            _ => pen.put(run),
        }
    }
}

/// `873us`, `12.3ms`, `4.0s`: three digits are all an eye compares.
fn write_short_duration(us: u64, pen: &mut Pen<'_>) {
    let (tenths, unit): (u64, &[u8]) = match us {
        0..1_000 => {
            pen.number(us);
            return pen.put(b"us");
        }
        1_000..1_000_000 => (us / 100, b"ms"),
        _ => (us / 100_000, b"s"),
    };
    pen.number(tenths / 10);
    pen.put(b".");
    pen.number(tenths % 10);
    pen.put(unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line<'_> = Line {
        unix_us: 1_795_334_703_042_999,
        method: Some(Method::Get),
        path: Plain::literal(b"/api/greet"),
        status: 200,
        bytes: 321,
        duration_us: 1_234,
        client: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        host: b"localhost:8080",
        user_agent: b"curl/8",
        referer: b"",
        slow: None,
        request_id: None,
        route: "/api/greet",
        ending: None,
        fault: None,
    };

    fn written(line: &Line<'_>, form: Form) -> String {
        let mut page = Page::new();
        line.write(form, &mut Kept::default(), &mut page);
        String::from_utf8(page.written().to_vec()).unwrap()
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
        for (duration_us, seconds) in [
            (0, "0.000000"),
            (999_999, "0.999999"),
            (1_000_000, "1.000000"),
            (123_456_789_012, "123456.789012"),
        ] {
            let line = Line {
                duration_us,
                ..LINE
            };
            let field = format!(",\"duration\":{seconds},\"client_ip\"");
            assert!(written(&line, Form::Json).contains(&field), "{seconds}");
        }
        assert_eq!(json(&LINE)["request_id"], "");
    }

    #[test]
    fn hostile_bytes_stay_inside_their_field() {
        let line = Line {
            user_agent: b"a\xff\x1b[2J\"}\n",
            host: &[b'h'; 70_000],
            client: None,
            ..LINE
        };
        let read = json(&line);
        assert_eq!(read["user_agent"], "a\u{FFFD}\u{1b}[2J\"}\n");
        assert_eq!(
            read["host"].as_str().unwrap().chars().count(),
            TEXT_BYTES_MAX + 1
        );
        assert!(read["host"].as_str().unwrap().ends_with('…'));
        assert_eq!(read["client_ip"], "unix");
        let line = Line {
            fault: Some(("\"\n\x1b{}", false)),
            ..line
        };
        let pretty = written(&line, Form::Pretty(false));
        assert!(
            pretty.contains(": \"??{}") && pretty.matches('\n').count() == 1,
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
            method: None,
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
        let first = Line { unix_us: 0, ..LINE };
        assert!(written(&first, Form::Combined).contains("[01/Jan/1970:00:00:00 +0000]"));
    }

    #[test]
    fn a_slow_exchange_is_a_warning_that_says_so() {
        let slow = Line {
            slow: Some("send"),
            ..LINE
        };
        assert_eq!(json(&slow)["slow"], true);
        assert_eq!(json(&slow)["stage"], "send");
        assert_eq!(json(&slow)["level"], "warn");
        assert!(written(&slow, Form::Pretty(false)).ends_with("127.0.0.1 slow to send\n"));
    }

    #[test]
    fn events_are_lines_too() {
        let event = Event {
            unix_ms: 0,
            level: "warn",
            message: "full\n",
            count: ("dropped", 3),
        };
        let mut page = Page::new();
        event.write(Form::Json, &mut page);
        let json: serde_json::Value = serde_json::from_slice(page.written()).unwrap();
        assert_eq!(json["message"], "full\n");
        assert_eq!(json["dropped"], 3);
        page.clear();
        event.write(Form::Pretty(false), &mut page);
        assert_eq!(page.written(), b"00:00:00.000 warn: full? (dropped: 3)\n");
    }

    #[test]
    fn durations_have_three_digits_at_most() {
        let shown = |us| {
            let mut page = Page::new();
            page.write(FRAME_BYTES, |room| {
                let mut pen = Pen::new(room);
                write_short_duration(us, &mut pen);
                pen.written()
            });
            String::from_utf8(page.written().to_vec()).unwrap()
        };
        assert_eq!(shown(0), "0us");
        assert_eq!(shown(999), "999us");
        assert_eq!(shown(1_000), "1.0ms");
        assert_eq!(shown(12_345), "12.3ms");
        assert_eq!(shown(4_000_000), "4.0s");
    }
}
