//! [`Installed`]: Debian 12 on a disk with our package installed, booted by its own GRUB, with systemd, LVM, qemu and bridges.
//!
//! [`installed`] gives a machine to be; [`Installed::boot`] logs in on the serial console and returns the same [`Host`] that
//! the hosts of [`crate::host`] are, so `dom0("xl list")` works alike. Every boot gets a copy of the disk of its own.

use crate::host::{Host, command_arrives};
use qemu::kernel::Kernel;
use qemu::machine::{Machine, Serial};
use qemu::qemu::{Hardware, Qemu};
use qemu::{Context, Result, disk, package, paths};
use std::path::PathBuf;
use std::time::Duration;

/// Longest that booting to the login prompt may take on a loaded two-core machine.
const BOOT: Duration = Duration::from_secs(400);
/// The login prompt; the machine's name is before it.
const LOGIN: &str = "dom0 login: ";

/// What is on the disk besides Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Nothing: Debian as its installer leaves it.
    Plain,
    /// Our package.
    Corten,
}

/// An installed machine to be.
#[derive(Clone, Debug)]
pub struct Installed {
    system: System,
    hardware: Hardware,
    disk: Option<PathBuf>,
    empty: Vec<u32>,
    files: Vec<(PathBuf, String)>,
}

/// Debian 12 with our package, on BIOS. dom0 has 768 MiB, the machine 2 GiB.
pub fn installed() -> Installed {
    Installed::with(System::Corten)
}

/// Debian 12 alone.
pub fn debian() -> Installed {
    Installed::with(System::Plain)
}

impl Installed {
    fn with(system: System) -> Self {
        Self {
            system,
            hardware: Hardware::default(),
            disk: None,
            empty: Vec::new(),
            files: Vec::new(),
        }
    }

    /// UEFI firmware instead of a BIOS.
    pub fn uefi(self) -> Self {
        self.device(&format!("-bios {}", qemu::image::OVMF))
    }

    /// Number of CPUs of the machine.
    pub fn cpus(mut self, n: u32) -> Self {
        self.hardware.cpus = n;
        self
    }

    /// The machine's memory in MiB.
    pub fn memory(mut self, mib: u32) -> Self {
        self.hardware.memory = mib;
        self
    }

    /// More arguments for QEMU, as on its command line.
    pub fn device(mut self, args: &str) -> Self {
        let words = args.split(' ').map(str::to_owned);
        self.hardware.extra.extend(words);
        self
    }

    /// A further disk of so many MiB, empty; the first one is /dev/vdb.
    pub fn empty_disk(mut self, mib: u32) -> Self {
        self.empty.push(mib);
        self
    }

    /// Puts a file into the machine once it has booted, as the file `to` of root's with mode 644.
    pub fn file(mut self, from: impl Into<PathBuf>, to: &str) -> Self {
        self.files.push((from.into(), to.into()));
        self
    }

    /// The disk that this machine boots from a copy of; to be read only, by way of [`disk::overlay`].
    pub fn disk(&self) -> Result<PathBuf> {
        prepared(self.system)
    }

    /// Boots from this disk (format qcow2), which keeps what is written to it, instead of from a copy.
    pub fn from_disk(mut self, disk: PathBuf) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Switches the machine on.
    pub fn power_on(mut self) -> Result<Host> {
        let verbose = std::env::var_os("VERBOSE").is_some();
        let files = self.files.iter().enumerate();
        for (n, (from, _)) in files {
            let drive = format!(
                "-drive file={},if=none,id=file{n},format=raw,readonly=on",
                from.display()
            );
            let device = format!("-device virtio-blk-pci,drive=file{n},serial=file{n}");
            self.hardware
                .extra
                .extend([drive, device].join(" ").split(' ').map(str::to_owned));
        }
        let mut machine = Qemu::new(self.hardware, verbose)?;
        let disk = match self.disk {
            Some(disk) => disk,
            None => {
                let copy = machine.scratch().join("disk.qcow2");
                disk::overlay(&prepared(self.system)?, &copy)?;
                copy
            }
        };
        machine.insert_disk(disk);
        for (n, mib) in self.empty.iter().enumerate() {
            let file = machine.scratch().join(format!("empty{n}.qcow2"));
            disk::empty(*mib, &file)?;
            machine.insert_disk(file);
        }
        machine.run()?;
        Ok(Host::of(Box::new(machine)))
    }

    /// Boots and logs in as root on the serial console; the host then takes commands.
    pub fn boot(self) -> Result<Host> {
        let files = self.files.clone();
        let mut host = self.power_on()?;
        host.log_in()?;
        for (n, (from, to)) in files.iter().enumerate() {
            // The drive is as long as whole sectors are.
            let size = std::fs::metadata(from).context(from.display())?.len();
            let dev = format!("/dev/disk/by-id/virtio-file{n}");
            let command = format!(
                "mkdir -p $(dirname {to}) && head -c {size} {dev} >{to} && stat -c %s {to}"
            );
            host.dom0(&command)?.ok()?.shows(&size.to_string())?;
        }
        Ok(host)
    }
}

impl Host {
    /// Waits for the login prompt, logs in as root and starts taking commands.
    pub fn log_in(&mut self) -> Result<()> {
        log_in(self.serial()?)?;
        self.takes_commands(Duration::from_secs(30))
    }

    /// `poweroff` as systemd does it; waits for the machine to be off and returns all it said.
    pub fn shut_down(mut self) -> Result<String> {
        command_arrives(self.agent()?, 0, "systemctl poweroff")?;
        self.ends(BOOT)
    }
}

fn log_in(serial: &mut Serial) -> Result<()> {
    serial.expect(LOGIN, BOOT).context("booting")?;
    serial.send("root\n")?;
    serial.expect("Password: ", Duration::from_secs(30))?;
    serial.send("corten\n")?;
    serial.expect("# ", Duration::from_secs(60))?;
    // On a line of its own: what hypervisor and kernel say does not get into the answers there.
    serial.send("stty -F /dev/ttyS1 raw -echo; exec agent <>/dev/ttyS1 >&0 2>&1\n")
}

/// The disk with `system` on it: made by booting plain Debian and installing, once for each change of what is installed.
fn prepared(system: System) -> Result<PathBuf> {
    let base = disk::debian12()?;
    if system == System::Plain {
        return Ok(base);
    }
    let from = package::file();
    let disk = paths::target().join("debian-12-corten.qcow2");
    let stamp = disk.with_extension("stamp");
    let _one_at_a_time = paths::Lock::of("debian-12-corten")?;
    let modified = std::fs::metadata(&base).and_then(|m| m.modified())?;
    // What is done to it is in this file.
    let mut made_of = format!("{modified:?}\n{}\n", include_str!("installed.rs")).into_bytes();
    made_of.extend(
        std::fs::read(&from).context(format!("{}: made by `qemu/demo --build`", from.display()))?,
    );
    if disk.exists() && std::fs::read(&stamp).is_ok_and(|old| old == made_of) {
        return Ok(disk);
    }
    let part = disk.with_extension("part");
    disk::overlay(&base, &part)?;
    let machine = debian().from_disk(part.clone());
    install_corten(machine).context("installing")?;
    std::fs::rename(&part, &disk).context(disk.display())?;
    std::fs::write(&stamp, made_of).context(stamp.display())?;
    Ok(disk)
}

/// What `corten.cfg` says on the machines of tests.
pub const OPTIONS: &str =
    "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem=768M,max:768M";

/// Installs our package as an administrator does, and puts in the guest that every test host has.
fn install_corten(machine: Installed) -> Result<()> {
    let scratch = paths::Scratch::new()?;
    let initrd = scratch.path().join("initrd");
    let kernel = Kernel::debian()?;
    std::fs::write(&initrd, qemu::initrd::guest(&kernel)?).context(initrd.display())?;
    let mut host = machine
        .file(package::file(), PACKAGE)
        .file(&kernel.image, "/boot/guest/vmlinuz")
        .file(initrd, "/boot/guest/initrd")
        .file(paths::rootfs().join("guest.cfg"), "/etc/xen/guest.cfg")
        .boot()?;
    // An emulator that shares its CPUs with others may take longer than the usual 90 s to find its console.
    host.dom0(
        "mkdir -p /etc/systemd/system.conf.d && printf '[Manager]\\nDefaultTimeoutStartSec=600\\nDefaultDeviceTimeoutSec=600\\n' >/etc/systemd/system.conf.d/slow.conf",
    )?
    .ok()?;
    install_package(&mut host)?;
    host.shut_down().map(drop)
}

/// Where [`install_package`] looks for our package.
pub const PACKAGE: &str = "/root/corten.deb";

/// Settings, then `apt install`, which writes the boot menu.
pub fn install_package(host: &mut Host) -> Result<()> {
    // Beside the package's own file of settings, which does not exist yet.
    host.dom0(&format!(
        "mkdir -p /etc/default/grub.d && printf 'GRUB_CMDLINE_CORTEN=\"{OPTIONS}\"\\nGRUB_CMDLINE_LINUX_CORTEN=\"console=hvc0\"\\n' >/etc/default/grub.d/local.cfg"
    ))?
    .ok()?;
    let install = format!(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {PACKAGE}"
    );
    host.dom0_within(&install, Duration::from_secs(240))?
        .ok()?
        .shows("Found dom0 kernel for Corten")
        .map(drop)
}
