//! Who gets the CPUs: weights, caps, pinning, pools, and memory that is promised.

use integration::{Builder, Host, Story, matrix};

matrix! {
    cpu_time_follows_weights_and_caps: reference, hypervisor;
    guests_that_spin_leave_dom0_its_share: reference, hypervisor;
    vcpus_run_where_pinning_and_pools_allow: reference, hypervisor;
    a_guest_destroyed_while_it_is_built_lets_its_builder_go: reference, hypervisor;
}

/// Tenths of seconds that `guest` has run.
fn ran(host: &mut Host, guest: &str) -> qemu::Result<i64> {
    let field = format!("xl list {guest} | awk 'NR == 2 {{ printf \"ran=%d\\n\", $NF * 10 }}'");
    host.dom0(&field)?.ok()?.number("ran")
}

/// The same for `a` and `b` over eight seconds.
fn race(host: &mut Host) -> qemu::Result<(i64, i64)> {
    let before = (ran(host, "a")?, ran(host, "b")?);
    host.dom0("sleep 8")?.ok()?;
    Ok((ran(host, "a")? - before.0, ran(host, "b")? - before.1))
}

fn settings(host: &mut Host, guest: &str, weight: u32, cap: u32) -> Story {
    host.dom0(&format!("xl sched-credit2 -d {guest} -w {weight} -c {cap}"))?
        .ok()?;
    host.dom0(&format!("xl sched-credit2 -d {guest} | tail -1"))?
        .ok()?
        .shows(&format!("{weight}"))?
        .shows(&format!("{cap}"))
        .map(drop)
}

fn cpu_time_follows_weights_and_caps(host: Builder) -> Story {
    let mut host = Host::boot(host.cpus(2).micro_guest())?;
    for guest in ["a", "b"] {
        host.micro(guest, "mute")?;
        host.dom0(&format!("xl vcpu-pin {guest} 0 1"))?.ok()?;
    }
    let (a, b) = race(&mut host)?;
    assert!(a * 10 > b * 7 && b * 10 > a * 7, "equal shares: {a}, {b}");
    settings(&mut host, "a", 768, 0)?;
    let (a, b) = race(&mut host)?;
    assert!(a > b * 2 && a < b * 4, "weights 3 to 1: {a}, {b}");
    settings(&mut host, "a", 256, 20)?;
    let (a, b) = race(&mut host)?;
    assert!((8..=26).contains(&a), "20 % of 8 s and a bit: {a}");
    assert!(b > a * 2, "the rest is the other's: {a}, {b}");
    host.power_off()
}

fn guests_that_spin_leave_dom0_its_share(host: Builder) -> Story {
    let mut host = Host::boot(host.cpus(2).micro_guest())?;
    for guest in ["a", "b", "c", "d"] {
        host.micro(guest, "mute")?;
    }
    for _ in 0..5 {
        host.dom0_within("xl list", std::time::Duration::from_secs(5))?
            .ok()?;
    }
    // Nobody has a CPU of its own while others share one.
    let mut before = Vec::new();
    for guest in ["a", "b", "c", "d"] {
        before.push(ran(&mut host, guest)?);
    }
    host.dom0("sleep 10")?.ok()?;
    let mut spans = Vec::new();
    for (guest, before) in ["a", "b", "c", "d"].iter().zip(before) {
        spans.push(ran(&mut host, guest)? - before);
    }
    let (least, most) = (spans.iter().min(), spans.iter().max());
    assert!(
        least.zip(most).is_some_and(|(l, m)| l * 2 > *m),
        "{spans:?}"
    );
    host.power_off()
}

fn vcpus_run_where_pinning_and_pools_allow(host: Builder) -> Story {
    let mut host = Host::boot(host.cpus(2).micro_guest())?;
    host.micro("a", "mute")?;
    let cpu = "sleep 1; xl vcpu-list a | awk 'NR == 2 { print \"on=\" $4 }'";
    for n in [1, 0, 1] {
        host.dom0(&format!("xl vcpu-pin a 0 {n}"))?.ok()?;
        assert_eq!(host.dom0(cpu)?.number("on")?, n);
    }
    host.dom0("xl vcpu-pin a 0 7")?.fails()?;

    // A pool of its own. A pinning that the remaining CPUs cannot honour is dropped.
    host.dom0("xl cpupool-cpu-remove Pool-0 1")?.ok()?;
    assert_eq!(host.dom0(cpu)?.number("on")?, 0);
    host.dom0(r#"printf 'name="own"\nsched="credit2"\ncpus=["1"]\n' > /tmp/own; xl cpupool-create /tmp/own"#)?
        .ok()?;
    host.dom0("xl cpupool-migrate a own")?.ok()?;
    assert_eq!(host.dom0(cpu)?.number("on")?, 1);
    let list = host.dom0("xl cpupool-list | awk '{ print $1 \"=\" $2 \",\" $5 }'")?;
    list.shows("Pool-0=1,1")?.shows("own=1,1")?;
    host.dom0("xl vcpu-pin a 0 0")?.fails()?;
    host.dom0("xl cpupool-cpu-remove own 1; xl cpupool-list -c")?
        .shows("own                1")?;
    host.dom0("xl cpupool-destroy own")?.fails()?;
    host.dom0("xl cpupool-migrate Domain-0 own")?.fails()?;

    // And a guest that is made in it.
    host.dom0(
        r#"sed 's/^name.*/name="b"\npool="own"/' /tmp/a.cfg > /tmp/b.cfg; xl create -q /tmp/b.cfg"#,
    )?
    .ok()?;
    host.dom0("xl cpupool-list own | awk '{ print $1 \"=\" $2 \",\" $5 }'")?
        .shows("own=1,2")?;
    host.dom0("xl destroy b")?.ok()?;

    host.dom0("xl cpupool-migrate a Pool-0")?.ok()?;
    assert_eq!(host.dom0(cpu)?.number("on")?, 0);
    host.dom0("xl cpupool-destroy own")?.ok()?;
    host.dom0("xl cpupool-cpu-add Pool-0 1")?.ok()?;
    host.dom0("xl cpupool-list -c")?
        .shows("Pool-0             0,1")?;
    host.power_off()
}

fn a_guest_destroyed_while_it_is_built_lets_its_builder_go(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest())?;
    host.micro("guest", "mute")?;
    host.dom0("xl destroy guest")?.ok()?;
    for delay in ["0", "0.1", "0.2", "0.4"] {
        let race = format!(
            "timeout 20 xl create -q /tmp/guest.cfg >/dev/null 2>&1 & until xl list guest >/dev/null 2>&1; do :; done; \
             sleep {delay}; xl destroy guest >/dev/null 2>&1; wait $!; [ $? != 143 ]; echo came-back=$?; xl destroy guest >/dev/null 2>&1; true"
        );
        host.dom0(&race)?.shows("came-back=0")?;
    }
    host.power_off()
}
