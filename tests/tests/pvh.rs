//! PVH guests: Debian's unmodified kernel in a virtual machine of the processor's, with the life and devices of a PV guest.

use integration::{Builder, Host, Story, matrix, typed};
use qemu::kernel::Kernel;
use qemu::paths::Scratch;
use qemu::{Result, debian, initrd};
use std::time::Duration;

matrix! {
    a_guest_lives_and_dies: reference, product | hypervisor;
    a_guest_has_its_devices: product;
    a_newer_processor_is_used: product;
    a_host_that_cannot_says_so_first: product;
    a_guest_that_crashes_is_reported: product;
    guests_leave_nothing_behind: product;
    a_guest_that_misbehaves_disturbs_nobody: product;
    memory_changes_while_others_map_it: product;
    ten_at_once: product;
    a_guest_of_64_mib: product;
    vt_x_that_firmware_has_locked: | product;
    amd_v_of_qemu64: | product;
    amd_v_of_epyc: | product;
    amd_v_of_max: | product;
    vt_x_of_skylake_x: | product;
    vt_x_of_haswell: | product;
    amd_v_of_ryzen: | product;
}

const SOON: Duration = Duration::from_secs(60);
/// The test guest's configuration, of the other type.
const CONFIG: &str = "sed 's/^type.*/type=\"pvh\"/' /etc/xen/guest.cfg >/tmp/pvh.cfg";

fn boot(host: Builder) -> Result<Host> {
    Host::boot(host.one_thread())
}

/// Console, vcpus, memory, pause, power-off; then every page is back.
fn a_guest_lives_and_dies(host: Builder) -> Story {
    let mut host = boot(host)?;
    host.dom0(CONFIG)?.ok()?;
    host.dom0("xl info")?.shows("hvm")?.shows("hap")?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.dom0("xl create -q /tmp/pvh.cfg vcpus=2")?.ok()?;
    let said = host.guest_says("guest", "guest: hello")?;
    assert!(
        said.contains("hello from PVH") && said.contains(" 2 cpu"),
        "{said}"
    );
    host.dom0("xl list guest")?.ok()?.shows(" 128 ")?;
    host.dom0("xl list -l guest")?
        .ok()?
        .shows("\"type\": \"pvh\"")?;
    host.dom0("xl pause guest; xl list guest")?.shows("p---")?;
    host.dom0("xl unpause guest; sleep 1; xl list guest")?
        .lacks("p---")?;
    host.dom0("xl vcpu-set guest 1; xl mem-set guest 96")?
        .ok()?;
    host.until(
        "xl vcpu-list guest | awk '/ --p /{n++} END{print n+0}'",
        "1",
        SOON,
    )?;
    host.until("xl list guest", " 96 ", SOON)?;
    host.dom0_within("xl shutdown -w guest", SOON)?.ok()?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.memory_is_back(free)?;
    host.power_off()
}

/// On a processor with more than the oldest: its extended state is the guest's too, on all vcpus and through switches between
/// several guests; then every page is back.
fn a_newer_processor_is_used(host: Builder) -> Story {
    let mut host = boot(host.cpu("EPYC,+svm,+npt"))?;
    host.dom0(CONFIG)?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    for (name, vcpus) in [("one", 1), ("four", 4), ("two", 2)] {
        host.dom0(&format!(
            "xl create -q /tmp/pvh.cfg 'name=\"{name}\"' vcpus={vcpus}"
        ))?
        .ok()?;
        let said = host.guest_says(name, "guest: hello")?;
        assert!(said.contains(&format!(" {vcpus} cpu")), "{said}");
    }
    host.dom0_within(&typed("four", "grep -m 1 flags /proc/cpuinfo"), SOON)?
        .shows(" xsave ")?
        .shows(" avx2 ")?;
    host.dom0("for g in one two four; do xl destroy $g; done")?
        .ok()?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.memory_is_back(free)?;
    host.power_off()
}

/// What the guest does at its start: a shell on port 3 of its network.
const START: &str = "ip link set eth0 up; ip addr add 192.168.77.2/24 dev eth0; nc -ll -p 1 -e /bin/md5sum & nc -ll -p 3 -e /bin/sh &";
const FUNCTIONS: &str =
    r#"in_guest() { echo "$1" | nc -w 10 192.168.77.2 3; }; sum() { md5sum | cut -c-32; }"#;

/// A disk is read and written, a network carries data both ways, a vcpu that was taken comes back.
fn a_guest_has_its_devices(host: Builder) -> Story {
    let mut host = boot(host.networks().guest_start(START))?;
    bridge_and_disk(&mut host)?;
    devices_carry_data(&mut host, 2, 128)?;
    host.dom0("xl vcpu-set guest 1")?.ok()?;
    host.until("in_guest nproc", "1", SOON)?;
    host.dom0("xl vcpu-set guest 2")?.ok()?;
    host.until(
        "in_guest 'echo 1 >/sys/devices/system/cpu/cpu1/online; nproc'",
        "2",
        SOON,
    )?;
    host.dom0("xl block-list guest; xl network-list guest")?
        .ok()?
        .shows("backend/vbd/1/51712")?
        .shows("backend/vif/1/0")?;
    host.dom0("xl destroy guest; sleep 1; losetup -a; ls /sys/class/net")?
        .lacks("disk.img")?
        .lacks("vif")?;
    host.power_off()
}

/// Where Debian 12's kernel does not fit (its own code and data end above 64 MiB), Debian 11's for virtual machines does.
fn a_guest_of_64_mib(host: Builder) -> Story {
    let kernel = debian::foreign("bullseye-security", "linux-image-cloud-amd64")?;
    let kernel = Kernel::below(&kernel)?;
    let scratch = Scratch::new()?;
    let its_initrd = scratch.path().join("initrd");
    std::fs::write(&its_initrd, initrd::guest(&kernel)?)?;
    let mut host = boot(
        host.file(&kernel.image, "/k/small")
            .file(its_initrd, "/boot/guest/initrd")
            .guest_start(START),
    )?;
    bridge_and_disk(&mut host)?;
    host.dom0("xl create -q /tmp/pvh.cfg memory=64 2>&1")?
        .fails()?
        .shows("the domain has 65536 KiB; raise `memory`")?;
    host.dom0("sed -i 's,^kernel.*,kernel=\"/k/small\",' /tmp/pvh.cfg")?
        .ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    devices_carry_data(&mut host, 1, 64)?;
    host.dom0_within("xl shutdown -w guest", SOON)?.ok()?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.memory_is_back(free)?;
    host.power_off()
}

fn bridge_and_disk(host: &mut Host) -> Story {
    host.dom0(CONFIG)?.ok()?;
    host.dom0(FUNCTIONS)?.ok()?;
    host.dom0("modprobe bridge")?.ok()?;
    host.dom0("ip link add br0 type bridge && ip addr add 192.168.77.1/24 dev br0 && ip link set br0 up; head -c 4194304 /dev/urandom >/tmp/disk.img")?
        .ok()?;
    Ok(())
}

/// Creates the guest and has it read and write its disk and talk to dom0.
fn devices_carry_data(host: &mut Host, vcpus: u32, mib: u32) -> Story {
    host.dom0(&format!("xl create -q /tmp/pvh.cfg 'ramdisk=\"/tmp/initrd\"' 'disk=[\"/tmp/disk.img,raw,xvda,w\"]' 'vif=[\"bridge=br0\"]' vcpus={vcpus} memory={mib}"))?
        .ok()?;
    let said = host.guest_says("guest", "guest: hello")?;
    assert!(said.contains(&format!(" {vcpus} cpu")), "{said}");
    host.until("in_guest 'echo up'", "up", SOON)?;
    host.dom0("in_guest 'md5sum </dev/xvda | cut -c-32'; sum </tmp/disk.img")
        .and_then(|r| same_lines(&r.text))?;
    host.dom0("in_guest 'head -c 65536 /dev/urandom | dd of=/dev/xvda bs=64k 2>/dev/null; sync; head -c 65536 /dev/xvda | md5sum | cut -c-32'; head -c 65536 /tmp/disk.img | sum")
        .and_then(|r| same_lines(&r.text))?;
    host.dom0("sum </tmp/disk.img; nc -w 10 192.168.77.2 1 </tmp/disk.img | cut -c-32")
        .and_then(|r| same_lines(&r.text))
}

fn amd_v_of_qemu64(host: Builder) -> Story {
    in_qemu(host, "qemu64,+svm,+npt")
}

fn amd_v_of_epyc(host: Builder) -> Story {
    in_qemu(host, "EPYC")
}

fn amd_v_of_max(host: Builder) -> Story {
    in_qemu(host, "max")
}

fn vt_x_of_skylake_x(host: Builder) -> Story {
    in_bochs(host, "corei7_skylake_x", "")
}

fn vt_x_of_haswell(host: Builder) -> Story {
    in_bochs(host, "corei7_haswell_4770", "")
}

fn amd_v_of_ryzen(host: Builder) -> Story {
    // A second CPU measures its speed with interrupts off, until the first has counted a tick. Bochs 2.7 keeps the machine's
    // interrupts back from what VMRUN has entered so, and nobody else runs.
    in_bochs(host, "ryzen", "lpj=200000")
}

fn in_qemu(host: Builder, model: &str) -> Story {
    let host = host.cpu(model).cpus(4).memory(6144);
    in_all_sizes(host, "", &[(1, 96), (2, 1000), (4, 4096)])
}

fn in_bochs(host: Builder, model: &str, extra: &str) -> Story {
    // What Bochs 2.7 saves with XSAVEC it now and then does not load again, also below Debian's Xen: Linux then forgets registers.
    let no_xsavec = "clearcpuid=321";
    let host = host.bochs(model).cpus(1).memory(1024);
    let sizes = [(1, 128), (2, 128), (4, 192)];
    let extra = format!("{no_xsavec} {extra}");
    in_all_sizes(host.dom0_option(no_xsavec), &extra, &sizes)
}

/// Debian's kernel with as many vcpus and MiB: to its init, with traffic, to its clean end; then every page is back.
fn in_all_sizes(host: Builder, extra: &str, sizes: &[(u32, u32)]) -> Story {
    let mut host = boot(host.dom0_mem("384M,max:384M").guest_start(START))?;
    host.dom0("xl info")?.shows("hvm hap")?;
    bridge_and_disk(&mut host)?;
    host.dom0(&format!("sed -i 's/loglevel=4/& {extra}/' /tmp/pvh.cfg"))?
        .ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    for &(vcpus, mib) in sizes {
        devices_carry_data(&mut host, vcpus, mib)?;
        host.dom0("xl list guest")?.shows(&format!(" {mib} "))?;
        host.dom0_within("xl shutdown -w guest", SOON)?.ok()?;
        host.until("xl list | grep -c .", "2", SOON)?;
        println!("{vcpus} vcpus: done {:.0?} after power-on", host.age());
    }
    host.memory_is_back(free)?;
    host.power_off()
}

/// Ten guests, each with its console, all of them shut down at once; then every page is back.
fn ten_at_once(host: Builder) -> Story {
    let kernel = Kernel::debian()?.unpacked()?;
    let host = host.memory(3072).file(kernel, "/boot/guest/vmlinux");
    let mut host = boot(host)?;
    host.dom0(CONFIG)?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.dom0("sed -i 's,^kernel.*,kernel=\"/boot/guest/vmlinux\",' /tmp/pvh.cfg")?;
    for n in 1..=10 {
        host.dom0(&format!("xl create -q /tmp/pvh.cfg 'name=\"g{n}\"'"))?
            .ok()?;
    }
    for n in 1..=10 {
        host.guest_says(&format!("g{n}"), "guest: hello")?;
    }
    host.dom0("xl list")?.shows("g1 ")?.shows("g10 ")?;
    host.dom0_within("xl shutdown -a -w", 3 * SOON)?.ok()?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.memory_is_back(free)?;
    host.power_off()
}

/// Two lines, and the same.
fn same_lines(text: &str) -> Story {
    let lines: Vec<_> = text.lines().collect();
    match lines[..] {
        [a, b] if a == b && a.len() == 32 => Ok(()),
        _ => Err(format!("should be the same twice: {text}").into()),
    }
}

/// Without help from the processor, PV guests run, and the others are refused before anything is there of them.
fn a_host_that_cannot_says_so_first(host: Builder) -> Story {
    let mut host = boot(host.cpu("qemu64"))?;
    cannot(&mut host)?;
    host.power_off()
}

/// The same where there is VT-x, but not to be used.
fn vt_x_that_firmware_has_locked(host: Builder) -> Story {
    const IA32_FEATURE_CONTROL: u32 = 0x3a;
    const LOCKED: u64 = 1;
    let host = host.bochs("corei7_skylake_x").cpus(1).memory(1024);
    let mut host = boot(host.firmware_writes(IA32_FEATURE_CONTROL, LOCKED))?;
    host.dom0("xl dmesg")?
        .shows("VT-x is switched off by the firmware")?;
    cannot(&mut host)
}

fn cannot(host: &mut Host) -> Story {
    host.dom0(CONFIG)?.ok()?;
    host.dom0("xl info | grep virt_caps")?.ok()?.lacks("hvm")?;
    host.dom0("xl create -q /tmp/pvh.cfg 2>&1")?
        .fails()?
        .shows("no hardware virtualization")?
        .shows("virt_caps")?;
    host.dom0("xl list | wc -l")?.shows("2")?;
    host.start_guest()?;
    host.dom0("xl domid guest")?.shows("1").map(drop)
}

/// Each ends by its own fault, with its registers in the log.
fn a_guest_that_crashes_is_reported(host: Builder) -> Story {
    let mut host = boot(host.micro_guest().option("guest_loglvl=all"))?;
    host.micro_pvh("micro", "hello")?;
    host.guest_says("micro", "microguest: done")?;
    host.dom0("xl destroy micro; sleep 1")?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    for deed in ["triple", "jump 0", "jump 3", "no-tables", "crash"] {
        host.log()?;
        host.micro_pvh("micro", deed)?;
        host.until("xl list micro", "---sc-", SOON)?;
        if deed != "crash" {
            let id = host.dom0("echo id=$(xl domid micro)")?.number("id")?;
            host.log()?.shows(&format!("d{id}v0"))?;
        }
        host.dom0("xl destroy micro")?.ok()?;
    }
    host.memory_is_back(free)?;
    host.power_off()
}

/// Random code in both modes, every port, register and leaf, garbage to the APIC, random calls:
/// each is survived, or ends the guest alone.
fn a_guest_that_misbehaves_disturbs_nobody(host: Builder) -> Story {
    let mut host = boot(host.micro_guest())?;
    host.micro_pvh("first", "hello")?;
    host.guest_says("first", "microguest: done")?;
    host.dom0("xl destroy first; sleep 1")?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    // What the hypervisor carries out for it comes out as on a machine of metal.
    host.micro_pvh("strings", "strings")?;
    host.guest_says("strings", "strings: 0 wrong")?;
    host.dom0("xl destroy strings")?.ok()?;
    host.micro_pvh("priority", "priority")?;
    host.guest_says("priority", "priority: 0 wrong")?;
    host.dom0("xl destroy priority")?.ok()?;
    host.micro_pvh("tsc", "tsc")?;
    host.guest_says("tsc", "tsc: 0 wrong")?;
    let again = "xl destroy tsc && echo 'tsc_mode=\"always_emulate\"' >>/tmp/tsc.cfg && xl create -q /tmp/tsc.cfg";
    host.dom0(again)?.ok()?;
    let said = host.guest_says("tsc", "tsc: 0 wrong")?;
    assert!(said.contains("flags 0x3"), "not emulated: {said}");
    host.dom0("xl destroy tsc")?.ok()?;
    host.micro_pvh("polite", "unmapped")?;
    host.guest_says("polite", "microguest: done")?;
    for deed in [
        "registers",
        "apic 1",
        "calls 1",
        "random 1",
        "random 2",
        "halt",
        "spin",
    ] {
        host.micro_pvh("micro", deed)?;
        host.dom0("sleep 5; xl list micro")?.ok()?;
        host.dom0("xl destroy micro")?.ok()?;
    }
    host.dom0("xl list polite")?.ok()?.shows("-b----")?;
    host.dom0("xl destroy polite")?.ok()?;
    host.memory_is_back(free)?;
    host.power_off()
}

/// Two guests take pages out of their memory and put others in, on both vcpus each, have one another's pages mapped, and dom0 maps the
/// pages of both meanwhile; a third is not disturbed, and every page is back.
fn memory_changes_while_others_map_it(host: Builder) -> Story {
    let mut host = boot(host.micro_guest())?;
    host.micro_pvh("polite", "unmapped")?;
    host.guest_says("polite", "microguest: done")?;
    host.dom0("xl dump-core polite /tmp/core && rm /tmp/core")?
        .ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    // Numbers of domains are given in order.
    let polite = host.dom0("echo id=$(xl domid polite)")?.number("id")?;
    host.micro_pvh_smp("left", &format!("remap {}", polite + 2), 2)?;
    host.micro_pvh_smp("right", &format!("remap {}", polite + 1), 2)?;
    // They run while they are dumped.
    host.dom0_within(
        "for g in left right; do xl dump-core $g /tmp/core 2>&1; rm -f /tmp/core; done",
        Duration::from_secs(280),
    )?;
    for g in ["left", "right"] {
        host.guest_says(g, "remap: 2 vcpus")?;
    }
    host.dom0("xl list")?.ok()?.lacks("---sc-")?;
    host.dom0("xl destroy left; xl destroy right")?.ok()?;
    host.dom0("xl list polite")?.ok()?.shows("-b----")?;
    host.until("xl list | grep -c .", "3", SOON)?;
    host.memory_is_back(free)?;
    host.power_off()
}

/// Guests come and go; every page is back at the end.
fn guests_leave_nothing_behind(host: Builder) -> Story {
    let mut host = boot(host.micro_guest())?;
    host.micro_pvh("first", "hello")?;
    host.guest_says("first", "microguest: done")?;
    host.dom0("xl destroy first; sleep 1")?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    let all = "i=0; while [ $i -lt 100 ]; do xl create -q /tmp/first.cfg && xl destroy first || break; i=$((i+1)); done; echo made=$i";
    host.dom0_within(all, Duration::from_secs(600))?
        .shows("made=100")?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.memory_is_back(free)?;
    host.power_off()
}
