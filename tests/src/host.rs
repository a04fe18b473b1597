//! [`Host`]: a booted machine whose dom0 takes commands. Which pair of hypervisor and tools it has is in its [`Builder`].

use qemu::bochs::{self, Bochs};
use qemu::host::{HostSpec, Hypervisor, Mode, Tools};
use qemu::machine::Machine;
use qemu::paths::Scratch;
use qemu::qemu::{Hardware, Qemu};
use qemu::{Context, Result};
use std::time::{Duration, Instant};

/// What a story returns: any failed step ends it.
pub type Story = Result<()>;

/// Longest that booting may take on a loaded two-core machine.
const BOOT: Duration = Duration::from_secs(120);
/// How much longer anything may take in Bochs.
const SLOWER: u32 = 6;
/// Longest that booting may take in Bochs.
const SLOW_BOOT: Duration = Duration::from_secs(600);

/// A command for dom0's shell: what may tell why something waited for did not come.
const AROUND: &str = "xl vcpu-list; xl debug-keys q; xl dmesg | tail -n 40; dmesg | tail -n 20; tail -n 5 /var/log/xen/console/* /var/log/xen/*.log";

/// In dom0: makes /tmp/initrd of the test guest's and of what is below /tmp/g.
const MAKE_INITRD: &str = "cd /tmp/g && (cat /boot/guest/initrd; find . | cpio -o -H newc) >/tmp/initrd 2>/dev/null; cd /";

/// How often a command is sent that does not arrive.
const TRIES: u32 = 5;

/// A host to be: hypervisor, tools, hardware.
#[derive(Clone, Debug)]
pub struct Builder {
    spec: HostSpec,
    hardware: Hardware,
    bochs: Option<String>,
    guest_start: Option<String>,
}

/// Corten with our tools.
pub fn corten() -> Builder {
    Builder {
        spec: HostSpec {
            mode: Mode::Agent,
            ..HostSpec::default()
        },
        hardware: Hardware::default(),
        bochs: None,
        guest_start: None,
    }
}

/// Debian's Xen 4.17 with Debian's tools: the reference.
pub fn xen() -> Builder {
    let mut host = corten();
    host.spec.hypervisor = Hypervisor::Xen;
    host.spec.tools = Tools::Debian;
    host
}

impl Builder {
    /// Debian's xl, xenstored and xenconsoled in dom0.
    pub fn debian_tools(mut self) -> Self {
        self.spec.tools = Tools::Debian;
        self
    }

    /// Our xl, xenstored and xenconsoled in dom0.
    pub fn our_tools(mut self) -> Self {
        self.spec.tools = Tools::Ours;
        self
    }

    /// The hypervisor's `dom0_mem=` option.
    pub fn dom0_mem(mut self, value: &str) -> Self {
        let old = self
            .spec
            .hypervisor_args
            .split(' ')
            .filter(|w| !w.starts_with("dom0_mem="));
        self.spec.hypervisor_args = old
            .chain([format!("dom0_mem={value}").as_str()])
            .collect::<Vec<_>>()
            .join(" ");
        self
    }

    /// More words on the hypervisor's command line.
    pub fn option(mut self, words: &str) -> Self {
        self.spec.hypervisor_args = format!("{} {words}", self.spec.hypervisor_args);
        self
    }

    /// More words on dom0's command line.
    pub fn dom0_option(mut self, words: &str) -> Self {
        self.spec.dom0_args = format!("{} {words}", self.spec.dom0_args);
        self
    }

    /// QEMU's CPU model.
    pub fn cpu(mut self, model: &str) -> Self {
        self.hardware.cpu = model.into();
        self
    }

    /// Bochs instead of QEMU, with this CPU model. Its memory and number of CPUs are as given; there are no devices.
    pub fn bochs(mut self, model: &str) -> Self {
        self.bochs = Some(model.into());
        self
    }

    /// The emulator runs all CPUs in turn, in one thread: for stories of hardware guests, see [`Hardware::one_thread`].
    pub fn one_thread(mut self) -> Self {
        self.hardware.one_thread = true;
        self
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

    /// QEMU's machine type: `q35` or `pc`.
    pub fn machine(mut self, name: &str) -> Self {
        self.hardware.machine = name.into();
        self
    }

    /// More arguments for QEMU, as on its command line.
    pub fn device(mut self, args: &str) -> Self {
        self.hardware
            .extra
            .extend(args.split(' ').map(str::to_owned));
        self
    }

    /// Takes the kernel of an unpacked package for dom0 and its guest.
    pub fn kernel_of(mut self, root: impl Into<std::path::PathBuf>) -> Self {
        self.spec.kernel_root = Some(root.into());
        self
    }

    /// Passes `file` as dom0's kernel.
    pub fn kernel(mut self, file: impl Into<std::path::PathBuf>) -> Self {
        self.spec.kernel = Some(file.into());
        self
    }

    /// Passes no modules at all.
    pub fn no_modules(mut self) -> Self {
        self.spec.no_modules = true;
        self
    }

    /// Boots through GRUB, as an installed machine does.
    pub fn grub(mut self) -> Self {
        self.spec.through_grub = true;
        self
    }

    /// Boots through GRUB, which writes a model-specific register first, as firmware would.
    pub fn firmware_writes(mut self, msr: u32, value: u64) -> Self {
        self.spec.grub_commands = format!("insmod wrmsr; wrmsr {msr:#x} {value:#x}");
        self.grub()
    }

    /// UEFI firmware instead of a BIOS.
    pub fn uefi(self) -> Self {
        self.device(&format!("-bios {}", qemu::image::OVMF)).grub()
    }

    /// Puts Debian's qemu into dom0, for disk images that are not raw.
    pub fn qdisk(mut self) -> Self {
        self.spec.qdisk = true;
        self
    }

    /// Puts nft, ip and Debian's hotplug scripts with their shell into dom0.
    pub fn networks(mut self) -> Self {
        self.spec.networks = true;
        self
    }

    /// Puts a file into dom0.
    pub fn file(mut self, from: impl Into<std::path::PathBuf>, to: &str) -> Self {
        self.spec.add.push((from.into(), to.into()));
        self
    }

    /// Puts an initrd for a guest into dom0, /tmp/initrd, in which the test guest runs this shell script at its start.
    pub fn guest_start(mut self, script: &str) -> Self {
        self.guest_start = Some(script.into());
        self
    }

    /// Switches the machine on without waiting for dom0.
    pub fn power_on(self) -> Result<Host> {
        let verbose = std::env::var_os("VERBOSE").is_some();
        let mut machine: Box<dyn Machine> = match self.bochs {
            None => Box::new(Qemu::new(self.hardware, verbose)?),
            Some(cpu) => {
                let hardware = bochs::Hardware {
                    cpu,
                    memory: self.hardware.memory,
                    cpus: self.hardware.cpus,
                    seabios: !self.spec.grub_commands.is_empty(),
                    extra: Vec::new(),
                };
                Box::new(Bochs::new(hardware, verbose)?)
            }
        };
        machine.deploy(&self.spec)?;
        machine.run()?;
        Ok(Host::of(machine))
    }

    /// Boots until dom0 takes commands.
    pub fn boot(mut self) -> Result<Host> {
        let slow = self.bochs.is_some();
        let start = self.guest_start.take();
        let scratch = Scratch::new()?;
        if let Some(script) = &start {
            let file = scratch.path().join("start");
            std::fs::write(&file, script)?;
            self = self.file(file, "/tmp/g/etc/corten/start");
        }
        let mut host = self.power_on()?;
        host.patience = if slow { SLOWER } else { 1 };
        host.takes_commands(if slow { SLOW_BOOT } else { BOOT })?;
        if start.is_some() {
            host.dom0(MAKE_INITRD)?.ok()?;
        }
        Ok(host)
    }
}

/// A running host.
pub struct Host {
    machine: Box<dyn Machine>,
    commands: u32,
    start: Instant,
    /// What times are multiplied by.
    patience: u32,
}

impl Host {
    /// Boots `builder`'s host until dom0 takes commands.
    pub fn boot(builder: Builder) -> Result<Self> {
        builder.boot()
    }

    /// A machine that was just switched on.
    pub(crate) fn of(machine: Box<dyn Machine>) -> Self {
        Self {
            machine,
            commands: 0,
            patience: 1,
            start: Instant::now(),
        }
    }

    /// Its serial line.
    pub(crate) fn serial(&mut self) -> Result<&mut qemu::machine::Serial> {
        self.machine.serial()
    }

    /// The line on which dom0 takes commands.
    pub(crate) fn agent(&mut self) -> Result<&mut qemu::machine::Serial> {
        self.machine.agent()
    }

    /// Waits for dom0 to take commands.
    pub(crate) fn takes_commands(&mut self, timeout: Duration) -> Result<()> {
        let ready = self.agent()?.expect("@@ agent ready", timeout);
        ready.map(drop).or_else(|error| {
            Err(format!(
                "booting dom0: {error}; its console:\n{}",
                tail(&self.console()?)
            )
            .into())
        })
    }

    /// Time since power-on.
    pub fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until the serial console says `word`; returns what it said before.
    pub fn says(&mut self, word: &str, timeout: Duration) -> Result<String> {
        self.machine.serial()?.expect(word, timeout)
    }

    /// Everything the serial console has said.
    pub fn console(&mut self) -> Result<String> {
        Ok(self.machine.serial()?.all())
    }

    /// Runs a shell command in dom0, for at most a minute.
    pub fn dom0(&mut self, command: &str) -> Result<Reply> {
        self.dom0_within(command, Duration::from_secs(60))
    }

    /// Runs a shell command in dom0.
    pub fn dom0_within(&mut self, command: &str, timeout: Duration) -> Result<Reply> {
        let timeout = timeout * self.patience;
        self.commands += 1;
        let id = self.commands;
        let serial = self.machine.agent()?;
        command_arrives(serial, id, command).context(command)?;
        let text = serial
            .expect(&format!("@@ {id} rc="), timeout)
            .context(command)?;
        let status = serial
            .expect("\n", Duration::from_secs(5))?
            .trim()
            .parse()
            .context(command)?;
        Ok(Reply {
            command: command.into(),
            text,
            status,
        })
    }

    /// Repeats a command until its output contains `word`.
    pub fn until(&mut self, command: &str, word: &str, timeout: Duration) -> Result<Reply> {
        let deadline = Instant::now() + timeout * self.patience;
        loop {
            let reply = self.dom0(command)?;
            if reply.text.contains(word) {
                return Ok(reply);
            }
            if Instant::now() > deadline {
                return reply.shows(word).or_else(|error| {
                    let around = self.dom0(AROUND)?.text;
                    Err(format!("{error}\nWhat is around it:\n{around}").into())
                });
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What `xl dmesg` shows and has not shown before.
    pub fn log(&mut self) -> Result<Reply> {
        self.dom0("xl dmesg -c")?.ok()
    }

    /// Waits until as much memory is free as was before. A MiB less is taken for the hypervisor's heap of small objects, which
    /// grows to what the most guests at once needed; that nothing trickles away is another story's subject.
    pub fn memory_is_back(&mut self, before: i64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20) * self.patience;
        loop {
            let now = self.dom0("xl info")?.number("free_memory")?;
            if now >= before - 1 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{before} MiB were free, {now} are").into());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Starts the test guest of /etc/xen/guest.cfg and waits for its first words.
    pub fn start_guest(&mut self) -> Result<()> {
        self.dom0("xl create /etc/xen/guest.cfg")?.ok()?;
        self.guest_speaks("guest")
    }

    /// Waits for a guest's marker line on its console, by attaching to it.
    pub fn guest_speaks(&mut self, name: &str) -> Result<()> {
        self.guest_says(name, "guest: hello from").map(drop)
    }

    /// Waits until a guest says `word` on its console, by attaching to it; returns all it said by then.
    pub fn guest_says(&mut self, name: &str, word: &str) -> Result<String> {
        // The daemon makes the terminal a moment after the guest was made.
        let tty = format!("xenstore-read /local/domain/$(xl domid {name})/console/tty");
        self.until(&format!("{tty} 2>&1"), "/dev/", Duration::from_secs(20))?;
        let command = console_until(name, word, 60 * self.patience);
        Ok(self
            .dom0_within(&command, Duration::from_secs(80))?
            .shows(word)?
            .text)
    }

    /// Powers off and waits for the machine to be off.
    pub fn power_off(mut self) -> Result<()> {
        for _ in 0..TRIES {
            // A machine that is off by now does not listen; one that has understood does not do it twice.
            let _ = self.machine.agent()?.send("\n0 11 poweroff -f\n");
            if self.machine.wait(Duration::from_secs(10))? {
                return Ok(());
            }
        }
        Err("the machine did not power off".into())
    }

    /// Waits for the machine to switch itself off or reboot; returns all that it said.
    pub fn ends(mut self, timeout: Duration) -> Result<String> {
        if self.machine.wait(timeout)? {
            self.console()
        } else {
            Err("the machine is still on".into())
        }
    }
}

/// A command for dom0's shell: what a guest says on its console until `word` is in it, even in a line without an end, or for `seconds`.
pub fn console_until(name: &str, word: &str, seconds: u32) -> String {
    // Through a file: sed and awk may read ahead for a line that never comes. And by itself xl would notice that nobody
    // listens any more when the guest next says something.
    let f = format!("/tmp/said-{name}");
    format!(
        "rm -f {f}*; : >{f}; (timeout {seconds} xl console {name} </dev/ptmx >{f} & echo $! >{f}.pid; wait; : >{f}.end) & \
         until [ -s {f}.pid ] && {{ grep -qF '{word}' {f} || [ -e {f}.end ]; }}; do sleep 0.2; done; \
         kill $(cat {f}.pid) 2>/dev/null; wait $!; cat {f}"
    )
}

/// A command for dom0's shell: what a guest's shell says to a command on its console.
pub fn typed(name: &str, what: &str) -> String {
    format!("(echo '{what}'; sleep 4) | timeout 6 xl console {name} | cat")
}

/// Sends a command until it has arrived whole: an emulated serial port loses bytes when its host is busy.
pub(crate) fn command_arrives(
    serial: &mut qemu::machine::Serial,
    id: u32,
    command: &str,
) -> Result<()> {
    let command = command.trim();
    let line = format!("{id} {} {command}\n", command.chars().count());
    let answers = [&*format!("@@ {id} begin\n"), "@@ again\n"];
    let mut last = Ok(());
    for _ in 0..TRIES {
        serial.send(&line)?;
        match serial.expect_any(&answers, Duration::from_secs(10)) {
            Ok((0, _)) => return Ok(()),
            Ok(_) => last = Err("it arrived in pieces".into()),
            Err(error) => {
                last = Err(error);
                // Ends what may have arrived without its end.
                serial.send("\n")?;
            }
        }
    }
    last
}

/// The last lines of what a console has said.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// What a command in dom0 printed, and its exit status.
#[derive(Debug)]
pub struct Reply {
    command: String,
    /// Output, errors included.
    pub text: String,
    /// Exit status.
    pub status: i32,
}

impl Reply {
    /// The command must have succeeded.
    pub fn ok(self) -> Result<Self> {
        if self.status == 0 {
            Ok(self)
        } else {
            Err(self.wrong("should have succeeded"))
        }
    }

    /// The command must have failed.
    pub fn fails(self) -> Result<Self> {
        if self.status == 0 {
            Err(self.wrong("should have failed"))
        } else {
            Ok(self)
        }
    }

    /// The output must contain `word`.
    pub fn shows(self, word: &str) -> Result<Self> {
        if self.text.contains(word) {
            Ok(self)
        } else {
            Err(self.wrong(&format!("should show `{word}`")))
        }
    }

    /// The output must not contain `word`.
    pub fn lacks(self, word: &str) -> Result<Self> {
        if self.text.contains(word) {
            Err(self.wrong(&format!("should not show `{word}`")))
        } else {
            Ok(self)
        }
    }

    /// The number after `key` and any of ` :=`.
    pub fn number(&self, key: &str) -> Result<i64> {
        let rest = self
            .text
            .split_once(key)
            .ok_or_else(|| self.wrong(&format!("should show `{key}`")))?
            .1;
        let digits: String = rest
            .trim_start_matches([' ', ':', '=', '\t'])
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '-')
            .collect();
        digits
            .parse()
            .map_err(|_| self.wrong(&format!("should show a number after `{key}`")))
    }

    fn wrong(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        format!(
            "dom0: `{}` {what}; it ended with {} and printed:\n{}",
            self.command, self.status, self.text
        )
        .into()
    }
}
