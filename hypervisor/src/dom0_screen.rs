//! What dom0's kernel is told of the screen, so that its own console appears there: `dom0_vga_console_info` in the
//! start_info page (public/xen.h). Until then the hypervisor's own messages are there (`console::screen`).

use crate::arch::x86::boot::{BootInfo, Framebuffer};
use xen_abi::handle::Payload32;
use xen_abi::start_info::VgaConsoleInfo;

const TEXT_MODE_3: u8 = 0x03;
const VESA_LFB: u8 = 0x23;
const EFI_LFB: u8 = 0x70;

/// The description, if there is a screen that anything is known of.
pub fn describe(boot: &BootInfo) -> Option<VgaConsoleInfo> {
    let efi = boot.efi_system_table.is_some();
    match &boot.framebuffer {
        Some(fb) if fb.text => Some(text(fb.height as u16, fb.width as u16)),
        Some(fb) => Some(linear(fb, if efi { EFI_LFB } else { VESA_LFB })),
        // A PC BIOS leaves the screen in text mode unless a loader says otherwise.
        None if !efi => Some(text(25, 80)),
        None => None,
    }
}

/// Text mode 3 with the cursor on the last line. Five 16-bit fields (`VgaTextMode3`) in 32-bit words.
fn text(rows: u16, columns: u16) -> VgaConsoleInfo {
    const FONT_HEIGHT: u32 = 16;
    let cursor_y = u32::from(rows.saturating_sub(1));
    VgaConsoleInfo {
        video_type: TEXT_MODE_3,
        u: Payload32([
            FONT_HEIGHT,
            cursor_y | u32::from(rows) << 16,
            u32::from(columns),
            0,
            0,
            0,
            0,
            0,
            0,
        ]),
        ..VgaConsoleInfo::default()
    }
}

/// A linear frame buffer (`vesa_lfb` of the union).
fn linear(fb: &Framebuffer, video_type: u8) -> VgaConsoleInfo {
    let size = u64::from(fb.pitch) * u64::from(fb.height);
    let [red, green, blue] = fb
        .rgb
        .map(|(at, bits)| u32::from(at) | u32::from(bits) << 8);
    VgaConsoleInfo {
        video_type,
        u: Payload32([
            fb.width & 0xffff | fb.height << 16,
            fb.pitch & 0xffff | u32::from(fb.bpp) << 16,
            fb.address as u32,
            // In units of 64 KiB.
            size.div_ceil(0x1_0000) as u32,
            red | green << 16,
            blue,
            0,
            0,
            (fb.address >> 32) as u32,
        ]),
        ..VgaConsoleInfo::default()
    }
}
