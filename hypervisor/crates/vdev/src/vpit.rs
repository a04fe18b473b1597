//! The 8254 interval timer: [`Pit`], ports 0x40 to 0x43 and the timer bits of 0x61.
//!
//! Source: Intel 8254 data sheet. Channel 0 drives IRQ 0, channel 2 the speaker and its gate. Counters are computed
//! from the time, never stepped. A closed gate freezes the count; gate changes of channel 2 restart it.

/// Ticks per second.
pub const HZ: u64 = 1_193_182;
/// A guest is not interrupted more often.
const MIN_PERIOD_NS: u64 = 20_000;

fn ticks(ns: u64) -> u64 {
    (u128::from(ns) * u128::from(HZ) / 1_000_000_000) as u64
}

fn nanoseconds(ticks: u64) -> u64 {
    let ns = (u128::from(ticks) * 1_000_000_000).div_ceil(HZ.into());
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    /// 0 to 5.
    mode: u8,
    bcd: bool,
    /// 1 low byte, 2 high byte, 3 both.
    access: u8,
    /// Ticks of a period; 0: not loaded yet.
    count: u32,
    start: u64,
    gate: bool,
    /// Ticks counted when the gate closed.
    frozen: u64,
    latch: Option<u16>,
    status: Option<u8>,
    high_read: bool,
    low_written: Option<u8>,
}

impl Channel {
    const fn new(gate: bool) -> Channel {
        Channel {
            mode: 3,
            bcd: false,
            access: 3,
            count: 0,
            start: 0,
            gate,
            frozen: 0,
            latch: None,
            status: None,
            high_read: false,
            low_written: None,
        }
    }

    fn elapsed(&self, now: u64) -> u64 {
        match self.gate || matches!(self.mode, 1 | 5) {
            true => ticks(now.saturating_sub(self.start)),
            false => self.frozen,
        }
    }

    fn value(&self, now: u64) -> u16 {
        let (count, elapsed) = (u64::from(self.count), self.elapsed(now));
        let modulus = if self.bcd { 10_000 } else { 0x1_0000 };
        let left = match self.mode {
            _ if count == 0 => 0,
            2 => count - elapsed % count,
            3 => count - elapsed % count * 2 % count,
            _ => (count + modulus - elapsed % modulus) % modulus,
        } % modulus;
        match self.bcd {
            false => left as u16,
            true => (0..4).fold(0, |bcd, digit| {
                bcd | ((left / 10u64.pow(digit) % 10) << (4 * digit)) as u16
            }),
        }
    }

    fn output(&self, now: u64) -> bool {
        let (count, elapsed) = (u64::from(self.count), self.elapsed(now));
        match self.mode {
            _ if count == 0 => self.mode != 0,
            0 | 1 => elapsed >= count,
            2 => !self.gate || elapsed % count != count - 1,
            3 => !self.gate || elapsed % count < count.div_ceil(2),
            _ => elapsed != count,
        }
    }

    /// Rising edges of the output so far.
    fn rises(&self, now: u64) -> u64 {
        match (self.count, self.mode) {
            (0, _) => 0,
            (count, 2 | 3) => self.elapsed(now) / u64::from(count),
            (count, _) => (self.elapsed(now) >= u64::from(count)).into(),
        }
    }

    /// When the edge after `seen` ones comes.
    fn next_rise(&self, seen: u64) -> Option<u64> {
        let periodic = matches!(self.mode, 2 | 3);
        if self.count == 0 || !self.gate || (!periodic && seen > 0) {
            return None;
        }
        let at = u64::from(self.count).saturating_mul(seen.saturating_add(1));
        Some(self.start.saturating_add(nanoseconds(at)))
    }

    fn load(&mut self, raw: u16, now: u64) {
        let raw = u32::from(raw);
        self.count = match (self.bcd, raw) {
            (false, 0) => 0x1_0000,
            (true, 0) => 10_000,
            (false, raw) => raw,
            (true, raw) => (0..4).fold(0, |n, digit| {
                n + (raw >> (4 * digit) & 0xf) * 10u32.pow(digit)
            }),
        };
        self.start = now;
        self.frozen = 0;
    }

    fn set_gate(&mut self, gate: bool, now: u64) {
        if gate == self.gate {
            return;
        }
        if gate {
            // Modes 0 and 4 go on, the others begin anew.
            let before = if matches!(self.mode, 0 | 4) {
                self.frozen
            } else {
                0
            };
            self.start = now.saturating_sub(nanoseconds(before));
        } else {
            self.frozen = self.elapsed(now);
        }
        self.gate = gate;
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let value = self.latch.unwrap_or_else(|| self.value(now));
        let high = self.access == 2 || (self.access == 3 && self.high_read);
        self.high_read = self.access == 3 && !high;
        if self.access != 3 || high {
            self.latch = None;
        }
        (if high { value >> 8 } else { value }) as u8
    }

    /// Writes a byte; whether the count is complete now.
    fn write(&mut self, value: u8, now: u64) -> bool {
        let raw = match (self.access, self.low_written.take()) {
            (1, _) => value.into(),
            (2, _) => u16::from(value) << 8,
            (_, Some(low)) => u16::from_le_bytes([low, value]),
            (_, None) => {
                self.low_written = Some(value);
                return false;
            }
        };
        self.load(raw, now);
        true
    }

    fn control(&mut self, value: u8, now: u64) {
        let access = value >> 4 & 3;
        if access == 0 {
            self.latch = Some(self.latch.unwrap_or_else(|| self.value(now)));
            return;
        }
        *self = Channel {
            mode: match value >> 1 & 7 {
                mode @ 0..=5 => mode,
                mode => mode - 4,
            },
            bcd: value & 1 != 0,
            access,
            ..Channel::new(self.gate)
        };
    }

    fn latch_status(&mut self, now: u64) {
        let status = u8::from(self.output(now)) << 7
            | u8::from(self.count == 0) << 6
            | self.access << 4
            | self.mode << 1
            | u8::from(self.bcd);
        self.status = Some(self.status.unwrap_or(status));
    }
}

/// The three channels and port 0x61.
#[derive(Clone, Copy, Debug)]
pub struct Pit {
    channels: [Channel; 3],
    speaker: bool,
    /// Edges of channel 0 that have been reported, and when the next may be.
    seen: u64,
    not_before: u64,
}

impl Default for Pit {
    fn default() -> Pit {
        Pit {
            channels: [Channel::new(true), Channel::new(true), Channel::new(false)],
            speaker: false,
            seen: 0,
            not_before: 0,
        }
    }
}

impl Pit {
    /// Reads a port at `now` nanoseconds; `None` if it is none of ours.
    pub fn read(&mut self, port: u16, now: u64) -> Option<u8> {
        match port {
            0x40..=0x42 => Some(self.channels.get_mut(usize::from(port & 3))?.read(now)),
            0x43 => Some(0xff),
            0x61 => {
                let [_, _, two] = &self.channels;
                // Bit 4 toggles with the refresh of memory, every 15 microseconds.
                let refresh = (now / 15_000 % 2) as u8;
                Some(
                    u8::from(two.gate)
                        | u8::from(self.speaker) << 1
                        | refresh << 4
                        | u8::from(two.output(now)) << 5,
                )
            }
            _ => None,
        }
    }

    /// Writes a port; look at [`Pit::deadline`] afterwards.
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        match (port, value >> 6) {
            (0x40..=0x42, _) => {
                let index = usize::from(port & 3);
                let Some(channel) = self.channels.get_mut(index) else {
                    return;
                };
                if channel.write(value, now) && index == 0 {
                    self.seen = 0;
                }
            }
            (0x43, 3) => {
                for (i, channel) in self.channels.iter_mut().enumerate() {
                    if value >> (i + 1) & 1 == 0 {
                        continue;
                    }
                    if value & 0x20 == 0 {
                        channel.control(0, now);
                    }
                    if value & 0x10 == 0 {
                        channel.latch_status(now);
                    }
                }
            }
            (0x43, index) => {
                if let Some(channel) = self.channels.get_mut(usize::from(index)) {
                    channel.control(value, now);
                }
            }
            (0x61, _) => {
                self.speaker = value & 2 != 0;
                let [_, _, two] = &mut self.channels;
                two.set_gate(value & 1 != 0, now);
            }
            _ => {}
        }
    }

    /// When [`Pit::expire`] is to be called, in nanoseconds.
    pub fn deadline(&self) -> Option<u64> {
        let [zero, ..] = &self.channels;
        Some(zero.next_rise(self.seen)?.max(self.not_before))
    }

    /// Whether IRQ 0 has had an edge since last asked; several count once.
    pub fn expire(&mut self, now: u64) -> bool {
        if self.deadline().is_none_or(|at| at > now) {
            return false;
        }
        let [zero, ..] = &self.channels;
        self.seen = zero.rises(now);
        self.not_before = now.saturating_add(MIN_PERIOD_NS);
        true
    }
}
