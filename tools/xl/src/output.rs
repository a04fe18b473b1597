//! xl's own output formats, as pure functions.
use std::fmt::Write;
use xenctrl::{CpuPlace, DomainInfo, NumaNode, PhysInfo, ShutdownReason, VcpuInfo, XenVersion};

/// Header of `xl list`.
pub const LIST_HEADER: &str =
    "Name                                        ID   Mem VCPUs\tState\tTime(s)";

/// One line of `xl list`.
pub fn list_line(name: &str, d: &DomainInfo) -> String {
    let flag = |on: bool, c: char| if on { c } else { '-' };
    let s = &d.state;
    let mib = (d.tot_pages + d.outstanding_pages) / 256;
    format!(
        "{name:<40} {:>5} {mib:>5} {:>5}     {}{}{}{}{}{}  {:>8.1}",
        d.domid.0,
        d.online_vcpus,
        flag(s.running, 'r'),
        flag(s.blocked, 'b'),
        flag(s.paused, 'p'),
        flag(s.shutdown.is_some(), 's'),
        s.shutdown.map_or('-', reason_letter),
        flag(s.dying, 'd'),
        d.cpu_time as f64 / 1e9,
    )
}

/// The letter of a shutdown reason in `xl list`; who was powered off has none.
fn reason_letter(r: ShutdownReason) -> char {
    match r {
        ShutdownReason::Poweroff => '-',
        ShutdownReason::Reboot => 'r',
        ShutdownReason::Suspend => 's',
        ShutdownReason::Crash => 'c',
        ShutdownReason::Watchdog => 'w',
        ShutdownReason::SoftReset => 'S',
        ShutdownReason::Unknown(_) => '?',
    }
}

/// Number of a shutdown reason.
pub fn reason_code(r: ShutdownReason) -> u8 {
    match r {
        ShutdownReason::Poweroff => 0,
        ShutdownReason::Reboot => 1,
        ShutdownReason::Suspend => 2,
        ShutdownReason::Crash => 3,
        ShutdownReason::Watchdog => 4,
        ShutdownReason::SoftReset => 5,
        ShutdownReason::Unknown(n) => n,
    }
}

/// Header of `xl vcpu-list`.
pub fn vcpu_header() -> String {
    format!(
        "{:<32} {:>5} {:>5} {:>5} {:>5} {:>9} {}",
        "Name", "ID", "VCPU", "CPU", "State", "Time(s)", "Affinity (Hard / Soft)"
    )
}

/// One line of `xl vcpu-list`.
pub fn vcpu_line(name: &str, domid: u16, v: &VcpuInfo, hard: &str, soft: &str) -> String {
    let state = if v.online {
        let flag = |on: bool, c: char| if on { c } else { '-' };
        format!(
            "{:>5} {:>3}{}- ",
            v.cpu,
            flag(v.running, 'r'),
            flag(v.blocked, 'b')
        )
    } else {
        format!("{:>5} {:>3}{}p ", '-', '-', '-')
    };
    format!(
        "{name:<32} {domid:>5} {:>5}{state}{:>9.1}  {hard} / {soft}",
        v.vcpu,
        v.cpu_time as f64 / 1e9
    )
}

/// Header of the lists of weights and caps.
pub fn sched_header() -> String {
    format!("{:<33} {:>4} {:>6} {:>4}", "Name", "ID", "Weight", "Cap")
}

/// One line of them.
pub fn sched_line(name: &str, domid: u16, weight: u16, cap: u16) -> String {
    format!("{name:<33} {domid:>4} {weight:>6} {cap:>4}")
}

/// Nodes of CPUs and memory, as `xl info -n` shows them.
pub fn topology(places: &[CpuPlace], nodes: &[NumaNode]) -> String {
    let mut out = String::from("cpu_topology           :\ncpu:    core    socket     node\n");
    for (cpu, p) in places
        .iter()
        .enumerate()
        .filter(|(_, p)| p.core != u32::MAX)
    {
        let _ = writeln!(
            out,
            "{cpu:>3}:    {:>4}     {:>4}     {:>4}",
            p.core, p.socket, p.node
        );
    }
    out += "device topology        :\ndevice           node\nNo device topology data available\n";
    out += "numa_info              :\nnode:    memsize    memfree    distances\n";
    for (i, n) in nodes.iter().enumerate() {
        let distances: Vec<String> = n.distances.iter().map(u32::to_string).collect();
        let (size, free) = (n.size >> 20, n.free >> 20);
        let _ = writeln!(
            out,
            "{i:>4}:    {size:>6}     {free:>6}      {}",
            distances.join(",")
        );
    }
    out
}

/// The host's names, as `uname` says.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Uname {
    pub host: String,
    pub release: String,
    pub version: String,
    pub machine: String,
}

/// Everything `xl info` prints.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Info {
    pub uname: Uname,
    pub phys: PhysInfo,
    pub version: XenVersion,
    pub scheduler: &'static str,
    /// Pages freed by sharing, pages shared.
    pub sharing: (u64, u64),
    pub free_cpus: u32,
}

/// Names of the scheduler numbers.
pub fn scheduler_name(id: u32) -> &'static str {
    match id {
        4 => "sedf",
        5 => "credit",
        6 => "credit2",
        7 => "arinc653",
        8 => "rtds",
        9 => "null",
        _ => "unknown",
    }
}

/// `virt_caps`, in xl's order.
fn virt_caps(caps: u32) -> String {
    let has = |bit: u32| caps & (1 << bit) != 0;
    let (hvm, pv, directio) = (has(0), has(1), has(2));
    [
        (pv, "pv"),
        (hvm, "hvm"),
        (hvm && directio, "hvm_directio"),
        (pv && directio, "pv_directio"),
        (has(3), "hap"),
        (has(4), "shadow"),
        (has(5), "iommu_hap_pt_share"),
        (has(6), "vmtrace"),
        (has(7), "vpmu"),
        (has(8), "gnttab-v1"),
        (has(9), "gnttab-v2"),
    ]
    .iter()
    .filter(|c| c.0)
    .map(|c| format!(" {}", c.1))
    .collect()
}

/// `xl info`.
pub fn info(i: &Info) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{key:<23}: {value}");
    };
    let (u, p, v) = (&i.uname, &i.phys, &i.version);
    line("host", &u.host);
    line("release", &u.release);
    line("version", &u.version);
    line("machine", &u.machine);
    line("nr_cpus", &p.nr_cpus);
    line("max_cpu_id", &p.max_cpu_id);
    line("nr_nodes", &p.nr_nodes);
    line("cores_per_socket", &p.cores_per_socket);
    line("threads_per_core", &p.threads_per_core);
    line(
        "cpu_mhz",
        &format!("{}.{:03}", p.cpu_khz / 1000, p.cpu_khz % 1000),
    );
    line(
        "hw_caps",
        &p.hw_cap
            .iter()
            .map(|w| format!("{w:08x}"))
            .collect::<Vec<_>>()
            .join(":"),
    );
    line("virt_caps", &virt_caps(p.capabilities).trim_start());
    line("total_memory", &(p.total_pages / 256));
    line(
        "free_memory",
        &(p.free_pages.saturating_sub(p.outstanding_pages) / 256),
    );
    line("sharing_freed_memory", &(i.sharing.0 / 256));
    line("sharing_used_memory", &(i.sharing.1 / 256));
    line("outstanding_claims", &(p.outstanding_pages / 256));
    line("free_cpus", &i.free_cpus);
    line("xen_major", &v.major);
    line("xen_minor", &v.minor);
    line("xen_extra", &v.extra);
    line(
        "xen_version",
        &format!("{}.{}{}", v.major, v.minor, v.extra),
    );
    line("xen_caps", &v.capabilities);
    line("xen_scheduler", &i.scheduler);
    line("xen_pagesize", &v.pagesize);
    line(
        "platform_params",
        &format!("virt_start=0x{:x}", v.virt_start),
    );
    line("xen_changeset", &v.changeset);
    line("xen_commandline", &v.command_line);
    line("cc_compiler", &v.compiler);
    line("cc_compile_by", &v.compile_by);
    line("cc_compile_domain", &v.compile_domain);
    line("cc_compile_date", &v.compile_date);
    line("build_id", &v.build_id);
    line("xend_config_format", &4);
    out
}

/// The values of those lines of `xl info` that begin with `name`.
pub fn info_values(info: &str, name: &str) -> String {
    let value = |l: &str| Some(format!("{}\n", l.split_once(": ")?.1));
    info.lines()
        .filter(|l| l.starts_with(name))
        .filter_map(value)
        .collect()
}

/// `3 days,  4:05:06`.
pub fn duration(seconds: u64, short: bool) -> String {
    let (d, h, m, s) = (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    let days = match d {
        0 => String::new(),
        1 => "1 day, ".into(),
        d => format!("{d} days, "),
    };
    if short {
        format!("{days}{h:>2}:{m:02}")
    } else {
        format!("{days}{h:>2}:{m:02}:{s:02}")
    }
}

/// Reads `512`, `512m`, `1g`, `1048576k`: memory in MiB unless said otherwise, to KiB.
pub fn memory_kib(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let n: u64 = digits.parse().ok()?;
    match unit.to_ascii_lowercase().as_str() {
        "b" => Some(n / 1024),
        "k" | "kb" => Some(n),
        "" | "m" | "mb" => n.checked_mul(1024),
        "g" | "gb" => n.checked_mul(1 << 20),
        "t" | "tb" => n.checked_mul(1 << 30),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xen_abi::{DomId, Mfn};
    use xenctrl::DomainState;

    fn domain() -> DomainInfo {
        DomainInfo {
            domid: DomId(3),
            state: DomainState {
                blocked: true,
                ..Default::default()
            },
            tot_pages: 128 * 256,
            max_pages: 0,
            outstanding_pages: 256,
            shared_pages: 0,
            paged_pages: 0,
            shared_info: Mfn(0),
            cpu_time: 12_340_000_000,
            online_vcpus: 2,
            max_vcpu_id: Some(1),
            handle: [0; 16],
            cpupool: 0,
        }
    }

    #[test]
    fn list_lines_are_xls() {
        assert_eq!(
            list_line("guest", &domain()),
            "guest                                        3   129     2     -b----      12.3"
        );
        let mut crashed = domain();
        crashed.state = DomainState {
            shutdown: Some(ShutdownReason::Crash),
            dying: true,
            ..Default::default()
        };
        assert!(list_line("guest", &crashed).contains(" ---scd "));
        for (reason, letters) in [
            (ShutdownReason::Poweroff, "---s-d"),
            (ShutdownReason::Reboot, "---srd"),
            (ShutdownReason::Suspend, "---ssd"),
            (ShutdownReason::Watchdog, "---swd"),
            (ShutdownReason::SoftReset, "---sSd"),
            (ShutdownReason::Unknown(9), "---s?d"),
        ] {
            crashed.state.shutdown = Some(reason);
            assert!(list_line("guest", &crashed).contains(letters), "{letters}");
        }
    }

    #[test]
    fn vcpu_lines_are_xls() {
        let mut v = VcpuInfo {
            vcpu: 0,
            online: true,
            blocked: false,
            running: true,
            cpu_time: 5_100_000_000,
            cpu: 1,
        };
        assert_eq!(
            vcpu_header(),
            "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)"
        );
        assert_eq!(
            vcpu_line("Domain-0", 0, &v, "all", "all"),
            "Domain-0                             0     0    1   r--       5.1  all / all"
        );
        v.online = false;
        assert_eq!(
            vcpu_line("Domain-0", 0, &v, "all", "all"),
            "Domain-0                             0     0    -   --p       5.1  all / all"
        );
    }

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration(3_661, false), " 1:01:01");
        assert_eq!(duration(90_061, true), "1 day,  1:01");
        assert_eq!(duration(200_000, false), "2 days,  7:33:20");
        assert_eq!(memory_kib("612"), Some(612 * 1024));
        assert_eq!(memory_kib("1g"), Some(1 << 20));
        assert_eq!(memory_kib("4096K"), Some(4096));
        assert_eq!(memory_kib("x"), None);
        assert_eq!(memory_kib("5q"), None);
    }

    #[test]
    fn capabilities_in_xls_order() {
        assert_eq!(
            virt_caps(0b11_1000_1111),
            " pv hvm hvm_directio pv_directio hap vpmu gnttab-v1 gnttab-v2"
        );
        assert_eq!(virt_caps(2), " pv");
    }

    #[test]
    fn one_value_of_many() {
        let info = "host                   : here\nxen_major              : 4\nxen_minor              : 17\n\
                    xen_commandline        : a: b\nvirt_caps              :\n";
        assert_eq!(info_values(info, "xen_major"), "4\n");
        assert_eq!(info_values(info, "xen_m"), "4\n17\n");
        assert_eq!(info_values(info, "xen_commandline"), "a: b\n");
        assert_eq!(
            info_values(info, "virt_caps") + &info_values(info, "nope"),
            ""
        );
    }

    #[test]
    fn shares_and_places_as_xl_prints_them() {
        assert_eq!(
            sched_header(),
            "Name                                ID Weight  Cap"
        );
        assert_eq!(
            sched_line("guest", 1, 512, 50),
            "guest                                1    512   50"
        );
        let places = [CpuPlace {
            core: 1,
            socket: 0,
            node: 0,
        }];
        let nodes = [NumaNode {
            size: 2047 << 20,
            free: 1384 << 20,
            distances: vec![10],
        }];
        let text = topology(&places, &nodes);
        assert!(
            text.contains("\n  0:       1        0        0\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\n   0:      2047       1384      10\n"),
            "{text}"
        );
    }
}
