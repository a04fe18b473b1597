//! A disk with Debian 12 on it, as its installer would leave it; made once by `rootfs/make-disk`, then written to through overlays.

use crate::{Context, Result, debian, paths};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a disk is made by: a change of these makes a new one.
const RECIPE: &[&str] = &["make-disk", "agent"];

/// Debian 12 with GRUB for BIOS and UEFI, without anything of ours. Not to be written to: see [`overlay`].
pub fn debian12() -> Result<PathBuf> {
    let disk = paths::cache().join("debian-12.raw");
    let stamp = disk.with_extension("stamp");
    let mut recipe = String::new();
    for name in RECIPE {
        recipe += &std::fs::read_to_string(paths::rootfs().join(name)).context(name)?;
    }
    let fresh =
        || disk.exists() && std::fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == recipe);
    if fresh() {
        return Ok(disk);
    }
    let _one_at_a_time = paths::Lock::of("debian-12")?;
    if fresh() {
        return Ok(disk);
    }
    eprintln!("making a disk with Debian 12 (once; takes minutes)");
    let part = disk.with_extension("part");
    // File owners are root's: outside of root's reach nothing can make them.
    debian::quietly(
        debian::as_root("env")
            .arg(paths::rootfs().join("make-disk"))
            .arg(paths::rootfs().join("agent"))
            .arg(&part),
    )?;
    std::fs::rename(&part, &disk).context(disk.display())?;
    std::fs::write(&stamp, recipe).context(stamp.display())?;
    Ok(disk)
}

/// A new disk at `to` that has the contents of `base` and keeps its own changes. `base` must stay where it is, unchanged.
pub fn overlay(base: &Path, to: &Path) -> Result<()> {
    let format = if base.extension().is_some_and(|e| e == "qcow2") {
        "qcow2"
    } else {
        "raw"
    };
    let base = base.canonicalize().context(base.display())?;
    debian::quietly(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
            .arg(base)
            .arg(to),
    )
    .map(drop)
}

/// A new disk at `to` of so many MiB, all zeros.
pub fn empty(mib: u32, to: &Path) -> Result<()> {
    debian::quietly(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(to)
            .arg(format!("{mib}M")),
    )
    .map(drop)
}
