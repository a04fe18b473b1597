//! Compares every declared constant, size and offset with Xen's public headers, where they and a C compiler are installed.
//!
//! The C side is one file of `_Static_assert`s; the compiler's messages name what differs.
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use xen_abi::layout::{Const, StructLayout};
use xen_abi::*;

const CONSTS: &[&[Const]] = &[
    arch_x86::SELECTORS,
    arch_x86::LAYOUT_ADDRESSES,
    arch_x86::SEGBASE,
    arch_x86::VGCF,
    arch_x86::VGCF_X86_64,
    arch_x86::EMU,
    callback::OPS,
    callback::TYPES,
    callback::FLAGS,
    cpuid::CONSTANTS,
    domctl::VERSIONS,
    domctl::OPS,
    domctl::DEVICE_CONSTANTS,
    domctl::CDF,
    domctl::DOMINF,
    domctl::DOMINF_CONSTANTS,
    domctl::SCHEDULERS,
    domctl::SCHEDOPS,
    domctl::PFINFO,
    domctl::SHADOW,
    domctl::MONITOR_CONSTANTS,
    domctl::VCPU_CONSTANTS,
    elfnote::NOTES,
    event_channel::OPS,
    event_channel::STATUSES,
    event_channel::LIMITS,
    features::FEATURES,
    featureset::BITS,
    grant_table::OPS,
    grant_table::GTF,
    grant_table::RESERVED,
    grant_table::GNTMAP,
    grant_table::GNTCOPY,
    grant_table::CACHE,
    grant_table::GNTST,
    hvm::dm_op::OPS,
    hvm::dm_op::CONSTANTS,
    hvm::ioreq::CONSTANTS,
    hvm::ioreq::ACPI_PORTS,
    hvm::OPS,
    hvm::MEM_TYPES,
    hvm::IOREQ_SERVER,
    hvm::PARAMS,
    hvm::PARAM_VALUES,
    hvm::INFO_TABLES,
    hvm::INFO_TABLE_CONSTANTS,
    hvm::save::CODES,
    hvm::save::CONSTANTS,
    hvm::START_INFO_CONSTANTS,
    hvm::VCPU_MODES,
    hypercall::CALLS,
    hypercall::ARCH_CALLS,
    io::blkif::OPS,
    io::blkif::RESPONSES,
    io::blkif::CONSTANTS,
    io::netif::FLAGS,
    io::netif::STATUSES,
    io::netif::EXTRAS,
    io::netif::CONSTANTS,
    io::xenbus::STATES,
    io::xs_wire::TYPES,
    io::xs_wire::WATCH_EVENT_PARTS,
    io::xs_wire::CONSTANTS,
    kexec::OPS,
    kexec::CONSTANTS,
    linux::PRIVCMD,
    linux::PRIVCMD_CONSTANTS,
    linux::EVTCHN,
    linux::GNTDEV,
    linux::GNTALLOC,
    linux::XENBUS_BACKEND,
    linux::UNMAP_NOTIFY,
    mca::OPS,
    mca::CONSTANTS,
    memory::OPS,
    memory::RESOURCES,
    memory::MAPSPACES,
    memory::FLAGS,
    mmu::MMU_COMMANDS,
    mmu::MMUEXT_COMMANDS,
    mmu::UVMF,
    nmi::OPS,
    nmi::REASONS,
    physdev::OPS,
    physdev::CONSTANTS,
    platform::OPS,
    platform::CONSTANTS,
    pmu::OPS,
    pmu::CONSTANTS,
    sched::OPS,
    sched::SHUTDOWN_REASONS,
    shared::PVCLOCK,
    start_info::SIF,
    start_info::VGA_TYPES,
    sysctl::VERSIONS,
    sysctl::OPS,
    sysctl::LEVELCAPS,
    sysctl::FEATURESETS,
    sysctl::POLICIES,
    sysctl::HOTPLUG_OPS,
    sysctl::INVALID,
    sysctl::PM_OPS,
    sysctl::PHYSCAP,
    sysctl::CPUPOOL_OPS,
    sysctl::SCHED_CONSTANTS,
    sysctl::DEBUG_OPS,
    sysctl::PAGE_STATUSES,
    vcpu::OPS,
    vcpu::RUNSTATES,
    vcpu::RUNSTATE_FLAGS,
    vcpu::TIMER_FLAGS,
    version::OPS,
    xen::VIRQS,
    xen::CONSOLEIO,
    xen::VM_ASSISTS,
];

const STRUCTS: &[&[StructLayout]] = &[
    arch_x86::LAYOUT,
    callback::LAYOUT,
    domctl::LAYOUT,
    domctl::LAYOUT_DEVICE,
    domctl::LAYOUT_LIFECYCLE,
    domctl::LAYOUT_MEMORY,
    domctl::LAYOUT_MONITOR,
    domctl::LAYOUT_VCPU,
    event_channel::LAYOUT,
    grant_table::LAYOUT,
    hvm::dm_op::LAYOUT,
    hvm::ioreq::LAYOUT,
    hvm::LAYOUT_OPS,
    hvm::LAYOUT_PARAMS,
    hvm::save::LAYOUT,
    hvm::LAYOUT_START_INFO,
    hvm::LAYOUT_VCPU,
    io::blkif::LAYOUT,
    io::console::LAYOUT,
    io::netif::LAYOUT,
    io::xs_wire::LAYOUT,
    linux::LAYOUT,
    memory::LAYOUT,
    mmu::LAYOUT,
    nmi::LAYOUT,
    physdev::LAYOUT,
    platform::LAYOUT,
    pmu::LAYOUT,
    sched::LAYOUT,
    shared::LAYOUT,
    start_info::LAYOUT,
    sysctl::LAYOUT,
    sysctl::LAYOUT_CPU,
    sysctl::LAYOUT_PM,
    sysctl::LAYOUT_SYSTEM,
    vcpu::LAYOUT,
    version::LAYOUT,
    xen::LAYOUT,
];

const PRELUDE: &str = r#"
#define __XEN_TOOLS__ 1
#include <stdint.h>
#include <stddef.h>
#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/callback.h>
#include <xen/version.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/platform.h>
#include <xen/elfnote.h>
#include <xen/nmi.h>
#include <xen/domctl.h>
#include <xen/sysctl.h>
#include <xen/kexec.h>
#include <xen/pmu.h>
#include <xen/argo.h>
#include <xen/hypfs.h>
#include <xen/arch-x86/xen-mca.h>
#include <xen/arch-x86/cpuid.h>
#include <xen/arch-x86/cpufeatureset.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/hvm/params.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/e820.h>
#include <xen/hvm/hvm_vcpu.h>
#include <xen/hvm/hvm_info_table.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/ioreq.h>
#include <xen/io/xs_wire.h>
#include <xen/io/console.h>
#include <xen/io/xenbus.h>
#include <xen/io/ring.h>
#include <xen/io/blkif.h>
#include <xen/io/netif.h>
#include <xen/io/protocols.h>
#include <sys/ioctl.h>
#include <xen/sys/privcmd.h>
#include <xen/sys/evtchn.h>
#include <xen/sys/gntdev.h>
#undef UNMAP_NOTIFY_CLEAR_BYTE
#undef UNMAP_NOTIFY_SEND_EVENT
#include <xen/sys/gntalloc.h>
#include <xen/sys/xenbus_dev.h>
#include <xen/hvm/save.h>
"#;

/// The C file: one assertion per constant, size and offset. Padding (`_...`) has no name in C.
fn c_source() -> String {
    let mut c = String::from(PRELUDE);
    for k in CONSTS.iter().copied().flatten() {
        let bits = k.size * 8;
        writeln!(
            c,
            "_Static_assert((uint{bits}_t)({}) == (uint{bits}_t){}ULL, \"{}\");",
            k.c, k.value, k.name
        )
        .unwrap();
    }
    for s in STRUCTS.iter().copied().flatten() {
        writeln!(
            c,
            "_Static_assert(sizeof({}) == {}, \"{}\");",
            s.c, s.size, s.name
        )
        .unwrap();
        for (field, offset) in s.fields.iter().filter(|(f, _)| !f.starts_with('_')) {
            let member = field.trim_start_matches("r#");
            writeln!(
                c,
                "_Static_assert(offsetof({}, {member}) == {offset}, \"{}.{member}\");",
                s.c, s.name
            )
            .unwrap();
        }
    }
    c
}

#[test]
fn agrees_with_the_c_headers() {
    if !Path::new("/usr/include/xen/domctl.h").exists() {
        return println!("skipped: Xen's headers (libxen-dev) are not installed");
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layout.c");
    std::fs::write(&file, c_source()).unwrap();
    let Ok(cc) = Command::new("cc")
        .args(["-std=gnu11", "-w", "-fsyntax-only"])
        .arg(&file)
        .output()
    else {
        return println!("skipped: no C compiler");
    };
    assert!(
        cc.status.success(),
        "{}",
        String::from_utf8_lossy(&cc.stderr)
    );
    println!(
        "{} constants and {} structs agree",
        CONSTS.iter().map(|l| l.len()).sum::<usize>(),
        STRUCTS.iter().map(|l| l.len()).sum::<usize>()
    );
}

/// A list that is declared but not named above would never be compared.
#[test]
fn every_list_is_compared() {
    fn count(dir: &Path, (consts, structs): &mut (usize, usize)) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let mut inner = (0, 0);
                count(&path, &mut inner);
                *consts += inner.0;
                *structs += inner.1;
            } else if !path.ends_with("macros.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                *consts += text.matches("consts! { ").count();
                *structs += text.matches("abi_structs! { ").count();
            }
        }
    }
    let mut found = (0, 0);
    count(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert_eq!(found, (CONSTS.len(), STRUCTS.len()));
}
