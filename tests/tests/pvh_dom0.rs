//! Domain-0 as a PVH domain (`dom0=pvh`): a small kernel is given all that the boot protocol promises, and uses it.

use integration::{Builder, Host, Story, corten};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Entry, start info, module, memory at the machine's own addresses, CPUID leaves, hypercall page, shared info, events, ports; then
/// the machine is off.
#[test]
#[ignore = "emulator"]
fn a_small_kernel_runs_to_its_end() -> Story {
    let said = small_kernel(corten().cpu("qemu64,+svm,+npt"), SOON)?;
    assert!(said.contains("dom0: host bridge 0x29c08086"), "{said}");
    Ok(())
}

/// The same by VT-x.
#[test]
#[ignore = "emulator"]
fn a_small_kernel_runs_to_its_end_on_intel() -> Story {
    small_kernel(corten().bochs("corei7_skylake_x"), 4 * SOON).map(drop)
}

/// Returns all that is said.
fn small_kernel(host: Builder, patience: Duration) -> qemu::Result<String> {
    let host = host.kernel(qemu::paths::microguest());
    let host = host.option("dom0=pvh dom0_max_vcpus=1").dom0_mem("256M");
    let said = host.power_on()?.ends(patience)?;
    for line in [
        "PVH, start info version 1",
        // All but the page of ACPI tables.
        "dom0: flags 0x3, 262140 KiB of memory",
        // The module begins as a cpio archive does.
        "bytes, 0x37303730",
        "dom0: RSDP true",
        "dom0: Xen 4.17, domain 0, vcpu 0",
        "dom0: by its stub, version 4.17",
        "dom0: shared info 0, its clocks run: true",
        "dom0: timer 0 0 0, slept: true",
        "dom0: done",
    ] {
        assert!(said.contains(line), "`{line}` is not in:\n{said}");
    }
    Ok(said)
}

/// Debian's kernel, on two vcpus; from it a PV guest and a PVH one are created, used, and leave nothing behind.
#[test]
#[ignore = "emulator"]
fn debian_runs_and_creates_guests() -> Story {
    let host = corten().cpu("qemu64,+svm,+npt").option("dom0=pvh");
    let mut host = Host::boot(host.one_thread())?;
    host.dom0("cat /sys/hypervisor/guest_type; echo cpus=$(nproc)")?
        .ok()?
        .shows("PVH")?
        .shows("cpus=2")?;
    host.dom0("xl list")?.ok()?.shows("Domain-0")?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.start_guest()?;
    host.dom0_within("xl shutdown -w guest", SOON)?.ok()?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.dom0("sed 's/^type.*/type=\"pvh\"/' /etc/xen/guest.cfg >/tmp/pvh.cfg; xl create -q /tmp/pvh.cfg vcpus=2")?
        .ok()?;
    host.guest_speaks("guest")?;
    host.dom0_within("xl shutdown -w guest", SOON)?.ok()?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.memory_is_back(free)?;
    host.power_off()
}

/// What is to be done about it is said on the console; nothing is started.
#[test]
#[ignore = "emulator"]
fn a_machine_that_cannot_says_so() -> Story {
    let host = corten().kernel(qemu::paths::microguest()).cpu("qemu64");
    let said = host.option("dom0=pvh").power_on()?.ends(SOON)?;
    for part in ["dom0=pvh needs AMD-V or VT-x", "Remove dom0=pvh"] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    assert!(
        !said.contains("microguest"),
        "a kernel was started:\n{said}"
    );
    Ok(())
}
