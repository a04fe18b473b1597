//! Builds the hypervisor and the tools and lays them out as the root of a host in `target/dist/`.

use crate::initrd::{PROGRAMS, XENSTORE_NAMES, XL_NAMES};
use crate::steps::Steps;
use crate::{Context, Result, elf, package, paths};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo puts things.
pub fn cargo_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(paths::target, PathBuf::from)
}

/// Runs a cargo command with its own progress shown.
pub fn cargo(args: &[&str], target: Option<&Path>) -> Result<()> {
    let mut command = Command::new("cargo");
    command.current_dir(paths::workspace()).args(args);
    if let Some(dir) = target {
        command
            .env("CARGO_TARGET_DIR", dir)
            .env("RUSTC_BOOTSTRAP", "1");
    }
    let status = command.status().context("cargo")?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {}: {status}", args.join(" ")).into())
    }
}

/// Builds everything and installs it into `target/dist/`.
pub fn build(steps: &mut Steps) -> Result<()> {
    hypervisor(steps)?;
    tools(steps)?;
    package::build(steps)?;
    steps.done(&format!(
        "{} is laid out as the root of a host",
        paths::dist().display()
    ));
    Ok(())
}

/// Builds and installs the hypervisor, and the guest that tests use.
pub fn hypervisor(steps: &mut Steps) -> Result<()> {
    steps.begin("building the hypervisor and the test guest");
    let target = cargo_target().join("hv");
    cargo(&["hv", "-p", "microguest"], Some(&target))?;
    install(
        &target.join("x86_64-hypervisor/release/microguest"),
        &paths::microguest(),
    )?;
    let built = target.join("x86_64-hypervisor/release/hypervisor");
    let file = std::fs::read(&built).context(built.display())?;
    copy_if_changed(
        &elf::without_sections(file)?,
        &paths::dist().join("boot/corten"),
        0o644,
    )?;
    Ok(())
}

/// Lints the hypervisor as it is built for bare metal.
pub fn lint_hypervisor() -> Result<()> {
    let args = "clippy --quiet --release -p hypervisor -p microguest --target x86_64-hypervisor.json \
                -Zbuild-std=core,alloc,compiler_builtins -Zbuild-std-features=compiler-builtins-mem -Zjson-target-spec \
                -- -D warnings";
    let args: Vec<&str> = args.split_whitespace().collect();
    cargo(&args, Some(&cargo_target().join("hv")))
}

/// Builds and installs what runs in dom0.
pub fn tools(steps: &mut Steps) -> Result<()> {
    let dist = paths::dist();

    steps.begin("building the tools");
    cargo(
        &[
            "build",
            "--release",
            "--bins",
            "-p",
            "xl",
            "-p",
            "xenstored",
            "-p",
            "xenconsoled",
            "-p",
            "xenstore",
            "-p",
            "pygrub",
        ],
        None,
    )?;
    for (name, to) in PROGRAMS {
        let from = cargo_target().join("release").join(name);
        if from.exists() {
            install(&from, &dist.join(to))?;
        }
    }
    for name in XL_NAMES {
        link(&dist.join(format!("usr/sbin/{name}")), "xl")?;
    }
    if dist.join("usr/bin/xenstore").exists() {
        for name in XENSTORE_NAMES {
            link(&dist.join(format!("usr/bin/xenstore-{name}")), "xenstore")?;
        }
    }
    std::fs::create_dir_all(dist.join("etc/xen"))?;
    copy_if_changed(
        &std::fs::read(paths::rootfs().join("guest.cfg"))?,
        &dist.join("etc/xen/guest.cfg"),
        0o644,
    )?;
    scripts(&dist.join(SCRIPTS))
}

/// Hotplug scripts, here and in `tools/package/root`.
const SCRIPTS: &str = "usr/lib/corten/scripts";

/// Installs the hotplug scripts, so that dom0s of tests have them too.
fn scripts(to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let from = paths::workspace().join("tools/package/root").join(SCRIPTS);
    for entry in std::fs::read_dir(&from).context(from.display())? {
        let entry = entry?;
        let perm = entry.metadata()?.permissions().mode() & 0o755;
        copy_if_changed(
            &std::fs::read(entry.path())?,
            &to.join(entry.file_name()),
            perm,
        )?;
    }
    Ok(())
}

/// Puts a stripped copy of a program in place, unless the one there is newer than its source.
fn install(from: &Path, to: &Path) -> Result<()> {
    let modified = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified());
    if modified(to).is_ok_and(|t| modified(from).is_ok_and(|f| f <= t)) {
        return Ok(());
    }
    std::fs::create_dir_all(to.parent().context("no parent directory")?)?;
    let part = to.with_extension("part");
    crate::debian::quietly(
        Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .arg(&part)
            .arg(from),
    )?;
    std::fs::rename(&part, to).context(to.display())
}

fn link(at: &Path, to: &str) -> Result<()> {
    if std::fs::read_link(at).is_ok_and(|t| t == Path::new(to)) {
        return Ok(());
    }
    std::os::unix::fs::symlink(to, at).context(at.display())
}

/// Writes a file unless it has these contents already. Says whether it wrote.
pub fn copy_if_changed(data: &[u8], to: &Path, perm: u32) -> Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::read(to).is_ok_and(|old| old == data) {
        return Ok(false);
    }
    std::fs::create_dir_all(to.parent().context("no parent directory")?)?;
    let part = to.with_extension("part");
    std::fs::write(&part, data).context(part.display())?;
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(perm))?;
    std::fs::rename(&part, to).context(to.display())?;
    Ok(true)
}
