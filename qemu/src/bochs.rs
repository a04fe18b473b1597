//! [`Bochs`]: the second emulator as a [`Machine`]. It emulates Intel's VT-x (and AMD's SVM with `ryzen`), which QEMU does not
//! without KVM; the price is that it is several times slower.
//!
//! Both serial lines are TCP connections that Bochs opens to us. Everything boots through GRUB from a CD ([`crate::image`]), with
//! the kernel already unpacked: decompression is what takes longest here.

use crate::host::HostSpec;
use crate::image::Protocol;
use crate::kernel::Kernel;
use crate::machine::{Machine, Serial};
use crate::paths::Scratch;
use crate::{Context, Result, image};
use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How the emulated computer is made.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// One of Bochs's CPU models: `corei7_skylake_x`, `corei7_haswell_4770`, `corei3_cnl`, `ryzen`, ….
    pub cpu: String,
    /// MiB.
    pub memory: u32,
    pub cpus: u32,
    /// SeaBIOS, which leaves VT-x to who comes after it. There is one CPU then, and no way to switch off.
    pub seabios: bool,
    /// More lines for its configuration file.
    pub extra: Vec<String>,
}

/// An emulated computer.
pub struct Bochs {
    hardware: Hardware,
    scratch: Scratch,
    image: Option<PathBuf>,
    child: Option<Child>,
    serial: Option<Serial>,
    agent: Option<Serial>,
    echo: bool,
}

impl Bochs {
    /// A computer, off; `echo` prints its serial lines.
    pub fn new(hardware: Hardware, echo: bool) -> Result<Self> {
        Ok(Self {
            hardware,
            scratch: Scratch::new()?,
            image: None,
            child: None,
            serial: None,
            agent: None,
            echo,
        })
    }

    /// Bochs's configuration, with the two serial lines at these ports of this machine.
    fn configuration(&self, image: &Path, ports: [u16; 2]) -> String {
        let hw = &self.hardware;
        // Time is counted in instructions, so that a slow emulator is not a machine without time for anything. With Bochs's own
        // BIOS, GRUB's Multiboot 2 loader does not work.
        let bios = match hw.seabios {
            true => "seabios/bios.bin",
            false => "bochs/BIOS-bochs-latest",
        };
        let mut text = format!(
            "display_library: rfb, options=\"timeout=0\"
romimage: file=/usr/share/{bios}
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model={cpu}, count={cpus}, ips=50000000, reset_on_triple_fault=0
megs: {memory}
clock: sync=none
sound: waveoutdrv=dummy
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={image}, status=inserted
boot: cdrom
com1: enabled=1, mode=socket-client, dev=localhost:{com1}
com2: enabled=1, mode=socket-client, dev=localhost:{com2}
panic: action=fatal
error: action=report
log: {log}
",
            cpu = hw.cpu,
            cpus = hw.cpus,
            memory = hw.memory,
            image = image.display(),
            com1 = ports[0],
            com2 = ports[1],
            log = self.log().display(),
        );
        for line in &hw.extra {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// What Bochs writes down about itself.
    fn log(&self) -> PathBuf {
        self.scratch.path().join("bochs.log")
    }

    /// The line that Bochs opens when it starts.
    fn accept(&self, listener: &TcpListener, child: &mut Child) -> Result<Serial> {
        listener.set_nonblocking(true).context("serial line")?;
        let line = loop {
            match listener.accept() {
                Ok((line, _)) => break line,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e).context("serial line"),
            }
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                return Err(format!("Bochs ended with {status}; its log:\n{log}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let prepare = |line: TcpStream| {
            line.set_nonblocking(false)?;
            line.set_nodelay(true)?;
            Ok::<_, std::io::Error>((line.try_clone()?, line))
        };
        let (input, output) = prepare(line).context("serial line")?;
        Ok(Serial::new(input, output, self.echo))
    }
}

impl Machine for Bochs {
    fn deploy(&mut self, spec: &HostSpec) -> Result<()> {
        let mut spec = spec.clone();
        if spec.kernel.is_none() {
            let kernel = match &spec.kernel_root {
                Some(root) => Kernel::below(root)?,
                None => Kernel::debian()?,
            };
            spec.kernel = Some(kernel.unpacked()?);
        }
        self.image = Some(image::cdrom(
            self.scratch.path(),
            "bochs",
            &spec,
            Protocol::Multiboot1,
        )?);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let image = self
            .image
            .as_ref()
            .context("nothing to boot was deployed")?;
        let listen = || TcpListener::bind(("localhost", 0)).context("serial line");
        let lines = [listen()?, listen()?];
        let port = |line: &TcpListener| line.local_addr().map(|a| a.port());
        let text = self.configuration(image, [port(&lines[0])?, port(&lines[1])?]);
        let file = self.scratch.path().join("bochsrc");
        std::fs::write(&file, text).context(file.display())?;
        // Debian's Bochs starts in its debugger.
        let commands = self.scratch.path().join("commands");
        std::fs::write(&commands, "c\nquit\n").context(commands.display())?;
        let mut child = Command::new("bochs")
            .arg("-q")
            .arg("-f")
            .arg(&file)
            .arg("-rc")
            .arg(&commands)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("bochs (packages bochs and bochs-term)")?;
        let serial = self.accept(&lines[0], &mut child);
        let agent = serial.and_then(|s| Ok((s, self.accept(&lines[1], &mut child)?)));
        self.child = Some(child);
        let (serial, agent) = agent?;
        self.serial = Some(serial);
        self.agent = Some(agent);
        Ok(())
    }

    fn serial(&mut self) -> Result<&mut Serial> {
        self.serial.as_mut().context("the machine is off")
    }

    fn agent(&mut self) -> Result<&mut Serial> {
        self.agent.as_mut().context("the machine is off")
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

impl Drop for Bochs {
    fn drop(&mut self) {
        self.kill();
    }
}
