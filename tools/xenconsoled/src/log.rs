//! [`Log`]: a log file, with a time at the start of each line if wanted.
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An open log file.
pub struct Log {
    file: File,
    timestamps: bool,
    line_start: bool,
}

impl Log {
    /// Append to `<dir>/<name>.log`, making the directory. What cannot be in a file's name becomes `_`.
    pub fn open(dir: &Path, name: &str, timestamps: bool) -> io::Result<Log> {
        std::fs::create_dir_all(dir)?;
        let name: String = name
            .chars()
            .map(|c| if c == '/' || c.is_control() { '_' } else { c })
            .collect();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join(name + ".log"))?;
        Ok(Log {
            file,
            timestamps,
            line_start: true,
        })
    }

    /// Append bytes. Errors (a full disk) are ignored: the console matters more.
    pub fn write(&mut self, data: &[u8]) {
        if !self.timestamps {
            let _ = self.file.write_all(data);
            return;
        }
        let mut out = Vec::with_capacity(data.len() + 32);
        for b in data {
            if std::mem::replace(&mut self.line_start, *b == b'\n') {
                out.extend(stamp(SystemTime::now()).as_bytes());
            }
            out.push(*b);
        }
        let _ = self.file.write_all(&out);
    }
}

/// `[YYYY-MM-DD HH:MM:SS] ` in UTC.
fn stamp(at: SystemTime) -> String {
    let secs = at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = ((secs / 86_400) as i64, secs % 86_400);
    // Days to a date of the proleptic Gregorian calendar, in years that begin in March.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (
        doy - (153 * mp + 2) / 5 + 1,
        if mp < 10 { mp + 3 } else { mp - 9 },
    );
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("[{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}] ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_dates_in_utc() {
        let at = |secs| stamp(UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(0), "[1970-01-01 00:00:00] ");
        assert_eq!(at(951_782_400), "[2000-02-29 00:00:00] ");
        assert_eq!(at(1_700_000_000), "[2023-11-14 22:13:20] ");
    }
}
