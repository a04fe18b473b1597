//! The high-precision event timer: [`Hpet`], one counter and three comparators behind a page of MMIO.
//!
//! Source: IA-PC HPET Specification 1.0a. The counter follows from the moment asked about. Interrupts go to GSIs, or, in
//! legacy mode, those of comparators 0 and 1 to where timer and clock were (GSI 2 and 8; ISA lines 0 and 8).
//!
//! How to use: after a write set a timer for [`Hpet::deadline`] and hold the lines of [`Hpet::levels`]; when it is due,
//! [`Hpet::expire`] says which lines pulse.

/// Where the page is on PCs.
pub const BASE: u64 = 0xfed0_0000;
/// Nanoseconds of a tick.
pub const TICK_NS: u64 = 16;
const TIMERS: usize = 3;
/// Revision 1, three comparators, 64 bits, legacy routing, Intel, femtoseconds of a tick.
const CAPABILITIES: u64 = 0x8086_a201 | (TICK_NS * 1_000_000) << 32;
/// GSIs to choose from: 20 to 23.
const ROUTES: u32 = 0x00f0_0000;
/// A guest is not interrupted more often.
const MIN_PERIOD_NS: u64 = 20_000;
/// A comparator that is set so little behind the counter was meant to be ahead of it (a millisecond).
const LATE: u64 = 1_000_000 / TICK_NS;

const ENABLE: u64 = 1;
const LEGACY: u64 = 2;
/// Comparator configuration.
const LEVEL: u64 = 1 << 1;
const INTERRUPT: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const SET_VALUE: u64 = 1 << 6;
const BITS_32: u64 = 1 << 8;
const ROUTE_SHIFT: u32 = 9;
const WRITABLE: u64 = LEVEL | INTERRUPT | PERIODIC | SET_VALUE | BITS_32 | 0x1f << ROUTE_SHIFT;
/// Periodic and 64-bit capable.
const FIXED: u64 = 1 << 4 | 1 << 5 | (ROUTES as u64) << 32;

#[derive(Clone, Copy, Debug, Default)]
struct Timer {
    config: u64,
    comparator: u64,
    period: u64,
    /// When it matches next, in nanoseconds.
    next: Option<u64>,
}

impl Timer {
    fn mask(&self) -> u64 {
        match self.config & BITS_32 {
            0 => u64::MAX,
            _ => u32::MAX.into(),
        }
    }

    /// Looks for the next match of a counter that stands at `counter`.
    fn arm(&mut self, counter: u64, now: u64) {
        let ahead = self.comparator.wrapping_sub(counter) & self.mask();
        let late = self.mask() - ahead < LATE;
        let ticks = if late { 0 } else { ahead };
        self.next = ticks
            .checked_mul(TICK_NS)
            .and_then(|ns| ns.checked_add(now - now % TICK_NS));
    }

    /// The match at `next` was seen at `now`.
    fn matched(&mut self, counter: u64, now: u64) {
        let mask = self.mask();
        if self.config & PERIODIC == 0 {
            // 32 bits come round again.
            let round = (mask != u64::MAX).then_some((1 << 32) * TICK_NS);
            self.next = round.and_then(|ns| now.checked_add(ns));
            return;
        }
        let period = self.period & mask;
        if period == 0 {
            self.next = None;
            return;
        }
        let behind = counter.wrapping_sub(self.comparator) & mask;
        let periods = match behind {
            // It was late and matched before its time.
            behind if mask - behind < LATE => 1,
            behind => behind / period + 1,
        };
        self.comparator = self.comparator.wrapping_add(period.wrapping_mul(periods)) & mask;
        self.arm(counter, now);
        let soonest = now.saturating_add(MIN_PERIOD_NS);
        self.next = self.next.map(|at| at.max(soonest));
    }
}

/// The block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hpet {
    config: u64,
    status: u64,
    /// The counter less the ticks of the guest's time while it runs, itself while it stands.
    counter: u64,
    timers: [Timer; TIMERS],
}

impl Hpet {
    fn running(&self) -> bool {
        self.config & ENABLE != 0
    }

    fn now(&self, now: u64) -> u64 {
        match self.running() {
            true => self.counter.wrapping_add(now / TICK_NS),
            false => self.counter,
        }
    }

    fn register(&self, offset: u64, now: u64) -> u64 {
        let timer = |n: u64| usize::try_from(n).ok().and_then(|n| self.timers.get(n));
        match offset {
            0x00 => CAPABILITIES,
            0x10 => self.config,
            0x20 => self.status,
            0xf0 => self.now(now),
            0x100.. => match (timer((offset - 0x100) / 0x20), offset & 0x18) {
                (Some(t), 0) => t.config | FIXED,
                (Some(t), 8) => t.comparator,
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Reads `size` bytes at `offset` of the page at `now` nanoseconds.
    pub fn read(&self, offset: u64, size: u8, now: u64) -> u64 {
        let (shift, mask) = lane(offset, size);
        self.register(offset & !7, now) >> shift & mask
    }

    /// Writes `size` bytes at `offset` of the page. Look at deadline and levels afterwards.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, now: u64) {
        let (shift, mask) = lane(offset, size);
        let (lane, value) = (mask << shift, (value & mask) << shift);
        let register = offset & !7;
        let whole = self.register(register, now) & !lane | value;
        match register {
            0x10 => self.configure(whole, now),
            0x20 => self.status &= !value,
            0xf0 => {
                let ticks = if self.running() { now / TICK_NS } else { 0 };
                self.counter = whole.wrapping_sub(ticks);
                self.arm_all(now);
            }
            0x100.. => self.set_timer(register - 0x100, whole, now),
            _ => {}
        }
    }

    fn configure(&mut self, config: u64, now: u64) {
        let counter = self.now(now);
        self.config = config & (ENABLE | LEGACY);
        self.counter = match self.running() {
            true => counter.wrapping_sub(now / TICK_NS),
            false => counter,
        };
        self.arm_all(now);
    }

    fn set_timer(&mut self, offset: u64, value: u64, now: u64) {
        let counter = self.now(now);
        let running = self.running();
        let index = (offset / 0x20) as usize;
        let Some(timer) = self.timers.get_mut(index) else {
            return;
        };
        match offset & 0x18 {
            0 => {
                timer.config = value & WRITABLE;
                timer.comparator &= timer.mask();
                if timer.config & LEVEL == 0 {
                    self.status &= !(1 << index);
                }
            }
            8 => {
                let value = value & timer.mask();
                let accumulator = timer.config & SET_VALUE != 0;
                timer.config &= !SET_VALUE;
                match timer.config & PERIODIC {
                    0 => timer.comparator = value,
                    _ if accumulator => timer.comparator = value,
                    _ => timer.period = value,
                }
            }
            _ => return,
        }
        timer.next = None;
        if running {
            timer.arm(counter, now);
        }
    }

    fn arm_all(&mut self, now: u64) {
        let (counter, running) = (self.now(now), self.running());
        for timer in &mut self.timers {
            timer.next = None;
            if running {
                timer.arm(counter, now);
            }
        }
    }

    /// Whether comparators 0 and 1 stand in for timer and clock, which are then to be silent.
    pub fn is_legacy(&self) -> bool {
        self.config & LEGACY != 0
    }

    /// The line of a comparator; `None`: it is routed where there is none.
    fn line(&self, index: usize) -> Option<u32> {
        let timer = self.timers.get(index)?;
        let chosen = (timer.config >> ROUTE_SHIFT & 0x1f) as u32;
        match index {
            0 if self.is_legacy() => Some(2),
            1 if self.is_legacy() => Some(8),
            _ if ROUTES >> chosen & 1 != 0 => Some(chosen),
            _ => None,
        }
    }

    /// GSIs (bits) that are held by level-triggered comparators.
    pub fn levels(&self) -> u32 {
        let mut lines = 0;
        for (i, timer) in self.timers.iter().enumerate() {
            if self.status >> i & 1 != 0 && timer.config & INTERRUPT != 0 {
                lines |= self.line(i).map_or(0, |line| 1 << line);
            }
        }
        lines
    }

    /// When [`Hpet::expire`] is to be called, in nanoseconds.
    pub fn deadline(&self) -> Option<u64> {
        self.timers
            .iter()
            .filter(|timer| timer.config & INTERRUPT != 0)
            .filter_map(|timer| timer.next)
            .min()
    }

    /// GSIs (bits) that pulse because of matches up to `now`; several of a comparator count once. Levels may have changed.
    pub fn expire(&mut self, now: u64) -> u32 {
        let counter = self.now(now);
        let mut pulses = 0;
        for i in 0..TIMERS {
            let line = self.line(i).map_or(0, |line| 1 << line);
            let Some(timer) = self.timers.get_mut(i) else {
                break;
            };
            if timer.next.is_none_or(|at| at > now) {
                continue;
            }
            timer.matched(counter, now);
            match timer.config & (LEVEL | INTERRUPT) {
                INTERRUPT => pulses |= line,
                // The status is kept even of those that do not interrupt.
                config if config & LEVEL != 0 => self.status |= 1 << i,
                _ => {}
            }
        }
        pulses
    }
}

/// Shift and mask of an access within its 64-bit register.
fn lane(offset: u64, size: u8) -> (u32, u64) {
    let shift = (offset & 7) as u32 * 8;
    let mask = match size {
        0 => 0,
        1..=7 => (1 << (u32::from(size) * 8)) - 1,
        _ => u64::MAX,
    };
    (shift, mask)
}
