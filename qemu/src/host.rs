//! What is booted: which hypervisor, which toolstack, what its dom0 does once it is up.

use crate::{Context, Result, debian, paths};
use std::path::PathBuf;
use std::process::Command;

/// The hypervisor underneath dom0.
#[derive(Clone, Debug, PartialEq)]
pub enum Hypervisor {
    /// Debian's Xen 4.17: the reference.
    Xen,
    /// Ours, from `target/dist/boot/corten`.
    Corten,
    /// None: the kernel on bare hardware.
    None,
    /// A file that QEMU's `-kernel` can load.
    File(PathBuf),
}

impl std::str::FromStr for Hypervisor {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        Ok(match s {
            "xen" => Self::Xen,
            "corten" => Self::Corten,
            "none" => Self::None,
            file if file.contains('/') => Self::File(file.into()),
            other => {
                return Err(format!(
                    "hypervisor {other}: xen, corten, none or a path with a slash in it"
                ));
            }
        })
    }
}

/// Whose xl, xenstored and xenconsoled run in dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// Those of `target/dist`.
    Ours,
    /// Those of Debian's xen-utils 4.17.
    Debian,
    /// None are put in.
    None,
}

impl std::str::FromStr for Tools {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        match s {
            "ours" => Ok(Self::Ours),
            "debian" => Ok(Self::Debian),
            "none" => Ok(Self::None),
            other => Err(format!("tools {other}: ours, debian or none")),
        }
    }
}

impl Tools {
    /// The word in `/etc/corten/tools` that dom0's init reads.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Debian => "debian",
            Self::None => "none",
        }
    }
}

/// What dom0 does when its daemons run.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// A shell on the console.
    Shell,
    /// Runs this shell script and powers off.
    Script(String),
    /// Takes commands from a serial line of its own; see [`crate::machine`].
    Agent,
    /// Creates the guest with its console in front, then a shell.
    Demo,
}

impl Mode {
    /// The word in `/etc/corten/mode` that dom0's init reads.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Script(_) => "script",
            Self::Agent => "agent",
            Self::Demo => "demo",
        }
    }
}

/// A host to boot.
#[derive(Clone, Debug)]
pub struct HostSpec {
    pub hypervisor: Hypervisor,
    pub tools: Tools,
    pub mode: Mode,
    /// Hypervisor command line.
    pub hypervisor_args: String,
    /// Added to dom0's command line.
    pub dom0_args: String,
    /// Root of a host to put on top (default `target/dist`).
    pub dist: PathBuf,
    /// A cargo output directory whose tools replace those of `dist`.
    pub bins: Option<PathBuf>,
    /// Files to add: (host path, path in dom0).
    pub add: Vec<(PathBuf, String)>,
    /// Puts Debian's qemu into dom0, for disk images that are not raw.
    pub qdisk: bool,
    /// Puts into dom0 what Debian's network scripts and address translation need.
    pub networks: bool,
    /// Kernel's console log level in dom0.
    pub loglevel: u8,
    /// An unpacked kernel package that replaces Debian's own in dom0 and its guest.
    pub kernel_root: Option<PathBuf>,
    /// What is passed as dom0's kernel instead of Debian's.
    pub kernel: Option<PathBuf>,
    /// Nothing is passed along with the hypervisor.
    pub no_modules: bool,
    /// Through GRUB from a CD, not by QEMU's own loader.
    pub through_grub: bool,
    /// What GRUB is told before it loads anything.
    pub grub_commands: String,
}

impl Default for HostSpec {
    fn default() -> Self {
        Self {
            hypervisor: Hypervisor::Corten,
            tools: Tools::Ours,
            mode: Mode::Shell,
            hypervisor_args:
                "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem=512M,max:512M"
                    .into(),
            dom0_args: String::new(),
            dist: paths::dist(),
            bins: None,
            add: Vec::new(),
            qdisk: false,
            networks: false,
            loglevel: 4,
            kernel_root: None,
            kernel: None,
            no_modules: false,
            through_grub: false,
            grub_commands: String::new(),
        }
    }
}

impl HostSpec {
    /// The hypervisor's file, uncompressed (QEMU does not gunzip); None when there is none.
    pub fn hypervisor_file(&self) -> Result<Option<PathBuf>> {
        Ok(match &self.hypervisor {
            Hypervisor::None => None,
            Hypervisor::File(path) => Some(path.clone()),
            Hypervisor::Corten => Some(self.dist.join("boot/corten")),
            Hypervisor::Xen => {
                let gz = debian::xen()?.join("boot/xen-4.17-amd64.gz");
                let plain = gz.with_extension("");
                if !plain.exists() {
                    let part = gz.with_extension(format!("{}.part", std::process::id()));
                    let out = std::fs::File::create(&part)?;
                    let status = Command::new("gzip")
                        .arg("-dc")
                        .arg(&gz)
                        .stdout(out)
                        .status()
                        .context("gzip")?;
                    if !status.success() {
                        return Err(format!("gzip -dc {}: {status}", gz.display()).into());
                    }
                    std::fs::rename(part, &plain)?;
                }
                Some(plain)
            }
        })
    }

    /// dom0's kernel command line.
    pub fn dom0_cmdline(&self) -> String {
        // Without a hypervisor, a kernel told to print through one never starts.
        let console = if self.hypervisor == Hypervisor::None {
            "console=ttyS0"
        } else {
            "console=hvc0 earlyprintk=xen"
        };
        format!("{console} panic=5 {}", self.dom0_args)
            .trim_end()
            .to_owned()
    }
}
