//! [`image`]: what Debian's `xen-create-image` leaves behind, made by Debian's xen-tools without privileges or loop devices.
//!
//! The configuration is written by its `xt-create-xen-config` and template, the system is customised by its hooks; only the steps that
//! need root on the build machine are other programs': mmdebstrap for debootstrap, `mke2fs -d` for mounting and copying.

use qemu::{Context, Result, debian, paths};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the guest.
pub const GUEST: &str = "web.example.org";
/// Where dom0 is to mount the disk with the guest's images: the configuration says so.
pub const STORE: &str = "/srv/xen";
/// Password of the guest's root.
pub const PASSWORD: &str = "corten";

const PACKAGES: &[&str] = &["xen-tools", "libtext-template-perl"];
/// What debootstrap would install, as far as a system needs it to come up.
const SYSTEM: &str = "init,udev,ifupdown,netbase,login";
/// Partitions as xen-create-image hands them to its helpers: name, size, type, mount point, options, kind and place of the image.
const SWAP: &str = "swap:32M:swap:::file::/srv/xen/domains/web.example.org/swap.img";
const ROOT: &str = "disk:400M:ext3:/:noatime,nodiratime,errors=remount-ro:file::/srv/xen/domains/web.example.org/disk.img";
/// Hooks that need neither a network nor a mounted root.
const HOOKS: &[&str] = &[
    "15-disable-hwclock",
    "30-disable-gettys",
    "40-setup-networking",
    "50-setup-hostname",
    "55-create-dev",
    "75-fixup-securetty",
    "90-make-fstab",
];

/// The configuration file, and a disk with an ext3 file system that holds the guest's disks.
pub fn image() -> Result<(PathBuf, PathBuf)> {
    let dir = paths::cache().join("xen-tools-image");
    let files = (dir.join(format!("{GUEST}.cfg")), dir.join("store.img"));
    let _one_at_a_time = paths::Lock::of("xen-tools-image")?;
    if dir.exists() {
        return Ok(files);
    }
    let tools = debian::unpacked("xen-tools", PACKAGES)?;
    let scratch = paths::Scratch::new()?;
    let made = scratch.path().join("made");
    let domain = scratch.path().join("store/domains").join(GUEST);
    std::fs::create_dir_all(&made)?;
    std::fs::create_dir_all(&domain)?;
    configuration(&tools, &made)?;
    system(&tools, scratch.path(), &domain.join("disk.img"))?;
    let swap = domain.join("swap.img");
    std::fs::File::create(&swap)?.set_len(32 << 20)?;
    debian::quietly(Command::new("/sbin/mkswap").arg(&swap))?;
    let store = scratch.path().join("store");
    debian::quietly(
        Command::new("/sbin/mke2fs")
            .args(["-q", "-t", "ext3", "-d"])
            .arg(&store)
            .arg(made.join("store.img"))
            .arg("500M"),
    )?;
    std::fs::rename(&made, &dir).context(dir.display())?;
    Ok(files)
}

/// The environment that xen-create-image gives its helpers.
fn environment(command: &mut Command) -> &mut Command {
    command
        .envs([
            ("hostname", GUEST),
            ("dist", "bookworm"),
            ("vcpus", "1"),
            ("memory", "256"),
        ])
        .envs([
            ("NUMPARTITIONS", "2"),
            ("PARTITION1", SWAP),
            ("PARTITION2", ROOT),
        ])
        .envs([
            ("kernel", "/boot/guest/vmlinuz"),
            ("initrd", "/boot/guest/root.initrd"),
        ])
        .envs([
            ("ip1", "10.0.0.2"),
            ("ips", "10.0.0.2"),
            ("bridge", "xenbr0"),
            ("nohosts", "1"),
        ])
        .env("mac", "00:16:3E:11:22:33")
}

fn configuration(tools: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("perl");
    command
        .arg(tools.join("usr/bin/xt-create-xen-config"))
        .arg(format!("--output={}", to.display()))
        .arg(format!(
            "--template={}",
            tools.join("etc/xen-tools/xm.tmpl").display()
        ))
        .env("PERL5LIB", tools.join("usr/share/perl5"));
    debian::quietly(environment(&mut command)).map(drop)
}

fn system(tools: &Path, scratch: &Path, image: &Path) -> Result<()> {
    // The hooks look for their functions in ./hooks.
    std::os::unix::fs::symlink(tools.join("usr/share/xen-tools"), scratch.join("hooks"))?;
    let mut script = String::from("set -e\ncd \"${0%/*}\"\n");
    for hook in HOOKS {
        script += &format!("sh hooks/bookworm.d/{hook} \"$1\"\n");
    }
    script += &format!("echo root:{PASSWORD} | chroot \"$1\" chpasswd\n");
    // Through tar, which leaves out what is mounted below.
    script += "mkdir tree; tar -C \"$1\" --one-file-system -cf - . | tar -C tree -xpf -\n";
    script += &format!(
        "/sbin/mke2fs -q -t ext3 -d tree {} 400M; rm -rf tree\n",
        image.display()
    );
    let hook = scratch.join("customise");
    std::fs::write(&hook, script)?;
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--variant=minbase", &format!("--include={SYSTEM}")])
        .args([
            "--aptopt=Apt::Install-Recommends \"0\"",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
        ])
        .args([
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
        ])
        .arg(format!("--customize-hook=sh {} \"$1\"", hook.display()))
        .args(["bookworm", "/dev/null", "http://deb.debian.org/debian"]);
    debian::quietly(environment(&mut command)).map(drop)
}
