//! Debian's unmodified kernel and its modules: the machine's own from /boot, or downloaded when it has none.

use crate::{Context, Result, debian, paths};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Loaded in a dom0, in this order (with what they depend on before them).
pub const DOM0_MODULES: &[&str] = &[
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xenfs",
    "xen-netback",
    "xen-blkback",
];
/// Carried in a dom0's initrd for `modprobe`.
pub const HARDWARE_MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "ahci",
    "sd_mod",
    "sr_mod",
    "e1000",
    "loop",
    "bridge",
    "crc32c_generic",
    "dummy",
    "nft_chain_nat",
    "nft_masq",
    "crc32c_generic",
    "ext4",
    "isofs",
    "xen_wdt",
];
/// Loaded in a guest.
pub const GUEST_MODULES: &[&str] = &["xen-netfront", "xen-blkfront"];

/// A kernel image and its modules.
pub struct Kernel {
    /// The bzImage.
    pub image: PathBuf,
    /// `lib/modules/<version>`.
    pub modules: PathBuf,
    /// What `uname -r` says.
    pub version: String,
    /// Module name (dashes as underscores) to path within `modules`, and the names it depends on.
    deps: BTreeMap<String, (String, Vec<String>)>,
    /// Names of modules that are part of the image.
    builtin: BTreeSet<String>,
}

impl Kernel {
    /// Debian's kernel: the newest `linux-image-*-amd64` of /boot, else the one `linux-image-amd64` points to, downloaded.
    pub fn debian() -> Result<Self> {
        match newest(Path::new("/")) {
            Some(kernel) => kernel,
            None => {
                let text = debian::quietly(
                    Command::new("apt-cache").args(["depends", "linux-image-amd64"]),
                )?;
                let package = text
                    .lines()
                    .find_map(|l| l.trim().strip_prefix("Depends: "))
                    .context(
                        "apt knows no linux-image-amd64; is this Debian with its archive set up?",
                    )?;
                let root = debian::unpacked("kernel", &[package])?;
                newest(&root).context(format!("no kernel in {package}"))?
            }
        }
    }

    /// The kernel of an unpacked package.
    pub fn below(root: &Path) -> Result<Self> {
        newest(root).context(format!("no kernel in {}", root.display()))?
    }

    fn at(root: &Path, version: &str) -> Result<Self> {
        let lib = if root.join("usr/lib/modules").exists() {
            "usr/lib/modules"
        } else {
            "lib/modules"
        };
        let modules = root.join(lib).join(version);
        let deps = modules_dep(&modules)?;
        let builtin = std::fs::read_to_string(modules.join("modules.builtin"))
            .unwrap_or_default()
            .lines()
            .map(module_name)
            .collect();
        Ok(Self {
            image: root.join("boot").join(format!("vmlinuz-{version}")),
            modules,
            version: version.into(),
            deps,
            builtin,
        })
    }

    /// The ELF image inside, which no kernel has to unpack as it starts: `target/cache/vmlinux-…`, made once for each version.
    pub fn unpacked(&self) -> Result<PathBuf> {
        let to = paths::cache().join(format!("vmlinux-{}", self.version));
        if to.exists() {
            return Ok(to);
        }
        let from = self.image.display();
        let packed = std::fs::read(&self.image).context(from)?;
        let wrong = |e| format!("{}: {e}", self.image.display());
        let payload = loader::kernel::payload(&packed).map_err(wrong)?;
        let image = loader::kernel::decompress(&payload, 512 << 20).map_err(wrong)?;
        std::fs::create_dir_all(paths::cache())?;
        let part = to.with_extension(format!("part{}", std::process::id()));
        std::fs::write(&part, image).context(part.display())?;
        std::fs::rename(&part, &to).context(to.display())?;
        Ok(to)
    }

    /// `names` and everything they depend on, dependencies first, as paths below [`Self::modules`].
    pub fn closure(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            self.visit(&name.replace('-', "_"), &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) -> Result<()> {
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        if self.builtin.contains(name) {
            return Ok(());
        }
        let (path, needs) = self
            .deps
            .get(name)
            .context(format!("kernel {} has no module {name}", self.version))?;
        for need in needs {
            self.visit(need, seen, order)?;
        }
        order.push(path.clone());
        Ok(())
    }

    /// Lines of `modules.dep` for the given module paths only.
    pub fn dep_lines(&self, paths: &[String]) -> Result<String> {
        let text =
            std::fs::read_to_string(self.modules.join("modules.dep")).or_else(|_| self.scan())?;
        Ok(text
            .lines()
            .filter(|l| {
                l.split_once(':')
                    .is_some_and(|(p, _)| paths.iter().any(|x| x == p))
            })
            .map(|l| format!("{l}\n"))
            .collect())
    }

    fn scan(&self) -> Result<String> {
        scan(&self.modules)
    }
}

/// The newest kernel with modules below `root`.
fn newest(root: &Path) -> Option<Result<Kernel>> {
    let mut versions: Vec<String> = std::fs::read_dir(root.join("boot"))
        .ok()?
        .filter_map(|e| {
            Some(
                e.ok()?
                    .file_name()
                    .to_str()?
                    .strip_prefix("vmlinuz-")?
                    .to_owned(),
            )
        })
        .filter(|v| v.ends_with("-amd64"))
        .filter(|v| {
            root.join("lib/modules").join(v).exists()
                || root.join("usr/lib/modules").join(v).exists()
        })
        .collect();
    versions.sort_by_key(|v| {
        v.split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse().ok())
            .collect::<Vec<u64>>()
    });
    Some(Kernel::at(root, versions.last()?))
}

/// `kernel/drivers/block/xen-blkfront.ko.xz` is `xen_blkfront`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Parses `modules.dep`; a package that was only unpacked has none, then modinfo tells.
fn modules_dep(dir: &Path) -> Result<BTreeMap<String, (String, Vec<String>)>> {
    let text = match std::fs::read_to_string(dir.join("modules.dep")) {
        Ok(text) => text,
        Err(_) => scan(dir)?,
    };
    Ok(text
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(path, needs)| {
            (
                module_name(path),
                (
                    path.to_owned(),
                    needs.split_whitespace().map(module_name).collect(),
                ),
            )
        })
        .collect())
}

/// Writes what depmod would: needed when the kernel package was unpacked and not installed.
fn scan(dir: &Path) -> Result<String> {
    let version = dir
        .file_name()
        .and_then(|n| n.to_str())
        .context("module directory has no version")?;
    let base = dir
        .ancestors()
        .nth(3)
        .context("module directory is not lib/modules/<version>")?;
    debian::quietly(Command::new("depmod").arg("-b").arg(base).arg(version)).or_else(|_| {
        debian::quietly(
            Command::new("busybox")
                .arg("depmod")
                .arg("-b")
                .arg(base)
                .arg(version),
        )
    })?;
    std::fs::read_to_string(dir.join("modules.dep")).context(dir.display())
}
