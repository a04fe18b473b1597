//! The battery-backed clock.

use x86_64::instructions::port::Port;

fn read_register(index: u8) -> u8 {
    // SAFETY: the PC's CMOS ports. Bit 7 of the index is the NMI mask, left clear.
    unsafe {
        Port::<u8>::new(0x70).write(index);
        Port::<u8>::new(0x71).read()
    }
}

fn snapshot() -> [u8; 6] {
    // Wait for the end of an update, but not for ever.
    for _ in 0..100_000 {
        if read_register(0x0a) & 0x80 == 0 {
            break;
        }
    }
    [0, 2, 4, 7, 8, 9].map(read_register)
}

/// Seconds since 1970, taking the clock to run in UTC.
pub fn read() -> u64 {
    let mut last = snapshot();
    for _ in 0..5 {
        let again = snapshot();
        if again == last {
            break;
        }
        last = again;
    }
    let status = read_register(0x0b);
    let (binary, hours24) = (status & 0x04 != 0, status & 0x02 != 0);
    let decode = |value: u8| {
        u64::from(if binary {
            value
        } else {
            (value >> 4) * 10 + (value & 0xf)
        })
    };
    let [second, minute, hour, day, month, year] = last;
    let afternoon = !hours24 && hour & 0x80 != 0;
    let mut hour = decode(if hours24 { hour } else { hour & 0x7f });
    if !hours24 {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    // Two digits of the year, which all firmwares agree on.
    let year = 2000 + decode(year);
    let days = days_since_1970(year, decode(month).clamp(1, 12), decode(day).max(1));
    ((days * 24 + hour) * 60 + decode(minute)) * 60 + decode(second)
}

/// Days from 1970-01-01 in the Gregorian calendar, counting years from March.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469
}
