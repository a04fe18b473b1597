//! The clock and its memory: [`Rtc`], an MC146818 behind ports 0x70 and 0x71, with a century byte and 128 bytes of CMOS.
//!
//! Source: Motorola MC146818A data sheet; the century is where PCs have it (byte 0x32, ACPI's FADT names it). The time of
//! day follows from the moment asked about, nothing is stepped. [`calendar`] knows the dates.
//!
//! How to use: after each access and each [`Rtc::expire`], drive IRQ 8 with [`Rtc::irq`] and set a timer for
//! [`Rtc::deadline`].
pub mod calendar;
#[cfg(test)]
mod tests;

use calendar::{Civil, DAY};

/// Index of the century.
pub const CENTURY: u8 = 0x32;

mod reg {
    pub const SECOND: u8 = 0;
    pub const SECOND_ALARM: u8 = 1;
    pub const MINUTE: u8 = 2;
    pub const MINUTE_ALARM: u8 = 3;
    pub const HOUR: u8 = 4;
    pub const HOUR_ALARM: u8 = 5;
    pub const WEEKDAY: u8 = 6;
    pub const DAY: u8 = 7;
    pub const MONTH: u8 = 8;
    pub const YEAR: u8 = 9;
    pub const A: u8 = 10;
    pub const B: u8 = 11;
    pub const C: u8 = 12;
    pub const D: u8 = 13;
}

/// Register A: update in progress, the divider, the rate.
const UIP: u8 = 0x80;
const DIVIDER: u8 = 0x70;
const DIVIDER_RESET: u8 = 0x60;
/// Register B.
const SET: u8 = 0x80;
const BINARY: u8 = 0x04;
const HOURS_24: u8 = 0x02;
/// Registers B (enabled) and C (happened).
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE: u8 = 0x10;
const IRQF: u8 = 0x80;
/// Register D: the battery is good.
const VALID: u8 = 0x80;
/// An alarm byte from here on matches everything.
const ANY: u8 = 0xc0;

const SECOND: i128 = 1_000_000_000;
/// UIP warns so long before an update.
const WARNING: i128 = 244_000;

/// The chip.
#[derive(Clone, Copy, Debug)]
pub struct Rtc {
    index: u8,
    cmos: [u8; 128],
    /// Nanoseconds from the guest's clock to the chip's.
    offset: i128,
    /// What the clock stands at while it is stopped.
    stopped: Option<i128>,
    /// Events before this moment of the chip are in register C.
    seen: i128,
    /// The guest's weekday less the calendar's.
    weekday_shift: u8,
}

impl Rtc {
    /// A running clock: `epoch_ns` are nanoseconds since 1970 at the guest's time 0.
    pub fn new(epoch_ns: i64) -> Rtc {
        let mut cmos = [0; 128];
        for (index, value) in [(reg::A, 0x26), (reg::B, HOURS_24), (reg::D, VALID)] {
            cmos[usize::from(index)] = value;
        }
        Rtc {
            index: 0,
            cmos,
            offset: epoch_ns.into(),
            stopped: None,
            seen: epoch_ns.into(),
            weekday_shift: 0,
        }
    }

    /// Sets a byte of the memory, for whoever tells the firmware of the machine. Registers and times are left alone.
    pub fn set_cmos(&mut self, index: u8, value: u8) {
        if index > reg::D && index != CENTURY {
            self.set(index, value);
        }
    }

    /// Nanoseconds from the guest's clock to the chip's: `epoch_ns` of [`Rtc::new`], as the guest has changed it since.
    pub fn offset(&self) -> i128 {
        self.offset
    }

    fn get(&self, index: u8) -> u8 {
        self.cmos[usize::from(index & 0x7f)]
    }

    fn set(&mut self, index: u8, value: u8) {
        self.cmos[usize::from(index & 0x7f)] = value;
    }

    /// The chip's nanoseconds since 1970.
    fn clock(&self, now: u64) -> i128 {
        self.stopped
            .unwrap_or_else(|| i128::from(now) + self.offset)
    }

    /// Reads a port at `now` nanoseconds; `None` if it is none of ours.
    pub fn read(&mut self, port: u16, now: u64) -> Option<u8> {
        match port {
            0x70 => Some(0xff),
            0x71 => Some(self.register(self.index, now)),
            _ => None,
        }
    }

    fn register(&mut self, index: u8, now: u64) -> u8 {
        let clock = self.clock(now);
        let date = Civil::at(clock.div_euclid(SECOND) as i64);
        let value = match index {
            reg::SECOND => date.second,
            reg::MINUTE => date.minute,
            reg::HOUR => return self.encode_hour(date.hour),
            reg::WEEKDAY => (date.weekday() - 1 + self.weekday_shift) % 7 + 1,
            reg::DAY => date.day,
            reg::MONTH => date.month,
            reg::YEAR => (date.year % 100) as u8,
            CENTURY => (date.year / 100) as u8,
            reg::A => {
                let updating =
                    self.stopped.is_none() && clock.rem_euclid(SECOND) >= SECOND - WARNING;
                return self.get(reg::A) & !UIP | if updating { UIP } else { 0 };
            }
            reg::C => {
                self.collect(now);
                let value = self.flags();
                self.set(reg::C, 0);
                return value;
            }
            index => return self.get(index),
        };
        self.encode(value)
    }

    /// Writes a port; true if the guest has set another time.
    pub fn write(&mut self, port: u16, value: u8, now: u64) -> bool {
        match port {
            0x70 => self.index = value & 0x7f,
            0x71 => return self.set_register(self.index, value, now),
            _ => {}
        }
        false
    }

    fn set_register(&mut self, index: u8, value: u8, now: u64) -> bool {
        self.collect(now);
        match index {
            reg::SECOND
            | reg::MINUTE
            | reg::HOUR
            | reg::WEEKDAY
            | reg::DAY
            | reg::MONTH
            | reg::YEAR
            | CENTURY => return self.set_time(index, value, now),
            reg::A => {
                let was = self.is_stopped();
                self.set(reg::A, value & !UIP);
                // After a reset of the divider the first update comes half a second later.
                self.stop_or_go(was, SECOND / 2, now);
            }
            reg::B => {
                let was = self.is_stopped();
                // Setting the time and being told of updates exclude each other.
                let value = if value & SET != 0 {
                    value & !UPDATE
                } else {
                    value
                };
                self.set(reg::B, value);
                self.stop_or_go(was, 0, now);
            }
            reg::C | reg::D => {}
            index => self.set(index, value),
        }
        false
    }

    fn is_stopped(&self) -> bool {
        self.get(reg::B) & SET != 0 || self.get(reg::A) & DIVIDER >= DIVIDER_RESET
    }

    /// Follows a change of registers A or B; a clock that starts again begins so far into its second.
    fn stop_or_go(&mut self, was_stopped: bool, phase: i128, now: u64) {
        match (was_stopped, self.is_stopped()) {
            (false, true) => self.stopped = Some(self.clock(now)),
            (true, false) => {
                let clock = self.clock(now);
                let clock = match phase {
                    0 => clock,
                    phase => clock.div_euclid(SECOND) * SECOND + phase,
                };
                self.stopped = None;
                self.offset = clock - i128::from(now);
                self.seen = clock;
            }
            _ => {}
        }
    }

    fn set_time(&mut self, index: u8, value: u8, now: u64) -> bool {
        let clock = self.clock(now);
        let (seconds, part) = (clock.div_euclid(SECOND), clock.rem_euclid(SECOND));
        let mut date = Civil::at(seconds as i64);
        let weekday = date.weekday();
        let plain = self.decode(value);
        match index {
            reg::SECOND => date.second = plain.min(59),
            reg::MINUTE => date.minute = plain.min(59),
            reg::HOUR => date.hour = self.decode_hour(value).min(23),
            reg::DAY => date.day = plain.clamp(1, 31),
            reg::MONTH => date.month = plain.clamp(1, 12),
            reg::YEAR => date.year = date.year / 100 * 100 + u16::from(plain.min(99)),
            CENTURY => date.year = u16::from(plain.min(99)) * 100 + date.year % 100,
            _ => {
                let wanted = plain.clamp(1, 7);
                self.weekday_shift = (wanted + 7 - weekday) % 7;
                return false;
            }
        }
        let clock = i128::from(date.seconds()) * SECOND + part;
        match &mut self.stopped {
            Some(stopped) => *stopped = clock,
            None => self.offset = clock - i128::from(now),
        }
        self.seen = clock;
        true
    }

    fn encode(&self, value: u8) -> u8 {
        match self.get(reg::B) & BINARY {
            0 => ((value / 10) << 4) | (value % 10),
            _ => value,
        }
    }

    fn decode(&self, value: u8) -> u8 {
        match self.get(reg::B) & BINARY {
            0 => (value >> 4) * 10 + (value & 0xf),
            _ => value,
        }
    }

    /// Half a day has its hours from 12, 1 to 11, and bit 7 for the afternoon.
    fn encode_hour(&self, hour: u8) -> u8 {
        if self.get(reg::B) & HOURS_24 != 0 {
            return self.encode(hour);
        }
        let twelve = self.encode((hour + 11) % 12 + 1);
        twelve | if hour >= 12 { 0x80 } else { 0 }
    }

    fn decode_hour(&self, value: u8) -> u8 {
        if self.get(reg::B) & HOURS_24 != 0 {
            return self.decode(value);
        }
        let twelve = self.decode(value & 0x7f);
        // 13 o'clock does not exist in halves of a day, nor does 0.
        match twelve {
            1..=12 => twelve % 12 + if value & 0x80 != 0 { 12 } else { 0 },
            _ => u8::MAX,
        }
    }

    /// Nanoseconds of the periodic rate's 32768 Hz ticks that rate `RS` chooses; `None`: off.
    fn period_ticks(&self) -> Option<i128> {
        match self.get(reg::A) & 0xf {
            0 => None,
            // The two slowest numbers are doubles of 8 and 9.
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    /// The first moment after `after` at which a flag of register C rises by itself.
    fn next(&self, flag: u8, after: i128) -> Option<i128> {
        if self.stopped.is_some() {
            return None;
        }
        match flag {
            PERIODIC => {
                let period = self.period_ticks()?;
                let tick = after * 32_768 / SECOND;
                let at = |tick: i128| (tick * SECOND + 32_767).div_euclid(32_768);
                let next = (tick.div_euclid(period) + 1) * period;
                // Rounding may have put the tick at this very moment.
                Some(if at(next) > after {
                    at(next)
                } else {
                    at(next + period)
                })
            }
            UPDATE => Some((after.div_euclid(SECOND) + 1) * SECOND),
            _ => self.next_alarm(after),
        }
    }

    fn next_alarm(&self, after: i128) -> Option<i128> {
        let wanted = |index, hour: bool| match self.get(index) {
            ANY.. if !hour || self.get(index) & ANY == ANY => None,
            value if hour => Some(self.decode_hour(value)),
            value => Some(self.decode(value)),
        };
        let (hour, minute, second) = (
            wanted(reg::HOUR_ALARM, true),
            wanted(reg::MINUTE_ALARM, false),
            wanted(reg::SECOND_ALARM, false),
        );
        let from = after.div_euclid(SECOND) + 1;
        let time = from.rem_euclid(DAY.into()) as u32;
        let matches = |wanted: Option<u8>, value: u32| wanted.is_none_or(|w| u32::from(w) == value);
        // Each hour of a day and a bit, each minute of the hours that match.
        for hours in time / 3600..=time / 3600 + 24 {
            if !matches(hour, hours % 24) {
                continue;
            }
            for minutes in (hours * 60).max(time / 60)..hours * 60 + 60 {
                let first = time.max(minutes * 60);
                let second = match second {
                    None => first,
                    Some(s @ 0..=59) => minutes * 60 + u32::from(s),
                    Some(_) => return None,
                };
                if matches(minute, minutes % 60) && second >= first {
                    return Some((from + i128::from(second - time)) * SECOND);
                }
            }
        }
        None
    }

    /// Brings register C up to date.
    fn collect(&mut self, now: u64) {
        let clock = self.clock(now);
        let mut happened = self.get(reg::C);
        for flag in [PERIODIC, ALARM, UPDATE] {
            if happened & flag == 0 && self.next(flag, self.seen).is_some_and(|at| at <= clock) {
                happened |= flag;
            }
        }
        self.set(reg::C, happened);
        self.seen = self.seen.max(clock);
    }

    fn flags(&self) -> u8 {
        let happened = self.get(reg::C);
        happened
            | if happened & self.get(reg::B) != 0 {
                IRQF
            } else {
                0
            }
    }

    /// Level of IRQ 8: up from an event that is enabled until register C is read.
    pub fn irq(&self) -> bool {
        self.flags() & IRQF != 0
    }

    /// When [`Rtc::expire`] is to be called; not while the line is up, so that a guest is not interrupted more often
    /// than it answers.
    pub fn deadline(&self) -> Option<u64> {
        if self.irq() {
            return None;
        }
        let enabled = self.get(reg::B);
        let first = [PERIODIC, ALARM, UPDATE]
            .into_iter()
            .filter(|flag| enabled & flag != 0)
            .filter_map(|flag| self.next(flag, self.seen))
            .min()?;
        Some(u64::try_from(first - self.offset).unwrap_or(0))
    }

    /// Whether the line has gone up by `now`.
    pub fn expire(&mut self, now: u64) -> bool {
        let before = self.irq();
        self.collect(now);
        self.irq() && !before
    }
}
