//! Bitmaps in the caller's memory (`xenctl_bitmap`) as 64-bit words.
use crate::{Cx, Stop};
use domain::Host;
use xen_abi::Errno;
use xen_abi::xen::XenctlBitmap;

/// Most bytes written: beyond what anything here can name, bits are zero and the caller may have zeroed them itself.
const MAX_BYTES: usize = 512;

/// CPUs that exist, as a mask.
pub(crate) fn all_cpus<H: Host>(cx: &Cx<H>) -> u64 {
    match cx.h.info().cpus {
        64.. => !0,
        n => (1 << n) - 1,
    }
}

fn bytes(map: &XenctlBitmap) -> usize {
    map.nr_bits.div_ceil(8) as usize
}

/// The first 64 bits.
pub(super) fn read<H: Host>(cx: &Cx<H>, map: &XenctlBitmap) -> Result<u64, Stop> {
    let mut word = [0u8; 8];
    let n = bytes(map).min(8);
    let buf = word.get_mut(..n).ok_or(Errno::EINVAL)?;
    cx.h.copy_from_guest(buf, map.bitmap.addr())?;
    let word = u64::from_le_bytes(word);
    Ok(if map.nr_bits < 64 {
        word & ((1 << map.nr_bits) - 1)
    } else {
        word
    })
}

/// Writes the bits of `word`, and zeroes after them.
pub(super) fn write<H: Host>(cx: &Cx<H>, map: &XenctlBitmap, word: u64) -> Result<(), Stop> {
    let mut out = [0u8; MAX_BYTES];
    let word = if map.nr_bits < 64 {
        word & ((1 << map.nr_bits) - 1)
    } else {
        word
    };
    out[..8].copy_from_slice(&word.to_le_bytes());
    let n = bytes(map).min(MAX_BYTES);
    cx.write_bytes(map.bitmap.addr(), &out[..n])
}
