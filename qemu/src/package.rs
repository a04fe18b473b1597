//! The Debian package: `target/dist` with the files and maintainer scripts of `tools/package`, put together by dpkg-deb.

use crate::dist::copy_if_changed;
use crate::steps::Steps;
use crate::{Context, Result, debian, paths};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of `target/dist` that are there for tests and the demo.
const NOT_PACKAGED: &[&str] = &["etc/xen/guest.cfg"];
/// Directories that the package owns and nothing is in.
const DIRECTORIES: &[&str] = &[
    "etc/xen/auto",
    "var/lib/xen",
    "var/lib/xenstored",
    "var/log/xen/console",
];
/// Manual pages and completion: what `xl docs` calls it, where it goes, whether it is compressed.
const GENERATED: &[(&str, &str, bool)] = &[
    ("man", "usr/share/man/man1/xl.1", true),
    ("cfg", "usr/share/man/man5/xl.cfg.5", true),
    (
        "completion",
        "usr/share/bash-completion/completions/xl",
        false,
    ),
];

/// Where [`build`] puts the package.
pub fn file() -> PathBuf {
    paths::target().join(format!("corten_{}_amd64.deb", env!("CARGO_PKG_VERSION")))
}

/// Makes the package out of what [`crate::dist::build`] laid out. The same input gives the same bytes.
pub fn build(steps: &mut Steps) -> Result<()> {
    steps.begin("making the Debian package");
    let scratch = paths::Scratch::new()?;
    let root = scratch.path().join("root");
    let sources = paths::workspace().join("tools/package");
    copy_tree(&paths::dist(), &root)?;
    for name in NOT_PACKAGED {
        let path = root.join(name);
        if path.exists() {
            std::fs::remove_file(&path).context(path.display())?;
        }
    }
    copy_tree(&sources.join("root"), &root)?;
    for name in DIRECTORIES {
        std::fs::create_dir_all(root.join(name)).context(name)?;
    }
    documentation(&root)?;
    control(&sources.join("debian"), &root)?;
    seal(&root)?;
    let part = scratch.path().join("corten.deb");
    debian::quietly(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            // Dates of the files within the package: those of the release, not of the build.
            .env("SOURCE_DATE_EPOCH", EPOCH)
            .arg(&root)
            .arg(&part),
    )?;
    let changed = copy_if_changed(&std::fs::read(&part)?, &file(), 0o644)?;
    let what = if changed { "made" } else { "unchanged" };
    steps.done(&format!("{}: {what}", file().display()));
    Ok(())
}

/// 2026-01-01, in seconds since 1970.
const EPOCH: &str = "1767225600";

/// Manual pages, completion, licence and change log.
fn documentation(root: &Path) -> Result<()> {
    let xl = root.join("usr/sbin/xl");
    for (name, to, compressed) in GENERATED {
        let text = debian::quietly(Command::new(&xl).args(["docs", name]))?;
        let to = root.join(to);
        copy_if_changed(text.as_bytes(), &to, 0o644)?;
        if *compressed {
            gzip(&to)?;
        }
    }
    for (at, target) in [
        ("usr/share/bash-completion/completions/xm", "xl"),
        ("usr/share/man/man1/xm.1.gz", "xl.1.gz"),
        ("usr/share/man/man1/xentop.1.gz", "xl.1.gz"),
    ] {
        std::os::unix::fs::symlink(target, root.join(at)).context(at)?;
    }
    let doc = root.join("usr/share/doc/corten");
    let licence = |name: &str| std::fs::read_to_string(paths::workspace().join(name)).context(name);
    let copyright = format!(
        "Corten is licensed under Apache-2.0 or MIT, at your option.\n\n{}\n{}",
        licence("LICENSE-MIT")?,
        licence("LICENSE-APACHE")?
    );
    copy_if_changed(copyright.as_bytes(), &doc.join("copyright"), 0o644)?;
    let version = env!("CARGO_PKG_VERSION");
    let changes = format!(
        "corten ({version}) unstable; urgency=medium\n\n  * See the history of the sources.\n\n \
         -- The Corten developers <corten@localhost>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    );
    copy_if_changed(changes.as_bytes(), &doc.join("changelog"), 0o644)?;
    gzip(&doc.join("changelog"))
}

fn gzip(file: &Path) -> Result<()> {
    debian::quietly(Command::new("gzip").arg("-9n").arg(file)).map(drop)
}

/// `DEBIAN/`: the control file with version and size filled in, conffiles, scripts, checksums.
fn control(sources: &Path, root: &Path) -> Result<()> {
    let to = root.join("DEBIAN");
    copy_tree(sources, &to)?;
    let files = tree(root)?;
    let mut kib = 0;
    let mut sums = Command::new("md5sum");
    sums.current_dir(root).arg("--");
    for file in files.iter().filter(|f| !f.starts_with("DEBIAN")) {
        let meta = std::fs::symlink_metadata(root.join(file)).context(file.display())?;
        if meta.is_file() {
            kib += meta.len().div_ceil(1024);
            sums.arg(file);
        }
    }
    let sums = debian::quietly(&mut sums)?;
    copy_if_changed(sums.as_bytes(), &to.join("md5sums"), 0o644)?;
    let template = std::fs::read_to_string(sources.join("control")).context("control")?;
    let text = template
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@SIZE@", &kib.to_string());
    copy_if_changed(text.as_bytes(), &to.join("control"), 0o644).map(drop)
}

/// Dates and permissions as in every other build, whatever the umask here.
fn seal(root: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut touch = Command::new("touch");
    touch.args(["-h", "-d", &format!("@{EPOCH}")]);
    for name in std::iter::once(PathBuf::new()).chain(tree(root)?) {
        let path = root.join(&name);
        let meta = std::fs::symlink_metadata(&path).context(path.display())?;
        if !meta.is_symlink() {
            let runs = meta.is_dir() || meta.permissions().mode() & 0o100 != 0;
            let mode = if runs { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        }
        touch.arg(path);
    }
    debian::quietly(&mut touch).map(drop)
}

/// Everything below `root`, relative to it, sorted.
fn tree(root: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut queue = vec![root.to_path_buf()];
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(&dir).context(dir.display())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                queue.push(entry.path());
            }
            out.push(entry.path().strip_prefix(root)?.to_path_buf());
        }
    }
    out.sort();
    Ok(out)
}

/// Copies a tree with its links and permissions.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).context(to.display())?;
    debian::quietly(
        Command::new("cp")
            .arg("-a")
            .arg(from.join("."))
            .arg(to)
            .stdin(std::process::Stdio::null()),
    )
    .map(drop)
}
