//! THE TABLE of command-line options, and the parser that walks a command line with it.

use crate::dom0_mem::Dom0Mem;
use crate::size::{parse_number, parse_size};

/// How chatty a log is, in Xen's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    None,
    /// Errors.
    Error,
    /// and warnings,
    Warning,
    /// and progress,
    Info,
    /// and everything.
    Debug,
}

/// `loglvl=LEVEL[/RATE_LIMITED_LEVEL]`: lines up to `always` are printed, lines up to `limited` within a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogThreshold {
    /// Always printed.
    pub always: LogLevel,
    /// Printed as long as there are not too many.
    pub limited: LogLevel,
}

/// One serial port's settings, `com1=115200,8n1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Com {
    /// Bits per second; 0 keeps the firmware's setting (`auto`).
    pub baud: u32,
    /// 5 to 8.
    pub data_bits: u8,
    /// `n`, `o`, `e`, `m` or `s`.
    pub parity: u8,
    /// 1 or 2.
    pub stop_bits: u8,
    /// I/O port base; 0 means the PC's usual one.
    pub io_base: u16,
}

impl Default for Com {
    fn default() -> Self {
        Self {
            baud: 115_200,
            data_bits: 8,
            parity: b'n',
            stop_bits: 1,
            io_base: 0,
        }
    }
}

/// Which consoles the hypervisor writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Consoles {
    /// First serial port.
    pub com1: bool,
    /// Second serial port.
    pub com2: bool,
    /// VGA text mode.
    pub vga: bool,
}

/// `dom0_max_vcpus=N` or `MIN-MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuRange {
    /// At least this many.
    pub min: u32,
    /// At most this many.
    pub max: u32,
}

impl VcpuRange {
    /// The number of virtual CPUs Domain-0 gets on a host with `cpus` CPUs.
    #[must_use]
    pub fn resolve(self, cpus: u32) -> u32 {
        cpus.min(self.max).max(self.min).max(1)
    }
}

/// `dom0=`: what kind of domain Domain-0 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dom0Kind {
    /// In a virtual machine of the processor's, rather than paravirtualised.
    pub pvh: bool,
    /// Say more while it is built.
    pub verbose: bool,
}

/// Everything the command line can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `dom0`.
    pub dom0: Dom0Kind,
    /// `dom0_mem`.
    pub dom0_mem: Dom0Mem,
    /// `dom0_max_vcpus`.
    pub dom0_max_vcpus: Option<VcpuRange>,
    /// `maxcpus`.
    pub maxcpus: Option<u32>,
    /// `nosmp`.
    pub nosmp: bool,
    /// `console`; `None` when not given.
    pub console: Option<Consoles>,
    /// `com1`; `None` when not given.
    pub com1: Option<Com>,
    /// `com2`; `None` when not given.
    pub com2: Option<Com>,
    /// `loglvl`.
    pub loglvl: LogThreshold,
    /// `guest_loglvl`.
    pub guest_loglvl: LogThreshold,
    /// `noreboot`.
    pub noreboot: bool,
    /// `conring_size`, bytes.
    pub conring_size: u64,
    /// `vga=keep`: messages stay on the screen when dom0 runs.
    pub vga_keep: bool,
    /// `sync_console`.
    pub sync_console: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dom0: Dom0Kind::default(),
            dom0_mem: Dom0Mem::default(),
            dom0_max_vcpus: None,
            maxcpus: None,
            nosmp: false,
            console: None,
            com1: None,
            com2: None,
            loglvl: LogThreshold {
                always: LogLevel::Info,
                limited: LogLevel::Info,
            },
            guest_loglvl: LogThreshold {
                always: LogLevel::Error,
                limited: LogLevel::Warning,
            },
            noreboot: false,
            conring_size: 64 << 10,
            vga_keep: false,
            sync_console: false,
        }
    }
}

/// What an option's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Present, `=BOOL`, or absent with a `no-` prefix.
    Flag,
    /// Needs `=VALUE`.
    Value,
    /// Accepted whatever follows.
    Ignored,
}

/// One row of the table.
pub struct Opt {
    /// As written on the command line.
    pub name: &'static str,
    /// Shape of the value.
    pub kind: Kind,
    /// One line for people.
    pub doc: &'static str,
    /// Stores the value; false when it makes no sense. Flags get `1` or `0`.
    apply: fn(&mut Config, &str) -> bool,
}

macro_rules! options {
    ($($name:literal $kind:ident $doc:literal $apply:expr;)*) => {
        /// All options, alphabetically.
        pub static OPTIONS: &[Opt] = &[$(Opt { name: $name, kind: Kind::$kind, doc: $doc, apply: $apply }),*];
    };
}

options! {
    "com1" Value "first serial port: BAUD[,DPS[,IO-BASE]], e.g. 115200,8n1" |c, v| set(&mut c.com1, com(v));
    "com2" Value "second serial port, like com1" |c, v| set(&mut c.com2, com(v));
    "conring_size" Value "size of the console ring (xl dmesg)" |c, v| match parse_size(v, 1024) {
        Some(size) => { c.conring_size = size; true }
        None => false,
    };
    "console" Value "where messages go: com1, com2, vga, none; comma-separated" |c, v| set(&mut c.console, consoles(v));
    "dom0" Value "kind of Domain-0: pv, or pvh on a machine with AMD-V or VT-x; verbose" |c, v| v.split(',').all(|word| dom0(&mut c.dom0, word));
    "dom0_max_vcpus" Value "virtual CPUs of Domain-0: N or MIN-MAX" |c, v| set(&mut c.dom0_max_vcpus, vcpu_range(v));
    "dom0_mem" Value "memory of Domain-0: SIZE, min:SIZE, max:SIZE; SIZE may be N%, SIZE+N%, -SIZE" |c, v| c.dom0_mem.apply(v);
    "guest_loglvl" Value "messages caused by guests: LEVEL[/RATE-LIMITED-LEVEL]" |c, v| threshold(&mut c.guest_loglvl, v);
    "loglvl" Value "messages: none, error, warning, info, debug, all" |c, v| threshold(&mut c.loglvl, v);
    "maxcpus" Value "use at most this many CPUs" |c, v| set(&mut c.maxcpus, number(v));
    "noreboot" Flag "halt instead of rebooting after a fatal error" |c, v| flag(&mut c.noreboot, v);
    "nosmp" Flag "use one CPU" |c, v| flag(&mut c.nosmp, v);
    "placeholder" Ignored "written by GRUB's scripts, means nothing" |_, _| true;
    "sync_console" Flag "wait for every byte to leave" |c, v| flag(&mut c.sync_console, v);
    "vga" Value "keep: go on printing there when Domain-0 runs; the mode is the boot loader's choice" |c, v| vga(c, v);
}

/// Something wrong with the command line; the parser goes on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem<'a> {
    /// No such option.
    Unknown(&'a str),
    /// The option's value makes no sense.
    BadValue(&'a str, &'a str),
}

/// Reads a command line; everything not understood goes to `report`. A `--` or ` -- ` ends the options.
pub fn parse<'a>(line: &'a str, report: &mut dyn FnMut(Problem<'a>)) -> Config {
    let mut config = Config::default();
    for token in line
        .split_ascii_whitespace()
        .take_while(|token| *token != "--")
    {
        let (name, value) = match token.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (token, None),
        };
        let (wanted, negated) = match name.strip_prefix("no-") {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        let Some(opt) = find(wanted).filter(|opt| !negated || opt.kind == Kind::Flag) else {
            report(Problem::Unknown(token));
            continue;
        };
        let good = match (opt.kind, value) {
            (Kind::Flag, None) => (opt.apply)(&mut config, if negated { "0" } else { "1" }),
            (Kind::Flag, Some(_)) if negated => false,
            (Kind::Value, None) => false,
            (_, value) => (opt.apply)(&mut config, value.unwrap_or_default()),
        };
        if !good {
            report(Problem::BadValue(opt.name, value.unwrap_or_default()));
        }
    }
    config
}

fn find(name: &str) -> Option<&'static Opt> {
    // Xen's users write `_` and `-` interchangeably in places.
    let same = |a: u8, b: u8| a == b || (a == b'_' && b == b'-');
    OPTIONS.iter().find(|opt| {
        opt.name.len() == name.len() && opt.name.bytes().zip(name.bytes()).all(|(a, b)| same(a, b))
    })
}

/// One word of `dom0=`. Of Xen's others, those are taken that ask for what is so anyway.
fn dom0(kind: &mut Dom0Kind, word: &str) -> bool {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, value),
        None => match word.strip_prefix("no-") {
            Some(name) => (name, "0"),
            None => (word, "1"),
        },
    };
    let mut on = false;
    match name {
        "pv" | "pvh" => kind.pvh = word == "pvh",
        "verbose" => return flag(&mut kind.verbose, value),
        "shadow" => return flag(&mut on, value) && !on,
        "cpuid-faulting" | "msr-relaxed" | "pf-fixup" => return flag(&mut on, value),
        _ => return false,
    }
    name == word
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let good = value.is_some();
    if good {
        *slot = value;
    }
    good
}

fn flag(slot: &mut bool, value: &str) -> bool {
    match value {
        "1" | "yes" | "on" | "true" | "enable" => *slot = true,
        "0" | "no" | "off" | "false" | "disable" => *slot = false,
        _ => return false,
    }
    true
}

fn number(text: &str) -> Option<u32> {
    parse_number(text)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n > 0)
}

fn vcpu_range(text: &str) -> Option<VcpuRange> {
    let Some((min, max)) = text.split_once('-') else {
        return number(text).map(|n| VcpuRange { min: n, max: n });
    };
    let min = if min.is_empty() { 1 } else { number(min)? };
    let max = if max.is_empty() {
        u32::MAX
    } else {
        number(max)?
    };
    (min <= max).then_some(VcpuRange { min, max })
}

fn level(text: &str) -> Option<LogLevel> {
    Some(match text {
        "none" => LogLevel::None,
        "error" => LogLevel::Error,
        "warning" => LogLevel::Warning,
        "info" => LogLevel::Info,
        "debug" | "all" => LogLevel::Debug,
        _ => return None,
    })
}

fn threshold(slot: &mut LogThreshold, text: &str) -> bool {
    let (always, limited) = text.split_once('/').unwrap_or((text, text));
    let (Some(always), Some(limited)) = (level(always), level(limited)) else {
        return false;
    };
    *slot = LogThreshold {
        always,
        limited: limited.max(always),
    };
    true
}

/// `[mode][,keep]`. Modes are Xen's words; the boot loader has set one already.
fn vga(config: &mut Config, text: &str) -> bool {
    const MODES: [&str; 5] = ["text-", "gfx-", "mode-", "ask", "current"];
    text.split(',').all(|word| {
        config.vga_keep |= word == "keep";
        word == "keep" || MODES.iter().any(|m| word.starts_with(m))
    })
}

fn consoles(text: &str) -> Option<Consoles> {
    let mut set = Consoles::default();
    for word in text.split(',') {
        match word {
            "com1" => set.com1 = true,
            "com2" => set.com2 = true,
            "vga" => set.vga = true,
            "none" | "ring" => {}
            _ => return None,
        }
    }
    Some(set)
}

fn com(text: &str) -> Option<Com> {
    let mut com = Com::default();
    let mut parts = text.split(',');
    // A clock after `/` is for unusual hardware; the PC's 1.8432 MHz is the only one we know.
    let baud = parts.next()?.split('/').next()?;
    com.baud = if baud == "auto" {
        0
    } else {
        number(baud).filter(|b| *b <= 115_200)?
    };
    if let Some(
        [
            data @ b'5'..=b'8',
            parity @ (b'n' | b'o' | b'e' | b'm' | b's'),
            stop @ b'1'..=b'2',
        ],
    ) = parts.next().map(str::as_bytes)
    {
        (com.data_bits, com.parity, com.stop_bits) = (data - b'0', *parity, stop - b'0');
    } else if text.contains(',') {
        return None;
    }
    if let Some(base) = parts.next() {
        com.io_base = u16::try_from(parse_number(base)?).ok()?;
    }
    Some(com)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn good(line: &str) -> Config {
        parse(line, &mut |problem| panic!("{problem:?}"))
    }

    fn problems(line: &str) -> Vec<Problem<'_>> {
        let mut list = Vec::new();
        parse(line, &mut |problem| list.push(problem));
        list
    }

    #[test]
    fn a_usual_line() {
        let config = good(
            "placeholder dom0_mem=512M,max:512M com1=115200,8n1 console=com1,vga loglvl=all guest_loglvl=all/all noreboot dom0_max_vcpus=1-4 maxcpus=2",
        );
        assert_eq!(config.com1, Some(Com::default()));
        assert_eq!(
            config.console,
            Some(Consoles {
                com1: true,
                com2: false,
                vga: true
            })
        );
        assert!(config.noreboot && !config.nosmp);
        assert_eq!(config.loglvl.always, LogLevel::Debug);
        assert_eq!(config.dom0_max_vcpus.unwrap().resolve(16), 4);
        assert_eq!(config.maxcpus, Some(2));
        assert_eq!(config.dom0_mem.resolve(1 << 20).initial, 131_072);
    }

    #[test]
    fn flags() {
        assert!(good("nosmp=on").nosmp);
        assert!(!good("nosmp no-nosmp").nosmp);
        assert!(good("sync-console").sync_console);
        assert!(good("vga=text-80x50,keep").vga_keep);
        assert!(!good("vga=gfx-1024x768x32").vga_keep);
        assert_eq!(
            problems("nosmp=maybe"),
            [Problem::BadValue("nosmp", "maybe")]
        );
        assert_eq!(problems("no-maxcpus=3"), [Problem::Unknown("no-maxcpus=3")]);
    }

    #[test]
    fn unknown_and_bad_are_named_and_skipped() {
        let line = "foo=1 maxcpus=0 dom0_mem=x bar console=com9 com1=115200,9n1 noreboot";
        assert_eq!(
            problems(line),
            [
                Problem::Unknown("foo=1"),
                Problem::BadValue("maxcpus", "0"),
                Problem::BadValue("dom0_mem", "x"),
                Problem::Unknown("bar"),
                Problem::BadValue("console", "com9"),
                Problem::BadValue("com1", "115200,9n1"),
            ]
        );
        assert!(parse(line, &mut |_| ()).noreboot);
        assert_eq!(problems("noreboot -- foo"), []);
    }

    #[test]
    fn kinds_of_domain_0() {
        let kind = |line| {
            let Dom0Kind { pvh, verbose } = good(line).dom0;
            (pvh, verbose)
        };
        assert_eq!(kind(""), (false, false));
        assert_eq!(kind("dom0=pvh"), (true, false));
        assert_eq!(kind("dom0=pvh,verbose"), (true, true));
        assert_eq!(kind("dom0=verbose,pvh dom0=pv"), (false, true));
        assert_eq!(
            kind("dom0=pvh,verbose=yes,no-verbose,shadow=off,msr-relaxed"),
            (true, false)
        );
        for bad in ["dom0=hvm", "dom0=pvh=1", "dom0=no-pvh", "dom0=shadow"] {
            assert_eq!(problems(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn serial_ports() {
        let com = |line| good(line).com2.unwrap();
        assert_eq!(
            com("com2=9600,7e2,0x2e8"),
            Com {
                baud: 9600,
                data_bits: 7,
                parity: b'e',
                stop_bits: 2,
                io_base: 0x2e8
            }
        );
        assert_eq!(com("com2=auto").baud, 0);
        assert_eq!(com("com2=38400/1843200,8n1").baud, 38400);
    }

    #[test]
    fn table_is_sorted_and_documented() {
        assert!(OPTIONS.is_sorted_by_key(|opt| opt.name));
        assert!(OPTIONS.iter().all(|opt| !opt.doc.is_empty()));
    }

    #[test]
    fn vcpu_ranges() {
        let range = |line| good(line).dom0_max_vcpus.unwrap();
        assert_eq!(range("dom0_max_vcpus=2").resolve(8), 2);
        assert_eq!(range("dom0_max_vcpus=2").resolve(1), 2);
        assert_eq!(range("dom0_max_vcpus=2-").resolve(8), 8);
        assert_eq!(range("dom0_max_vcpus=-3").resolve(8), 3);
        assert_eq!(problems("dom0_max_vcpus=4-2").len(), 1);
    }
}
