//! [`Screen`]: the console's messages on a display: text mode, or a linear frame buffer with a font of our own.
//!
//! What was printed is kept as characters, so that scrolling never reads the display's memory, which is slow. A full
//! screen moves up by half at once, which keeps redrawing rare.

use crate::arch::x86::boot::{BootInfo, Framebuffer};
use crate::arch::x86::mm;
use alloc::vec::Vec;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// Text mode 3: where, how large, and light grey on black.
const TEXT_BASE: u64 = 0xb8000;
const TEXT_SIZE: (u32, u32) = (80, 25);
const TEXT_COLOUR: u16 = 0x0700;

const WEIGHT: FontWeight = FontWeight::Regular;
const HEIGHT: RasterHeight = RasterHeight::Size16;
/// Brightness of the letters, of 255.
const INK: u32 = 0xc8;

/// Memory that is shown, mapped for ever.
enum Surface {
    /// A character and its colour in two bytes.
    Text { base: *mut u16 },
    /// Pixels.
    Pixels { base: *mut u8, fb: Framebuffer },
}

/// Where an escape sequence of a terminal is; those are left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Started,
    Bracket,
}

/// A display and what is on it.
pub struct Screen {
    surface: Surface,
    columns: usize,
    rows: usize,
    cells: Vec<u8>,
    column: usize,
    row: usize,
    escape: Escape,
}

// SAFETY: the mapping is valid on all CPUs, and only one holder of the console's lock at a time uses it.
unsafe impl Send for Screen {}

impl Screen {
    /// Opens the display that the boot loader left, if it is one that can be drawn on; it starts out empty.
    pub fn open(boot: &BootInfo) -> Option<Screen> {
        let (surface, columns, rows) = match &boot.framebuffer {
            Some(fb) if fb.text => text(fb.address, (fb.width, fb.height))?,
            Some(fb) => pixels(fb)?,
            // A PC BIOS leaves the screen in text mode unless a loader says otherwise.
            None if boot.efi_system_table.is_none() => text(TEXT_BASE, TEXT_SIZE)?,
            None => return None,
        };
        let mut cells = Vec::new();
        cells.try_reserve_exact(columns * rows).ok()?;
        cells.resize(columns * rows, b' ');
        let mut screen = Screen {
            surface,
            columns,
            rows,
            cells,
            column: 0,
            row: 0,
            escape: Escape::None,
        };
        screen.redraw();
        Some(screen)
    }

    /// Prints; what is not printable is left out.
    pub fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.put(*byte));
    }

    fn put(&mut self, byte: u8) {
        match (self.escape, byte) {
            (Escape::Started, b'[') => self.escape = Escape::Bracket,
            (Escape::Bracket, 0x20..=0x3f) => {}
            (Escape::Started | Escape::Bracket, _) => self.escape = Escape::None,
            (_, 0x1b) => self.escape = Escape::Started,
            (_, b'\n') => self.new_line(),
            (_, b'\r') => self.column = 0,
            (_, b'\t') => (0..8 - self.column % 8).for_each(|_| self.letter(b' ')),
            (_, 0x20..=0x7e) => self.letter(byte),
            _ => {}
        }
    }

    fn letter(&mut self, byte: u8) {
        if self.column == self.columns {
            self.new_line();
        }
        if let Some(cell) = self.cells.get_mut(self.row * self.columns + self.column) {
            *cell = byte;
        }
        self.surface.draw(self.columns, self.column, self.row, byte);
        self.column += 1;
    }

    fn new_line(&mut self) {
        self.column = 0;
        self.row += 1;
        if self.row < self.rows {
            return;
        }
        let gone = (self.rows / 2).max(1) * self.columns;
        self.cells.copy_within(gone.., 0);
        let kept = self.cells.len() - gone;
        if let Some(rest) = self.cells.get_mut(kept..) {
            rest.fill(b' ');
        }
        self.row = kept / self.columns;
        self.redraw();
    }

    fn redraw(&mut self) {
        for (i, byte) in self.cells.iter().enumerate() {
            self.surface
                .draw(self.columns, i % self.columns, i / self.columns, *byte);
        }
    }
}

/// Text mode of so many columns and rows.
fn text(address: u64, (width, height): (u32, u32)) -> Option<(Surface, usize, usize)> {
    let (columns, rows) = (width as usize, height as usize);
    let len = u64::from(width).checked_mul(u64::from(height))? * 2;
    if len == 0 || len > 0x8000 {
        return None;
    }
    let base = mm::ioremap(address, len).ok()?.cast();
    Some((Surface::Text { base }, columns, rows))
}

/// A frame buffer whose description holds together.
fn pixels(fb: &Framebuffer) -> Option<(Surface, usize, usize)> {
    let bytes = u32::from(fb.bpp).div_ceil(8);
    let columns = fb.width as usize / get_raster_width(WEIGHT, HEIGHT);
    let rows = fb.height as usize / HEIGHT.val();
    let sound = matches!(fb.bpp, 15 | 16 | 24 | 32)
        && fb.pitch >= fb.width.checked_mul(bytes)?
        && fb
            .rgb
            .iter()
            .all(|(at, size)| *size <= 8 && at + size <= fb.bpp)
        && columns > 0
        && rows > 0
        && fb.width <= 1 << 14
        && fb.height <= 1 << 14;
    if !sound {
        return None;
    }
    let base = mm::ioremap(fb.address, u64::from(fb.pitch) * u64::from(fb.height)).ok()?;
    Some((Surface::Pixels { base, fb: *fb }, columns, rows))
}

impl Surface {
    /// Draws one character at a place inside the screen.
    fn draw(&mut self, columns: usize, column: usize, row: usize, byte: u8) {
        match self {
            // SAFETY: `Screen` keeps column and row inside the size for which `base` is mapped.
            Surface::Text { base } => unsafe {
                base.add(row * columns + column)
                    .write_volatile(TEXT_COLOUR | u16::from(byte));
            },
            Surface::Pixels { base, fb } => draw_glyph(*base, fb, column, row, byte),
        }
    }
}

fn draw_glyph(base: *mut u8, fb: &Framebuffer, column: usize, row: usize, byte: u8) {
    let Some(glyph) = get_raster(char::from(byte), WEIGHT, HEIGHT) else {
        return;
    };
    let bytes = usize::from(fb.bpp).div_ceil(8);
    let left = column * glyph.width() * bytes;
    for (y, line) in glyph.rows().enumerate() {
        let start = (row * HEIGHT.val() + y) * fb.pitch as usize + left;
        for (x, intensity) in line.iter().enumerate() {
            let colour = colour(fb, *intensity);
            // SAFETY: `pixels` mapped all lines and counted columns and rows that fit, so the pixel is inside.
            unsafe {
                let at = base.add(start + x * bytes);
                match bytes {
                    4 => at.cast::<u32>().write_volatile(colour),
                    2 => at.cast::<u16>().write_volatile(colour as u16),
                    _ => {
                        (0..bytes).for_each(|n| at.add(n).write_volatile((colour >> (8 * n)) as u8))
                    }
                }
            }
        }
    }
}

/// A shade of grey in the frame buffer's own format.
fn colour(fb: &Framebuffer, intensity: u8) -> u32 {
    let value = u32::from(intensity) * INK / 255;
    fb.rgb.iter().fold(0, |all, (at, size)| {
        all | (value >> (8 - u32::from(*size)))
            .checked_shl(u32::from(*at))
            .unwrap_or(0)
    })
}
