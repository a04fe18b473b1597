//! Hands the linker script to the linker when the bare-metal image is built; nothing on the host.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let dir = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
        for arg in [
            format!("-T{dir}/link.ld"),
            "-static".into(),
            "-no-pie".into(),
            "-zmax-page-size=4096".into(),
            "-znognustack".into(),
            "--build-id=none".into(),
        ] {
            println!("cargo::rustc-link-arg-bins={arg}");
        }
    }
}
