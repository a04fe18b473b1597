//! Debian packages as a source of files: downloaded with apt, unpacked below `target/cache`, never installed.

use crate::{Context, Result, paths};
use std::path::PathBuf;
use std::process::Command;

/// Debian's Xen 4.17, the reference that both halves of Corten are held against.
pub const XEN: &[&str] = &[
    "xen-hypervisor-4.17-amd64",
    "xen-utils-4.17",
    "xenstore-utils",
    "xen-utils-common",
    "libxenmisc4.17",
];

/// Runs a command to its end; its output appears in the error only.
pub fn quietly(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let out = command
        .stdin(std::process::Stdio::null())
        .output()
        .context(&shown)?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    Err(format!("{shown} failed ({}):\n{}", out.status, text.trim_end()).into())
}

/// `packages` with their dependencies, as far as the machine does not have them, unpacked into one root directory named `name`.
///
/// Idempotent: a stamp file holds the list of packages, written last.
pub fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let root = paths::cache().join(name);
    let stamp = root.with_extension("stamp");
    let wanted = packages.join(" ");
    let there = || std::fs::read_to_string(&stamp).is_ok_and(|s| s == wanted);
    if there() {
        return Ok(root);
    }
    // Who comes second must not put his own in the place of what the first uses by now.
    let _one_at_a_time = paths::Lock::of(name)?;
    if there() {
        return Ok(root);
    }
    eprintln!("fetching {wanted}");
    // Unpack beside and rename, so that an interruption leaves nothing half done.
    let scratch = paths::Scratch::new()?;
    let debs = scratch.path().join("debs");
    std::fs::create_dir_all(&debs)?;
    if download(packages, &debs).is_err() {
        // The archive keeps a version only until the next comes; lists that are older name what has gone.
        eprintln!("updating apt's lists first");
        quietly(as_root("apt-get").args(["update", "-qq"]))?;
        download(packages, &debs)?;
    }
    let unpacked = scratch.path().join("root");
    for deb in std::fs::read_dir(&debs)? {
        quietly(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(deb?.path())
                .arg(&unpacked),
        )?;
    }
    if root.exists() {
        std::fs::remove_dir_all(&root)?;
    }
    std::fs::rename(&unpacked, &root).context(root.display())?;
    std::fs::write(&stamp, wanted)?;
    Ok(root)
}

/// Downloads `packages` and what they need besides into a directory.
fn download(packages: &[&str], to: &std::path::Path) -> Result<()> {
    let all = missing_dependencies(packages)?;
    let mut command = Command::new("apt-get");
    command.current_dir(to).arg("download");
    quietly(command.args(packages).args(all)).map(drop)
}

/// A command that only root may give.
pub fn as_root(program: &str) -> Command {
    let is_root = quietly(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if is_root {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// Libraries that `packages` depend on and that must be fetched too (`lib*` only: what a program links with).
fn missing_dependencies(packages: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new("apt-cache");
    command.args([
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
    ]);
    command
        .args(["--no-replaces", "--no-enhances"])
        .args(packages);
    let text = quietly(&mut command)?;
    let mut names: Vec<String> = text
        .lines()
        .filter(|l| l.starts_with("lib"))
        .map(|l| l.trim().to_owned())
        .filter(|n| !packages.contains(&n.as_str()))
        .filter(|n| n.starts_with("libxen") || n.starts_with("libyajl") || !installed(n))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Whether this machine has a package.
fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    let status = quietly(query.args(["-W", "-f", "${db:Status-Status}", package]));
    status.is_ok_and(|s| s.starts_with("installed"))
}

/// Root with Debian's qemu for Xen's dom0, which serves disk images of many formats.
pub fn qdisk() -> Result<PathBuf> {
    unpacked("qemu-xen", &["qemu-system-xen"])
}

/// Root with the programs that set up bridges and address translation.
pub fn networks() -> Result<PathBuf> {
    unpacked("networks", &["iproute2", "nftables"])
}

/// Root with Debian's Xen 4.17: hypervisor, tools and their libraries.
pub fn xen() -> Result<PathBuf> {
    unpacked("xen-4.17", XEN)
}

/// Packages of another suite than the machine's own (`bullseye-security`, `bookworm-backports`), unpacked into one root directory.
///
/// A package is what `name` depends on if that is a metapackage (`linux-image-amd64`). The suite's lists are kept apart from the machine's.
pub fn foreign(suite: &str, name: &str) -> Result<PathBuf> {
    let title = format!("{suite}-{name}");
    let root = paths::cache().join(&title);
    let _one_at_a_time = paths::Lock::of(&title)?;
    if root.exists() {
        return Ok(root);
    }
    eprintln!("fetching {name} of {suite}");
    let scratch = paths::Scratch::new()?;
    let apt = scratch.path().join("apt");
    for dir in ["lists/partial", "cache/archives/partial", "debs"] {
        std::fs::create_dir_all(apt.join(dir))?;
    }
    let archive = if suite.ends_with("-security") {
        "debian-security"
    } else {
        "debian"
    };
    let keys = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
    let line = format!("deb [{keys}] http://deb.debian.org/{archive} {suite} main\n");
    std::fs::write(apt.join("sources.list"), line)?;
    std::fs::write(apt.join("status"), "")?;
    let at = |program: &str| {
        let mut command = Command::new(program);
        let here = |key: &str, file: &str| format!("{key}={}", apt.join(file).display());
        let settings = [
            here("Dir::Etc::sourcelist", "sources.list"),
            here("Dir::State::lists", "lists"),
            here("Dir::State::status", "status"),
            here("Dir::Cache", "cache"),
            "Dir::Etc::sourceparts=-".to_owned(),
            // Suites that are no longer updated expire.
            "Acquire::Check-Valid-Until=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        for setting in &settings {
            command.args(["-o", setting]);
        }
        command.current_dir(apt.join("debs"));
        command
    };
    quietly(at("apt-get").args(["update", "-qq"])).context(suite)?;
    let depends = quietly(at("apt-cache").args(["depends", "--important", name]))?;
    let package = depends
        .lines()
        .find_map(|l| l.trim().strip_prefix("Depends: linux-image-"))
        .map_or_else(|| name.to_owned(), |rest| format!("linux-image-{rest}"));
    quietly(at("apt-get").args(["download", &package]))?;
    let unpacked = scratch.path().join("root");
    for deb in std::fs::read_dir(apt.join("debs"))? {
        quietly(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(deb?.path())
                .arg(&unpacked),
        )?;
    }
    std::fs::rename(&unpacked, &root).context(root.display())?;
    Ok(root)
}
