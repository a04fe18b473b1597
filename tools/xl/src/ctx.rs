//! What every command has at hand: the global options, and the host when it asks for it.
use crate::message;
use libxl::Host;
use std::fmt::Display;
use xen_abi::DomId;
use xenctrl::Xenctrl;
use xenstore::Client;

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The user has been told.
    Reported,
    /// The user is to be told this.
    Message(String),
    /// The same, with another exit status than 1.
    Exit(u8, String),
    /// The command line is wrong, in this way.
    Usage(String),
}

impl From<libxl::Error> for Failure {
    fn from(e: libxl::Error) -> Self {
        match e {
            // Diagnostics carry their place; nothing goes in front of it.
            libxl::Error::Config(_) => Failure::Message(e.to_string()),
            e => Failure::Message(format!("xl: {e}")),
        }
    }
}

impl From<xenctrl::Error> for Failure {
    fn from(e: xenctrl::Error) -> Self {
        Failure::Message(format!("xl: {e}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Failure::Message(format!("xl: {e}"))
    }
}

impl Failure {
    /// The same with this exit status, if it is an ordinary one.
    pub fn or_exit(self, status: u8) -> Failure {
        match self {
            Failure::Message(m) => Failure::Exit(status, m),
            other => other,
        }
    }

    /// The same as an ordinary one.
    pub fn without_status(self) -> Failure {
        match self {
            Failure::Exit(_, m) => Failure::Message(m),
            other => other,
        }
    }
}

/// A failure with this message.
pub fn fail<T>(message: impl Display) -> Result<T, Failure> {
    Err(Failure::Message(format!("xl: {message}")))
}

/// The surroundings of a command.
pub struct Ctx {
    /// `xl`, or `xm`.
    pub program: &'static str,
    /// Times `-v` was given.
    pub verbose: u32,
    /// `-N`: say what would be done.
    pub dry_run: bool,
    /// `-f`: go on where one would better not.
    pub force: bool,
}

/// Connections to hypervisor and xenstore; a [`Host`] borrows them.
pub struct Connections {
    /// The hypervisor.
    pub xc: Xenctrl,
    /// The xenstore.
    pub xs: Client,
    /// Whether new domains' memory is claimed, and dom0 gives of its own.
    pub memory: (bool, bool),
}

impl Connections {
    /// The host behind them.
    pub fn host(&self) -> Host<'_> {
        Host {
            claims: self.memory.0,
            autoballoon: self.memory.1,
            ..Host::new(&self.xc, &self.xs)
        }
    }
}

impl Ctx {
    /// No options yet.
    pub fn new(program: &'static str) -> Ctx {
        Ctx {
            program,
            verbose: 0,
            dry_run: false,
            force: false,
        }
    }

    /// A global option.
    pub fn global(&mut self, option: char) -> Result<(), Failure> {
        match option {
            'v' => self.verbose += 1,
            'N' => self.dry_run = true,
            'f' => self.force = true,
            't' => message::one_line(),
            'T' => message::stamp(),
            other => return fail(format!("unknown global option `{other}'")),
        }
        Ok(())
    }

    /// The hypervisor.
    pub fn xc(&self) -> Result<Xenctrl, Failure> {
        Ok(Xenctrl::open()?)
    }

    /// Hypervisor and xenstore.
    pub fn connect(&self) -> Result<Connections, Failure> {
        let xc = self.xc()?;
        match Client::open() {
            Ok(xs) => Ok(Connections {
                xc,
                xs,
                memory: (true, false),
            }),
            Err(e) => fail(format!(
                "connecting to the xenstore: {e} (is xenstored running?)"
            )),
        }
    }

    /// Says something to those who want to hear it.
    pub fn verbose(&self, message: impl Display) {
        if self.verbose > 0 {
            say!("xl: {message}");
        }
    }
}

/// The domain that an operand names; the failure says it as xl does.
pub fn find(host: &Host, word: &str) -> Result<DomId, Failure> {
    match host.find(word) {
        Err(libxl::Error::NoSuchDomain(_)) => Err(Failure::Message(format!(
            "{word} is an invalid domain identifier (rc=-6)"
        ))),
        other => Ok(other?),
    }
}
