//! Guests that no one here wrote: kernels of other ages, boot loaders, disks made by Debian's own tools.

use integration::{Builder, Host, Story, console_until, matrix, xentools};
use qemu::kernel::Kernel;
use qemu::{Result, debian, initrd, paths};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

matrix! {
    kernels_of_other_ages: product;
    a_newer_kernel_is_dom0: product;
    debians_pv_grub_boots_from_the_guests_disk: product;
    a_bootloader_is_run: product;
    what_xen_tools_make_is_logged_into: product;
}

/// Debian 11's.
fn older() -> Result<PathBuf> {
    debian::foreign("bullseye-security", "linux-image-cloud-amd64")
}

/// Debian 13's, as Debian 12's backports have it.
fn newer() -> Result<PathBuf> {
    debian::foreign("bookworm-backports", "linux-image-amd64")
}

/// A file of `target/cache`, made by `make` at the path that it is given if it is not there.
fn cached(name: &str, make: impl FnOnce(&std::path::Path) -> Result<()>) -> Result<PathBuf> {
    let file = paths::cache().join(name);
    if !file.exists() {
        let scratch = paths::Scratch::new()?;
        let new = scratch.path().join("new");
        make(&new)?;
        std::fs::rename(&new, &file)?;
    }
    Ok(file)
}

impl Guest {
    fn write(&self, host: &mut Host) -> Result<()> {
        let lines = self.0.join("\\n");
        host.dom0(&format!("printf '{lines}\\n' >/tmp/g.cfg"))?
            .ok()
            .map(drop)
    }
}

/// Lines of a configuration.
struct Guest(Vec<String>);

fn guest(lines: &[&str]) -> Guest {
    Guest(lines.iter().map(|l| (*l).to_owned()).collect())
}

fn kernels_of_other_ages(mut host: Builder) -> Story {
    let ages = [
        ("older", Kernel::below(&older()?)?),
        ("newer", Kernel::below(&newer()?)?),
    ];
    let scratch = paths::Scratch::new()?;
    for (name, kernel) in &ages {
        let file = scratch.path().join(name);
        std::fs::write(&file, initrd::guest(kernel)?)?;
        host = host
            .file(&kernel.image, &format!("/k/{name}"))
            .file(file, &format!("/k/{name}.initrd"));
    }
    let mut host = Host::boot(host.memory(3072))?;
    host.dom0("modprobe loop; dd if=/dev/urandom of=/tmp/disk bs=1M count=4")?
        .ok()?;
    for (name, _) in &ages {
        guest(&[
            &format!("name=\"{name}\""),
            &format!("kernel=\"/k/{name}\""),
            &format!("ramdisk=\"/k/{name}.initrd\""),
            "memory=256",
            "vcpus=2",
            "disk=[\"file:/tmp/disk,xvda,r\"]",
        ])
        .write(&mut host)?;
        host.dom0("xl create -q /tmp/g.cfg")?.ok()?;
    }
    let sum = host.dom0("md5sum </tmp/disk | cut -c1-32")?.ok()?.text;
    for (name, kernel) in &ages {
        let said = host.guest_says(name, "guest: hello")?;
        assert!(
            said.contains(&format!("PV, Linux {}, 2 cpu", kernel.version)),
            "{said}"
        );
        // A command on its console: it reads its disk through its own front end.
        let ask =
            format!("(sleep 2; echo 'md5sum </dev/xvda'; sleep 8) | timeout 10 xl console {name}");
        host.dom0(&ask)?.shows(sum.trim())?;
        host.dom0(&format!("xl shutdown -w {name}"))?.ok()?;
    }
    host.power_off()
}

/// The newest kernel that Debian 12 has as dom0, and the same as its guest.
fn a_newer_kernel_is_dom0(host: Builder) -> Story {
    let root = newer()?;
    let version = Kernel::below(&root)?.version;
    let mut host = Host::boot(host.kernel_of(root))?;
    host.dom0("uname -r")?.shows(&version)?;
    host.start_guest()?;
    host.dom0("xl mem-set guest 100; xl vcpu-list; xl list guest")?
        .ok()?
        .shows("guest")?;
    host.dom0("xl shutdown -w guest")?.ok()?;
    host.power_off()
}

/// A disk with GRUB's configuration, a kernel and an initrd, as a guest's own.
fn grub_disk() -> Result<PathBuf> {
    cached("pvgrub-disk.img", |new| {
        let kernel = Kernel::debian()?;
        let scratch = paths::Scratch::new()?;
        let boot = scratch.path().join("boot");
        std::fs::create_dir_all(boot.join("grub"))?;
        std::fs::copy(&kernel.image, boot.join("vmlinuz"))?;
        std::fs::write(boot.join("initrd"), initrd::guest(&kernel)?)?;
        let menu = "set timeout=0\nmenuentry Debian {\n linux /boot/vmlinuz console=hvc0 from=grub\n initrd /boot/initrd\n}\n";
        std::fs::write(boot.join("grub/grub.cfg"), menu)?;
        let mut mke2fs = Command::new("/sbin/mke2fs");
        mke2fs
            .args(["-q", "-t", "ext2", "-d"])
            .arg(scratch.path())
            .arg(new);
        debian::quietly(mke2fs.arg("24M")).map(drop)
    })
}

fn debians_pv_grub_boots_from_the_guests_disk(host: Builder) -> Story {
    let grub = debian::unpacked("grub-xen", &["grub-xen-host"])?
        .join("usr/lib/grub-xen/grub-x86_64-xen.bin");
    let mut host = Host::boot(host.file(grub, "/k/grub").file(grub_disk()?, "/k/disk"))?;
    host.dom0("modprobe loop")?.ok()?;
    grub_by_its_path(&mut host)?;
    // The same by its short name, once Debian's package is installed.
    guest(&[
        "name=\"own\"",
        "firmware=\"pvgrub64\"",
        "memory=256",
        "disk=[\"file:/k/disk,xvda,w\"]",
    ])
    .write(&mut host)?;
    host.dom0("xl create -q /tmp/g.cfg 2>&1")?
        .fails()?
        .shows("firmware \"pvgrub64\" is not on this host")?
        .shows("apt install grub-xen-host")?;
    host.dom0("xl create -q /tmp/g.cfg 'firmware=\"pvgrub32\"' 2>&1")?
        .fails()?
        .shows("32-bit PV guest")?;
    host.dom0("mkdir /usr/lib/grub-xen; mv /k/grub /usr/lib/grub-xen/grub-x86_64-xen.bin; xl create -q /tmp/g.cfg")?
        .ok()?;
    host.dom0_within(
        &console_until("own", "guest: hello", 100),
        Duration::from_secs(110),
    )?
    .shows("Booting `Debian'")?;
    host.dom0("xl destroy own")?.ok()?;
    dom0_finds_the_kernel_there(&mut host)?;
    host.power_off()
}

fn grub_by_its_path(host: &mut Host) -> Story {
    guest(&[
        "name=\"own\"",
        "kernel=\"/k/grub\"",
        "memory=256",
        "disk=[\"file:/k/disk,xvda,w\"]",
    ])
    .write(host)?;
    host.dom0("xl create -q /tmp/g.cfg")?.ok()?;
    let said = host.dom0_within(
        &console_until("own", "guest: hello", 100),
        Duration::from_secs(110),
    )?;
    said.shows("Booting `Debian'")?.shows("hello from PV")?;
    host.dom0("xl shutdown -w own")?.ok().map(drop)
}

/// The same disk with `bootloader="pygrub"`, by any of the names that configurations have for it.
fn dom0_finds_the_kernel_there(host: &mut Host) -> Story {
    guest(&[
        "name=\"own\"",
        "bootloader=\"/usr/lib/xen-4.17/bin/pygrub\"",
        "extra=\"and=more\"",
        "memory=256",
        "disk=[\"file:/k/disk,xvda,w\"]",
    ])
    .write(host)?;
    host.dom0("xl create -q /tmp/g.cfg")?.ok()?;
    host.guest_speaks("own")?;
    host.dom0(
        "(sleep 1; echo cat /proc/cmdline; sleep 3) | timeout 5 xl console own; ls /run/xen",
    )?
    .shows("console=hvc0 from=grub and=more")?
    .lacks("bootloader")?;
    host.dom0("xl destroy own")?.ok()?;
    // One that is not there, by a name and on a disk without a menu.
    host.dom0("xl create -q /tmp/g.cfg 'bootloader_args=[\"--entry=nope\"]' 2>&1")?
        .fails()?
        .shows("there are 0 \"Debian\"")?;
    host.dom0(
        "truncate -s 1M /tmp/none; xl create -q /tmp/g.cfg 'disk=[\"file:/tmp/none,xvda,w\"]' 2>&1",
    )?
    .fails()?
    .shows("no kernel found")?;
    host.dom0("xl list; ls /run/xen; losetup")?
        .lacks("own")?
        .lacks("bootloader")?
        .lacks("/tmp/none")
        .map(drop)
}

/// A boot loader as an administrator would write one: says how it was called, asks on the console, leaves files.
const LOADER: &str = r#"#!/bin/sh
echo "$@" >/tmp/called
for a; do case $a in --output=*) out=${a#*=};; --output-directory=*) dir=${a#*=};; esac; done
echo "which kernel?"; read answer; echo "taking $answer"
case $answer in none) echo no such kernel; exit 1;; esac
cp /boot/guest/vmlinuz $dir/boot_kernel; cp /boot/guest/initrd $dir/boot_ramdisk
printf 'kernel %s\0ramdisk %s\0args console=hvc0 chosen=%s\0' $dir/boot_kernel $dir/boot_ramdisk $answer >$out
"#;

fn a_bootloader_is_run(host: Builder) -> Story {
    let scratch = paths::Scratch::new()?;
    let loader = scratch.path().join("loader");
    std::fs::write(&loader, LOADER)?;
    let mut host = Host::boot(host.file(loader, "/usr/bin/loader"))?;
    host.dom0(
        "chmod 755 /usr/bin/loader; modprobe loop; dd if=/dev/zero of=/tmp/disk bs=1M count=1",
    )?
    .ok()?;
    guest(&[
        "name=\"guest\"",
        "bootloader=\"/usr/bin/loader\"",
        "bootloader_args=[\"--first\",\"second third\"]",
        "extra=\"quiet\"",
        "memory=128",
        "disk=[\"file:/tmp/disk,xvda,w\"]",
    ])
    .write(&mut host)?;
    let create = |answer: &str| {
        format!(
            "(xl create -q /tmp/g.cfg; echo rc=$?) >/tmp/out 2>&1 & \
             tty=; i=0; while [ -z \"$tty\" ] && [ $i -lt 20 ]; do sleep 0.5; i=$((i+1)); \
             tty=$(xenstore-read /local/domain/$(xl domid guest)/console/tty 2>/dev/null); done; \
             (sleep 1; echo {answer}; sleep 2) | timeout 5 xl console guest; wait; cat /tmp/out"
        )
    };
    host.dom0(&create("this"))?
        .shows("which kernel?")?
        .shows("rc=0")?;
    host.guest_speaks("guest")?;
    let called = host.dom0("cat /tmp/called")?.shows("--args=quiet")?;
    called
        .shows("--output-format=simple0")?
        .shows("--first second third /tmp/disk")?;
    host.dom0("xl destroy guest; sleep 1; ls /run/xen")?
        .lacks("bootloader")?;
    // One that fails: what it was, and nothing stays.
    host.dom0(&create("none"))?.shows("rc=3")?.shows("loader")?;
    host.dom0("xl list; ls /run/xen; losetup")?
        .lacks("guest")?
        .lacks("bootloader")?
        .lacks("/tmp/disk")?;
    host.power_off()
}

/// `xl create` of what `xen-create-image` wrote, unchanged; a person logs in on the console.
fn what_xen_tools_make_is_logged_into(host: Builder) -> Story {
    let (config, store) = xentools::image()?;
    let scratch = paths::Scratch::new()?;
    let initrd = scratch.path().join("initrd");
    std::fs::write(&initrd, initrd::root(&Kernel::debian()?)?)?;
    let drive = format!(
        "-drive file={},format=raw,if=virtio,snapshot=on",
        store.display()
    );
    let host = host.device(&drive).file(config, "/etc/xen/web.cfg");
    let mut host = Host::boot(host.file(initrd, "/boot/guest/root.initrd"))?;
    let mount = format!(
        "modprobe -a virtio_pci virtio_blk crc32c_generic ext4 loop bridge; mkdir -p {0}; mount -t ext4 /dev/vda {0} && \
         ip link add xenbr0 type bridge; ip link set xenbr0 up",
        xentools::STORE
    );
    host.dom0(&mount)?.ok()?;
    host.dom0("xl create /etc/xen/web.cfg")?.ok()?;
    let name = xentools::GUEST;
    host.dom0_within(
        &console_until(name, "login:", 150),
        Duration::from_secs(160),
    )?
    .shows("web login:")?;
    let session = format!(
        "(sleep 1; echo root; sleep 4; echo {}; sleep 6; echo 'findmnt -n -o SOURCE,FSTYPE /; cat /proc/swaps; ip -br link'; \
         sleep 8) | timeout 30 xl console {name}",
        xentools::PASSWORD
    );
    let said = host.dom0(&session)?;
    said.shows("/dev/xvda2 ext3")?
        .shows("/dev/xvda1")?
        .shows("00:16:3e:11:22:33")?;
    host.dom0_within(&format!("xl shutdown -w {name}"), Duration::from_secs(100))?
        .ok()?;
    host.power_off()
}
