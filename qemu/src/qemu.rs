//! QEMU with its own CPU emulation (never KVM, which many build machines pretend to have) as a [`Machine`].

use crate::host::{HostSpec, Mode};
use crate::image::Protocol;
use crate::kernel::Kernel;
use crate::machine::{Machine, Serial};
use crate::paths::Scratch;
use crate::{Context, Result, image, initrd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How the emulated computer is made.
#[derive(Clone, Debug)]
pub struct Hardware {
    pub program: String,
    pub machine: String,
    pub cpu: String,
    /// MiB.
    pub memory: u32,
    pub cpus: u32,
    /// All CPUs in turn in one thread, not each in its own: slower on a machine that is idle, and without QEMU's races. One of
    /// them concerns AMD-V: restoring FPU state writes to flags of CPU 0 from any CPU's thread (`cpu_clear_ignne`, 7.2 to 10),
    /// which now and then undoes that CPU's entry to a guest or exit from it.
    pub one_thread: bool,
    /// More arguments.
    pub extra: Vec<String>,
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            program: "qemu-system-x86_64".into(),
            machine: "q35".into(),
            cpu: "qemu64,+svm,+npt".into(),
            memory: 2048,
            cpus: 2,
            one_thread: false,
            extra: Vec::new(),
        }
    }
}

/// What the computer starts from.
enum Boot {
    /// `-kernel` and `-initrd` (Multiboot 1 when a hypervisor is given), `-append`.
    Direct {
        kernel: PathBuf,
        initrd: Option<String>,
        append: String,
    },
    /// A CD image with GRUB on it.
    Cdrom(PathBuf),
    /// Disks in qcow2's format; GRUB is on the first.
    Disks(Vec<PathBuf>),
}

/// An emulated computer.
pub struct Qemu {
    hardware: Hardware,
    scratch: Scratch,
    boot: Option<Boot>,
    child: Option<Child>,
    serial: Option<Serial>,
    /// Its second serial port, on which dom0 takes commands, if it does.
    agent: Option<Serial>,
    wants_agent: bool,
    echo: bool,
}

impl Qemu {
    /// A computer, off; `echo` prints its serial line.
    pub fn new(hardware: Hardware, echo: bool) -> Result<Self> {
        Ok(Self {
            hardware,
            scratch: Scratch::new()?,
            boot: None,
            child: None,
            serial: None,
            agent: None,
            wants_agent: false,
            echo,
        })
    }

    /// Starts from this CD image instead of what [`Machine::deploy`] would make.
    pub fn insert_cdrom(&mut self, image: PathBuf) {
        self.boot = Some(Boot::Cdrom(image));
    }

    /// Starts from a disk (format qcow2), /dev/vda; those that are inserted after it come after it.
    pub fn insert_disk(&mut self, image: PathBuf) {
        self.wants_agent = true;
        match &mut self.boot {
            Some(Boot::Disks(disks)) => disks.push(image),
            other => *other = Some(Boot::Disks(vec![image])),
        }
    }

    /// A directory that lasts as long as this computer.
    pub fn scratch(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Runs with this terminal as the serial line until the machine ends or Ctrl-A x is typed.
    pub fn run_here(&mut self) -> Result<()> {
        let mut command = self.command()?;
        command.args([
            "-chardev",
            "stdio,id=s,mux=on,signal=off",
            "-serial",
            "chardev:s",
            "-mon",
            "chardev=s",
        ]);
        let status = command.status().context("qemu-system-x86_64")?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("QEMU ended with {status}").into())
        }
    }

    fn command(&self) -> Result<Command> {
        let hw = &self.hardware;
        let mut command = Command::new(&hw.program);
        command.args([
            "-accel",
            if hw.one_thread {
                "tcg,thread=single"
            } else {
                "tcg"
            },
            "-display",
            "none",
            "-no-reboot",
            "-nodefaults",
            "-vga",
            "none",
        ]);
        command.args([
            "-machine",
            &hw.machine,
            "-cpu",
            &hw.cpu,
            "-m",
            &hw.memory.to_string(),
            "-smp",
            &hw.cpus.to_string(),
        ]);
        match self.boot.as_ref().context("nothing to boot was deployed")? {
            Boot::Direct {
                kernel,
                initrd,
                append,
            } => {
                command.arg("-kernel").arg(kernel).args(["-append", append]);
                if let Some(initrd) = initrd {
                    command.args(["-initrd", initrd]);
                }
            }
            Boot::Cdrom(image) => {
                command.arg("-cdrom").arg(image);
            }
            Boot::Disks(images) => {
                for (n, image) in images.iter().enumerate() {
                    // Unsafe for the disk's contents if this machine loses power, and fast.
                    let drive = format!(
                        "file={},if=none,id=disk{n},format=qcow2,cache=unsafe,discard=unmap",
                        image.display()
                    );
                    let device = format!("virtio-blk-pci,drive=disk{n},bootindex={n}");
                    command.args(["-drive", &drive, "-device", &device]);
                }
            }
        }
        command.args(&hw.extra);
        Ok(command)
    }
}

impl Machine for Qemu {
    fn deploy(&mut self, spec: &HostSpec) -> Result<()> {
        self.wants_agent = spec.mode == Mode::Agent;
        let append = spec.hypervisor_args.clone();
        let hypervisor = spec.hypervisor_file()?;
        if let Some(kernel) = hypervisor.clone().filter(|_| spec.no_modules) {
            self.boot = Some(Boot::Direct {
                kernel,
                initrd: None,
                append,
            });
            return Ok(());
        }
        if spec.through_grub {
            self.boot = Some(Boot::Cdrom(image::cdrom(
                self.scratch.path(),
                "host",
                spec,
                Protocol::Multiboot2,
            )?));
            return Ok(());
        }
        let kernel = match &spec.kernel_root {
            Some(root) => Kernel::below(root)?,
            None => Kernel::debian()?,
        };
        let file = self.scratch.path().join("initrd");
        std::fs::write(&file, initrd::dom0(spec, &kernel)?).context(file.display())?;
        let file = file
            .to_str()
            .context("path of the workspace is not UTF-8")?;
        let image = spec.kernel.as_ref().unwrap_or(&kernel.image);
        self.boot = Some(match hypervisor {
            Some(kernel) => {
                // A comma separates modules; one within an argument is doubled.
                let args = spec.dom0_cmdline().replace(',', ",,");
                Boot::Direct {
                    kernel,
                    initrd: Some(format!("{} {args},{file}", image.display())),
                    append,
                }
            }
            None => Boot::Direct {
                kernel: image.clone(),
                initrd: Some(file.into()),
                append: spec.dom0_cmdline(),
            },
        });
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let mut command = self.command()?;
        command.args(["-serial", "stdio", "-monitor", "none"]);
        let agent = if self.wants_agent {
            let path = self.scratch.path().join("agent");
            command
                .arg("-chardev")
                .arg(format!("socket,id=agent,path={}", path.display()))
                .args(["-serial", "chardev:agent"]);
            Some(UnixListener::bind(&path).context(path.display())?)
        } else {
            None
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context(format!(
                "{} (package qemu-system-x86)",
                self.hardware.program
            ))?;
        let (input, output) = (
            child.stdout.take().context("stdout")?,
            child.stdin.take().context("stdin")?,
        );
        self.serial = Some(Serial::new(input, output, self.echo));
        if let Some(listener) = agent {
            let line = accept(&listener, &mut child)?;
            let input = line.try_clone().context("agent's line")?;
            self.agent = Some(Serial::new(input, line, self.echo));
        }
        self.child = Some(child);
        Ok(())
    }

    fn serial(&mut self) -> Result<&mut Serial> {
        self.serial.as_mut().context("the machine is off")
    }

    fn agent(&mut self) -> Result<&mut Serial> {
        let line = self.agent.as_mut().or(self.serial.as_mut());
        line.context("the machine is off")
    }

    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        let Some(child) = self.child.as_mut() else {
            return Ok(true);
        };
        while Instant::now() < deadline {
            if child.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The line that QEMU opens when it starts.
fn accept(listener: &UnixListener, child: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true).context("agent's line")?;
    loop {
        match listener.accept() {
            Ok((line, _)) => {
                line.set_nonblocking(false).context("agent's line")?;
                return Ok(line);
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e).context("agent's line"),
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("QEMU ended with {status}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}
