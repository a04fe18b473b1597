//! A host under strain: nothing is lost over many lives, whenever they end, and devices carry data unharmed.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

matrix! {
    not_a_page_is_lost: product;
    disk_and_network_carry_data: reference, product;
}

const SOON: Duration = Duration::from_secs(30);

/// Free pages, to the page, as Corten's debug key tells.
fn free_pages(host: &mut Host) -> qemu::Result<i64> {
    let ask = "xl debug-keys m; xl dmesg | sed -n 's/.* \\([0-9]*\\) pages free of.*/left=\\1/p' | tail -n 1";
    host.dom0(ask)?.number("left=")
}

fn not_a_page_is_lost(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest())?;
    host.micro("first", "hello")?;
    host.guest_says("first", "done")?;
    host.dom0("xl destroy first; sleep 1")?.ok()?;
    let free = free_pages(&mut host)?;
    let lives = "i=0; while [ $i -lt 20 ]; do xl create -q /tmp/first.cfg && xl destroy first || break; i=$((i+1)); done; echo made=$i";
    host.dom0_within(lives, Duration::from_secs(120))?
        .shows("made=20")?;
    // One is destroyed while it is built: dom0's kernel is in the middle of mapping its memory.
    host.dom0("xl create -q /tmp/first.cfg & until xl domid first >/dev/null 2>&1; do :; done; xl destroy first; wait")?;
    host.dom0("dmesg")?.lacks("Oops")?;
    host.dom0("sleep 1; xl list")?.lacks("first")?;
    assert_eq!(free_pages(&mut host)?, free);
    host.power_off()
}

/// Writes a guest's configuration with a disk and an interface to /tmp/d.cfg, and makes what they need.
const DEVICES: &str = "modprobe -a loop bridge xen-blkback xen-netback; \
    dd if=/dev/urandom of=/tmp/disk bs=1M count=4 2>/dev/null; \
    ip link add xenbr0 type bridge; ip link set xenbr0 up; ip addr add 10.0.0.1/24 dev xenbr0; \
    (grep -v ramdisk /etc/xen/guest.cfg; echo 'ramdisk=\"/tmp/initrd\"'; \
    echo \"disk=['format=raw,vdev=xvda,access=rw,target=/tmp/disk']\"; \
    echo \"vif=['bridge=xenbr0']\") >/tmp/d.cfg";

/// What the guest does at its start: its disk for whoever asks on port 1, a shell on port 3.
const START: &str = "ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0; nc -ll -p 1 -e /bin/cat /dev/xvda & nc -ll -p 3 -e /bin/sh &";
const FUNCTIONS: &str =
    r#"in_guest() { echo "$1" | nc -w 20 10.0.0.2 3; }; sum() { md5sum | cut -c-32; }"#;

fn disk_and_network_carry_data(host: Builder) -> Story {
    let mut host = Host::boot(host.networks().guest_start(START))?;
    host.dom0(DEVICES)?.ok()?;
    host.dom0(FUNCTIONS)?.ok()?;
    host.dom0("xl create -q /tmp/d.cfg name='\"guest\"'")?
        .ok()?;
    host.guest_speaks("guest")?;
    host.until("in_guest 'echo up'", "up", SOON)?;
    host.dom0("[ $(nc -w 20 10.0.0.2 1 | sum) = $(sum </tmp/disk) ]")?
        .ok()?;
    host.dom0("is=$(in_guest 'dd if=/dev/urandom of=/dev/xvda bs=1M count=4 2>/dev/null; sync; md5sum </dev/xvda | cut -c-32'); [ $is = $(sum </tmp/disk) ]")?
        .ok()?;
    host.dom0("xl destroy guest; sleep 1")?.ok()?;
    host.dom0("ip link; losetup -a; xenstore-ls /local/domain/0/backend")?
        .lacks("vif1.0")?
        .lacks("/tmp/disk")?
        .lacks("frontend")?;
    host.power_off()
}
