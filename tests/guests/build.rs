//! Hands the linker script to the linker when the guest is built; nothing on the host.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let dir = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
        for arg in [
            format!("-T{dir}/link.ld").as_str(),
            "-static",
            "-no-pie",
            "-zmax-page-size=4096",
            "--build-id=none",
        ] {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
