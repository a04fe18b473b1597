//! The second emulator: a machine of Intel's with VT-x, which QEMU has not. One CPU, little memory: it is slow.

use integration::{Builder, Host, Story, matrix};

matrix! {
    boots_on_a_machine_with_vt_x: product;
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
