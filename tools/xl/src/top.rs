//! What `xl top` shows, as pure functions: [`Row`]s from two [`Sample`]s, sorted by a [`Column`], one line each.
use std::cmp::Ordering;
use xenctrl::{DomainInfo, XenVersion};

/// A domain at one moment.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Sample {
    pub domid: u16,
    pub name: String,
    /// xentop's six letters.
    pub state: String,
    pub cpu_ns: u64,
    pub mem_kib: u64,
    /// `None`: no limit.
    pub maxmem_kib: Option<u64>,
    pub vcpus: u32,
    pub nets: u32,
    pub net_tx: u64,
    pub net_rx: u64,
    pub vbds: u32,
    /// Requests refused for want of memory, reads, writes, sectors read, sectors written.
    pub vbd: [u64; 5],
    /// CPU time of each vcpu, by number.
    pub vcpu_ns: Vec<(u32, u64)>,
    /// Its network cards, by number.
    pub net_list: Vec<(u32, Net)>,
    /// Its disks, by number, each with counts as in `vbd`.
    pub vbd_list: Vec<(u32, [u64; 5])>,
}

/// A network card, counted from the guest's side: bytes, packets, errors, drops.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Net {
    pub rx: [u64; 4],
    pub tx: [u64; 4],
}

/// What is shown below a domain's line.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Details {
    pub vcpus: bool,
    pub networks: bool,
    pub vbds: bool,
}

/// The lines below a domain's, as xentop prints them.
pub fn details(s: &Sample, show: Details) -> Vec<String> {
    let mut lines = Vec::new();
    if show.vcpus {
        for (i, four) in s.vcpu_ns.chunks(5).enumerate() {
            let head = if i == 0 {
                "VCPUs(sec): "
            } else {
                "            "
            };
            let one = |(n, ns): &(u32, u64)| format!(" {n:>2}: {:>10}s", ns / 1_000_000_000);
            lines.push(four.iter().map(one).fold(head.to_string(), |l, v| l + &v));
        }
    }
    if show.networks {
        for (n, net) in &s.net_list {
            let side = |c: &[u64; 4]| {
                format!(
                    "{:>8}bytes {:>8}pkts {:>8}err {:>8}drop",
                    c[0], c[1], c[2], c[3]
                )
            };
            lines.push(format!(
                "Net{n} RX: {}  TX: {}",
                side(&net.rx),
                side(&net.tx)
            ));
        }
    }
    if show.vbds {
        for (n, [oo, rd, wr, rs, ws]) in &s.vbd_list {
            lines.push(format!(
                "VBD BlkBack {n:>5} [{:>2x}:{:>2x}]  OO: {oo:>8}   RD: {rd:>8}   WR: {wr:>8}   RSECT: {rs:>10}   WSECT: {ws:>10}",
                n >> 8, n & 0xff
            ));
        }
    }
    lines
}

impl Sample {
    /// What the hypervisor knows of it.
    pub fn of(name: String, d: &DomainInfo) -> Sample {
        let s = &d.state;
        let flag = |on: bool, c: char| if on { c } else { '-' };
        let crashed = s.shutdown == Some(xenctrl::ShutdownReason::Crash);
        let state = [
            flag(s.dying, 'd'),
            flag(s.shutdown.is_some() && !crashed, 's'),
            flag(s.blocked, 'b'),
            flag(crashed, 'c'),
            flag(s.paused, 'p'),
            flag(s.running, 'r'),
        ];
        let unlimited = d.max_pages >= u64::from(u32::MAX);
        Sample {
            domid: d.domid.0,
            name,
            state: state.iter().collect(),
            cpu_ns: d.cpu_time,
            mem_kib: d.tot_pages * 4,
            maxmem_kib: (!unlimited).then_some(d.max_pages.saturating_mul(4)),
            vcpus: d.online_vcpus,
            ..Sample::default()
        }
    }
}

/// A line to be.
#[derive(Clone, Debug)]
pub struct Row {
    /// The domain now.
    pub now: Sample,
    /// CPU time it used since the sample before, percent of one CPU.
    pub cpu: f64,
}

/// Rows from two rounds of samples, `seconds` apart.
pub fn rows(before: &[Sample], now: Vec<Sample>, seconds: f64) -> Vec<Row> {
    let row = |s: Sample| {
        let used = match before
            .iter()
            .find(|b| b.domid == s.domid && b.name == s.name)
        {
            Some(b) => s.cpu_ns.saturating_sub(b.cpu_ns),
            None => 0,
        };
        let cpu = if seconds > 0.0 {
            used as f64 / 1e7 / seconds
        } else {
            0.0
        };
        Row { now: s, cpu }
    };
    now.into_iter().map(row).collect()
}

/// What rows are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Column {
    Id,
    Name,
    State,
    CpuTime,
    Cpu,
    Mem,
    MaxMem,
    Vcpus,
    Nets,
    NetTx,
    NetRx,
    Vbds,
    VbdReads,
    VbdWrites,
}

/// Columns in the order that the sort key walks through them, with their names.
pub const COLUMNS: &[(Column, &str)] = &[
    // The order at first; it has no column.
    (Column::Id, "ID"),
    (Column::Name, "NAME"),
    (Column::State, "STATE"),
    (Column::CpuTime, "CPU(sec)"),
    (Column::Cpu, "CPU(%)"),
    (Column::Mem, "MEM(k)"),
    (Column::MaxMem, "MAXMEM(k)"),
    (Column::Vcpus, "VCPUS"),
    (Column::Nets, "NETS"),
    (Column::NetTx, "NETTX(k)"),
    (Column::NetRx, "NETRX(k)"),
    (Column::Vbds, "VBDS"),
    (Column::VbdReads, "VBD_RD"),
    (Column::VbdWrites, "VBD_WR"),
];

/// The name of a column.
pub fn title(c: Column) -> &'static str {
    COLUMNS.iter().find(|e| e.0 == c).map_or("", |e| e.1)
}

/// The column after `c` (or before it), round and round.
pub fn next_column(c: Column, back: bool) -> Column {
    let at = COLUMNS.iter().position(|e| e.0 == c).unwrap_or(0);
    let step = if back { COLUMNS.len() - 1 } else { 1 };
    COLUMNS[(at + step) % COLUMNS.len()].0
}

/// Sorts: names upwards, numbers with the largest first; then by id.
pub fn sort(rows: &mut [Row], by: Column, reverse: bool) {
    rows.sort_by(|a, b| {
        let number = |f: fn(&Sample) -> u64| f(&b.now).cmp(&f(&a.now));
        let order = match by {
            Column::Id => Ordering::Equal,
            Column::Name => a.now.name.cmp(&b.now.name),
            Column::State => a.now.state.cmp(&b.now.state),
            Column::CpuTime => number(|s| s.cpu_ns),
            Column::Cpu => b.cpu.partial_cmp(&a.cpu).unwrap_or(Ordering::Equal),
            Column::Mem => number(|s| s.mem_kib),
            Column::MaxMem => number(|s| s.maxmem_kib.unwrap_or(u64::MAX)),
            Column::Vcpus => number(|s| s.vcpus.into()),
            Column::Nets => number(|s| s.nets.into()),
            Column::NetTx => number(|s| s.net_tx),
            Column::NetRx => number(|s| s.net_rx),
            Column::Vbds => number(|s| s.vbds.into()),
            Column::VbdReads => number(|s| s.vbd[1]),
            Column::VbdWrites => number(|s| s.vbd[2]),
        };
        let order = order.then(a.now.domid.cmp(&b.now.domid));
        if reverse { order.reverse() } else { order }
    });
}

/// The first line of all: the time of day, and the hypervisor's version.
pub fn heading(time: &str, v: &XenVersion) -> String {
    format!("xentop - {time}   Xen {}.{}{}", v.major, v.minor, v.extra)
}

/// The line over the rows.
pub const HEADER: &str = "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID";

/// One row of a machine with `total_kib` of memory; `full` keeps long names.
pub fn line(r: &Row, total_kib: u64, full: bool) -> String {
    let s = &r.now;
    let percent = |kib: u64| kib as f64 * 100.0 / total_kib.max(1) as f64;
    let name: String = if full {
        s.name.clone()
    } else {
        s.name.chars().take(10).collect()
    };
    let (max, max_percent) = match s.maxmem_kib {
        Some(kib) => (kib.to_string(), format!("{:.1}", percent(kib))),
        None => ("no limit".into(), "n/a".into()),
    };
    let [oo, rd, wr, rsect, wsect] = s.vbd;
    format!(
        "{name:>10} {:>6} {:>10} {:>6.1} {:>10} {:>6.1} {max:>10} {max_percent:>9} {:>5} {:>4} {:>8} {:>8} {:>4} \
         {oo:>8} {rd:>8} {wr:>8} {rsect:>10} {wsect:>10} {:>4}",
        s.state,
        s.cpu_ns / 1_000_000_000,
        r.cpu,
        s.mem_kib,
        percent(s.mem_kib),
        s.vcpus,
        s.nets,
        s.net_tx / 1024,
        s.net_rx / 1024,
        s.vbds,
        0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(domid: u16, name: &str, cpu_ns: u64) -> Sample {
        Sample {
            domid,
            name: name.into(),
            state: "-----r".into(),
            cpu_ns,
            mem_kib: 524_288,
            vcpus: 2,
            ..Sample::default()
        }
    }

    #[test]
    fn rows_know_what_was_used_in_between() {
        let before = [sample(0, "Domain-0", 1_000_000_000), sample(1, "a", 5)];
        // The second has gone, and another took its number.
        let now = vec![sample(0, "Domain-0", 2_000_000_000), sample(1, "b", 900)];
        let mut rows = rows(&before, now, 2.0);
        assert_eq!((rows[0].cpu, rows[1].cpu), (50.0, 0.0));
        sort(&mut rows, Column::Name, true);
        assert_eq!(rows[0].now.name, "b");
        sort(&mut rows, Column::Cpu, false);
        assert_eq!(rows[0].now.name, "Domain-0");
        rows.reverse();
        sort(&mut rows, Column::Id, false);
        assert_eq!(rows[0].now.domid, 0);
        assert_eq!(next_column(Column::VbdWrites, false), Column::Id);
        assert_eq!(next_column(Column::Id, true), Column::VbdWrites);
    }

    #[test]
    fn details_are_laid_out_as_xentop_does() {
        let s = Sample {
            vcpu_ns: vec![(0, 24_000_000_000), (1, 34_000_000_000)],
            vbd_list: vec![(51_712, [0; 5])],
            ..Sample::default()
        };
        let show = Details {
            vcpus: true,
            networks: true,
            vbds: true,
        };
        assert_eq!(
            details(&s, show),
            [
                "VCPUs(sec):   0:         24s  1:         34s",
                "VBD BlkBack 51712 [ca: 0]  OO:        0   RD:        0   WR:        0   RSECT:          0   WSECT:          0",
            ]
        );
        assert!(details(&s, Details::default()).is_empty());
    }

    #[test]
    fn lines_stand_under_their_titles() {
        let r = Row {
            now: sample(0, "Domain-0", 13_000_000_000),
            cpu: 12.34,
        };
        let l = line(&r, 2 * 1024 * 1024, false);
        assert_eq!(l.len(), HEADER.len(), "\n{HEADER}\n{l}");
        assert!(l.starts_with("  Domain-0 -----r         13   12.3     524288   25.0   no limit       n/a     2    0"), "{l}");
    }
}
