//! `xtask bench`: the same kernel and the same program on the bare machine, on Debian's Xen with Debian's tools, and on Corten
//! with ours, in instructions per operation. The program is `tests/bench`.
//!
//! `-icount shift=0` makes the emulated clock count instructions, so a host's load does not matter and a figure repeats.

use crate::dist;
use crate::host::{HostSpec, Hypervisor, Mode, Tools};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::qemu::{Hardware, Qemu};
use crate::steps::Steps;
use crate::{Context, Result, paths};
use std::fmt::Write;
use std::time::Duration;

/// What `--help` prints.
pub const HELP: &str = "\
cargo xtask bench [WORD...]   instructions per operation: bare machine, Debian's Xen with Debian's tools, Corten with ours
  WORD                        only these hosts: native, xen, corten
The table is also written to target/bench.json.
";

/// A host's column: its word, and what is underneath.
struct Column {
    name: &'static str,
    hypervisor: Hypervisor,
    tools: Tools,
}

const COLUMNS: [Column; 3] = [
    Column {
        name: "native",
        hypervisor: Hypervisor::None,
        tools: Tools::None,
    },
    Column {
        name: "xen",
        hypervisor: Hypervisor::Xen,
        tools: Tools::Debian,
    },
    Column {
        name: "corten",
        hypervisor: Hypervisor::Corten,
        tools: Tools::Ours,
    },
];

const PROGRAM: &str = "/usr/bin/hostbench";
/// The longest that a host may take, in real time.
const PATIENCE: Duration = Duration::from_secs(1500);

/// On every kernel.
const CPU: &str = r#"
dmesg | sed -n 's/^\[ *\([0-9]*\)\.\([0-9]*\)\] Run \/init.*/bench: kernel start to init \1\2000/p'
hostbench cpu
"#;

/// In a dom0: calls, guests' lives, what a guest itself measures, memory.
const DOM0: &str = r#"
hostbench xen
free() { xl info | awk '/^free_memory/ { print $3 * 1024 }'; }
total=$(xl info | awk '/^total_memory/ { print $3 * 1024 }')
dom0=$(xl list 0 | awk 'NR == 2 { print $3 * 1024 }')
echo "bench: KiB at rest $((total - dom0 - $(free)))"
xl create -q -p /etc/xen/guest.cfg && xl destroy guest
hostbench time 'xl create, 128 MiB' xl create -q -p /etc/xen/guest.cfg
hostbench grant $(xl domid guest)
hostbench time 'xl destroy, 128 MiB' xl destroy guest
sed 's,^kernel.*,kernel="/boot/guest/vmlinux",' /etc/xen/guest.cfg >/tmp/plain.cfg
hostbench time 'xl create, 128 MiB, unpacked kernel' xl create -q -p /tmp/plain.cfg
hostbench time 'xl destroy, 128 MiB, unpacked kernel' xl destroy guest
hostbench until 'xl create to the guest'\''s init' 'guest: hello' 'xl create -q /tmp/plain.cfg; xl console guest </dev/ptmx'
xl destroy guest
for i in $(seq 50); do
    printf 'name="t%d"\nkernel="/boot/guest/microguest"\nextra="hello"\nmemory=16\n' $i >/tmp/t$i.cfg
done
hostbench time 'xl create, 16 MiB, 1st' xl create -q -p /tmp/t1.cfg
before=$(free)
for i in $(seq 2 49); do xl create -q -p /tmp/t$i.cfg; done
echo "bench: KiB for each domain besides its own $(((before - $(free)) / 48 - 16384))"
hostbench time 'xl create, 16 MiB, 50th' xl create -q -p /tmp/t50.cfg
hostbench time 'xl list, 51 domains' xl list
hostbench time 'xl destroy, 16 MiB, of 50' xl destroy t50
for i in $(seq 49); do xl destroy t$i; done
hostbench time 'xl list' xl list

# A guest that runs the same program: the kernel unpacks a second archive over the first.
mkdir -p /tmp/g/usr/bin /tmp/g/lib /tmp/g/lib64 && cd /tmp/g
cp /usr/bin/hostbench usr/bin/
cp -a /lib/x86_64-linux-gnu lib/ 2>/dev/null; cp -a /lib64/* lib64/ 2>/dev/null
cat >bench-init <<'END'
#!/bin/busybox sh
/bin/busybox mkdir -p /bin /proc /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
cd /lib/modules/$(uname -r) && while read -r m; do insmod $m; done </etc/corten/modules; cd /
/usr/bin/hostbench cpu
[ -b /dev/xvda ] && /usr/bin/hostbench disk /dev/xvda
ip link set lo up; ip link set eth0 up && ip addr add 10.7.7.2/24 dev eth0
/usr/bin/hostbench net 10.7.7.1
echo 'bench: done'
sleep 1000
END
chmod 755 bench-init
(cat /boot/guest/initrd; find . | cpio -o -H newc 2>/dev/null) >/tmp/bench-initrd
cd /
printf 'name="bench"\nkernel="/boot/guest/vmlinux"\nramdisk="/tmp/bench-initrd"\nextra="console=hvc0 loglevel=0 rdinit=/bench-init"\nmemory=192\n' >/tmp/bench.cfg
modprobe loop; modprobe bridge
# Debian's xl calls scripts, which want more than this dom0 has: the least that they do.
mkdir -p /etc/xen/scripts
cat >/etc/xen/scripts/block <<'END'
#!/bin/sh
[ $1 = remove ] && exit 0
xenstore-write $XENBUS_PATH/physical-device $(stat -L -c %t:%T $(xenstore-read $XENBUS_PATH/params))
xenstore-write $XENBUS_PATH/hotplug-status connected
END
cat >/etc/xen/scripts/vif-bridge <<'END'
#!/bin/sh
[ $1 = online ] || exit 0
ip link set $vif master xenbr0; ip link set $vif up
xenstore-write $XENBUS_PATH/hotplug-status connected
END
chmod +x /etc/xen/scripts/*
truncate -s 32M /tmp/disk.img && losetup /dev/loop0 /tmp/disk.img
ip link add xenbr0 type bridge && ip addr add 10.7.7.1/24 dev xenbr0 && ip link set xenbr0 up
echo "disk=['phy:/dev/loop0,xvda,w']" >>/tmp/bench.cfg
echo "vif=['bridge=xenbr0']" >>/tmp/bench.cfg
hostbench serve &
xl create -q /tmp/bench.cfg
hostbench relay 'guest: ' 'xl console bench </dev/ptmx'
xl destroy bench
"#;

/// The same of hardware guests; follows [`DOM0`].
const PVH: &str = r#"
(cat /tmp/plain.cfg; echo 'type="pvh"') >/tmp/pvh.cfg
xl create -q -p /tmp/pvh.cfg && xl destroy guest
hostbench time 'pvh: xl create, 128 MiB, unpacked kernel' xl create -q -p /tmp/pvh.cfg
hostbench time 'pvh: xl destroy, 128 MiB' xl destroy guest
hostbench until 'pvh: xl create to the guest'\''s init' 'guest: hello' 'xl create -q /tmp/pvh.cfg; xl console guest </dev/ptmx'
xl destroy guest
# Debian's xl cannot make one of 16 MiB.
for i in $(seq 9); do sed -i 's/^memory=.*/memory=32\ntype="pvh"/' /tmp/t$i.cfg; done
xl create -q -p /tmp/t1.cfg
before=$(free)
for i in $(seq 2 9); do xl create -q -p /tmp/t$i.cfg; done
echo "bench: pvh: KiB for each domain besides its own $(((before - $(free)) / 8 - 32768))"
for i in $(seq 9); do xl destroy t$i; done
sed -i 's/^name.*/name="benchpvh"\ntype="pvh"/' /tmp/bench.cfg
xl create -q /tmp/bench.cfg
hostbench relay 'pvh: ' 'xl console benchpvh </dev/ptmx'
xl destroy benchpvh
"#;

/// Operation and figure, in the order in which they came.
type Figures = Vec<(String, f64)>;

/// Runs `xtask bench`; the result is the exit status.
pub fn main(args: &[String]) -> Result<i32> {
    let wrong = |word: &&String| !COLUMNS.iter().any(|c| c.name == word.as_str());
    if args.iter().any(|a| wrong(&a)) {
        print!("{HELP}");
        return Ok(i32::from(args.first().is_none_or(|a| a != "--help")));
    }
    let mut steps = Steps::new();
    dist::build(&mut steps)?;
    dist::cargo(&["build", "--release", "--quiet", "-p", "hostbench"], None)?;
    let chosen = |c: &&Column| args.is_empty() || args.iter().any(|a| a == c.name);
    let mut columns = Vec::new();
    for column in COLUMNS.iter().filter(chosen) {
        steps.begin(&format!("measuring {}", column.name));
        columns.push((column.name, measure(column)?));
        steps.done(&format!("measured {}", column.name));
    }
    print!("{}", table(&columns));
    let file = paths::target().join("bench.json");
    std::fs::write(&file, json(&columns)).context(file.display())?;
    println!("written to {}", file.display());
    Ok(0)
}

/// Boots one host and collects what its benchmarks say.
fn measure(column: &Column) -> Result<Figures> {
    let mut script = format!("PATH=/usr/bin:$PATH\n{CPU}");
    if column.hypervisor != Hypervisor::None {
        script.push_str(DOM0);
        script.push_str(PVH);
    }
    let plain = Kernel::debian()?.unpacked()?;
    let spec = HostSpec {
        hypervisor: column.hypervisor.clone(),
        // Below a hypervisor the kernel is unpacked already when it starts: here too.
        kernel: (column.hypervisor == Hypervisor::None).then(|| plain.clone()),
        tools: column.tools,
        mode: Mode::Script(script),
        add: vec![
            (
                dist::cargo_target().join("release/hostbench"),
                PROGRAM.into(),
            ),
            (paths::microguest(), "/boot/guest/microguest".into()),
            (plain, "/boot/guest/vmlinux".into()),
        ],
        loglevel: 1,
        // Small guests have none, nor have PV ones: none anywhere, so that a page fault means the same page.
        dom0_args: "transparent_hugepage=never".into(),
        ..HostSpec::default()
    };
    let hardware = Hardware {
        cpus: 1,
        extra: ["-icount", "shift=0,sleep=off"].map(String::from).to_vec(),
        ..Hardware::default()
    };
    let mut machine = Qemu::new(hardware, std::env::var_os("VERBOSE").is_some())?;
    machine.deploy(&spec)?;
    machine.run()?;
    let said = machine.serial()?.expect("@@ script rc=", PATIENCE)?;
    Ok(figures(&said))
}

/// `bench: NAME NUMBER` lines.
fn figures(said: &str) -> Figures {
    said.lines()
        .filter_map(|line| line.split_once("bench: ")?.1.trim().rsplit_once(' '))
        .filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?)))
        .collect()
}

/// All operations, in the order of the column that has most of them.
fn rows(columns: &[(&str, Figures)]) -> Vec<String> {
    let longest = columns.iter().map(|c| &c.1).max_by_key(|f| f.len());
    let mut rows: Vec<String> = longest.into_iter().flatten().map(|f| f.0.clone()).collect();
    for (name, _) in columns.iter().flat_map(|c| &c.1) {
        if !rows.contains(name) {
            rows.push(name.clone());
        }
    }
    rows
}

fn figure(columns: &[(&str, Figures)], column: &str, row: &str) -> Option<f64> {
    let (_, figures) = columns.iter().find(|c| c.0 == column)?;
    figures.iter().find(|f| f.0 == row).map(|f| f.1)
}

/// One line for each operation; the last column is ours through Xen's.
fn table(columns: &[(&str, Figures)]) -> String {
    let mut out = format!(
        "{:44} {:>14} {:>14} {:>14} {:>7}\n",
        "instructions (or KiB) for", "native", "Xen 4.17", "Corten", "ratio"
    );
    for row in rows(columns) {
        let of = |column| figure(columns, column, &row);
        let show = |f: Option<f64>| f.map_or("-".into(), |f| format!("{f:.0}"));
        let ratio = match (of("xen"), of("corten")) {
            (Some(xen), Some(ours)) if xen > 0.0 => format!("{:.2}", ours / xen),
            _ => "-".into(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{row:44} {:>14} {:>14} {:>14} {ratio:>7}",
            show(of("native")),
            show(of("xen")),
            show(of("corten"))
        );
    }
    out
}

/// An object of operations, each an object of columns.
fn json(columns: &[(&str, Figures)]) -> String {
    let rows: Vec<String> = rows(columns)
        .iter()
        .map(|row| {
            let cells: Vec<String> = columns
                .iter()
                .filter_map(|c| Some(format!("{:?}: {}", c.0, figure(columns, c.0, row)?)))
                .collect();
            format!("  {row:?}: {{ {} }}", cells.join(", "))
        })
        .collect();
    format!("{{\n{}\n}}\n", rows.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_table() {
        let said =
            "noise\r\nbench: null hypercall 407\n[1.0] x\nbench: guest: page fault 12\nbench: torn";
        let xen = figures(said);
        assert_eq!(xen[0], ("null hypercall".into(), 407.0));
        assert_eq!(xen[1], ("guest: page fault".into(), 12.0));
        let columns = [
            ("xen", xen),
            ("corten", vec![("null hypercall".into(), 203.5)]),
        ];
        assert!(table(&columns).lines().nth(1).unwrap().ends_with("0.50"));
        assert!(json(&columns).contains("\"null hypercall\": { \"xen\": 407, \"corten\": 203.5 }"));
    }
}
