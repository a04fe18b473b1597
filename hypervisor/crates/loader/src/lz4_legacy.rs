//! The legacy LZ4 frame (lz4_Frame_format.md, "Legacy frame"): a magic, then blocks of at most 8 MiB of output, each
//! with its packed size in front. It is what `lz4 -l` writes and Linux's build uses.
use crate::LoadError;
use crate::decompress::too_large;
use crate::kernel::PayloadKind;
use alloc::string::String;

const MAGIC: u32 = 0x184c_2102;
const BLOCK_MAX: usize = 8 << 20;

/// Unpacks every block into `out`; returns the bytes written.
pub(crate) fn decompress(data: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    let fail = |why: &str| LoadError::Decompress {
        kind: PayloadKind::Lz4,
        why: String::from(why),
    };
    let mut rest = data.get(4..).ok_or_else(|| fail("it is cut short"))?;
    let mut at = 0;
    while let Some((head, tail)) = rest.split_at_checked(4) {
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        rest = tail;
        // Frames may be concatenated.
        if size == MAGIC {
            continue;
        }
        let block = rest
            .get(..size as usize)
            .ok_or_else(|| fail("it is cut short"))?;
        rest = &rest[size as usize..];
        let room = out.len() - at;
        let window = &mut out[at..][..room.min(BLOCK_MAX)];
        at += match lz4_flex::block::decompress_into(block, window) {
            Ok(n) => n,
            Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < BLOCK_MAX => {
                return Err(too_large(at + room + 1, at + room));
            }
            Err(_) => return Err(fail("a block is damaged")),
        };
    }
    if rest.is_empty() {
        Ok(at)
    } else {
        Err(fail("it is cut short"))
    }
}
