//! Where things lie: the workspace, its `target/` and what we keep below it.

use crate::{Context, Result};
use std::path::{Path, PathBuf};

/// Root of the source tree.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// `target/` of the workspace, whatever CARGO_TARGET_DIR says: caches and images are shared by all build directories.
pub fn target() -> PathBuf {
    workspace().join("target")
}

/// The layout of a host's root that a build installs into.
pub fn dist() -> PathBuf {
    target().join("dist")
}

/// The guest that misbehaves, for tests.
pub fn microguest() -> PathBuf {
    target().join("test/microguest")
}

/// Downloads and what is unpacked from them.
pub fn cache() -> PathBuf {
    target().join("cache")
}

/// Files of `qemu/rootfs`: the scripts that go into initrds.
pub fn rootfs() -> PathBuf {
    workspace().join("qemu/rootfs")
}

/// A directory of this process alone, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes `target/run/<pid>-<n>`.
    pub fn new() -> Result<Self> {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = target().join(format!("run/{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).context(dir.display())?;
        Ok(Self(dir))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Only disk space is lost if this fails.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Held by one process at a time; freed when dropped, however that process ends.
pub struct Lock(std::fs::File);

impl Lock {
    /// Waits until nobody else makes `name` in the cache.
    pub fn of(name: &str) -> Result<Self> {
        std::fs::create_dir_all(cache()).context(cache().display())?;
        let path = cache().join(format!("{name}.lock"));
        let file = std::fs::File::create(&path).context(path.display())?;
        file.lock().context(path.display())?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file frees it anyway.
        let _ = self.0.unlock();
    }
}
