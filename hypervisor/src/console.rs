//! The console: serial ports, the screen until dom0 has it, the ring that `xl dmesg` reads, the `log` sink, and who gets what is typed.
//!
//! Lines of the hypervisor start with `(CORTEN) `. Lines that guests cause go through [`guest_log`], which has its own
//! threshold and a rate limit. Neighbours: `panic` (last words), the lead-in of `boot` (configuration).

mod input;
mod ring;
mod screen;

pub use input::{Input, poll};
pub use ring::Ring;

use crate::arch::x86::boot::BootInfo;
use crate::sync::{Level, SpinLock};
use crate::time;
use alloc::vec::Vec;
use bootcfg::{Com, Config, Consoles, LogLevel, LogThreshold};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};
use log::{LevelFilter, Log, Metadata, Record};
use screen::Screen;
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::{Parity, WordLength};
use uart_16550::{BaudRate, Uart16550};

const COM_PORTS: [u16; 2] = [0x3f8, 0x2f8];
const PREFIX: &str = "(CORTEN) ";
/// What a guest may make us print: this many lines at once, and one more every so often.
const GUEST_BURST: u64 = 20;
const GUEST_LINE_NS: u64 = 250_000_000;

struct Console {
    uarts: [Option<Uart16550<PioBackend>>; 2],
    screen: Option<Screen>,
    ring: Ring,
    /// The next byte starts a line.
    at_line_start: bool,
}

static CONSOLE: SpinLock<Console> = SpinLock::new(
    Level::Console,
    Console {
        uarts: [None, None],
        screen: None,
        ring: Ring::new(),
        at_line_start: true,
    },
);

/// Thresholds, as `LogLevel` numbers: always, rate-limited.
static GUEST_LEVEL: [AtomicU8; 2] = [
    AtomicU8::new(LogLevel::Error as u8),
    AtomicU8::new(LogLevel::Warning as u8),
];

impl Console {
    /// Bytes as they are, with a carriage return before each line feed on the serial ports.
    fn write_bytes(&mut self, bytes: &[u8]) {
        self.ring.push(bytes);
        self.send_bytes(bytes);
    }

    /// The same without a place in the ring.
    fn send_bytes(&mut self, bytes: &[u8]) {
        for uart in self.uarts.iter_mut().flatten() {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                match line.strip_suffix(b"\n") {
                    Some(text) => {
                        send(uart, text);
                        send(uart, b"\r\n");
                    }
                    None => send(uart, line),
                }
            }
        }
        if let Some(screen) = &mut self.screen {
            screen.write(bytes);
        }
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
        }
    }
}

/// Sends, unless the port has died: a machine without one must not hang here.
fn send(uart: &mut Uart16550<PioBackend>, mut bytes: &[u8]) {
    let mut patience = 200_000u32;
    while !bytes.is_empty() && patience > 0 {
        match uart.send_bytes(bytes) {
            0 => {
                patience -= 1;
                core::hint::spin_loop();
            }
            sent => bytes = &bytes[sent..],
        }
    }
}

/// Prefixes each line.
struct Lines<'a>(&'a mut Console);

impl Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            if self.0.at_line_start {
                self.0.write_bytes(PREFIX.as_bytes());
            }
            self.0.write_bytes(line.as_bytes());
        }
        Ok(())
    }
}

struct Sink;

impl Log for Sink {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let mut console = CONSOLE.lock();
        // Whatever a guest left unfinished ends here.
        if !console.at_line_start {
            console.write_bytes(b"\n");
        }
        let mut lines = Lines(&mut console);
        // Writing to the console cannot fail.
        let _ = match record.level() {
            log::Level::Error => write!(lines, "ERROR: {}", record.args()),
            log::Level::Warn => write!(lines, "warning: {}", record.args()),
            _ => write!(lines, "{}", record.args()),
        };
        console.write_bytes(b"\n");
    }

    fn flush(&self) {}
}

fn open(port: u16, settings: Com) -> Option<Uart16550<PioBackend>> {
    // SAFETY: the serial ports' addresses, from the command line or the PC's usual ones; they are ours.
    let mut uart = unsafe { Uart16550::new_port(port) }.ok()?;
    let config = uart_16550::Config {
        baud_rate: BaudRate::from_integer(if settings.baud == 0 {
            115_200
        } else {
            settings.baud
        }),
        data_bits: match settings.data_bits {
            5 => WordLength::FiveBits,
            6 => WordLength::SixBits,
            7 => WordLength::SevenBits,
            _ => WordLength::EightBits,
        },
        extra_stop_bits: settings.stop_bits == 2,
        parity: match settings.parity {
            b'o' => Parity::Odd,
            b'e' => Parity::Even,
            b'm' => Parity::Forced1,
            b's' => Parity::Forced0,
            _ => Parity::Disabled,
        },
        ..uart_16550::Config::default()
    };
    uart.init(config).ok()?;
    Some(uart)
}

/// Prints to the ring only, until [`configure`] says where else.
pub fn early_init() {
    // There is no other logger, so this cannot fail.
    let _ = log::set_logger(&Sink);
    log::set_max_level(LevelFilter::Info);
}

/// The consoles the command line asks for, or all there are.
fn wanted(config: &Config) -> Consoles {
    config.console.unwrap_or(Consoles {
        com1: true,
        com2: config.com2.is_some(),
        vga: true,
    })
}

/// Shows on the screen, if the command line wants that, what was printed so far and what follows. Once memory can be
/// mapped and allocated.
pub fn open_screen(boot: &BootInfo) {
    if !wanted(&boot.config).vga {
        return;
    }
    let Some(mut screen) = Screen::open(boot) else {
        return;
    };
    let mut console = CONSOLE.lock();
    console.ring.for_each(|byte| screen.write(&[byte]));
    console.screen = Some(screen);
}

/// Leaves the screen to dom0's drivers, unless `vga=keep`.
pub fn release_screen(config: &Config) {
    if config.vga_keep {
        return;
    }
    let screen = CONSOLE.lock().screen.take();
    if screen.is_some() {
        log::info!("The screen is Domain-0's from here on; \"vga=keep\" shares it");
    }
}

/// Opens the ports the command line asks for, com1 by default, and repeats there what was printed so far.
pub fn configure(config: &Config) {
    set_levels(config.loglvl, config.guest_loglvl);
    let wanted = wanted(config);
    let mut console = CONSOLE.lock();
    for (index, (wanted, settings)) in [(wanted.com1, config.com1), (wanted.com2, config.com2)]
        .into_iter()
        .enumerate()
    {
        if !wanted {
            continue;
        }
        let settings = settings.unwrap_or_default();
        let port = if settings.io_base == 0 {
            COM_PORTS[index]
        } else {
            settings.io_base
        };
        let Some(mut uart) = open(port, settings) else {
            continue;
        };
        let Console { ring, uarts, .. } = &mut *console;
        ring.for_each(|byte| {
            if byte == b'\n' {
                send(&mut uart, b"\r");
            }
            send(&mut uart, &[byte]);
        });
        uarts[index] = Some(uart);
    }
}

/// Sets what is printed. `loglvl`'s rate-limited part counts as printed: the hypervisor's own messages are few.
pub fn set_levels(own: LogThreshold, guest: LogThreshold) {
    log::set_max_level(match own.limited {
        LogLevel::None => LevelFilter::Off,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    });
    GUEST_LEVEL[0].store(guest.always as u8, Ordering::Relaxed);
    GUEST_LEVEL[1].store(guest.limited as u8, Ordering::Relaxed);
}

/// Gives the ring its final size, once memory can be allocated.
pub fn allocate_ring(size: u64) {
    let size = size.clamp(4096, 16 << 20).next_power_of_two() as usize;
    let mut storage = Vec::new();
    if storage.try_reserve_exact(size).is_err() {
        log::warn!("conring_size: no memory for {size} bytes");
        return;
    }
    storage.resize(size, 0);
    CONSOLE.lock().ring.replace(storage.leak());
}

/// Sends bytes as they are to the serial ports: Domain-0's own output, which `xl dmesg` does not repeat. The caller
/// limits how much.
pub fn write_raw(bytes: &[u8]) {
    CONSOLE.lock().send_bytes(bytes);
}

/// Runs `f` on the ring.
pub fn with_ring<T>(f: impl FnOnce(&mut Ring) -> T) -> T {
    f(&mut CONSOLE.lock().ring)
}

/// One typed byte from any port.
pub fn read_byte() -> Option<u8> {
    CONSOLE
        .lock()
        .uarts
        .iter_mut()
        .flatten()
        .find_map(|uart| uart.try_receive_byte().ok())
}

/// Reserves the right to print one line that a guest caused: `false` when its level is off, or there have been too many.
pub fn may_log_guest(level: LogLevel) -> bool {
    if level as u8 <= GUEST_LEVEL[0].load(Ordering::Relaxed) && level as u8 <= LogLevel::Error as u8
    {
        return take_token();
    }
    level as u8 <= GUEST_LEVEL[1].load(Ordering::Relaxed) && take_token()
}

/// A bucket of [`GUEST_BURST`] tokens that fills with time.
fn take_token() -> bool {
    struct Bucket {
        /// When the bucket was last empty, in effect: everything since counts as tokens.
        since: u64,
        suppressed: u64,
    }
    static BUCKET: SpinLock<Bucket> = SpinLock::new(
        Level::Bucket,
        Bucket {
            since: 0,
            suppressed: 0,
        },
    );
    let now = time::now_ns();
    let mut bucket = BUCKET.lock();
    bucket.since = bucket
        .since
        .max(now.saturating_sub(GUEST_BURST * GUEST_LINE_NS));
    if bucket.since + GUEST_LINE_NS > now && now > GUEST_LINE_NS {
        bucket.suppressed += 1;
        return false;
    }
    bucket.since += GUEST_LINE_NS;
    let suppressed = core::mem::take(&mut bucket.suppressed);
    drop(bucket);
    if suppressed != 0 {
        log::info!("{suppressed} messages caused by guests left out");
    }
    true
}

/// Prints a line that a guest caused, if level and rate allow. The text names the guest, as `d3v0`.
pub fn guest_log(level: LogLevel, text: fmt::Arguments) {
    if may_log_guest(level) {
        log::info!("{text}");
    }
}

/// Takes the console from whoever holds it: for last words.
pub fn break_lock() {
    for _ in 0..1_000_000 {
        if CONSOLE.try_lock().is_some() {
            return;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the other CPUs have been told to stop, and have had time to; this CPU does not return to a guard's owner.
    unsafe { CONSOLE.break_lock() };
}

/// Whether an I/O port belongs to a serial line the console uses.
pub fn owns_port(port: u16) -> bool {
    let console = CONSOLE.lock();
    COM_PORTS
        .iter()
        .zip(&console.uarts)
        .any(|(base, uart)| uart.is_some() && (*base..*base + 8).contains(&port))
}
