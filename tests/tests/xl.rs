//! What `xl` prints and refuses.

use integration::{Builder, Host, Story, matrix};

matrix! {
    it_tells_about_the_host: reference, product | tools, hypervisor;
    wrong_configurations_are_refused: reference, product | tools, hypervisor;
}

fn it_tells_about_the_host(host: Builder) -> Story {
    let mut host = Host::boot(host.dom0_mem("512M,max:512M"))?;
    let info = host
        .dom0("xl info")?
        .ok()?
        .shows("xen_major              : 4")?
        .shows("xen_minor              : 17")?;
    assert_eq!(info.number("nr_cpus")?, 2);
    assert!((2000..=2048).contains(&info.number("total_memory")?));
    // What dom0 does not have is free, but for what the hypervisor itself uses.
    assert!((1480..=1536).contains(&info.number("free_memory")?));
    host.dom0("xl list -l")?.ok()?.shows("\"domid\": 0")?;
    host.dom0("xl vcpu-list")?.ok()?.shows("Domain-0")?;
    host.dom0("xl uptime")?.ok()?.shows("Domain-0")?;
    host.dom0("xl dmesg")?.ok()?;
    host.dom0("xl debug-keys h")?.ok()?;
    host.dom0("xl domid nobody")?.fails()?;
    host.dom0("xl nonsense")?.fails()?;
    // dom0 has what dom0_mem said, less what its kernel keeps.
    let total = host.dom0("cat /proc/meminfo")?.number("MemTotal")?;
    assert!(
        (350 * 1024..=512 * 1024).contains(&total),
        "MemTotal is {total} kB"
    );
    host.power_off()
}

fn wrong_configurations_are_refused(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    let free = host.dom0("xl info")?.number("free_memory")?;
    for (what, text) in [
        ("syntax", "name = \"x\\n"),
        ("no name", "kernel=\"/boot/guest/vmlinuz\"\\nmemory=64\\n"),
        (
            "no such kernel",
            "name=\"x\"\\nkernel=\"/nowhere\"\\nmemory=64\\n",
        ),
        (
            "not a kernel",
            "name=\"x\"\\nkernel=\"/init\"\\nmemory=64\\n",
        ),
        (
            "a negative size",
            "name=\"x\"\\nkernel=\"/boot/guest/vmlinuz\"\\nmemory=\"many\"\\n",
        ),
        (
            "too much memory",
            "name=\"x\"\\nkernel=\"/boot/guest/vmlinuz\"\\nmemory=100000\\n",
        ),
    ] {
        host.dom0(&format!("printf '{text}' > /tmp/x.cfg; cat /tmp/x.cfg"))?;
        let reply = host.dom0("xl create /tmp/x.cfg 2>&1")?;
        assert_ne!(reply.status, 0, "{what}: {}", reply.text);
        assert!(!reply.text.trim().is_empty(), "{what}: no message");
        host.dom0("xl list")?.lacks("x  ")?;
    }
    host.start_guest()?;
    host.dom0("xl create /etc/xen/guest.cfg")?.fails()?;
    host.dom0("xl destroy guest; sleep 1")?.ok()?;
    assert_eq!(host.dom0("xl info")?.number("free_memory")?, free);
    host.power_off()
}
