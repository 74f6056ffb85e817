//! Time stamps of log lines: RFC 3339 in UTC with milliseconds, `2026-11-22T08:05:03.042Z`.
//!
//! Writes bytes from a count of milliseconds; reads no clock. Called by the access log for each
//! line. RFC 3339 §5.6.

use crate::json::digits;

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 24;

/// Stamps of moments that follow each other closely: only what has changed is written anew.
#[derive(Clone, Copy, Debug)]
pub struct Stamps {
    /// The first microsecond of the millisecond that the stamp is of, and of its second.
    ms_us: u64,
    second_us: u64,
    stamp: [u8; STAMP_BYTES],
}

impl Stamps {
    /// None written yet.
    pub const fn new() -> Stamps {
        Stamps {
            ms_us: 0,
            second_us: 0,
            stamp: *b"1970-01-01T00:00:00.000Z",
        }
    }

    /// The stamp of a moment in microseconds since 1970. A busy service has hundreds of lines in a
    /// millisecond.
    #[inline(always)]
    pub fn at(&mut self, unix_us: u64) -> &[u8; STAMP_BYTES] {
        if unix_us.wrapping_sub(self.ms_us) >= 1_000 {
            self.turn_to(unix_us);
        }
        &self.stamp
    }

    /// The first microsecond of the millisecond that was asked for last.
    pub fn ms_us(&self) -> u64 {
        self.ms_us
    }

    #[inline(never)]
    fn turn_to(&mut self, unix_us: u64) {
        let unix_us = unix_us.min(MS_MAX * 1_000);
        let us = unix_us.wrapping_sub(self.second_us);
        if us >= 1_000_000 {
            self.stamp = write_stamp(unix_us / 1_000);
            self.second_us = unix_us / 1_000_000 * 1_000_000;
            self.ms_us = unix_us / 1_000 * 1_000;
        } else {
            let ms = us as u32 / 1_000;
            let [.., hundreds, tens, ones] = digits(ms).to_le_bytes();
            self.stamp[20] = hundreds;
            self.stamp[21] = tens;
            self.stamp[22] = ones;
            self.ms_us = self.second_us + u64::from(ms) * 1_000;
        }
    }
}

impl Default for Stamps {
    fn default() -> Stamps {
        Stamps::new()
    }
}

/// The last moment before the year 10000, which has no RFC 3339 form.
const MS_MAX: u64 = 253_402_300_799_999;

/// Writes the moment `unix_ms` milliseconds after 1970. Moments past the year 9999 have no RFC
/// 3339 form and are written as the last that has one.
pub fn write_stamp(unix_ms: u64) -> [u8; STAMP_BYTES] {
    let unix_ms = unix_ms.min(MS_MAX);
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let parts = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3_600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
        (20, 3, ms),
    ];
    for (start, width, number) in parts {
        let mut rest = number;
        for at in (start..start + width).rev() {
            out[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    out
}

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian calendar. Years
/// are counted from March so that the leap day comes last, in eras of 400 years (146,097 days).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unix_ms: u64, stamp: &str) {
        assert_eq!(std::str::from_utf8(&write_stamp(unix_ms)), Ok(stamp));
    }

    #[test]
    fn writes_known_moments() {
        // Reference values: `date -u -d @SECONDS +%FT%T`.
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_001, "2000-02-29T00:00:00.001Z");
        check(951_868_799_999, "2000-02-29T23:59:59.999Z");
        check(951_868_800_000, "2000-03-01T00:00:00.000Z");
        check(1_709_164_800_000, "2024-02-29T00:00:00.000Z");
        check(1_795_334_703_042, "2026-11-22T08:05:03.042Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        check(u64::MAX, "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn stamps_that_follow_each_other_are_those_of_each_alone() {
        let mut stamps = Stamps::new();
        for unix_ms in [
            0,
            7,
            999,
            1_000,
            1_795_334_703_042,
            1_795_334_703_999,
            1_795_334_703_100,
            1_795_334_704_000,
            5,
            253_402_300_799_998,
            253_402_300_800_001,
            253_402_300_800_002,
            u64::MAX / 1_000 - 1,
        ] {
            for us in [0, 1, 999, 500] {
                let stamp = stamps.at(unix_ms * 1_000 + us);
                assert_eq!(*stamp, write_stamp(unix_ms), "{unix_ms}");
            }
        }
    }

    #[test]
    fn every_day_of_400_years_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
