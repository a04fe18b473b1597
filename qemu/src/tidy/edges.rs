//! Which of our crates may depend on which: edges point one way, from the shell to the core.

use crate::{Context, Result, paths};

/// Crate (by directory) and the crates of ours it may depend on. Tests (dev-dependencies) are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("hypervisor/crates/xen-abi", &[]),
    ("hypervisor/crates/bootcfg", &["xen-abi"]),
    ("hypervisor/crates/mm", &["xen-abi"]),
    ("hypervisor/crates/evtchn", &["xen-abi"]),
    ("hypervisor/crates/grant", &["xen-abi", "mm"]),
    ("hypervisor/crates/sched", &["xen-abi"]),
    ("hypervisor/crates/x86emu", &["xen-abi"]),
    ("hypervisor/crates/vdev", &["xen-abi"]),
    ("hypervisor/crates/loader", &["xen-abi"]),
    (
        "hypervisor/crates/domain",
        &["xen-abi", "mm", "evtchn", "grant", "sched", "vdev"],
    ),
    (
        "hypervisor/crates/hypercall",
        &["xen-abi", "mm", "evtchn", "grant", "sched", "domain"],
    ),
    (
        "hypervisor",
        &[
            "xen-abi",
            "bootcfg",
            "mm",
            "evtchn",
            "grant",
            "sched",
            "x86emu",
            "vdev",
            "loader",
            "domain",
            "hypercall",
        ],
    ),
    ("tools/xendev", &["xen-abi"]),
    ("tools/xenctrl", &["xen-abi", "xendev"]),
    ("tools/xenstore", &["xen-abi", "xendev"]),
    (
        "tools/xenguest",
        &["xen-abi", "xendev", "xenctrl", "loader"],
    ),
    (
        "tools/libxl",
        &["xen-abi", "xendev", "xenctrl", "xenstore", "xenguest"],
    ),
    (
        "tools/xl",
        &["xen-abi", "xenctrl", "xenstore", "libxl", "xenconsoled"],
    ),
    (
        "tools/xenstored",
        &["xen-abi", "xendev", "xenctrl", "xenstore"],
    ),
    (
        "tools/xenconsoled",
        &["xen-abi", "xendev", "xenctrl", "xenstore"],
    ),
    ("tools/pygrub", &[]),
    ("qemu", &["loader"]),
    ("tests/guests", &["xen-abi"]),
    ("tests/bench", &["xen-abi", "xendev"]),
    (
        "tests",
        &[
            "qemu",
            "xen-abi",
            "hypercall",
            "domain",
            "mm",
            "xendev",
            "xenctrl",
            "xenstore",
            "xenguest",
            "libxl",
        ],
    ),
];

/// Everything in a manifest that the list does not allow.
pub fn check() -> Result<Vec<String>> {
    let root = paths::workspace();
    let ours: Vec<&str> = ALLOWED
        .iter()
        .filter_map(|(dir, _)| dir.rsplit('/').next())
        .collect();
    let mut faults = Vec::new();
    for manifest in super::tracked("*Cargo.toml")? {
        let dir = manifest
            .parent()
            .map(|d| d.to_string_lossy().into_owned())
            .unwrap_or_default();
        let text = std::fs::read_to_string(root.join(&manifest)).context(manifest.display())?;
        if text.contains("[workspace]") {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(d, _)| *d == dir) else {
            faults.push(format!(
                "{}: this crate is not in the list of crate edges (qemu/src/tidy/edges.rs)",
                manifest.display()
            ));
            continue;
        };
        for name in dependencies(&text) {
            if ours.contains(&name) && !allowed.contains(&name) {
                faults.push(format!(
                    "{}: may not depend on {name} (qemu/src/tidy/edges.rs)",
                    manifest.display()
                ));
            }
        }
    }
    Ok(faults)
}

/// Names under `[dependencies]` and `[target.….dependencies]`.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.starts_with("dependencies") || section.contains("'.dependencies");
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            names.extend(line.split(['.', '=', ' ']).next());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_all_targets_but_not_of_tests_are_found() {
        let manifest = "[package]\nname = 'x'\n[dependencies]\na.workspace = true\nb = '1'\n\
            [target.'cfg(unix)'.dependencies]\nc = { version = '2' }\n[dev-dependencies]\nd = '1'\n";
        assert_eq!(dependencies(manifest), ["a", "b", "c"]);
    }
}
