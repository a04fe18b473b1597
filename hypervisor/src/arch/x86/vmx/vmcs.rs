//! The virtual machine control structure that is current on this CPU: [`Field`] is the table of its fields (Intel SDM vol. 3,
//! appendix B), [`read`] and [`write`] reach them.

use core::arch::asm;
use domain::hvm_vcpu::{Seg, Segment};

/// Encodings of fields. Those of segments are of ES; the others follow in steps of two, in the order of [`Seg`].
#[allow(missing_docs)]
#[repr(u64)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    Vpid = 0x0000,
    GuestSelectors = 0x0800,
    HostEs = 0x0c00,
    HostCs = 0x0c02,
    HostSs = 0x0c04,
    HostDs = 0x0c06,
    HostFs = 0x0c08,
    HostGs = 0x0c0a,
    HostTr = 0x0c0c,
    IoBitmapA = 0x2000,
    IoBitmapB = 0x2002,
    MsrBitmap = 0x2004,
    TscOffset = 0x2010,
    VirtualApic = 0x2012,
    EptPointer = 0x201a,
    TscMultiplier = 0x2032,
    GuestPhysical = 0x2400,
    LinkPointer = 0x2800,
    GuestDebugCtl = 0x2802,
    GuestPat = 0x2804,
    GuestEfer = 0x2806,
    GuestPdptes = 0x280a,
    HostPat = 0x2c00,
    HostEfer = 0x2c02,
    PinControls = 0x4000,
    CpuControls = 0x4002,
    ExceptionBitmap = 0x4004,
    Cr3Targets = 0x400a,
    ExitControls = 0x400c,
    ExitMsrStores = 0x400e,
    ExitMsrLoads = 0x4010,
    EntryControls = 0x4012,
    EntryMsrLoads = 0x4014,
    EntryEvent = 0x4016,
    EntryErrorCode = 0x4018,
    TprThreshold = 0x401c,
    CpuControls2 = 0x401e,
    /// Cycles between two PAUSEs of one loop, at most.
    PauseGap = 0x4020,
    /// Cycles that a loop may take.
    PauseWindow = 0x4022,
    InstructionError = 0x4400,
    ExitReason = 0x4402,
    ExitEvent = 0x4404,
    ExitErrorCode = 0x4406,
    VectoringEvent = 0x4408,
    VectoringErrorCode = 0x440a,
    ExitLength = 0x440c,
    GuestLimits = 0x4800,
    GuestGdtrLimit = 0x4810,
    GuestIdtrLimit = 0x4812,
    GuestAccessRights = 0x4814,
    Interruptibility = 0x4824,
    Activity = 0x4826,
    GuestSysenterCs = 0x482a,
    PreemptionTimer = 0x482e,
    HostSysenterCs = 0x4c00,
    Cr0Mask = 0x6000,
    Cr4Mask = 0x6002,
    Cr0Shadow = 0x6004,
    Cr4Shadow = 0x6006,
    Qualification = 0x6400,
    GuestCr0 = 0x6800,
    GuestCr3 = 0x6802,
    GuestCr4 = 0x6804,
    GuestBases = 0x6806,
    GuestGdtrBase = 0x6816,
    GuestIdtrBase = 0x6818,
    GuestDr7 = 0x681a,
    GuestRsp = 0x681c,
    GuestRip = 0x681e,
    GuestRflags = 0x6820,
    PendingDebug = 0x6822,
    GuestSysenterEsp = 0x6824,
    GuestSysenterEip = 0x6826,
    HostCr0 = 0x6c00,
    HostCr3 = 0x6c02,
    HostCr4 = 0x6c04,
    HostFsBase = 0x6c06,
    HostGsBase = 0x6c08,
    HostTrBase = 0x6c0a,
    HostGdtrBase = 0x6c0c,
    HostIdtrBase = 0x6c0e,
    HostSysenterEsp = 0x6c10,
    HostSysenterEip = 0x6c12,
    HostRip = 0x6c16,
}

/// Access rights: the register cannot be used.
const UNUSABLE: u64 = 1 << 16;
/// Attribute: present.
const PRESENT: u16 = 1 << 7;
/// Attribute: code or data.
const CODE_OR_DATA: u16 = 1 << 4;

#[inline]
fn read_raw(field: u64) -> u64 {
    let value: u64;
    // SAFETY: a VMCS is current on every CPU after `init_cpu`; reading changes nothing.
    unsafe { asm!("vmread {}, {}", out(reg) value, in(reg) field, options(nomem, nostack)) };
    value
}

#[inline]
fn write_raw(field: u64, value: u64) {
    // SAFETY: a VMCS is current on every CPU after `init_cpu`. What a guest chooses of it is only state of the guest, which
    // entries check; host state and controls are written by `init_cpu` and `state` from values of our own.
    unsafe { asm!("vmwrite {}, {}", in(reg) field, in(reg) value, options(nostack)) };
}

/// Reads a field.
#[inline]
pub fn read(field: Field) -> u64 {
    read_raw(field as u64)
}

/// Writes a field.
#[inline]
pub fn write(field: Field, value: u64) {
    write_raw(field as u64, value);
}

/// Sets or clears bits of a field.
#[inline]
pub fn change(field: Field, bits: u64, on: bool) {
    let old = read(field);
    let new = if on { old | bits } else { old & !bits };
    if new != old {
        write(field, new);
    }
}

/// Writes the `n`th of fields that follow one another.
pub fn write_nth(first: Field, n: usize, value: u64) {
    write_raw(first as u64 + n as u64 * 2, value);
}

/// Access rights of a segment register as this module's user knows attributes.
pub fn attributes(seg: Seg) -> u16 {
    let rights = read_raw(Field::GuestAccessRights as u64 + seg as u64 * 2);
    let attributes = (rights & 0xff | rights >> 4 & 0xf00) as u16;
    if rights & UNUSABLE != 0 {
        attributes & !PRESENT
    } else {
        attributes
    }
}

/// A segment register.
pub fn segment(seg: Seg) -> Segment {
    let nth = |first: Field| read_raw(first as u64 + seg as u64 * 2);
    Segment {
        selector: nth(Field::GuestSelectors) as u16,
        attributes: attributes(seg),
        limit: nth(Field::GuestLimits) as u32,
        base: nth(Field::GuestBases),
    }
}

/// Sets a segment register.
pub fn set_segment(seg: Seg, s: &Segment) {
    let n = seg as usize;
    let mut attributes = u64::from(s.attributes);
    let mut rights = 0;
    if s.attributes & PRESENT == 0 {
        rights = UNUSABLE;
    } else if s.attributes & CODE_OR_DATA != 0 {
        // What is loaded has been accessed; entries insist on it.
        attributes |= 1;
    }
    rights |= attributes & 0xff | (attributes & 0xf00) << 4;
    write_nth(Field::GuestSelectors, n, s.selector.into());
    write_nth(Field::GuestAccessRights, n, rights);
    write_nth(Field::GuestLimits, n, s.limit.into());
    write_nth(Field::GuestBases, n, s.base);
}
