//! HTTP dates (RFC 9110 §5.6.7): written as IMF-fixdate, read in all three forms.
//!
//! The clock itself is the caller's. Years 1970 to 9999; days are counted with the civil
//! calendar formulas of H. Hinnant ("chrono-compatible low-level date algorithms").

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Bytes of an IMF-fixdate.
pub const DATE_BYTES: usize = 29;

/// The last second of the year 9999, the last that an IMF-fixdate can say.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Year, month (1 to 12) and day (1 to 31) of a count of days since 1970-01-01.
pub fn civil_from_days(days: u64) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

/// Days since 1970-01-01 of a date, `None` before that day or when it does not exist.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let year_shifted = year - u64::from(month <= 2);
    let era = year_shifted / 400;
    let year_of_era = year_shifted % 400;
    let month_shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    // 31 February would have become a day of March.
    (civil_from_days(days) == (year as u32, month as u32, day as u32)).then_some(days)
}

/// Renders seconds since 1970 as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn write_date(unix_seconds: u64) -> [u8; DATE_BYTES] {
    let seconds = unix_seconds.min(SECONDS_MAX);
    let days = seconds / 86_400;
    let (year, month, day) = civil_from_days(days);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[..3].copy_from_slice(DAYS[(days % 7) as usize]);
    put_two(&mut out, 5, u64::from(day));
    out[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    put_two(&mut out, 12, u64::from(year / 100));
    put_two(&mut out, 14, u64::from(year % 100));
    put_two(&mut out, 17, seconds / 3_600 % 24);
    put_two(&mut out, 20, seconds / 60 % 60);
    put_two(&mut out, 23, seconds % 60);
    out
}

fn put_two(out: &mut [u8; DATE_BYTES], at: usize, value: u64) {
    out[at] = b'0' + (value / 10 % 10) as u8;
    out[at + 1] = b'0' + (value % 10) as u8;
}

/// Reads an HTTP date in any of the three forms of RFC 9110 §5.6.7, as seconds since 1970.
/// `None` for anything else, and for days before 1970.
pub fn parse_date(text: &[u8]) -> Option<u64> {
    let (year, month, day, time) = match text.len() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        29 if &text[3..5] == b", " && &text[25..] == b" GMT" => {
            separated(text, &[7, 11, 16])?;
            (
                number(&text[12..16])?,
                month_of(&text[8..11])?,
                number(&text[5..7])?,
                &text[17..25],
            )
        }
        // Sun Nov  6 08:49:37 1994
        24 => {
            separated(text, &[3, 7, 10, 19])?;
            let day = if text[8] == b' ' {
                &text[9..10]
            } else {
                &text[8..10]
            };
            (
                number(&text[20..24])?,
                month_of(&text[4..7])?,
                number(day)?,
                &text[11..19],
            )
        }
        // Sunday, 06-Nov-94 08:49:37 GMT
        30..=33 => rfc850(text)?,
        _ => return None,
    };
    if time[2] != b':' || time[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        number(&time[..2])?,
        number(&time[3..5])?,
        number(&time[6..8])?,
    );
    // 60 is a leap second: RFC 9110 §5.6.7 allows it, POSIX time has no place for it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_from_civil(year, month, day)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second.min(59))
}

fn rfc850(text: &[u8]) -> Option<(u64, u64, u64, &[u8])> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let rest = text.get(comma..)?;
    if rest.len() != 24 || &rest[..2] != b", " || &rest[20..] != b" GMT" {
        return None;
    }
    if rest[4] != b'-' || rest[8] != b'-' || rest[11] != b' ' {
        return None;
    }
    // Two digits: the document says a date over 50 years ahead is in the past. Without a clock
    // here, 70 to 99 are the last century and 00 to 69 this one, as POSIX strptime has it.
    let short = number(&rest[9..11])?;
    let year = if short >= 70 {
        1900 + short
    } else {
        2000 + short
    };
    Some((
        year,
        month_of(&rest[5..8])?,
        number(&rest[2..4])?,
        &rest[12..20],
    ))
}

fn separated(text: &[u8], spaces: &[usize]) -> Option<()> {
    spaces.iter().all(|at| text[*at] == b' ').then_some(())
}

fn month_of(name: &[u8]) -> Option<u64> {
    MONTHS
        .iter()
        .position(|month| *month == name)
        .map(|index| index as u64 + 1)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_forms_of_the_document() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads_on_every_day_of_four_centuries() {
        for day in 0..(400 * 366) {
            let seconds = day * 86_400 + day * 7 % 86_400;
            assert_eq!(parse_date(&write_date(seconds)), Some(seconds), "day {day}");
        }
        assert_eq!(&write_date(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&write_date(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in [
            "",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 0x Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 PST",
            "Xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }
}
