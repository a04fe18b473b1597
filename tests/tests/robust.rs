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
    (cat /etc/xen/guest.cfg; echo \"disk=['format=raw,vdev=xvda,access=rw,target=/tmp/disk']\"; \
    echo \"vif=['bridge=xenbr0']\") >/tmp/d.cfg";

/// What is typed on the guest's console: sends its disk to dom0, then fills it anew.
const IN_GUEST: &str = "ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0; sleep 1; \
    nc 10.0.0.1 5001 </dev/xvda; dd if=/dev/urandom of=/dev/xvda bs=1M count=4 2>/dev/null; sync; \
    md5sum /dev/xvda; echo that-$((40+2))";

fn disk_and_network_carry_data(host: Builder) -> Story {
    let mut host = Host::boot(host.networks())?;
    host.dom0(DEVICES)?.ok()?;
    let sent = host.dom0("md5sum </tmp/disk")?.ok()?.text;
    host.dom0("(sleep 100 | nc -l -p 5001 | md5sum >/tmp/received) >/dev/null 2>&1 &")?;
    host.dom0("xl create -q /tmp/d.cfg name='\"guest\"'")?
        .ok()?;
    host.guest_speaks("guest")?;
    let talk = format!(
        "(sleep 2; echo '{IN_GUEST}'; sleep 25) | timeout 60 xl console guest | sed '/that-42/q'"
    );
    let said = host
        .dom0_within(&talk, Duration::from_secs(90))?
        .shows("that-42")?
        .text;
    let written = host.dom0("md5sum </tmp/disk")?.ok()?.text;
    let written = written.split_whitespace().next().unwrap_or("?");
    assert!(said.contains(written), "{written} in {said}");
    host.until("cat /tmp/received", sent.trim(), SOON)?;
    host.dom0("xl destroy guest; sleep 1")?.ok()?;
    host.dom0("ip link; losetup -a; xenstore-ls /local/domain/0/backend")?
        .lacks("vif1.0")?
        .lacks("/tmp/disk")?
        .lacks("frontend")?;
    host.power_off()
}
