//! dom0's daemons and `xl` are killed: the host goes on, and what is stale can be cleaned up.

use integration::{Builder, Host, Story, matrix};

matrix! {
    killed_daemons_are_started_again: product | tools;
}

fn killed_daemons_are_started_again(host: Builder) -> Story {
    let mut host = Host::boot(host.micro_guest())?;
    host.micro("before", "hello")?;
    host.guest_says("before", "done")?;
    let free = host.dom0("xl info")?.number("free_memory")?;

    host.dom0("kill -9 $(pidof xenconsoled); sleep 1; xl list")?
        .ok()?
        .shows("before")?;
    host.dom0("/usr/sbin/xenconsoled >/dev/null 2>&1 </dev/null; sleep 1")?;
    host.micro("after", "hello")?;
    host.guest_says("after", "done")?;

    host.dom0("kill -9 $(pidof xenstored); sleep 1; timeout 10 xl info")?
        .shows("free_memory")?;
    host.dom0("/usr/sbin/xenstored >/dev/null 2>&1 </dev/null; sleep 1")?;
    host.dom0("xl list")?
        .ok()?
        .shows("before")?
        .shows("after")?;
    host.dom0("xl destroy after")?.ok()?;

    // A half-made guest, whatever stage its maker was at.
    for delay in ["0.05", "0.2", "0.5"] {
        host.dom0(&format!(
            "xl create -q /tmp/after.cfg & sleep {delay}; kill -9 $!; sleep 1"
        ))?;
        host.dom0(
            "for d in $(xl list | awk 'NR > 1 && $2 > 1 { print $2 }'); do xl destroy $d; done",
        )?;
        host.dom0("xl list | grep -c .")?.shows("3")?;
    }
    host.memory_is_back(free)?;
    host.power_off()
}
