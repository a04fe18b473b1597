//! A guest that arms a watchdog and hangs: what `on_watchdog=` says is done.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

matrix! {
    a_guest_that_hangs_is_dealt_with_as_configured: product;
}

const SOON: Duration = Duration::from_secs(40);

/// A guest that loads Linux's own driver, arms it for three seconds, and kicks it `$kicks` times, once a second.
const INIT: &str = r#"#!/bin/busybox sh\nb=/bin/busybox; $b mkdir -p /dev /proc; $b mount -t devtmpfs dev /dev; $b mount -t proc p /proc\nexec >/dev/hvc0 2>&1\nfor m in $($b cat /wdt/order); do $b insmod /wdt/$m timeout=3 || $b insmod /wdt/$m; done\nexec 3>/dev/watchdog\necho armed\n[ -n "$kicks" ] || kicks=0\nwhile [ $kicks -gt 0 ]; do echo x >&3; kicks=$((kicks-1)); $b sleep 1; done\necho hangs\n$b sleep 1000\n"#;

/// Puts driver and init into an initrd; `guest.cfg` takes them.
const MAKE: &str = r#"d=$(ls -d /lib/modules/*/kernel/drivers/watchdog); mkdir -p /tmp/g/wdt; cp $d/*.ko /tmp/g/wdt; (cd $d; ls watchdog.ko; echo xen_wdt.ko) >/tmp/g/wdt/order 2>/dev/null; cd /tmp/g; find . | cpio -o -H newc >/tmp/add 2>/dev/null; cd /; cat /boot/guest/initrd /tmp/add >/tmp/initrd; (grep -v -e ramdisk -e extra /etc/xen/guest.cfg; echo 'ramdisk="/tmp/initrd"'; echo 'extra="console=hvc0 rdinit=/wd kicks=8"') >/tmp/w.cfg"#;

fn a_guest_that_hangs_is_dealt_with_as_configured(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.dom0(&format!(
        "mkdir -p /tmp/g; printf '{}' >/tmp/g/wd; chmod 755 /tmp/g/wd",
        INIT.replace('%', "%%")
    ))?
    .ok()?;
    host.dom0(MAKE)?.ok()?;
    // It lives for as long as it kicks, which is longer than the watchdog's time.
    host.dom0("xl create -q /tmp/w.cfg 'on_watchdog=\"preserve\"'")?
        .ok()?;
    host.guest_says("guest", "armed")?;
    host.dom0("sleep 5; xl list guest")?.ok()?.lacks("s---")?;
    host.until("xl list -v guest", "---sw-", SOON)?
        .shows(" 4")?;
    host.dom0("xl destroy guest && xl create -q /tmp/w.cfg 'on_watchdog=\"restart\"' 'extra=\"console=hvc0 rdinit=/wd kicks=1\"'")?
        .ok()?;
    let id = host.dom0("echo id=$(xl domid guest)")?.number("id")?;
    host.until("xl domid guest 2>&1", &format!("{}\n", id + 1), SOON)?;
    // Without a word about it, what hangs is destroyed.
    host.dom0(
        "xl destroy guest && xl create -q /tmp/w.cfg 'extra=\"console=hvc0 rdinit=/wd kicks=1\"'",
    )?
    .ok()?;
    host.until("xl list", "Domain-0", SOON)?;
    host.until("xl list | wc -l", "2", SOON)?;
    host.power_off()
}
