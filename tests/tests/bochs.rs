//! The second emulator: a machine of Intel's with VT-x, which QEMU has not. One CPU, little memory: it is slow.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

matrix! {
    boots_on_a_machine_with_vt_x: product;
    a_pvh_guest_runs_on_vt_x: product;
}

/// The smallest dom0 that does it.
fn small(host: Builder) -> Builder {
    host.bochs("corei7_skylake_x")
        .cpus(1)
        .memory(768)
        .dom0_mem("320M,max:320M")
}

fn boots_on_a_machine_with_vt_x(host: Builder) -> Story {
    let mut host = Host::boot(small(host))?;
    println!("dom0 takes commands after {:.0?}", host.age());
    host.dom0("xl list")?.ok()?.shows("Domain-0")?;
    host.dom0("grep -m 1 'model name' /proc/cpuinfo")?
        .shows("i7-7800X")?;
    host.log()?.shows("VT-x")?;
    // The kernel believes what it is told about its FPU, of which there is much here.
    host.dom0("dmesg")?.lacks("XSAVE consistency problem")?;
    host.dom0("grep -c avx512f /proc/cpuinfo")?.ok()?;
    host.power_off()
}

/// Debian's kernel in a virtual machine of the processor's, to its init and to its end.
fn a_pvh_guest_runs_on_vt_x(host: Builder) -> Story {
    const SOME_TIME: Duration = Duration::from_secs(300);
    let mut host = Host::boot(small(host))?;
    host.dom0("xl info")?.shows("hvm hap")?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.dom0("sed 's/^type.*/type=\"pvh\"/' /etc/xen/guest.cfg >/tmp/pvh.cfg")?
        .ok()?;
    host.dom0_within("xl create -q /tmp/pvh.cfg", SOME_TIME)?
        .ok()?;
    println!("created after {:.0?}", host.age());
    let tty = "xenstore-read /local/domain/1/console/tty";
    host.until(&format!("{tty} 2>&1"), "/dev/", SOME_TIME)?;
    let said = "timeout 240 xl console guest </dev/ptmx | sed '/hello from/q'";
    host.dom0_within(said, SOME_TIME)?.shows("hello from PVH")?;
    println!("its init runs after {:.0?}", host.age());
    host.dom0_within("xl shutdown -w guest", SOME_TIME)?.ok()?;
    host.memory_is_back(free)?;
    host.power_off()
}
