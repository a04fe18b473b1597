//! Calendar arithmetic of the clock chip: [`Civil`], seconds since 1970 as a Gregorian date and back. Total: dates that do
//! not exist are carried over into the next month.

/// A date and time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Civil {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

/// Seconds of a day.
pub const DAY: i64 = 86_400;
/// First and last second that four digits of a year can say.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;
/// Days of 400 years, and of the years before 1970 that begin on a first of March.
const ERA: i64 = 146_097;
const EPOCH: i64 = 719_468;

impl Civil {
    /// The date at so many seconds since 1970.
    pub fn at(seconds: i64) -> Civil {
        let seconds = seconds.clamp(FIRST, LAST);
        let (days, time) = (seconds.div_euclid(DAY) + EPOCH, seconds.rem_euclid(DAY));
        // Years that begin in March have the leap day at their end.
        let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (year, month, day) = (
            era * 400 + year + i64::from(month >= 10),
            if month < 10 { month + 3 } else { month - 9 },
            day - (153 * month + 2) / 5 + 1,
        );
        Civil {
            year: year as u16,
            month: month as u8,
            day: day as u8,
            hour: (time / 3600) as u8,
            minute: (time / 60 % 60) as u8,
            second: (time % 60) as u8,
        }
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        let month = i64::from(self.month.clamp(1, 12));
        let year = i64::from(self.year.min(9999)) - i64::from(month <= 2);
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let since_march = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let days = era * ERA + year * 365 + year / 4 - year / 100 + since_march - EPOCH;
        let time =
            i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        days * DAY + time
    }

    /// 1 for Sunday to 7.
    pub fn weekday(self) -> u8 {
        // 1970 began on a Thursday.
        ((self.seconds().div_euclid(DAY) + 4).rem_euclid(7) + 1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date = |s| {
            let c = Civil::at(s);
            (c.year, c.month, c.day, c.hour, c.minute, c.second)
        };
        assert_eq!(date(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(date(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(date(1_709_251_199), (2024, 2, 29, 23, 59, 59));
        assert_eq!(date(i64::MAX), (9999, 12, 31, 23, 59, 59));
        assert_eq!(date(i64::MIN), (0, 1, 1, 0, 0, 0));
        assert_eq!(Civil::at(0).weekday(), 5);
        assert_eq!(Civil::at(1_709_251_199).weekday(), 5);
    }

    #[test]
    fn every_so_many_days_are_found_again() {
        for day in (0..3_652_425).step_by(13) {
            let seconds = FIRST + day * DAY + day % DAY;
            assert_eq!(Civil::at(seconds).seconds(), seconds);
        }
    }

    #[test]
    fn impossible_dates_are_carried_over() {
        let odd = Civil {
            year: 2023,
            month: 2,
            day: 31,
            ..Civil::default()
        };
        assert_eq!(
            (Civil::at(odd.seconds()).month, Civil::at(odd.seconds()).day),
            (3, 3)
        );
    }
}
