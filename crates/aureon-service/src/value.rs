//! Values of settings: what kinds there are, how people write them, how we write them back.
//!
//! The same words are accepted from a flag, an environment variable and the file, so there is
//! one parser. It refuses what is out of range and says what would be right; it never guesses
//! a unit. Sizes are bytes and durations milliseconds once parsed. Called by `config` for every
//! source and by `help` and `check` to show what is in force.

/// A value on its way into the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A switch.
    Bool(bool),
    /// A count, bytes or milliseconds; the [`Kind`] says which.
    Number(u64),
    /// A word or a path.
    Text(String),
    /// Words in order.
    List(Vec<String>),
}

/// What a setting takes, with its range where it has one.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within the range.
    Count(u64, u64),
    /// Like `Count`, and `auto` for zero.
    CountOrAuto(u64),
    /// Bytes within the range: `65536`, `64KiB`, `1MiB`, `1GiB`.
    Size(u64, u64),
    /// Milliseconds within the range: `500ms`, `10s`, `2m`, `1h`.
    Duration(u64, u64),
    /// Any text without control characters, up to so many bytes.
    Text(usize),
    /// A path of the file system.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Words, separated by commas in a flag or the environment, an array in the file.
    List,
}

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Kind {
    /// Parses `text`, as given in a flag, a variable or a string of the file. The error says
    /// what would be right.
    pub fn parse_value(&self, text: &str) -> Result<Value, String> {
        match *self {
            Kind::Bool => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(self.expected()),
            },
            Kind::CountOrAuto(_) if text == "auto" => Ok(Value::Number(0)),
            Kind::Count(..) | Kind::CountOrAuto(_) => self.in_range(parse_digits(text)),
            Kind::Size(..) => self.in_range(parse_united(text, &SIZES, true)),
            Kind::Duration(..) => self.in_range(parse_united(text, &DURATIONS, false)),
            Kind::Text(bytes_max) if text.len() <= bytes_max => self.printable(text),
            Kind::Text(_) => Err(self.expected()),
            Kind::Path if text.is_empty() => Err(self.expected()),
            Kind::Path => self.printable(text),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(_) => Err(self.expected()),
            Kind::List => {
                let mut words = Vec::new();
                for word in text.split(',').map(str::trim_ascii) {
                    if !word.is_empty() {
                        words.push(word.to_owned());
                    }
                }
                Ok(Value::List(words))
            }
        }
    }

    /// Takes a number the file gave without quotes. A duration without a unit is refused.
    pub fn take_number(&self, number: Option<u64>) -> Result<Value, String> {
        match self {
            Kind::Count(..) | Kind::CountOrAuto(_) | Kind::Size(..) => self.in_range(number),
            _ => Err(self.expected()),
        }
    }

    fn in_range(&self, number: Option<u64>) -> Result<Value, String> {
        let (min, max) = match *self {
            Kind::Count(min, max) | Kind::Size(min, max) | Kind::Duration(min, max) => (min, max),
            Kind::CountOrAuto(max) => (1, max),
            _ => (0, u64::MAX),
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(Value::Number(number)),
            _ => Err(self.expected()),
        }
    }

    fn printable(&self, text: &str) -> Result<Value, String> {
        if text.chars().any(char::is_control) {
            return Err("text without control characters".to_owned());
        }
        Ok(Value::Text(text.to_owned()))
    }

    /// What this kind takes, in words: the end of "expected …".
    pub fn expected(&self) -> String {
        let between = |what: &str, min: u64, max: u64| {
            [
                what,
                " from ",
                &self.show_number(min),
                " to ",
                &self.show_number(max),
            ]
            .concat()
        };
        match *self {
            Kind::Bool => "true or false".to_owned(),
            Kind::Count(min, max) => between("a whole number", min, max),
            Kind::CountOrAuto(max) => between("auto or a whole number", 1, max),
            Kind::Size(min, max) => between("a size such as 64KiB or 1MiB,", min, max),
            Kind::Duration(min, max) => between("a duration such as 500ms, 10s or 2m,", min, max),
            Kind::Text(max) => ["text of at most ", &show_digits(max as u64), " bytes"].concat(),
            Kind::Path => "a path".to_owned(),
            Kind::Choice(words) => ["one of ", &words.join(", ")].concat(),
            Kind::List => "a list of words".to_owned(),
        }
    }

    /// The word for the value in help: `SIZE`, `DURATION`, …; empty for a switch.
    pub fn placeholder(&self) -> String {
        match self {
            Kind::Bool => String::new(),
            Kind::Count(..) => "N".to_owned(),
            Kind::CountOrAuto(_) => "N|auto".to_owned(),
            Kind::Size(..) => "SIZE".to_owned(),
            Kind::Duration(..) => "DURATION".to_owned(),
            Kind::Text(_) => "TEXT".to_owned(),
            Kind::Path => "PATH".to_owned(),
            Kind::Choice(words) => words.join("|"),
            Kind::List => "LIST".to_owned(),
        }
    }

    /// Writes a value of this kind as a person would: `64KiB`, `10s`, `a, b`.
    pub fn show(&self, value: &Value) -> String {
        match value {
            Value::Bool(true) => "true".to_owned(),
            Value::Bool(false) => "false".to_owned(),
            Value::Number(number) => self.show_number(*number),
            Value::Text(text) => text.clone(),
            Value::List(words) => words.join(","),
        }
    }

    fn show_number(&self, number: u64) -> String {
        let units = match self {
            Kind::CountOrAuto(_) if number == 0 => return "auto".to_owned(),
            Kind::Size(..) => &SIZES,
            Kind::Duration(..) => &DURATIONS,
            _ => return show_digits(number),
        };
        for &(unit, factor) in units {
            if let (Some(count @ 1..), Some(0)) =
                (number.checked_div(factor), number.checked_rem(factor))
            {
                return [show_digits(count).as_str(), unit].concat();
            }
        }
        // Zero is a multiple of nothing above.
        ["0", units[3].0].concat()
    }
}

/// Decimal digits of a number. Unlike a formatter this cannot panic, which every caller with
/// something to drop would have to let pass.
pub fn show_digits(number: u64) -> String {
    let mut digits = String::new();
    push_digits(&mut digits, number);
    digits
}

/// The same at the end of a text. At most twenty deep.
pub fn push_digits(out: &mut String, number: u64) {
    if number >= 10 {
        push_digits(out, number / 10);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

fn parse_digits(text: &str) -> Option<u64> {
    // `u64::from_str` would also take a plus sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

fn parse_united(text: &str, units: &[(&str, u64)], bare: bool) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number = parse_digits(number)?;
    if unit.is_empty() && bare {
        return Some(number);
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Kind = Kind::Size(1, 1 << 40);
    const DURATION: Kind = Kind::Duration(1, u64::MAX);

    fn check(kind: Kind, text: &str, number: u64) {
        assert_eq!(kind.parse_value(text), Ok(Value::Number(number)), "{text}");
    }

    #[test]
    fn reads_sizes_and_durations_with_their_units() {
        check(SIZE, "17", 17);
        check(SIZE, "17B", 17);
        check(SIZE, "64KiB", 65_536);
        check(SIZE, "1GiB", 1 << 30);
        check(DURATION, "500ms", 500);
        check(DURATION, "10s", 10_000);
        check(DURATION, "2m", 120_000);
        check(DURATION, "1h", 3_600_000);
    }

    #[test]
    fn refuses_guessed_units_signs_and_overflow() {
        for text in [
            "",
            "KiB",
            "64KB",
            "64 KiB",
            "+1",
            "-1",
            "1.5MiB",
            "0x10",
            "99999999999GiB",
        ] {
            assert!(SIZE.parse_value(text).is_err(), "{text}");
        }
        for text in [
            "",
            "10",
            "10 s",
            "10sec",
            "1e3ms",
            "-1s",
            "18446744073709551615h",
        ] {
            assert!(DURATION.parse_value(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_out_of_range_and_names_the_range() {
        let kind = Kind::Size(1024, 65_535);
        let wrong = kind.parse_value("1MiB").unwrap_err();
        assert_eq!(wrong, "a size such as 64KiB or 1MiB, from 1KiB to 65535B");
        let wrong = Kind::Count(0, 65_535).parse_value("70000").unwrap_err();
        assert_eq!(wrong, "a whole number from 0 to 65535");
    }

    #[test]
    fn a_number_without_a_unit_is_no_duration() {
        assert_eq!(SIZE.take_number(Some(5)), Ok(Value::Number(5)));
        assert!(DURATION.take_number(Some(5)).is_err());
        assert!(Kind::Bool.take_number(Some(1)).is_err());
        assert!(SIZE.take_number(None).is_err());
    }

    #[test]
    fn shows_what_it_would_read_back() {
        for text in ["1KiB", "65535B", "1MiB", "3GiB"] {
            let value = SIZE.parse_value(text).unwrap();
            assert_eq!(SIZE.show(&value), text);
        }
        for text in ["1ms", "1500ms", "10s", "2m", "36h"] {
            let value = DURATION.parse_value(text).unwrap();
            assert_eq!(DURATION.show(&value), text);
        }
        let auto = Kind::CountOrAuto(64);
        assert_eq!(auto.show(&auto.parse_value("auto").unwrap()), "auto");
        assert!(auto.parse_value("0").is_err());
    }

    #[test]
    fn text_and_paths_hold_no_control_characters() {
        assert!(Kind::Path.parse_value("a\nb").is_err());
        assert!(Kind::Path.parse_value("").is_err());
        assert!(Kind::Text(5).parse_value("grüß").is_err(), "six bytes");
        assert_eq!(
            Kind::Text(6).parse_value("grüß"),
            Ok(Value::Text("grüß".into()))
        );
    }

    #[test]
    fn lists_split_at_commas() {
        let words = Kind::List.parse_value(" a, b,,c ").unwrap();
        assert_eq!(words, Value::List(vec!["a".into(), "b".into(), "c".into()]));
    }
}
