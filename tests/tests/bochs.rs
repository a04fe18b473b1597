//! The second emulator: a machine of Intel's with VT-x, which QEMU has not. One CPU, little memory: it is slow.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

matrix! {
    boots_on_a_machine_with_vt_x: product;
}

const SOME_TIME: Duration = Duration::from_secs(60);

/// The smallest dom0 that does it.
fn small(host: Builder) -> Builder {
    host.bochs("corei7_skylake_x")
        .micro_guest()
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
    hardware_guests(&mut host)?;
    // Its programs have kept their registers.
    host.dom0("dmesg")?.lacks("segfault")?;
    host.power_off()
}

/// Virtual machines of the processor's come and go, whatever they do.
fn hardware_guests(host: &mut Host) -> Story {
    host.dom0("xl info")?.shows("hvm hap")?;
    host.micro_pvh("micro", "hello")?;
    host.guest_says("micro", "microguest: done")?;
    host.dom0("xl destroy micro; sleep 1")?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    for deed in ["triple", "jump 0", "no-tables"] {
        host.log()?;
        host.micro_pvh("micro", deed)?;
        host.until("xl list micro", "---sc-", SOME_TIME)?;
        host.log()?.shows("v0 crashed")?;
        host.dom0("xl destroy micro")?.ok()?;
    }
    host.micro_pvh("micro", "strings")?;
    host.guest_says("micro", "strings: 0 wrong")?;
    host.dom0("xl destroy micro")?.ok()?;
    host.micro_pvh("micro", "priority")?;
    host.guest_says("micro", "priority: 0 wrong")?;
    host.dom0("xl destroy micro")?.ok()?;
    host.micro_pvh("micro", "tsc")?;
    host.guest_says("micro", "tsc: 0 wrong")?;
    host.dom0("xl destroy micro")?.ok()?;
    for deed in [
        "spin",
        "registers",
        "calls 1",
        "random 1",
        "remap 1",
        "apic 1",
        "halt",
    ] {
        host.micro_pvh("micro", deed)?;
        host.dom0("sleep 1; xl list micro")?.ok()?;
        host.dom0("xl destroy micro")?.ok()?;
    }
    host.memory_is_back(free)
}
