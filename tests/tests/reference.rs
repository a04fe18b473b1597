//! The harness itself, held against what is known to work: Debian's Xen 4.17 with Debian's tools.

use integration::{Host, Story, xen};

#[test]
#[ignore = "emulator"]
fn the_reference_host_starts_and_destroys_a_guest() -> Story {
    let mut host = Host::boot(xen().dom0_mem("512M,max:512M"))?;
    host.dom0("xl list")?
        .ok()?
        .shows("Domain-0")?
        .shows(" 512 ")?;
    let before = host.dom0("xl info")?.number("free_memory")?;
    host.start_guest()?;
    host.dom0("xl list")?.shows("guest")?;
    host.dom0("xl destroy guest")?.ok()?;
    host.dom0("xl list")?.lacks("guest")?;
    assert_eq!(host.dom0("xl info")?.number("free_memory")?, before);
    host.power_off()
}
