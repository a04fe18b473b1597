//! One guest through every operation, each seen from inside it as well: Debian's xl on Corten must do what ours does on Debian's Xen.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

matrix! {
    every_operation_on_one_guest: reference, tools, hypervisor, product;
}

const SOON: Duration = Duration::from_secs(40);
const LONG: Duration = Duration::from_secs(120);

/// What the guest does at its start: MD5 of what comes on port 1, a shell on port 3.
const START: &str = "ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0; nc -ll -p 1 -e /bin/md5sum & nc -ll -p 3 -e /bin/sh &";
const FUNCTIONS: &str = r#"in_guest() { echo "$1" | nc -w 10 10.0.0.2 3; }; sum() { md5sum | cut -c-32; }; same() { [ ${#1} = 32 ] && [ "$1" = "$2" ] && echo same || echo "differ: $1 $2"; }"#;
/// Disks, a bridge, and a configuration that names them.
const MAKE: &str = "modprobe -a loop bridge; ip link add xenbr0 type bridge; ip link set xenbr0 up; ip addr add 10.0.0.1/24 dev xenbr0; \
    for n in a b; do head -c 4194304 /dev/urandom >/tmp/$n.img; done; \
    (grep -v -e ramdisk -e vcpus /etc/xen/guest.cfg; echo 'ramdisk=\"/tmp/initrd\"'; echo vcpus=2; echo \"disk=['/tmp/a.img,raw,xvda,w']\"; echo \"vif=['bridge=xenbr0,mac=00:16:3e:00:00:02']\") >/tmp/t.cfg";

fn every_operation_on_one_guest(host: Builder) -> Story {
    let host = host.dom0_mem("768M,max:768M").networks().guest_start(START);
    let mut host = Host::boot(host)?;
    host.dom0(MAKE)?.ok()?;
    host.dom0(FUNCTIONS)?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.dom0_within("xl create -q /tmp/t.cfg", LONG)?.ok()?;
    host.guest_speaks("guest")?;
    answers(&mut host)?;
    names_and_states(&mut host)?;
    memory_and_vcpus(&mut host)?;
    devices(&mut host)?;
    ends(&mut host)?;
    host.memory_is_back(free)?;
    host.power_off()
}

fn answers(host: &mut Host) -> Story {
    host.until("ping -c 1 -W 1 10.0.0.2", " 0% packet loss", SOON)?;
    host.until("in_guest 'echo up'", "up", SOON)?;
    Ok(())
}

fn names_and_states(host: &mut Host) -> Story {
    host.dom0("xl list guest")?.ok()?.shows(" 128     2 ")?;
    host.dom0("xl list -l guest")?
        .ok()?
        .shows("\"domid\": 1,")?
        .shows("\"mac\": \"00:16:3e:00:00:02\"")?
        .shows("\"pdev_path\": \"/tmp/a.img\"")?;
    host.dom0("xl vm-list; xl uptime guest")?
        .ok()?
        .shows("  1    guest ")?;
    host.dom0("xl pause guest; xl list guest; ping -c 1 -W 1 10.0.0.2")?
        .shows("p---")?
        .shows("100% packet loss")?;
    host.dom0("xl unpause guest")?.ok()?;
    answers(host)?;
    host.dom0("xl rename guest other && xl domname 1 && xl domid other")?
        .ok()?
        .shows("other\n1\n")?;
    host.dom0("xl rename other guest && xl config-update guest /tmp/t.cfg 2>&1")?
        .ok()?;
    host.dom0("xl sysrq guest h")?.ok()?;
    host.until("in_guest 'dmesg | grep -c sysrq'", "1", SOON)?;
    host.dom0("xl trigger guest foo 2>&1")?.fails()?;
    host.dom0_within("xl dump-core guest /tmp/core 2>&1", LONG)?
        .ok()?;
    host.dom0("[ $(stat -c %s /tmp/core) -ge 134217728 ] && head -c 4 /tmp/core | tail -c 3; rm /tmp/core")?
        .shows("ELF")?;
    answers(host)
}

fn memory_and_vcpus(host: &mut Host) -> Story {
    host.dom0("xl mem-set guest 96")?.ok()?;
    host.until("xl list guest", "    96     2", SOON)?;
    host.dom0("xl mem-max guest 200 && xl mem-set guest 128")?
        .ok()?;
    host.until("xl list guest", "   128     2", SOON)?;
    host.dom0("xl vcpu-set guest 1")?.ok()?;
    host.until("in_guest nproc", "1", SOON)?;
    host.dom0("xl vcpu-set guest 2")?.ok()?;
    host.until(
        "in_guest 'echo 1 >/sys/devices/system/cpu/cpu1/online; nproc'",
        "2",
        SOON,
    )?;
    host.dom0("xl vcpu-pin guest 0 1 && xl vcpu-pin guest 1 - 0 && xl vcpu-list guest")?
        .ok()?
        .shows("  1 / all\n")?
        .shows("  all / 0\n")?;
    host.dom0("xl sched-credit2 -d guest -w 512 -c 50 && xl sched-credit2 -d guest")?
        .ok()?
        .shows("    512   50\n")?;
    host.dom0("xl sched-credit2 -d guest -c 0 && xl vcpu-pin guest all all all")?
        .ok()?;
    host.dom0("xl cpupool-cpu-remove Pool-0 1 && printf 'name=\"own\"\\nsched=\"credit2\"\\ncpus=[1]\\n' >/tmp/p && xl cpupool-create /tmp/p && xl cpupool-migrate guest own && xl cpupool-list own")?
        .ok()?
        .shows("own                  1   credit2       y          1\n")?;
    answers(host)?;
    host.dom0(
        "xl cpupool-migrate guest Pool-0 && xl cpupool-destroy own && xl cpupool-cpu-add Pool-0 1",
    )?
    .ok()?;
    answers(host)
}

/// Data through a disk and an interface that come and go while it runs.
fn devices(host: &mut Host) -> Story {
    host.dom0_within(
        "d=$(losetup -f); losetup $d /tmp/b.img; xl block-attach guest phy:$d,xvdb,w",
        LONG,
    )?
    .ok()?;
    host.until(
        "xl block-list guest | grep 51728",
        "51728 0   1      4",
        SOON,
    )?;
    host.until("in_guest 'ls /dev/xvdb'", "/dev/xvdb", SOON)?;
    host.dom0("same $(sum </tmp/b.img) $(in_guest 'md5sum </dev/xvdb | cut -c-32')")?
        .shows("same")?;
    host.dom0("x=$(in_guest 'head -c 1048576 /dev/urandom >/r; dd if=/r of=/dev/xvdb bs=64k seek=16 2>/dev/null; sync; md5sum </r | cut -c-32'); same $x $(tail -c +1048577 $d | head -c 1048576 | sum)")?
        .shows("same")?;
    host.dom0("xl block-detach guest xvdb && losetup -d $d && xl block-list guest")?
        .ok()?
        .shows("51712 ")?
        .lacks("51728")?;
    host.dom0("same $x $(tail -c +1048577 /tmp/b.img | head -c 1048576 | sum)")?
        .shows("same")?;

    host.dom0_within(
        "xl network-attach guest bridge=xenbr0 mac=00:16:3e:00:00:03",
        LONG,
    )?
    .ok()?;
    host.until("xl network-list guest", "1   0  00:16:3e:00:00:03", SOON)?;
    host.until("in_guest 'ls /sys/class/net'", "eth1", SOON)?;
    // Both interfaces would answer for the address, whichever of them had it.
    host.dom0("in_guest 'ip addr flush dev eth0; ip link set eth0 down; ip link set eth1 up; ip addr add 10.0.0.2/24 dev eth1' & sleep 3; ip neigh flush dev xenbr0")?;
    answers(host)?;
    host.dom0_within(
        "same $(sum </tmp/a.img) $(nc -w 10 10.0.0.2 1 </tmp/a.img | cut -c-32)",
        LONG,
    )?
    .shows("same")?;
    host.dom0_within("xl network-detach guest 0", LONG)?.ok()?;
    host.until("xl network-list guest | wc -l", "2", SOON)?;
    host.until("in_guest 'ls /sys/class/net'", "eth1\nlo\n", SOON)?;
    Ok(())
}

/// Reboot, shutdown and destruction; nothing stays.
fn ends(host: &mut Host) -> Story {
    host.dom0("xl reboot guest")?.ok()?;
    host.until("xl domid guest 2>&1", "2\n", LONG)?;
    // Debian's scripts take their time.
    let tty = "xenstore-read /local/domain/2/console/tty 2>&1";
    host.until(tty, "/dev/", LONG)?;
    host.guest_speaks("guest")?;
    answers(host)?;
    host.dom0_within("xl shutdown -w guest", LONG)?.ok()?;
    host.until("xl list | wc -l", "2", SOON)?;
    host.dom0_within("xl create -q /tmp/t.cfg", LONG)?.ok()?;
    host.dom0_within("xl destroy guest; xl list | wc -l", LONG)?
        .ok()?
        .shows("2")?;
    host.until(
        "echo left=$(losetup -a | wc -l),$(ls /sys/class/net | grep -c vif),$(xenstore-ls -f | grep -c -E 'backend/v(bd|if)/[0-9]')",
        "left=0,0,0",
        SOON,
    )?;
    Ok(())
}
