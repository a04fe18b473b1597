//! CPUID policies: the machine's as the toolstack levels by, and each domain's.
//!
//! Policies carry no MSRs of their own: both that the interface knows (platform info, architectural capabilities)
//! are zero for every PV guest, and may only be set to that.
use super::{Outcome, Reply, not_self};
use crate::{Cx, Stop};
use core::sync::atomic::Ordering;
use domain::{CpuidPolicy, CpuidResult, Domain, Host, MAX_LEAVES};
use xen_abi::domctl::Domctl;
use xen_abi::featureset::{Source, WORDS};
use xen_abi::sysctl::{self as sc, Sysctl};
use xen_abi::xen::{CPUID_NO_SUBLEAF, CpuidLeaf, MsrEntry};
use xen_abi::{Errno, GuestHandle};

/// `MSR_PLATFORM_INFO`, `MSR_ARCH_CAPABILITIES`.
const MSRS: [u32; 2] = [0xce, 0x10a];
/// "Nothing was refused".
const NO_ERROR: u32 = !0;

/// domctl `get_cpu_policy`: without buffers, how much room to bring.
pub(super) fn get<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    let mut p = op.cpu_policy();
    let policy = dom.cpuid.lock().clone();
    p.nr_leaves = copy_leaves(cx, p.leaves, p.nr_leaves, &policy)?;
    p.nr_msrs = copy_msrs(cx, p.msrs, p.nr_msrs)?;
    op.set_cpu_policy(p);
    Ok(Reply::Data)
}

fn copy_leaves<H: Host>(
    cx: &Cx<H>,
    to: GuestHandle<CpuidLeaf>,
    room: u32,
    policy: &CpuidPolicy,
) -> Result<u32, Stop> {
    if to.is_null() {
        return Ok(MAX_LEAVES as u32);
    }
    let leaves = policy.leaves();
    if leaves.len() > room as usize {
        return Err(Errno::ENOBUFS.into());
    }
    for (i, leaf) in leaves.iter().enumerate() {
        cx.write_nth(to, i as u64, leaf)?;
    }
    Ok(leaves.len() as u32)
}

fn copy_msrs<H: Host>(cx: &Cx<H>, to: GuestHandle<MsrEntry>, room: u32) -> Result<u32, Stop> {
    if to.is_null() {
        return Ok(MSRS.len() as u32);
    }
    if MSRS.len() > room as usize {
        return Err(Errno::ENOBUFS.into());
    }
    for (i, idx) in MSRS.into_iter().enumerate() {
        cx.write_nth(
            to,
            i as u64,
            &MsrEntry {
                idx,
                flags: 0,
                val: 0,
            },
        )?;
    }
    Ok(MSRS.len() as u32)
}

/// domctl `set_cpu_policy`, before the domain first runs. Features beyond the default policy stay hidden.
pub(super) fn set<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    let mut p = op.cpu_policy();
    if p.nr_leaves as usize > MAX_LEAVES || p.nr_msrs as usize > MSRS.len() {
        return Err(Errno::E2BIG.into());
    }
    if !dom.creating.load(Ordering::Acquire) {
        return Err(Errno::EEXIST.into());
    }
    (p.err_leaf, p.err_subleaf, p.err_msr) = (NO_ERROR, NO_ERROR, NO_ERROR);
    let most = most(cx.h, dom.is_hvm());
    let mut policy = dom.cpuid.lock().clone();
    for i in 0..p.nr_leaves {
        let l: CpuidLeaf = cx.read_nth(p.leaves, u64::from(i))?;
        match l.leaf {
            0..=0xffff | 0x8000_0000..=0x8000_ffff => {
                policy.set(l.leaf, l.subleaf, within(&most, &l));
            }
            // Of the hypervisor's own leaves a policy says how many there are, and no more.
            0x4000_0000 => policy.set(l.leaf, CPUID_NO_SUBLEAF, [l.a & 0xff, 0, 0, 0]),
            0x4000_0001..=0x4000_ffff => {}
            _ => {
                (p.err_leaf, p.err_subleaf) = (l.leaf, l.subleaf);
                return refuse(cx, op, p);
            }
        }
    }
    for i in 0..p.nr_msrs {
        let m: MsrEntry = cx.read_nth(p.msrs, u64::from(i))?;
        if m.flags != 0 || m.val != 0 || !MSRS.contains(&m.idx) {
            p.err_msr = m.idx;
            return refuse(cx, op, p);
        }
    }
    *dom.cpuid.lock() = policy;
    op.set_cpu_policy(p);
    Ok(Reply::Data)
}

/// What a new domain gets, and the most it may get.
pub(super) fn most<H: Host>(h: &H, hvm: bool) -> CpuidPolicy {
    match hvm {
        true => h.default_hvm_cpuid(),
        false => h.default_cpuid(),
    }
}

/// Says what was wrong, and fails.
fn refuse<H: Host>(cx: &Cx<H>, op: &mut Domctl, p: xen_abi::domctl::CpuPolicy) -> Outcome {
    op.set_cpu_policy(p);
    cx.write(cx.args[0], op)?;
    Err(Errno::EINVAL.into())
}

/// Feature bits that describe topology and may be shown although the default hides them: HTT, CMP_LEGACY.
const HTT: u32 = 1 << 28;
const CMP_LEGACY: u32 = 1 << 1;

/// The registers of `leaf` with feature bits cut to what `most` allows.
fn within(most: &CpuidPolicy, leaf: &CpuidLeaf) -> CpuidResult {
    let sub = if leaf.subleaf == CPUID_NO_SUBLEAF {
        0
    } else {
        leaf.subleaf
    };
    let [ma, mb, mc, md] = most.get(leaf.leaf, sub);
    let (a, b, c, d) = (leaf.a, leaf.b, leaf.c, leaf.d);
    match (leaf.leaf, sub) {
        (0 | 0x8000_0000, _) => [a.min(ma), b, c, d],
        (1, _) => [a, b, c & mc, d & (md | HTT)],
        (7, 0) => [a.min(ma), b & mb, c & mc, d & md],
        (7, _) => [a & ma, b & mb, c & mc, d & md],
        (0xd, 0) => [a & ma, b, c, d & md],
        (0xd, 1) => [a & ma, b, c & mc, d & md],
        (0x8000_0001, _) => [a, b, c & (mc | CMP_LEGACY), d & md],
        (0x8000_0007, _) => [a & ma, b & mb, c & mc, d & md],
        (0x8000_0008, _) => [a, b & mb, c, d & md],
        (
            0xa | 0xf | 0x10 | 0x12 | 0x14 | 0x8000_000a | 0x8000_001b | 0x8000_001c | 0x8000_001f,
            _,
        ) => [0; 4],
        (0x8000_0021, _) => [a & ma, b & mb, c & mc, d & md],
        _ => [a, b, c, d],
    }
}

/// sysctl `get_cpu_policy`.
pub(super) fn system<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut p = op.cpu_policy();
    match p.index {
        sc::CPU_POLICY_RAW
        | sc::CPU_POLICY_HOST
        | sc::CPU_POLICY_PV_MAX
        | sc::CPU_POLICY_PV_DEFAULT
        | sc::CPU_POLICY_HVM_MAX
        | sc::CPU_POLICY_HVM_DEFAULT => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    let hvm = matches!(p.index, sc::CPU_POLICY_HVM_MAX | sc::CPU_POLICY_HVM_DEFAULT);
    if hvm && !cx.h.info().hvm {
        return Err(Errno::EOPNOTSUPP.into());
    }
    p.nr_leaves = copy_leaves(cx, p.leaves, p.nr_leaves, &most(cx.h, hvm))?;
    p.nr_msrs = copy_msrs(cx, p.msrs, p.nr_msrs)?;
    op.set_cpu_policy(p);
    Ok(Reply::Data)
}

/// sysctl `get_cpu_featureset`: without a buffer, the number of words; with too small a one, what fits and `ENOBUFS`.
pub(super) fn featureset<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut f = op.cpu_featureset();
    let host = match f.index {
        sc::CPU_FEATURESET_RAW | sc::CPU_FEATURESET_HOST => true,
        sc::CPU_FEATURESET_PV | sc::CPU_FEATURESET_PV_MAX => false,
        sc::CPU_FEATURESET_HVM | sc::CPU_FEATURESET_HVM_MAX if cx.h.info().hvm => false,
        sc::CPU_FEATURESET_HVM | sc::CPU_FEATURESET_HVM_MAX => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let words = WORDS.len() as u32;
    if f.features.is_null() {
        f.nr_features = words;
        op.set_cpu_featureset(f);
        return Ok(Reply::Data);
    }
    let hvm = matches!(f.index, sc::CPU_FEATURESET_HVM | sc::CPU_FEATURESET_HVM_MAX);
    let policy = most(cx.h, hvm);
    let short = f.nr_features < words;
    f.nr_features = f.nr_features.min(words);
    for (i, source) in WORDS.iter().take(f.nr_features as usize).enumerate() {
        let word = match *source {
            Source::Cpuid { leaf, subleaf, reg } => {
                let regs = if host {
                    cx.h.host_cpuid(leaf, subleaf)
                } else {
                    policy.get(leaf, subleaf)
                };
                regs.get(reg as usize).copied().unwrap_or(0)
            }
            Source::Msr { .. } => 0,
        };
        cx.write_nth(f.features, i as u64, &word)?;
    }
    op.set_cpu_featureset(f);
    if short {
        cx.write(cx.args[0], op)?;
        return Err(Errno::ENOBUFS.into());
    }
    Ok(Reply::Data)
}
