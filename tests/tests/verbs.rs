//! xl's verbs for PV guests: what they print, refuse and change, on all four pairs.

use integration::{Builder, Host, Story, matrix};
use std::time::Duration;

matrix! {
    vcpus_and_shares: reference, product | tools;
    pools_of_cpus: reference, product | tools;
    lists_and_names: reference, product | tools;
    memory_moves_between_domains: reference, product | tools;
    what_is_not_there_says_so: product | tools;
    dom0_gives_memory: product | tools;
    supervisors_carry_out_what_was_configured: product | tools;
    scripts_get_what_xl_gives: product;
    a_guest_sees_the_processor_it_is_given: product | tools, hypervisor;
}

fn vcpus_and_shares(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.dom0("xl create /etc/xen/guest.cfg cpu_weight=300 cap=20 vcpus=2 maxvcpus=3")?
        .ok()?;
    host.dom0("xl sched-credit2 -d guest")?
        .ok()?
        .shows("Name                                ID Weight  Cap\n")?
        .shows("guest                                1    300   20\n")?;
    host.dom0("xl sched-credit2 -d guest -w 512 -c 50")?.ok()?;
    host.dom0("xl sched-credit2")?
        .ok()?
        .shows("Cpupool Pool-0: ratelimit=")?
        .shows("Domain-0                             0    256    0\n")?
        .shows("guest                                1    512   50\n")?;
    host.dom0("xl sched-credit2 -d guest -w 70000 2>&1")?
        .fails()?;
    host.dom0("xl sched-credit2 -w 5 2>&1")?
        .fails()?
        .shows("Must specify a domain.")?;
    host.dom0("xl vcpu-pin guest 0 1 && xl vcpu-pin guest 1 - 0")?
        .ok()?;
    host.dom0("xl vcpu-list guest")?
        .ok()?
        .shows("  1 / all\n")?
        .shows("  all / 0\n")?;
    host.dom0("xl vcpu-pin guest all all all")?.ok()?;
    host.dom0("xl vcpu-list guest")?.ok()?.lacks(" / 0")?;
    for wrong in [
        "guest 7 0",
        "guest x 0",
        "guest 0 99",
        "guest 0 abc",
        "nobody 0 0",
    ] {
        host.dom0(&format!("xl vcpu-pin {wrong} 2>&1"))?.fails()?;
    }
    host.dom0("xl vcpu-set guest 9 2>&1")?
        .fails()?
        .shows("2 physical CPUs and want 9 vCPUs")?;
    host.dom0("xl sysrq guest h")?.ok()?;
    host.dom0("xl trigger guest foo 2>&1")?
        .fails()?
        .shows("Invalid trigger \"foo\"")?;
    host.dom0("xl destroy guest")?.ok()?;
    host.power_off()
}

fn pools_of_cpus(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.start_guest()?;
    host.dom0("xl cpupool-list")?
        .ok()?
        .shows("Name               CPUs   Sched     Active   Domain count\n")?
        .shows("Pool-0               2   credit2       y          2\n")?;
    host.dom0("xl cpupool-list -c")?
        .ok()?
        .shows("Pool-0             0,1\n")?;
    host.dom0("xl cpupool-list nope 2>&1")?
        .fails()?
        .shows("Pool 'nope' does not exist")?;
    host.dom0("xl cpupool-cpu-remove Pool-0 1")?.ok()?;
    host.dom0("printf 'name=\"p1\"\\nsched=\"credit2\"\\ncpus=[1]\\n' > /tmp/p.cfg; xl cpupool-create /tmp/p.cfg")?
        .ok()?
        .shows("number of cpus: 1")?;
    host.dom0("xl cpupool-create /tmp/p.cfg 2>&1")?
        .fails()?
        .shows("Pool name \"p1\" already exists")?;
    host.dom0("xl cpupool-migrate guest p1 && xl cpupool-rename p1 p2")?
        .ok()?;
    host.dom0("xl list -c")?.ok()?.shows("              p2\n")?;
    host.dom0("xl cpupool-list")?
        .ok()?
        .shows("p2                   1   credit2       y          1\n")?;
    host.dom0("xl cpupool-destroy p2 2>&1")?
        .fails()?
        .shows("Can't destroy cpupool 'p2'")?;
    host.dom0(
        "xl cpupool-migrate guest Pool-0 && xl cpupool-destroy p2 && xl cpupool-cpu-add Pool-0 1",
    )?
    .ok()?;
    host.dom0("xl cpupool-list")?
        .ok()?
        .shows("Pool-0               2   credit2       y          2\n")?;
    host.dom0("xl cpupool-numa-split && xl cpupool-list")?
        .ok()?
        .shows("Pool-node0           2   credit2       y          2\n")?;
    host.power_off()
}

fn lists_and_names(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.start_guest()?;
    host.dom0("xl list -vn guest")?
        .ok()?
        .shows(
            "Time(s)   UUID                            Reason-Code\tSecurity Label NODE Affinity\n",
        )?
        .shows("        -                - all\n")?;
    let json = host.dom0("xl list -l guest")?.ok()?;
    for line in [
        "        \"domid\": 1,",
        "                \"run_hotplug_scripts\": \"True\"",
        "                \"max_memkb\": 131072,",
        "                    \"sched\": \"credit2\",",
        "                \"claim_mode\": \"True\",",
        "            \"on_reboot\": \"restart\",",
    ] {
        assert!(json.text.contains(line), "{line} is not in\n{}", json.text);
    }
    host.dom0("xl claims")?.ok()?.shows("Time(s)  Claimed\n")?;
    host.dom0("xl vm-list")?.ok()?.shows("  1    guest ")?;
    host.dom0("xl uptime -s")?.ok()?.shows(", guest (1)")?;
    host.dom0("xl info -n")?
        .ok()?
        .shows("cpu:    core    socket     node\n")?
        .shows("node:    memsize    memfree    distances\n")?;
    host.dom0("xl config-update guest /etc/xen/guest.cfg 2>&1")?
        .ok()?
        .shows("setting dom1 configuration")?;
    host.dom0("xl rename guest g2 && xl domid g2 && xl domname 1")?
        .ok()?
        .shows("1\ng2\n")?;
    host.dom0("xl rename g2 Domain-0 2>&1")?.fails()?;
    host.dom0("xl pause nobody 2>&1")?
        .fails()?
        .shows("nobody is an invalid domain identifier (rc=-6)")?;
    for (what, status) in [
        ("/nowhere", 3),
        ("/dev/null", 1),
        ("/dev/null /dev/zero", 2),
        ("", 6),
    ] {
        let created = host.dom0(&format!("xl create {what} 2>&1"))?;
        assert_eq!(created.status, status, "{what}: {}", created.text);
    }
    host.dom0("xl -N list 2>&1")?
        .fails()?
        .shows("command does not implement -N (dryrun) option")?;
    host.dom0("xl -N vcpu-pin g2 all 1 all")?
        .ok()?
        .shows("cpumap: 1 all\n")?;
    host.dom0("xl info xen_major && xl help nosuch")?
        .ok()?
        .shows("4\n")?;
    assert_eq!(host.dom0("xl vcpu-pin 2>&1")?.status, 2);
    host.dom0("xl shutdown 2>&1")?.fails()?;
    host.dom0("xl shutdown -a -w -F 2>&1")?
        .ok()?
        .shows("Waiting for 1 domains")?
        .shows("Domain 1 has been ")?;
    host.power_off()
}

fn memory_moves_between_domains(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.dom0("xl create /etc/xen/guest.cfg maxmem=256")?.ok()?;
    host.guest_speaks("guest")?;
    host.dom0("xl mem-set guest 96")?.ok()?;
    host.until("xl list guest", "    96     1", Duration::from_secs(20))?;
    host.dom0("xl mem-set guest 4000 2>&1")?.fails()?;
    host.dom0("xl mem-set guest abc 2>&1")?.fails()?;
    host.dom0("xl mem-max guest 10 2>&1")?.fails()?;
    host.dom0("xl mem-max guest 200 && xl mem-set guest 160")?
        .ok()?;
    host.until("xl list guest", "   160     1", Duration::from_secs(20))?;
    host.dom0("xl mem-set Domain-0 400")?.ok()?;
    host.until("xl list 0", "   400     2", Duration::from_secs(20))?;
    host.power_off()
}

fn what_is_not_there_says_so(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.start_guest()?;
    for verb in ["vncviewer guest", "pci-list guest", "usb-list guest"] {
        host.dom0(&format!("xl {verb} 2>&1"))?
            .fails()?
            .shows("this release")?;
    }
    host.dom0("xl sched-credit -d guest 2>&1")?
        .fails()?
        .shows("xl sched-credit2")?;
    host.dom0("xl trigger guest power 2>&1")?
        .ok()?
        .shows("xl shutdown")?;
    host.dom0("xl migrate-receive -r 2>&1")?
        .fails()?
        .shows("this release")?;
    host.dom0("xl channel-list guest")?
        .ok()?
        .shows("Idx BE state evt-ch ring-ref connection")?;
    host.dom0("xl top -b -i 2 -d 1")?
        .ok()?
        .shows("      NAME  STATE   CPU(sec)")?
        .shows("     guest ")?;
    host.dom0("xentop -bi1")?.ok()?.shows("  Domain-0 ")?;
    host.dom0("xl dmesg -c >/dev/null && xl dmesg | wc -l")?
        .ok()?;
    host.power_off()
}

fn dom0_gives_memory(host: Builder) -> Story {
    // All the machine's memory is dom0's, so that a guest's has to come from it.
    let mut host = Host::boot(host.dom0_mem("-32M"))?;
    let before = host.dom0("xl info")?.ok()?.number("free_memory")?;
    assert!(before < 128, "{before} MiB are free");
    // With dom0_mem on the command line, dom0 gives only where it is told to.
    host.dom0("xl create /etc/xen/guest.cfg 2>&1")?
        .fails()?
        .shows("MiB are free")?;
    host.dom0("printf 'autoballoon=\"on\"\\n' > /etc/xen/xl.conf")?
        .ok()?;
    host.dom0("xl create /etc/xen/guest.cfg")?.ok()?;
    host.guest_speaks("guest")?;
    // More than there is: refused in bounded time, and dom0 keeps its memory.
    host.dom0("xl create /etc/xen/guest.cfg memory=100000 name=\\\"b\\\" 2>&1")?
        .fails()?
        .shows("not enough free memory")?;
    host.dom0("printf 'autoballoon=\"off\"\\n' > /etc/xen/xl.conf; xl create /etc/xen/guest.cfg memory=600 name=\\\"b\\\" 2>&1")?
        .fails()?
        .shows("MiB are free")?;
    host.power_off()
}

fn supervisors_carry_out_what_was_configured(host: Builder) -> Story {
    let mut host = Host::boot(host)?;
    host.dom0(
        "xl create /etc/xen/guest.cfg on_poweroff=\\\"rename-restart\\\" vcpus=2 maxmem=160",
    )?
    .ok()?;
    host.guest_speaks("guest")?;
    // Two at once: one gets the name, the other nothing.
    let both = "for n in 1 2; do xl create -q /etc/xen/guest.cfg name=\\\"twin\\\" memory=96 2>/dev/null & p=\"$p $!\"; done; wait $p; xl list | grep -c twin";
    host.dom0_within(both, Duration::from_secs(180))?
        .shows("1\n")?;
    host.dom0("xl destroy twin")?.ok()?;
    // What changes while it runs stays changed.
    host.dom0("was=$(xl vm-list | awk '$3 == \"guest\" {print $1}'); xl mem-set guest 112 && xl mem-max guest 150 && xl vcpu-set guest 1 && xl sched-credit2 -d guest -w 512 -c 50")?
        .ok()?;
    host.until("xl list guest", "   112     1", Duration::from_secs(30))?;
    host.dom0("xl reboot guest")?.ok()?;
    host.until(
        "xl list | grep -v ' 1   '",
        "guest  ",
        Duration::from_secs(60),
    )?;
    host.guest_speaks("guest")?;
    changed(&mut host)?;
    host.dom0("xl shutdown guest")?.ok()?;
    // Who was it is kept under another name, and who is it now has its UUID.
    let dated = "xl list | grep -c 'guest-20[0-9]*T[0-9]*Z '";
    host.until(dated, "1\n", Duration::from_secs(30))?;
    host.until("xl list", "guest  ", Duration::from_secs(30))?;
    host.guest_speaks("guest")?;
    host.dom0("xl vm-list | grep -c $was; xl vm-list | grep $was")?
        .shows("1\n")?
        .shows("guest ")?
        .lacks("guest-")?;
    changed(&mut host)?;
    host.dom0("xl destroy $(xl list | awk '/^guest-/ {print $1}')")?
        .ok()?;
    host.dom0("xl destroy guest; xl list")?.lacks("guest")?;
    host.power_off()
}

/// Whether the guest has what it was given while it ran.
fn changed(host: &mut Host) -> Story {
    host.dom0("xl list guest")?.ok()?.shows("   112     1")?;
    host.dom0("xl list -l guest")?
        .shows("\"target_memkb\": 114688,")?
        .shows("\"max_memkb\": 153600,")?;
    host.dom0("xl sched-credit2 -d guest")?
        .shows("    512   50\n")
        .map(drop)
}

fn scripts_get_what_xl_gives(host: Builder) -> Story {
    // As Debian's xl 4.17 did, side by side on one host.
    let mut host = Host::boot(host)?;
    host.dom0("xl create -q /etc/xen/guest.cfg vcpus=2")?.ok()?;
    let usage = host.dom0("xl domid 2>/dev/null")?;
    assert_eq!(usage.status, 2);
    usage.shows("domid <DomainName>\n\nConvert a domain name to domain id.\n")?;
    host.dom0("xl domid 2>&1 >/dev/null")?
        .shows("'xl domid' requires at least 1 argument.\n")?;
    host.dom0("xl uptime nobody 2>/dev/null")?
        .fails()?
        .lacks("Name")?;
    for verb in ["mem-set nobody x", "mem-max nobody x", "trigger nobody foo"] {
        host.dom0(&format!("xl {verb} 2>&1"))?
            .fails()?
            .shows("nobody is an invalid domain identifier (rc=-6)")?;
    }
    // Whatever becomes of a trigger.
    host.dom0("xl trigger guest s3resume")?.ok()?;
    host.dom0("xl list -l guest | tr '\\n' '|'")?
        .shows("\"arch_arm\": {||                },|")?
        .shows("|]||")?;
    host.dom0(
        "xl vcpu-pin guest 0 nodes:0 && xl vcpu-pin guest 1 node:0,^0 && xl vcpu-list guest",
    )?
    .ok()?
    .shows("  all / all\n")?
    .shows("  1 / all\n")?;
    for empty in ["all,^nodes:0", "node:3", "^0"] {
        host.dom0(&format!("xl vcpu-pin guest 0 {empty} 2>&1"))?
            .fails()?
            .shows("vcpu hard affinity map is empty")?;
    }
    // What xl.conf says for all guests.
    host.dom0("printf 'vm.cpumask=\"1\"\\noutput_format=\"sxp\"\\n' > /etc/xen/xl.conf; xl create /etc/xen/guest.cfg name=\\\"b\\\" memory=96 2>&1")?
        .ok()?
        .shows("\"output_format\" has no effect here")?;
    host.dom0("xl vcpu-list b 2>/dev/null; rm /etc/xen/xl.conf")?
        .shows("  1 / all\n")?;
    host.dom0("xl top -b -i 1 -v")?
        .ok()?
        .shows("VCPUs(sec): ")?;
    host.dom0("xl shutdown -a guest")?.ok()?;
    host.power_off()
}

/// `cpuid=` in both of its syntaxes, for both types of guest.
fn a_guest_sees_the_processor_it_is_given(host: Builder) -> Story {
    let start = "grep -m 1 flags /proc/cpuinfo; grep -m 1 stepping /proc/cpuinfo; echo all-seen";
    let host = host.one_thread().guest_start(start);
    let mut host = Host::boot(host)?;
    host.dom0("grep -qw pni /proc/cpuinfo && grep -qw cx16 /proc/cpuinfo")?
        .ok()?;
    host.dom0("sed 's,^ramdisk.*,ramdisk=\"/tmp/initrd\",' /etc/xen/guest.cfg >/tmp/pv.cfg")?
        .ok()?;
    host.dom0("sed 's/^type.*/type=\"pvh\"/' /tmp/pv.cfg >/tmp/pvh.cfg")?
        .ok()?;
    let no_sse3 = "['1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0']";
    for (file, cpuid) in [
        ("/tmp/pv.cfg", "\"host,sse3=0,stepping=7\""),
        ("/tmp/pvh.cfg", no_sse3),
    ] {
        host.dom0(&format!(
            "echo \"cpuid={}\" >/tmp/cpuid; cat {file} /tmp/cpuid >/tmp/g.cfg; xl create -q /tmp/g.cfg",
            cpuid.replace('"', "\\\"")
        ))?
        .ok()?;
        let seen = host.guest_says("guest", "all-seen")?;
        let has = |what| {
            assert!(seen.contains(what), "{what}: {seen}");
        };
        has(" sse2 ");
        has(" cx16 ");
        assert!(!seen.contains(" pni "), "{seen}");
        if cpuid.contains("stepping") {
            has("stepping\t: 7");
        }
        host.dom0("xl destroy guest")?.ok()?;
    }
    host.power_off()
}
