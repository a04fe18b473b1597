//! `xtask run`: boots a host from command-line options, by hand or with a script.

use crate::bochs::{self, Bochs};
use crate::host::{HostSpec, Hypervisor, Mode};
use crate::machine::Machine;
use crate::qemu::{Hardware, Qemu};
use crate::{Context, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What `--help` prints.
pub const HELP: &str = "\
qemu/run [options]           boots a host in QEMU; a shell in dom0 unless told otherwise (Ctrl-A x quits)
  --hypervisor xen|corten|none|PATH   Debian's Xen 4.17, target/dist/boot/corten, none, or a file   (corten)
  --tools ours|debian|none            toolstack in dom0                                             (ours)
  --bins DIR          take our tools from a cargo output directory, e.g. $CARGO_TARGET_DIR/debug
  --dist DIR          root of a host to take our tools and hypervisor from                          (target/dist)
  --script FILE       run this shell script in dom0 and power off; exit status is the script's
  --cmd COMMAND       the same for one command; may be repeated
  --demo              xl create -c /etc/xen/guest.cfg, then a shell
  --add FILE=PATH     put a file (and the libraries it needs) into dom0
  --qdisk             put Debian's qemu into dom0, for disk images that are not raw
  --networks          put nft, ip and Debian's hotplug scripts with their shell into dom0
  --xen-args ARGS     replaces the hypervisor's command line   --xen-add ARGS  adds to it
  --dom0-args ARGS    adds to dom0's command line              --loglevel N    dom0's console log level (4)
  --cpu MODEL (qemu64,+svm,+npt)   --mem MIB (2048)   --smp N (2)   --machine q35|pc   --qemu PROGRAM
  --one-thread        all CPUs in turn: without the emulator's races, which hardware guests now and then fall victim to
  --grub              through GRUB from a CD, as an installed host does    --uefi  the same with UEFI firmware
  --bochs MODEL       in Bochs with this CPU model, through GRUB (corei7_skylake_x has VT-x); for --script and --cmd only
  --timeout SECONDS   for --script and --cmd (180)             -- ARGS         more arguments for QEMU
";

struct Options {
    spec: HostSpec,
    hardware: Hardware,
    timeout: Duration,
    bochs: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            spec: HostSpec::default(),
            hardware: Hardware::default(),
            timeout: Duration::from_secs(180),
            bochs: None,
        }
    }
}

fn parse(args: &[String]) -> Result<Options> {
    let mut o = Options::default();
    let mut commands = Vec::new();
    let mut args = args.iter();
    while let Some(option) = args.next() {
        match option.as_str() {
            "--demo" | "--qdisk" | "--networks" | "--one-thread" => {
                match option.as_str() {
                    "--demo" => o.spec.mode = Mode::Demo,
                    "--qdisk" => o.spec.qdisk = true,
                    "--networks" => o.spec.networks = true,
                    _ => o.hardware.one_thread = true,
                }
                continue;
            }
            "--grub" | "--uefi" => {
                o.spec.through_grub = true;
                if option == "--uefi" {
                    o.hardware
                        .extra
                        .extend(["-bios".into(), crate::image::OVMF.into()]);
                }
                continue;
            }
            "--" => {
                o.hardware.extra.extend(args.by_ref().cloned());
                break;
            }
            _ => {}
        }
        let value = args
            .next()
            .context(format!(
                "{option}: unknown, or its value is missing; see --help"
            ))?
            .clone();
        match option.as_str() {
            "--hypervisor" => o.spec.hypervisor = value.parse()?,
            "--tools" => o.spec.tools = value.parse()?,
            "--bins" => o.spec.bins = Some(value.into()),
            "--dist" => o.spec.dist = value.into(),
            "--script" => {
                o.spec.mode = Mode::Script(std::fs::read_to_string(&value).context(&value)?)
            }
            "--cmd" => commands.push(value),
            "--add" => {
                let (from, to) = value.split_once('=').context("--add wants FILE=PATH")?;
                o.spec.add.push((PathBuf::from(from), to.into()));
            }
            "--xen-args" => o.spec.hypervisor_args = value,
            "--xen-add" => o.spec.hypervisor_args = format!("{} {value}", o.spec.hypervisor_args),
            "--dom0-args" => o.spec.dom0_args = value,
            "--loglevel" => o.spec.loglevel = value.parse()?,
            "--cpu" => o.hardware.cpu = value,
            "--mem" => o.hardware.memory = value.parse()?,
            "--smp" => o.hardware.cpus = value.parse()?,
            "--machine" => o.hardware.machine = value,
            "--qemu" => o.hardware.program = value,
            "--bochs" => o.bochs = Some(value),
            "--timeout" => o.timeout = Duration::from_secs(value.parse()?),
            other => return Err(format!("{other}: unknown option; see --help").into()),
        }
    }
    if !commands.is_empty() {
        o.spec.mode = Mode::Script(framed(&commands));
    }
    Ok(o)
}

/// A script that runs each command between marker lines and ends with the first failure's status.
fn framed(commands: &[String]) -> String {
    let quote = |s: &str| s.replace('\'', r"'\''");
    let step = |c: &String| {
        format!(
            "echo '@@ $ {q}'\neval '{q}'; r=$?; echo \"@@ rc=$r\"; [ $rc = 0 ] && rc=$r\n",
            q = quote(c)
        )
    };
    format!(
        "rc=0\n{}exit $rc\n",
        commands.iter().map(step).collect::<String>()
    )
}

/// Runs `xtask run`; the result is the exit status.
pub fn main(args: &[String]) -> Result<i32> {
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{HELP}");
        return Ok(0);
    }
    let o = parse(args)?;
    if o.spec.hypervisor == Hypervisor::Corten && !o.spec.dist.join("boot/corten").exists() {
        return Err(format!(
            "{}: not built; `qemu/demo --build` does",
            o.spec.dist.join("boot/corten").display()
        )
        .into());
    }
    let scripted = matches!(o.spec.mode, Mode::Script(_));
    let mut machine: Box<dyn Machine> = match o.bochs {
        Some(cpu) if scripted => {
            let hardware = bochs::Hardware {
                cpu,
                memory: o.hardware.memory,
                cpus: o.hardware.cpus,
                seabios: false,
                extra: Vec::new(),
            };
            Box::new(Bochs::new(hardware, true)?)
        }
        Some(_) => return Err("--bochs: for --script and --cmd only".into()),
        None => {
            let mut machine = Qemu::new(o.hardware, scripted)?;
            if !scripted {
                machine.deploy(&o.spec)?;
                machine.run_here()?;
                return Ok(0);
            }
            Box::new(machine)
        }
    };
    machine.deploy(&o.spec)?;
    let start = Instant::now();
    machine.run()?;
    let serial = machine.serial()?;
    serial.expect("@@ script begin", o.timeout)?;
    let booted = start.elapsed();
    serial.expect("@@ script rc=", o.timeout.saturating_sub(start.elapsed()))?;
    let status = serial.expect("\n", Duration::from_secs(5))?;
    let ended = start.elapsed();
    if !machine.wait(Duration::from_secs(15))? {
        eprintln!("note: the machine did not power off within 15 s");
    }
    eprintln!(
        "dom0 up after {:.1} s, script done after {:.1} s, status {status}",
        booted.as_secs_f32(),
        ended.as_secs_f32()
    );
    Ok(status.trim().parse().unwrap_or(1))
}
