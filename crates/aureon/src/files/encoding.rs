//! Which content coding the client gets: `Accept-Encoding` against the codings at hand.
//!
//! Owns the choice by q-value and our order of preference; pure. It never answers 406: when
//! nothing the client names is at hand the representation goes out without a coding, which
//! RFC 9110 §12.5.3 permits and every server does. `files/` calls it with the precompressed
//! siblings that exist, compression on the fly with the codings it can make.

/// A content coding. The order is our preference between equal q-values: smallest result first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coding {
    /// `br`, RFC 7932.
    Brotli,
    /// `zstd`, RFC 8878.
    Zstandard,
    /// `gzip`, RFC 1952.
    Gzip,
    /// No coding.
    Identity,
}

impl Coding {
    /// The codings a precompressed sibling may have, best first.
    pub const COMPRESSED: [Coding; 3] = [Coding::Brotli, Coding::Zstandard, Coding::Gzip];

    /// Every coding, best first.
    pub const ALL: [Coding; 4] = [
        Coding::Brotli,
        Coding::Zstandard,
        Coding::Gzip,
        Coding::Identity,
    ];

    /// How many there are.
    pub const COUNT: usize = Coding::ALL.len();

    /// The name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstandard => "zstd",
            Coding::Gzip => "gzip",
            Coding::Identity => "identity",
        }
    }

    /// What a precompressed sibling's name ends in.
    pub fn suffix(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Zstandard => ".zst",
            Coding::Gzip => ".gz",
            Coding::Identity => "",
        }
    }

    /// Its place in [`Coding::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Thousandths: `q=0.5` is 500.
type Quality = u16;

/// What all `Accept-Encoding` fields say of each coding, in thousandths; of identity only what is
/// said by its name.
pub fn weigh<'a>(accept: impl Iterator<Item = &'a [u8]>) -> [u16; Coding::COUNT] {
    let mut named: [Option<Quality>; Coding::COUNT] = [None; Coding::COUNT];
    let mut any = None;
    for element in accept.flat_map(|field| field.split(|byte| *byte == b',')) {
        let Some((name, quality)) = parse_element(element) else {
            continue;
        };
        if name == "*" {
            any = Some(quality);
        } else if let Some(coding) = parse_coding(name) {
            named[coding.index()] = Some(quality);
        }
    }
    // Unnamed, identity is acceptable and yet nothing the client asked for, so that any coding
    // with a quality above zero is better.
    Coding::ALL.map(|coding| match coding {
        Coding::Identity => named[coding.index()].unwrap_or(0),
        _ => named[coding.index()].or(any).unwrap_or(0),
    })
}

/// Chooses among `available` (identity is always at hand) by the values of all
/// `Accept-Encoding` fields. Without such a field the answer is identity: the client may be
/// able to decode more, but it did not say so.
pub fn choose_coding<'a>(
    accept: impl Iterator<Item = &'a [u8]>,
    available: impl Fn(Coding) -> bool,
) -> Coding {
    let weights = weigh(accept);
    let mut best = (weights[Coding::Identity.index()], Coding::Identity);
    for coding in Coding::COMPRESSED.into_iter().rev() {
        let quality = weights[coding.index()];
        if quality > 0 && quality >= best.0 && available(coding) {
            best = (quality, coding);
        }
    }
    best.1
}

fn parse_coding(name: &str) -> Option<Coding> {
    // RFC 9110 §8.4.1.3: x-gzip is the same as gzip.
    if name.eq_ignore_ascii_case("x-gzip") {
        return Some(Coding::Gzip);
    }
    Coding::ALL
        .into_iter()
        .find(|coding| name.eq_ignore_ascii_case(coding.name()))
}

/// One list element: a name and its quality, 1 when none is given. An element whose quality
/// cannot be read is passed over.
fn parse_element(element: &[u8]) -> Option<(&str, Quality)> {
    let element = std::str::from_utf8(element).ok()?;
    let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
    let name = name.trim_matches([' ', '\t']);
    if name.is_empty() {
        return None;
    }
    for parameter in parameters.split(';') {
        let parameter = parameter.trim_matches([' ', '\t']);
        if let Some(("q" | "Q", value)) = parameter.split_once('=') {
            return parse_quality(value).map(|quality| (name, quality));
        }
    }
    Some((name, 1000))
}

/// A qvalue (RFC 9110 §12.4.2): `0` to `1` with at most three decimals, in thousandths.
pub fn parse_quality(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let whole: u16 = match whole {
        "0" => 0,
        "1" => 1000,
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut thousandths = 0;
    for at in 0..3 {
        let digit = decimals.as_bytes().get(at).map_or(0, |byte| byte - b'0');
        thousandths = thousandths * 10 + u16::from(digit);
    }
    let quality = whole + thousandths;
    (quality <= 1000).then_some(quality)
}

/// Whether an `Accept` field names HTML, as browsers do when they navigate. `*/*` alone does
/// not count: scripts and command-line clients send it and want to know that a path is missing.
pub fn accepts_html<'a>(accept: impl Iterator<Item = &'a [u8]>) -> bool {
    accept
        .flat_map(|field| field.split(|byte| *byte == b','))
        .any(|element| {
            parse_element(element).is_some_and(|(name, quality)| {
                quality > 0
                    && (name.eq_ignore_ascii_case("text/html")
                        || name.eq_ignore_ascii_case("application/xhtml+xml"))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, available: &[Coding], expected: Coding) {
        let fields = std::iter::once(accept.as_bytes());
        let chosen = choose_coding(fields, |coding| available.contains(&coding));
        assert_eq!(chosen, expected, "{accept} with {available:?}");
    }

    const ALL: &[Coding] = &Coding::COMPRESSED;

    #[test]
    fn prefers_the_smallest_between_equals() {
        check("gzip, deflate, br, zstd", ALL, Coding::Brotli);
        check(
            "gzip, deflate, br, zstd",
            &[Coding::Gzip, Coding::Zstandard],
            Coding::Zstandard,
        );
        check("gzip, deflate, br, zstd", &[Coding::Gzip], Coding::Gzip);
        check("*", ALL, Coding::Brotli);
        check("identity, gzip", ALL, Coding::Gzip);
    }

    #[test]
    fn obeys_q_values() {
        check("br;q=0.5, gzip;q=0.8", ALL, Coding::Gzip);
        check("br;q=0, gzip", ALL, Coding::Gzip);
        check("br;q=0, *", ALL, Coding::Zstandard);
        check("identity;q=1, *;q=0", ALL, Coding::Identity);
        check("gzip;q=0.5, identity;q=0.9", ALL, Coding::Identity);
        check("gzip;q=0.001", ALL, Coding::Gzip);
        check("GZIP ; Q=1.000", ALL, Coding::Gzip);
        check("x-gzip", ALL, Coding::Gzip);
        check("gzip;q=0", ALL, Coding::Identity);
    }

    #[test]
    fn sends_identity_when_nothing_fits() {
        check("", ALL, Coding::Identity);
        check("deflate", ALL, Coding::Identity);
        check("br", &[], Coding::Identity);
        check("identity;q=0, br", &[], Coding::Identity);
        let none = choose_coding(std::iter::empty(), |_| true);
        assert_eq!(none, Coding::Identity);
    }

    #[test]
    fn passes_over_what_it_cannot_read() {
        check("gzip;q=2, br;q=abc, zstd;q=0.1234", ALL, Coding::Identity);
        check(",,;q=1, gzip", ALL, Coding::Gzip);
        check("gzip;level=9;q=0.5", ALL, Coding::Gzip);
        let bytes = choose_coding(std::iter::once(&b"\xff, gzip"[..]), |_| true);
        assert_eq!(bytes, Coding::Gzip);
    }

    #[test]
    fn reads_every_field_line() {
        let lines = [&b"gzip;q=0.5"[..], b"br"];
        assert_eq!(choose_coding(lines.into_iter(), |_| true), Coding::Brotli);
    }

    #[test]
    fn html_must_be_named_to_be_accepted() {
        let accepts = |value: &'static str| accepts_html(std::iter::once(value.as_bytes()));
        assert!(accepts("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(accepts("TEXT/HTML;charset=utf-8"));
        assert!(!accepts("*/*"));
        assert!(!accepts("application/json"));
        assert!(!accepts("text/html;q=0"));
    }
}
