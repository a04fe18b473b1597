//! An installed Debian that becomes a dom0 by our package: GRUB on BIOS and UEFI, systemd, guests at boot, and back to plain Debian.

use integration::{Host, Story, installed};
use std::time::Duration;

const UNITS: &str = "xenstored xen-init-dom0 xenconsoled xendomains";

/// systemd is done, nothing failed, our units run, xl works.
fn is_a_dom0(host: &mut Host) -> Story {
    host.dom0_within(
        "systemctl is-system-running --wait",
        Duration::from_secs(90),
    )?
    .shows("running")?;
    host.dom0("systemctl --failed --plain --no-legend | grep .")?
        .fails()?;
    host.dom0(&format!("systemctl is-active {UNITS}"))?.ok()?;
    host.dom0("xl list")?.ok()?.shows("Domain-0")?;
    host.dom0("xl info")?.ok()?.shows("xen_version")?;
    Ok(())
}

#[test]
#[ignore = "emulator"]
fn boots_on_bios() -> Story {
    let mut host = installed().boot()?;
    is_a_dom0(&mut host)?;
    println!("multi-user after {:?}", host.age());
    host.start_guest()?;
    host.shut_down().map(drop)
}

#[test]
#[ignore = "emulator"]
fn boots_on_uefi() -> Story {
    let mut host = installed().uefi().boot()?;
    is_a_dom0(&mut host)?;
    host.shut_down().map(drop)
}
