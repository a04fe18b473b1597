//! An installed Debian that becomes a dom0 by our package: GRUB on BIOS and UEFI, systemd, guests at boot, and back to plain Debian.

use integration::installed::{Installed, PACKAGE, install_package};
use integration::{Host, Story, debian, installed};
use qemu::kernel::Kernel;
use qemu::{disk, package, paths, paths::Scratch};
use std::path::Path;
use std::time::Duration;

const UNITS: &str = "xenstored xen-init-dom0 xenconsoled xendomains";
const MINUTES: Duration = Duration::from_secs(300);

/// systemd is done and nothing failed.
fn is_healthy(host: &mut Host) -> Story {
    let state = host.dom0_within("systemctl is-system-running --wait", MINUTES)?;
    if state.text.trim() != "running" {
        return Err(host
            .dom0("systemctl --failed --no-pager; journalctl -b -p err --no-pager")?
            .text
            .into());
    }
    Ok(())
}

/// Our units run, xl works, and people find their way: manual, completion, boot messages.
fn is_a_dom0(host: &mut Host) -> Story {
    is_healthy(host)?;
    println!("everything started {:?} after power-on", host.age());
    host.dom0(&format!("systemctl is-active {UNITS}"))?.ok()?;
    host.dom0("xl list")?.ok()?.shows("Domain-0")?;
    host.dom0("xl info")?.ok()?.shows("xen_version")?;
    host.dom0("xm list")?.ok()?.shows("Domain-0")?;
    Ok(())
}

/// On BIOS a guest is started by systemd's command and saved with the host; then on UEFI it goes on at boot, is shut down with the unit,
/// and started with it.
#[test]
#[ignore = "emulator"]
fn guests_live_with_the_host() -> Story {
    let scratch = Scratch::new()?;
    let disk = scratch.path().join("disk.qcow2");
    disk::overlay(&installed().disk()?, &disk)?;

    let mut host = installed().from_disk(disk.clone()).empty_disk(256).boot()?;
    is_a_dom0(&mut host)?;
    logical_volumes_are_disks(&mut host)?;
    host.dom0("man -w xl && man xl.cfg | grep memory")?.ok()?;
    host.dom0("bash -ic '. /usr/share/bash-completion/bash_completion; _completion_loader xl; complete -p xl'")?
        .ok()?;
    // What it is told about memory is what it has.
    let dom0 = host.dom0("xl list Domain-0 | tail -n 1")?.ok()?;
    dom0.shows(" 768 ")?;
    host.dom0("mkdir -p /var/log/journal && journalctl --flush && ln -s /etc/xen/guest.cfg /etc/xen/auto/")?
        .ok()?;
    host.dom0("systemctl restart xendomains && xl list guest")?
        .ok()?;
    host.guest_speaks("guest")?;
    host.dom0("echo XENDOMAINS_SAVE=/var/lib/xen/save >/etc/default/xendomains")?
        .ok()?;
    host.shut_down()?;

    let mut host = installed().uefi().from_disk(disk.clone()).boot()?;
    is_a_dom0(&mut host)?;
    host.dom0("[ -d /sys/firmware/efi ]")?; // Whether dom0 is told of it is another story's.
    host.dom0("journalctl -b -1 -u xendomains --no-pager")?
        .ok()?
        .shows("saved guest")?
        .shows("Stopped")?
        .lacks("destroyed")?;
    host.dom0("journalctl -b -u xendomains --no-pager; ls -A /var/lib/xen/save | wc -l")?
        .shows("restored guest")?
        .shows("\n0")?;
    // It is alive: asked to shut down, it does.
    host.dom0("xl list guest")?.ok()?;
    host.dom0("rm /etc/default/xendomains; systemctl stop xendomains; journalctl -b -u xendomains --no-pager")?
        .ok()?
        .lacks("destroyed")?;
    host.dom0("xl list | wc -l")?.shows("2")?;
    host.dom0("systemctl start xendomains")?.ok()?;
    host.guest_speaks("guest")?;
    host.shut_down().map(drop)
}

/// A system that `lvcreate` and `mke2fs` made: a kernel with a boot menu. One line for a guest's configuration.
const SYSTEM: &str = "vgcreate -q vg0 /dev/vdb && lvcreate -q -L 48M -n root vg0 && lvcreate -q -L 8M -n data vg0 && \
    mkdir -p /tmp/t/boot/grub && cp /boot/guest/vmlinuz /boot/guest/initrd /tmp/t/boot && \
    printf 'set default=0\\nset timeout=1\\nmenuentry One {\\n linux /boot/vmlinuz console=hvc0 loglevel=4 from=lvm\\n initrd /boot/initrd\\n}\\n' >/tmp/t/boot/grub/grub.cfg && \
    mke2fs -q -t ext4 -d /tmp/t /dev/vg0/root && \
    printf 'name=\"lv\"\\nbootloader=\"pygrub\"\\nmemory=128\\ndisk=[\"phy:/dev/vg0/root,xvda1,w\",\"/dev/vg0/data,raw,xvdb,w\"]\\n' >/etc/xen/lv.cfg";

/// Volumes of LVM itself: a guest boots from one by its own menu, writes to another, and the howto's missing one is explained.
fn logical_volumes_are_disks(host: &mut Host) -> Story {
    host.dom0(SYSTEM)?.ok()?;
    host.dom0("xl create -q /etc/xen/lv.cfg 2>&1")?.ok()?;
    host.guest_speaks("lv")?;
    host.dom0("(sleep 1; echo 'cat /proc/cmdline; echo from-the-guest | dd of=/dev/xvdb conv=fsync'; sleep 4) | timeout 8 xl console lv; head -c 14 /dev/vg0/data")?
        .shows("from=lvm")?
        .shows("from-the-guest")?;
    host.dom0("lvremove -y vg0/data 2>&1")?
        .fails()?
        .shows("in use")?;
    host.dom0("xl block-detach lv xvdb && lvremove -y vg0/data && xl destroy lv")?
        .ok()?;
    host.dom0("xl create -q /etc/xen/lv.cfg 2>&1")?
        .fails()?
        .shows("disk xvdb (/dev/vg0/data)")?
        .shows("lvs")?;
    host.dom0("xl list; losetup -a; ls /run/xen")?
        .lacks("lv ")?
        .lacks("bootloader")?;
    host.dom0("vgremove -y vg0")?.ok().map(drop)
}

/// Debian's Xen and its tools, with their console where these tests log in. Debian's menu entry does not load what unpacks Xen.
const XEN: &str = "mkdir -p /etc/default/grub.d; printf 'GRUB_CMDLINE_XEN=\"console=com1 com1=115200,8n1 dom0_mem=768M,max:768M\"\\nGRUB_CMDLINE_LINUX_XEN_REPLACE=\"console=hvc0\"\\nGRUB_PRELOAD_MODULES=\"gzio\"\\n' >/etc/default/grub.d/xen-here.cfg; \
    DEBIAN_FRONTEND=noninteractive dpkg -i /opt/xen/*.deb";

/// An installed Xen makes room for our package, which boots by itself from then on and starts its guests; after a purge Xen is
/// installed again, and boots and starts them as before.
fn an_installed_xen_is_replaced() -> Story {
    let scratch = Scratch::new()?;
    let disk = scratch.path().join("disk.qcow2");
    disk::overlay(&debian().disk()?, &disk)?;
    let mut host = guest_files(debian().from_disk(disk.clone()), scratch.path())?.boot()?;
    host.dom0_within(XEN, MINUTES)?.ok()?;
    host.dom0(
        "grep -c 'Xen hypervisor' /boot/grub/grub.cfg; dpkg-query -W -f '${Status}' xen-utils-4.17",
    )?
    .shows("install ok installed")?;
    install_package(&mut host)?;
    host.dom0(
        "dpkg-query -W -f '${Status}\\n' xen-utils-4.17 xen-utils-common xenstore-utils 2>&1",
    )?
    .lacks("install ok installed")?;
    host.dom0("ls -l /usr/sbin/xl; xl help | head -1; ls /etc/xen/guest.cfg")?
        .ok()?;
    host.shut_down()?;

    let mut host = installed().from_disk(disk.clone()).boot()?;
    is_a_dom0(&mut host)?;
    host.dom0("cat /sys/hypervisor/version/extra; dmesg | grep -i 'xen version'")?;
    host.dom0("mkdir -p /etc/xen/auto; ln -s /etc/xen/guest.cfg /etc/xen/auto/; systemctl restart xendomains")?
        .ok()?;
    host.guest_speaks("guest")?;
    // Which shuts the guest down.
    host.dom0_within(
        "DEBIAN_FRONTEND=noninteractive apt-get purge -y corten",
        MINUTES * 2,
    )?
    .ok()?;
    host.dom0_within(XEN, MINUTES)?.ok()?;
    host.shut_down()?;

    let mut host = debian().from_disk(disk).boot()?;
    host.dom0_within("systemctl is-system-running --wait", MINUTES)?;
    host.dom0("ls /boot/corten")?.fails()?;
    host.dom0("xl info | grep xen_extra; readlink -f /usr/sbin/xl; xl list")?
        .shows("Domain-0")?
        .shows("/usr/lib/xen-common/")?
        .lacks("corten")?;
    host.until("xl list", "guest ", MINUTES)?;
    host.shut_down().map(drop)
}

/// Takes up Debian's Xen, and is told with what else does (`tests/run --reference`).
mod an_installed_xen_is_replaced {
    #[test]
    #[ignore = "emulator"]
    fn reference() -> integration::Story {
        super::an_installed_xen_is_replaced()
    }
}

/// Our package and the test guest's files, for a machine that has neither.
fn guest_files(machine: Installed, scratch: &Path) -> qemu::Result<Installed> {
    let initrd = scratch.join("initrd");
    let kernel = Kernel::debian()?;
    std::fs::write(&initrd, qemu::initrd::guest(&kernel)?)?;
    Ok(machine
        .file(package::file(), PACKAGE)
        .file(&kernel.image, "/boot/guest/vmlinuz")
        .file(initrd, "/boot/guest/initrd")
        .file(paths::rootfs().join("guest.cfg"), "/etc/xen/guest.cfg"))
}

/// A purge leaves nothing of ours but what is the administrator's, and plain Debian boots.
#[test]
#[ignore = "emulator"]
fn purge_leaves_plain_debian() -> Story {
    let scratch = Scratch::new()?;
    let disk = scratch.path().join("disk.qcow2");
    disk::overlay(&installed().disk()?, &disk)?;
    let mut host = installed().from_disk(disk.clone()).boot()?;
    host.dom0_within(
        "DEBIAN_FRONTEND=noninteractive apt-get purge -y corten",
        MINUTES * 2,
    )?
    .ok()?;
    host.dom0("find / -xdev -iname '*corten*' -not -path '/root/*' -not -path '/proc/*' | grep .")?
        .fails()?;
    host.dom0(
        "ls /etc/xen/guest.cfg && ! grep -i corten /boot/grub/grub.cfg && ! ls /usr/sbin/xl",
    )?
    .ok()?;
    host.shut_down()?;

    let mut host = debian().from_disk(disk).boot()?;
    is_healthy(&mut host)?;
    host.dom0("cat /proc/cmdline; cat /sys/hypervisor/type")?
        .fails()?
        .shows("ttyS0")?;
    host.shut_down().map(drop)
}
