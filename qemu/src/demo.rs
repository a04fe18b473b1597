//! `xtask demo`: builds, makes the GRUB image, boots it; by hand, or in batch with every step timed.

use crate::host::{HostSpec, Hypervisor, Mode, Tools};
use crate::machine::{Machine, Serial};
use crate::qemu::{Hardware, Qemu};
use crate::steps::Steps;
use crate::{Context, Result, dist, image, package, paths};
use std::time::Duration;

/// What `--help` prints.
pub const HELP: &str = "\
qemu/demo            builds, boots and shows a guest's console; Ctrl-] returns to dom0's shell, Ctrl-A x quits
  --batch            without a person: every step with its time, exit status 0 or the reason
  --build            stops after building target/dist/
  --efi              boots through UEFI (OVMF) instead of BIOS
  --hypervisor xen|corten   --tools ours|debian   for comparing with Debian's Xen 4.17
  --cpu MODEL   --mem MIB   --smp N   --verbose (the serial line, too, in a batch)
";

struct Options {
    spec: HostSpec,
    hardware: Hardware,
    batch: bool,
    build_only: bool,
    verbose: bool,
}

fn parse(args: &[String]) -> Result<Options> {
    let mut o = Options {
        spec: HostSpec {
            mode: Mode::Demo,
            ..HostSpec::default()
        },
        hardware: Hardware::default(),
        batch: false,
        build_only: false,
        verbose: false,
    };
    let mut args = args.iter();
    while let Some(option) = args.next() {
        let mut value = || {
            args.next()
                .context(format!("{option}: its value is missing"))
        };
        match option.as_str() {
            "--batch" => o.batch = true,
            "--build" => o.build_only = true,
            "--verbose" => o.verbose = true,
            "--efi" => o
                .hardware
                .extra
                .extend(["-bios".to_owned(), image::OVMF.to_owned()]),
            "--hypervisor" => o.spec.hypervisor = value()?.parse()?,
            "--tools" => o.spec.tools = value()?.parse()?,
            "--cpu" => o.hardware.cpu = value()?.clone(),
            "--mem" => o.hardware.memory = value()?.parse()?,
            "--smp" => o.hardware.cpus = value()?.parse()?,
            other => return Err(format!("{other}: unknown option; see --help").into()),
        }
    }
    Ok(o)
}

/// Runs `xtask demo`; the result is the exit status.
pub fn main(args: &[String]) -> Result<i32> {
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{HELP}");
        return Ok(0);
    }
    let o = parse(args)?;
    let mut steps = Steps::new();
    if o.spec.hypervisor == Hypervisor::Corten {
        dist::hypervisor(&mut steps)?;
    }
    if o.spec.tools == Tools::Ours {
        dist::tools(&mut steps)?;
    }
    if o.build_only {
        package::build(&mut steps)?;
        steps.done(&format!(
            "{} is laid out as the root of a host",
            paths::dist().display()
        ));
        return Ok(0);
    }
    steps.begin("making the boot image");
    let iso = image::cdrom(
        &paths::target(),
        "demo",
        &o.spec,
        image::Protocol::Multiboot2,
    )?;
    steps.done(&iso.display().to_string());
    let mut machine = Qemu::new(o.hardware, o.verbose)?;
    machine.insert_cdrom(iso);
    if !o.batch {
        steps.begin("booting; Ctrl-A x quits");
        machine.run_here()?;
        return Ok(0);
    }
    steps.restart();
    steps.begin("power on");
    machine.run()?;
    let outcome = tour(machine.serial()?, &o.spec, &mut steps);
    if let Err(error) = outcome {
        eprintln!("demo: {error}");
        return Ok(1);
    }
    if !machine.wait(Duration::from_secs(20))? {
        eprintln!("demo: the machine did not power off");
        return Ok(1);
    }
    steps.done("the machine is off");
    Ok(0)
}

/// What a person would do, step by step.
fn tour(serial: &mut Serial, spec: &HostSpec, steps: &mut Steps) -> Result<()> {
    let banner = if spec.hypervisor == Hypervisor::Xen {
        "Xen version"
    } else {
        "Corten"
    };
    serial
        .expect("Loading initial ramdisk", Duration::from_secs(60))
        .context("GRUB")?;
    steps.done("GRUB loaded hypervisor, kernel and initial ramdisk");
    serial
        .expect(banner, Duration::from_secs(60))
        .context("the hypervisor's banner")?;
    steps.done("the hypervisor's banner");
    serial
        .expect("Linux version", Duration::from_secs(60))
        .context("dom0's kernel")?;
    steps.done("dom0's kernel runs");
    serial
        .expect("dom0: xl create", Duration::from_secs(90))
        .context("dom0's init")?;
    steps.done("dom0 is up, xenstored and xenconsoled run");
    serial
        .expect("guest: hello from PV", Duration::from_secs(90))
        .context("the guest's console")?;
    println!(
        "[{:6.1}s] = power-on to the guest's first words",
        steps.elapsed().as_secs_f32()
    );
    steps.done("the guest speaks on its console");
    serial
        .expect("# ", Duration::from_secs(20))
        .context("the guest's shell")?;
    serial.send("echo guest-says-$((40+2)) on $(hostname)\n")?;
    serial
        .expect("guest-says-42 on guest", Duration::from_secs(20))
        .context("typing to the guest")?;
    steps.done("the guest's shell answers");
    serial.send("\x1d")?;
    serial
        .expect("dom0: shell", Duration::from_secs(20))
        .context("Ctrl-]")?;
    serial
        .expect("# ", Duration::from_secs(20))
        .context("dom0's shell")?;
    steps.done("Ctrl-] came back to dom0's shell");
    let commands = [
        ("xl list", "guest"),
        ("xl info", "free_memory"),
        ("xl dmesg | tail -n 5", ""),
        ("xl destroy guest", ""),
        ("xl list", "Domain-0"),
    ];
    for (n, (command, word)) in commands.into_iter().enumerate() {
        let said = dom0(serial, n, command)?;
        if !said.contains(word) {
            return Err(format!("`{command}` does not show `{word}`:\n{said}").into());
        }
        println!("{}", said.trim_end());
        steps.done(&format!("dom0: {command}"));
    }
    serial.send("poweroff -f\n")
}

/// Types the `n`th command into dom0's shell, which shows its prompt; returns what it printed if it ended well.
fn dom0(serial: &mut Serial, n: usize, command: &str) -> Result<String> {
    // The quotes keep the echo of what is typed apart from what is printed.
    serial.send(&format!("{command}; echo sta''tus{n}=$?.\n"))?;
    serial.expect(&format!("sta''tus{n}=$?."), Duration::from_secs(10))?;
    let said = serial
        .expect(&format!("status{n}="), Duration::from_secs(60))
        .context(command)?;
    let status = serial.expect(".", Duration::from_secs(5))?;
    serial
        .expect("# ", Duration::from_secs(10))
        .context("dom0's prompt")?;
    if status == "0" {
        Ok(said)
    } else {
        Err(format!("`{command}` failed with status {status}:\n{said}").into())
    }
}
