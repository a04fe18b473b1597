//! What administrators type from memory: xm's spellings, consoles and the way out of them, sleep, buttons and keys, a configuration
//! for the next start, guests that are started again when they crash.

use integration::{Builder, Host, Story, matrix, typed};
use std::time::Duration;

matrix! {
    xm_as_ever: product | tools;
    a_guest_sleeps_and_wakes: product | tools;
    a_new_configuration_counts_from_the_next_start: product | tools;
    a_guest_that_crashes_is_started_again: product | tools;
}

const SOON: Duration = Duration::from_secs(60);

/// The commands of the howtos: a guest with its console in front, left by Ctrl-], resized, listed, shut down.
fn xm_as_ever(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.dom0("(xm create -c /etc/xen/guest.cfg </dev/ptmx >/tmp/said 2>&1 & echo $! >/tmp/pid)")?
        .ok()?;
    host.until("cat /tmp/said", "guest: hello from PV", SOON)?
        .shows("Parsing config from /etc/xen/guest.cfg")?;
    host.dom0("kill $(cat /tmp/pid); sleep 1; xm list")?
        .ok()?
        .shows("guest                                        1   128     1")?;
    host.dom0("(sleep 1; echo 'echo $((6*7))'; sleep 2; printf '\\035'; sleep 30) | xm console guest; echo left")?
        .shows("42")?
        .shows("left")?;
    host.dom0("xm mem-set guest 112 && xm vcpu-set guest 1 && xm sched-credit2 -d guest -w 300")?
        .ok()?;
    host.until("xm list guest", "   112     1", SOON)?;
    host.dom0("xm mem-max guest 100 2>&1; xm migrate -l guest 2>&1")?
        .fails()?
        .shows("at least 2 arguments")?;
    host.dom0_within("xm shutdown -w guest", SOON)?.ok()?;
    host.until("xm list | grep -c .", "2", SOON)?;
    host.power_off()
}

/// Asleep, it is in memory and does not run; keys and buttons reach it when it is awake.
fn a_guest_sleeps_and_wakes(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.start_guest()?;
    host.dom0(&typed("guest", "n=42"))?.ok()?;
    host.dom0_within("xl suspend guest", SOON)?.ok()?;
    host.dom0("xl list guest")?.shows("---ss-")?;
    host.dom0_within("xl resume guest", SOON)?.ok()?;
    host.until("xl list guest", "-b----", SOON)?;
    host.until(&typed("guest", "echo awake-$n"), "awake-42", SOON)?;
    host.dom0(
        "xl sysrq guest h && xl trigger guest nmi 0; xl button-press guest power; xl list guest",
    )?
    .ok()?;
    host.until(&typed("guest", "dmesg | tail -5"), "sysrq: HELP", SOON)?;
    host.dom0("xl destroy guest")?.ok()?;
    host.power_off()
}

fn a_new_configuration_counts_from_the_next_start(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.start_guest()?;
    host.dom0("sed 's/^memory.*/memory=112/' /etc/xen/guest.cfg >/tmp/new.cfg; xl config-update guest /tmp/new.cfg 2>/dev/null")?
        .ok()?;
    host.dom0("xl list guest")?.shows("   128     1")?;
    host.dom0("echo memry=5 >/tmp/bad.cfg; xl config-update guest /tmp/bad.cfg 2>&1")?
        .fails()?;
    // Who watches it goes on watching when it is saved without ending.
    host.dom0("xl save -c guest /tmp/saved && xl reboot guest")?
        .ok()?;
    host.until("xl list guest", "   112     1", SOON)?;
    host.guest_speaks("guest")?;
    host.dom0("xl destroy guest")?.ok()?;
    host.power_off()
}

/// Again and again, each time as a new domain, until somebody ends it.
fn a_guest_that_crashes_is_started_again(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest())?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.dom0("printf 'name=\"m\"\\nkernel=\"/boot/guest/microguest\"\\nextra=\"crash\"\\nmemory=32\\non_crash=\"restart\"\\n' >/tmp/m.cfg; xl create -q /tmp/m.cfg")?
        .ok()?;
    host.until(
        "[ $(xl domid m 2>/dev/null || echo 0) -gt 2 ] && echo again",
        "again",
        SOON,
    )?;
    // It may be between two lives when it is to be ended.
    host.until(
        "xl destroy m 2>/dev/null; sleep 3; xl list | grep -c .",
        "2\n",
        SOON,
    )?;
    host.memory_is_back(free - 1)?;
    host.power_off()
}
