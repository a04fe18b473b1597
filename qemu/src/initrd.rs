//! Makes the initrds: dom0's (busybox, modules, the toolstack with its libraries, a guest to start) and the guest's.

use crate::cpio::Archive;
use crate::host::{HostSpec, Hypervisor, Mode, Tools};
use crate::kernel::{DOM0_MODULES, GUEST_MODULES, HARDWARE_MODULES, Kernel};
use crate::{Context, Result, debian, elf, paths};
use std::path::{Path, PathBuf};

/// Where the machine we build on keeps its libraries.
const HOST_LIBRARIES: &[&str] = &[
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
];
/// Our programs: name of the binary and where it is installed.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("xl", "usr/sbin/xl"),
    ("xenstored", "usr/sbin/xenstored"),
    ("xenconsoled", "usr/sbin/xenconsoled"),
    ("xenconsole", "usr/lib/xen/bin/xenconsole"),
    ("xenstore", "usr/bin/xenstore"),
    ("xen-init-dom0", "usr/lib/xen/bin/xen-init-dom0"),
    ("pygrub", "usr/lib/xen/bin/pygrub"),
];
/// Debian's qemu for dom0.
const QDISK: &str = "usr/libexec/xen-qemu-system-i386";
const KEYMAP: &str = "usr/share/qemu/keymaps/en-us";
/// `xenstore` goes by these names too.
pub const XENSTORE_NAMES: &[&str] = &[
    "chmod", "exists", "list", "ls", "read", "rm", "watch", "write",
];

/// Other names of `xl`.
pub const XL_NAMES: &[&str] = &["xm", "xentop"];

/// The initrd of a guest: busybox, network and disk front ends, a marker line, a shell.
pub fn guest(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut a = Archive::new();
    skeleton(&mut a, "guest-init")?;
    modules(&mut a, kernel, GUEST_MODULES, &[])?;
    Ok(a.finish())
}

/// An initrd that hands over to the system on the disk that `root=` names, as a distribution's does.
pub fn root(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut a = Archive::new();
    skeleton(&mut a, "root-init")?;
    modules(
        &mut a,
        kernel,
        &["xen-blkfront", "xen-netfront", "crc32c_generic", "ext4"],
        &[],
    )?;
    Ok(a.finish())
}

/// The initrd of a dom0 as `spec` wants it.
pub fn dom0(spec: &HostSpec, kernel: &Kernel) -> Result<Vec<u8>> {
    let mut a = Archive::new();
    skeleton(&mut a, "dom0-init")?;
    a.file("etc/corten/tools", 0o644, spec.tools.word().as_bytes());
    a.file("etc/corten/mode", 0o644, spec.mode.word().as_bytes());
    a.file(
        "etc/corten/loglevel",
        0o644,
        spec.loglevel.to_string().as_bytes(),
    );
    if let Mode::Script(text) = &spec.mode {
        a.file("test.sh", 0o755, text.as_bytes());
    }
    for (from, to) in &spec.add {
        a.copy(to, from)?;
    }
    let load = if spec.hypervisor == Hypervisor::None {
        &[]
    } else {
        DOM0_MODULES
    };
    modules(&mut a, kernel, load, HARDWARE_MODULES)?;

    let mut programs: Vec<PathBuf> = spec.add.iter().map(|(from, _)| from.clone()).collect();
    let mut libraries: Vec<PathBuf> = HOST_LIBRARIES.iter().map(PathBuf::from).collect();
    match spec.tools {
        Tools::Ours => programs.extend(ours(&mut a, spec)?),
        Tools::Debian => {
            let root = debian::xen()?;
            libraries.insert(0, root.join("usr/lib/x86_64-linux-gnu"));
            programs.extend(debians(&mut a, &root)?);
        }
        Tools::None => {}
    }
    extras(&mut a, spec, &mut programs, &mut libraries)?;
    if !programs.is_empty() {
        // glibc opens it by name when a thread is cancelled.
        let libgcc = libraries
            .iter()
            .map(|d| d.join("libgcc_s.so.1"))
            .find(|p| p.exists());
        programs.extend(libgcc.iter().cloned());
        if let Some(from) = libgcc {
            a.copy("lib/x86_64-linux-gnu/libgcc_s.so.1", &from)?;
        }
    }
    for (name, path) in elf::closure(&programs, &libraries)? {
        let to = if name.starts_with('/') {
            name
        } else {
            format!("lib/x86_64-linux-gnu/{name}")
        };
        a.copy(&to, &path)?;
    }

    if spec.hypervisor != Hypervisor::None {
        a.copy("boot/guest/vmlinuz", &kernel.image)?;
        a.file("boot/guest/initrd", 0o644, &guest(kernel)?);
        a.copy("etc/xen/guest.cfg", &paths::rootfs().join("guest.cfg"))?;
    }
    Ok(a.finish())
}

/// What every initrd has: busybox, an init, a console to open before devtmpfs is there.
fn skeleton(a: &mut Archive, init: &str) -> Result<()> {
    let from = paths::rootfs().join(init);
    a.file(
        "init",
        0o755,
        &std::fs::read(&from).context(from.display())?,
    );
    let busybox = Path::new("/bin/busybox");
    a.copy("bin/busybox", busybox)
        .context("busybox-static is needed")?;
    a.link("bin/sh", "busybox");
    a.chardev("dev/console", 5, 1);
    a.chardev("dev/null", 1, 3);
    for dir in [
        "proc", "sys", "run", "tmp", "root", "etc", "var/log", "usr/bin", "usr/sbin",
    ] {
        a.dir(dir);
    }
    a.file("etc/passwd", 0o644, b"root::0:0:root:/root:/bin/sh\n");
    a.file("etc/group", 0o644, b"root:x:0:\n");
    Ok(())
}

/// Modules to insert at boot (`load`, listed in /etc/corten/modules in order) and to carry for modprobe.
fn modules(a: &mut Archive, kernel: &Kernel, load: &[&str], carry: &[&str]) -> Result<()> {
    let base = format!("lib/modules/{}", kernel.version);
    let now = kernel.closure(load)?;
    let all = kernel.closure(&[load, carry].concat())?;
    for path in &all {
        a.copy(&format!("{base}/{path}"), &kernel.modules.join(path))?;
    }
    a.file(
        &format!("{base}/modules.dep"),
        0o644,
        kernel.dep_lines(&all)?.as_bytes(),
    );
    a.file(
        "etc/corten/modules",
        0o644,
        now.iter()
            .map(|m| format!("{m}\n"))
            .collect::<String>()
            .as_bytes(),
    );
    Ok(())
}

/// Our tools: fresh binaries of `spec.bins` first, then all of `spec.dist` but what GRUB loads. Returns the programs.
fn ours(a: &mut Archive, spec: &HostSpec) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    if let Some(bins) = &spec.bins {
        for (name, to) in PROGRAMS {
            let from = bins.join(name);
            if from.exists() {
                a.copy(to, &from)?;
                programs.push(from);
            }
        }
    }
    for from in files(&spec.dist)? {
        let to = from
            .strip_prefix(&spec.dist)?
            .to_string_lossy()
            .into_owned();
        if to.starts_with("boot/") || a.contains(&to) {
            continue;
        }
        match std::fs::read_link(&from) {
            Ok(target) => a.link(&to, &target.to_string_lossy()),
            Err(_) => {
                a.copy(&to, &from)?;
                programs.push(from);
            }
        }
    }
    if a.contains("usr/bin/xenstore") {
        for name in XENSTORE_NAMES {
            a.link(&format!("usr/bin/xenstore-{name}"), "xenstore");
        }
    }
    for name in XL_NAMES {
        a.link(&format!("usr/sbin/{name}"), "xl");
    }
    Ok(programs)
}

/// Debian's tools, called directly and not through its version-choosing wrappers. Returns the programs.
fn debians(a: &mut Archive, root: &Path) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    let lib = root.join("usr/lib/xen-4.17/bin");
    for name in [
        "xl",
        "xenstored",
        "xenconsoled",
        "xenconsole",
        "xen-init-dom0",
        "xenstore-control",
        "xenpm",
        "xentop",
        "libxl-save-helper",
    ] {
        a.copy(&format!("usr/lib/xen-4.17/bin/{name}"), &lib.join(name))?;
        programs.push(lib.join(name));
    }
    for name in ["xl", "xenstored", "xenconsoled", "xentop"] {
        a.link(
            &format!("usr/sbin/{name}"),
            &format!("../lib/xen-4.17/bin/{name}"),
        );
    }
    let xenstore = root.join("usr/bin/xenstore");
    a.copy("usr/bin/xenstore", &xenstore)?;
    for name in XENSTORE_NAMES {
        a.link(&format!("usr/bin/xenstore-{name}"), "xenstore");
    }
    programs.push(xenstore);
    scripts(a, root)?;
    a.copy("etc/xen/xl.conf", &root.join("etc/xen/xl.conf"))?;
    Ok(programs)
}

/// What only some tests need: programs, and where their libraries are.
fn extras(
    a: &mut Archive,
    spec: &HostSpec,
    programs: &mut Vec<PathBuf>,
    libraries: &mut Vec<PathBuf>,
) -> Result<()> {
    let mut roots = Vec::new();
    if spec.qdisk {
        let root = debian::qdisk()?;
        let from = root.join(QDISK);
        a.copy(QDISK, &from)?;
        programs.push(from);
        roots.push(root);
        // As Debian's xl starts it, it reads this; the package is one that this machine's own qemu needs.
        a.copy(KEYMAP, &Path::new("/").join(KEYMAP))?;
    }
    if spec.networks {
        let root = debian::networks()?;
        programs.extend(networks(a, &root)?);
        roots.push(root);
    }
    for root in roots {
        libraries.push(root.join("usr/lib/x86_64-linux-gnu"));
        libraries.push(root.join("lib/x86_64-linux-gnu"));
    }
    Ok(())
}

/// The scripts that Debian's xl calls for devices.
fn scripts(a: &mut Archive, xen: &Path) -> Result<()> {
    for script in files(&xen.join("etc/xen/scripts"))? {
        let name = script.file_name().unwrap_or_default().to_string_lossy();
        let to = format!("etc/xen/scripts/{name}");
        if !a.contains(&to) {
            a.copy(&to, &script)?;
        }
    }
    Ok(())
}

/// Debian's scripts with the shell and the programs that they call, and nft. Returns the programs.
fn networks(a: &mut Archive, root: &Path) -> Result<Vec<PathBuf>> {
    scripts(a, &debian::xen()?)?;
    let programs = [
        (root.join("usr/sbin/nft"), "usr/sbin/nft"),
        (root.join("bin/ip"), "usr/sbin/ip"),
        // Of packages that every Debian has.
        ("/bin/bash".into(), "bin/bash"),
        ("/usr/bin/flock".into(), "usr/bin/flock"),
    ];
    for (from, to) in &programs {
        a.copy(to, from)?;
    }
    Ok(programs.map(|(from, _)| from).into())
}

/// All files and links below `dir`, sorted; none when there is no such directory.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut queue = vec![dir.to_path_buf()];
    while let Some(dir) = queue.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                queue.push(entry.path());
            } else {
                out.push(entry.path());
            }
        }
    }
    out.sort();
    Ok(out)
}
