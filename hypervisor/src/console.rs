//! The console: serial port, ring buffer, `log` sink.

use core::fmt::Write;
use log::{LevelFilter, Log, Metadata, Record};
use spin::Mutex;
use uart_16550::{Config, Uart16550Tty, backend::PioBackend};

static UART: Mutex<Option<Uart16550Tty<PioBackend>>> = Mutex::new(None);

struct Sink;

impl Log for Sink {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }
    fn log(&self, record: &Record) {
        if let Some(uart) = UART.lock().as_mut() {
            let _ = writeln!(uart, "(CORTEN) {}", record.args());
        }
    }
    fn flush(&self) {}
}

/// Opens com1 with defaults, before the command line is known.
pub fn early_init() {
    // SAFETY: com1's legacy ports belong to nobody else.
    *UART.lock() = unsafe { Uart16550Tty::new_port(0x3f8, Config::default()) }.ok();
    let _ = log::set_logger(&Sink);
    log::set_max_level(LevelFilter::Info);
}
