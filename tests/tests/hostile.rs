//! Guests that misbehave: dom0 and the other guests go on, the reason is in the hypervisor's log, the memory comes back.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

// Whose tools start the guest makes no difference to what it can do.
matrix! {
    a_guest_that_crashes_is_reported: reference, product | tools, hypervisor;
    a_guest_that_hogs_is_contained: reference, product;
    forged_page_tables_are_refused: reference, product;
    random_calls_do_no_harm: reference, product;
    many_bad_guests_disturb_nobody: product;
}

const SOON: Duration = Duration::from_secs(20);

fn a_guest_that_crashes_is_reported(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest())?;
    let mut free = Vec::new();
    // Twice: what the first round leaves behind may be caches, what the second adds would be a leak.
    for _ in 0..2 {
        for deed in ["crash", "fault", "bad-trap-table", "bad-stack", "poke"] {
            host.log()?;
            host.micro("micro", deed)?;
            host.until("xl list micro", "---sc-", SOON)?;
            let id = host.dom0("echo id=$(xl domid micro)")?.number("id")?;
            if deed != "crash" {
                host.log()?.shows(&format!("d{id}v0"))?;
            }
            host.dom0("xl destroy micro")?.ok()?;
        }
        host.dom0("sleep 2")?;
        free.push(host.dom0("xl info")?.number("free_memory")?);
    }
    assert_eq!(free[0], free[1]);
    host.power_off()
}

fn a_guest_that_hogs_is_contained(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest())?;
    host.micro("first", "hello")?;
    host.dom0("xl destroy first; sleep 1")?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.micro("mute", "mute")?;
    host.micro("flood", "flood")?;
    host.micro("polite", "hello")?;
    host.guest_says("polite", "done")?;
    host.dom0("xl list")?.ok()?.shows("mute")?.shows("flood")?;
    // The daemon that reads the flood must not swell.
    let daemon =
        "sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/rss=\\1/p' /proc/$(pidof xenconsoled)/status";
    assert!(host.dom0(daemon)?.number("rss")? < 32 << 10);
    host.dom0("xl destroy mute; xl destroy flood; xl destroy polite")?
        .ok()?;
    host.memory_is_back(free)?;
    host.power_off()
}

fn forged_page_tables_are_refused(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest().option("guest_loglvl=error"))?;
    host.micro("micro", "forge")?;
    let said = host.guest_says("micro", "microguest: done")?;
    assert!(said.contains(" 0 BREACHES"), "{said}");
    host.dom0("xl destroy micro")?.ok()?;
    host.power_off()
}

fn random_calls_do_no_harm(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest().option("guest_loglvl=error"))?;
    host.micro("first", "hello")?;
    host.dom0("xl destroy first; sleep 1")?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    for seed in 1..=8 {
        host.micro("micro", &format!("hammer {seed}"))?;
        // It ends by its own hand or gets through; either is well.
        host.dom0("sleep 2; xl list micro")?.ok()?;
        host.dom0("xl destroy micro")?.ok()?;
    }
    host.memory_is_back(free)?;
    host.power_off()
}

/// The last number that the well-behaved guest has said.
fn ticks(host: &mut Host) -> qemu::Result<i64> {
    let said = "timeout 3 xl console tick </dev/ptmx | grep tick= | tail -n 2 | head -n 1";
    host.dom0(said)?.number("tick")
}

fn many_bad_guests_disturb_nobody(host: Builder) -> Story {
    const CRASHES: [(&str, &str); 3] = [
        ("crash", "its own kernel says so"),
        ("fault", "exception without a handler"),
        ("bad-trap-table", "its kernel stack is not writable"),
    ];
    let mut host = Host::boot(host.micro_guest())?;
    host.micro("first", "hello")?;
    host.dom0("xl destroy first; sleep 1")?.ok()?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    host.micro("tick", "tick")?;
    for (deed, reason) in CRASHES {
        host.log()?;
        host.micro("crash", deed)?;
        host.until("xl list crash", "---sc-", SOON)?;
        host.log()?.shows(reason)?;
        host.dom0("xl destroy crash")?.ok()?;
    }
    // What ring 3 may not do, from privileged instructions to absurd pointers: nothing of it succeeds.
    host.micro("all", "all")?;
    let said = host.guest_says("all", "microguest: done")?;
    assert!(!said.contains("BREACH:"), "{said}");
    // These end somehow, or never.
    for (name, deed) in [("hammer", "hammer 1"), ("mute", "mute"), ("flood", "flood")] {
        host.micro(name, deed)?;
    }
    host.micro_smp("smp", "context 1", 3)?;
    let before = ticks(&mut host)?;
    host.dom0("sleep 2")?;
    let after = ticks(&mut host)?;
    assert!(after > before, "tick {before}, then {after}");
    host.dom0("for i in all hammer mute flood smp tick; do xl destroy $i || exit 1; done")?
        .ok()?;
    host.memory_is_back(free)?;
    host.power_off()
}
