//! A vcpu's context on its way: the frames it names become the guest's own numbers, and the other way round.
use super::tables::ENTRIES;
use xen_abi::arch_x86::{VcpuGuestContext, cr3_to_pfn, pfn_to_cr3};

/// A user root's bit that says that there is one.
const USER_ROOT: u64 = 1;
const PAGE_SHIFT: u32 = 12;

/// Replaces frames by what `pfn_of` says of them. On an error: what is not the guest's.
pub fn leave(
    ctx: &mut VcpuGuestContext,
    pfn_of: impl Fn(u64) -> Option<u64>,
) -> Result<(), String> {
    let find = |what: &str, mfn: u64| {
        pfn_of(mfn).ok_or_else(|| format!("{what} is in frame {mfn:#x}, which is not its own"))
    };
    for frame in gdt(ctx) {
        *frame = find("its descriptor table", *frame)?;
    }
    ctx.ctrlreg[3] = pfn_to_cr3(find("its root page table", cr3_to_pfn(ctx.ctrlreg[3]))?);
    if ctx.ctrlreg[1] != 0 {
        let user = find("its user root page table", cr3_to_pfn(ctx.ctrlreg[1]))?;
        ctx.ctrlreg[1] = user << PAGE_SHIFT | USER_ROOT;
    }
    Ok(())
}

/// Replaces the guest's numbers by what `mfn_of` says of them. On an error: what has no frame.
pub fn arrive(
    ctx: &mut VcpuGuestContext,
    mfn_of: impl Fn(u64) -> Option<u64>,
) -> Result<(), String> {
    let find = |what: &str, pfn: u64| {
        mfn_of(pfn).ok_or_else(|| format!("{what} is at pfn {pfn:#x}, which was not saved"))
    };
    for frame in gdt(ctx) {
        *frame = find("its descriptor table", *frame)?;
    }
    ctx.ctrlreg[3] = pfn_to_cr3(find("its root page table", cr3_to_pfn(ctx.ctrlreg[3]))?);
    if ctx.ctrlreg[1] & USER_ROOT != 0 {
        let user = find("its user root page table", ctx.ctrlreg[1] >> PAGE_SHIFT)?;
        ctx.ctrlreg[1] = pfn_to_cr3(user);
    }
    Ok(())
}

fn gdt(ctx: &mut VcpuGuestContext) -> impl Iterator<Item = &mut u64> {
    let pages = (ctx.gdt_ents as usize).div_ceil(ENTRIES);
    ctx.gdt_frames.iter_mut().take(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut ctx = VcpuGuestContext {
            gdt_ents: 513,
            ..Default::default()
        };
        (ctx.gdt_frames[0], ctx.gdt_frames[1], ctx.gdt_frames[2]) = (0x1001, 0x1002, 77);
        (ctx.ctrlreg[3], ctx.ctrlreg[1]) = (pfn_to_cr3(0x1003), pfn_to_cr3(0x1004));
        let before = (ctx.gdt_frames, ctx.ctrlreg);
        leave(&mut ctx, |m| (m >= 0x1000).then(|| m - 0x1000)).unwrap();
        assert_eq!((ctx.gdt_frames[1], ctx.gdt_frames[2]), (2, 77));
        assert_eq!((ctx.ctrlreg[3], ctx.ctrlreg[1]), (pfn_to_cr3(3), 0x4001));
        arrive(&mut ctx, |p| Some(p + 0x1000)).unwrap();
        assert_eq!((ctx.gdt_frames, ctx.ctrlreg), before);
        let e = leave(&mut ctx, |_| None).unwrap_err();
        assert_eq!(
            e,
            "its descriptor table is in frame 0x1001, which is not its own"
        );
    }
}
