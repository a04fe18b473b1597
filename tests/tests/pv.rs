//! The life of PV guests.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

matrix! {
    a_guest_lives_and_dies: reference, product | tools, hypervisor;
    a_guest_reboots_and_powers_off_by_itself: reference, product | tools, hypervisor;
    guests_leave_nothing_behind: reference, product | tools, hypervisor;
    a_guest_has_as_many_vcpus_as_it_was_given: reference, product | tools, hypervisor;
}

const SOON: Duration = Duration::from_secs(30);

fn a_guest_lives_and_dies(host: Builder) -> Story {
    let mut host = Host::boot(host.dom0_mem("512M,max:512M"))?;
    host.dom0("xl list")?
        .ok()?
        .shows("Domain-0")?
        .shows(" 512 ")?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.start_guest()?;
    host.dom0("xl list guest")?
        .ok()?
        .shows("guest")?
        .shows(" 128 ")?;
    host.dom0("xl domid guest")?.ok()?.shows("1")?;
    host.dom0("xl domname 1")?.ok()?.shows("guest")?;
    host.dom0("xl pause guest; xl list guest")?.shows("p---")?;
    host.dom0("xl unpause guest; sleep 1; xl list guest")?
        .lacks("p---")?;
    host.dom0("xl rename guest other; xl list")?
        .shows("other")?
        .lacks("guest")?;
    host.dom0("xl shutdown -w other")?.ok()?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.memory_is_back(free)?;
    host.dom0("xl destroy other")?.fails()?;
    host.power_off()
}

fn a_guest_reboots_and_powers_off_by_itself(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.start_guest()?;
    host.dom0("xl reboot guest")?.ok()?;
    host.until("xl domid guest", "2", SOON)?;
    host.guest_speaks("guest")?;
    host.dom0("xl destroy guest")?.ok()?;
    host.dom0("xl create /etc/xen/guest.cfg extra='\"console=hvc0 quit=poweroff\"'")?
        .ok()?;
    host.until("sleep 1; xl list | grep -c .", "2", SOON)?;
    host.power_off()
}

/// 100 guests come and go; every page is back at the end.
fn guests_leave_nothing_behind(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest())?;
    host.micro("first", "hello")?;
    host.guest_says("first", "done")?;
    host.dom0("xl destroy first; sleep 1")?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    let all = "i=0; while [ $i -lt 100 ]; do xl create -q /tmp/first.cfg && xl destroy first || break; i=$((i+1)); done; echo made=$i";
    host.dom0_within(all, Duration::from_secs(400))?
        .shows("made=100")?;
    host.until("xl list | grep -c .", "2", SOON)?;
    host.until("xl info", &format!("free_memory            : {free}"), SOON)?;
    host.dom0("xenstore-ls /local/domain | grep -c '^ [0-9]* = '")?;
    host.power_off()
}

fn a_guest_has_as_many_vcpus_as_it_was_given(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.dom0("xl create /etc/xen/guest.cfg vcpus=4")?.ok()?;
    let said = host.guest_says("guest", "guest: hello")?;
    assert!(said.contains(" 4 cpu"), "{said}");
    assert_eq!(
        host.dom0("xl vcpu-list guest | grep -c '^guest'")?
            .text
            .trim(),
        "4"
    );
    host.power_off()
}
