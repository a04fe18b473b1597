//! `xtask tidy`: the house rules that compilers do not check. [`edges`] holds who may depend on whom, [`source`] the rules per file.

mod edges;
mod source;

use crate::{Context, Result, paths};
use std::path::PathBuf;
use std::process::Command;

/// Runs `xtask tidy`; the result is the exit status.
pub fn main() -> Result<i32> {
    let mut faults = edges::check()?;
    let files = tracked("*.rs")?;
    for file in &files {
        let text =
            std::fs::read_to_string(paths::workspace().join(file)).context(file.display())?;
        faults.extend(source::check(&file.to_string_lossy(), &text));
    }
    for fault in &faults {
        println!("{fault}");
    }
    println!("tidy: {} files, {} faults", files.len(), faults.len());
    Ok(i32::from(!faults.is_empty()))
}

/// Files that belong to the project: tracked or about to be.
fn tracked(pattern: &str) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command.current_dir(paths::workspace()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        pattern,
    ]);
    let text = crate::debian::quietly(&mut command)?;
    let exists = |p: &PathBuf| paths::workspace().join(p).exists();
    Ok(text.lines().map(PathBuf::from).filter(exists).collect())
}
