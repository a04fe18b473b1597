//! [`DomainConfig`]: what a configuration means, checked as far as that is possible without looking at the host.
use crate::cfg::{Cfg, Diagnostics, Pos, Setting, Value, ValueKind, keys};
use crate::firmware;
use crate::vif::Unknown;
use crate::{
    Bootloader, CpuList, Cpuid, Disk, Error, GuestKind, Hardware, Result, Shares, Uuid, Vif,
};
use std::path::PathBuf;

/// What happens when a domain shuts down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It is removed.
    Destroy,
    /// It is removed and created again.
    Restart,
    /// It is kept for examination under a new name, and a new one is created.
    RenameRestart,
    /// It is kept.
    Preserve,
    /// Its core is written, then it is removed.
    CoredumpDestroy,
    /// Its core is written, then it is removed and created again.
    CoredumpRestart,
    /// A soft reset (treated as a restart until that exists).
    SoftReset,
}

impl Action {
    /// Spellings.
    const NAMES: &'static [(&'static str, Action)] = &[
        ("destroy", Action::Destroy),
        ("restart", Action::Restart),
        ("rename-restart", Action::RenameRestart),
        ("preserve", Action::Preserve),
        ("coredump-destroy", Action::CoredumpDestroy),
        ("coredump-restart", Action::CoredumpRestart),
        ("soft-reset", Action::SoftReset),
    ];

    /// The configuration's word for it.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|n| n.1 == self)
            .map_or("destroy", |n| n.0)
    }
}

/// The five occasions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Actions {
    pub poweroff: Action,
    pub reboot: Action,
    pub crash: Action,
    pub watchdog: Action,
    pub soft_reset: Action,
}

impl Default for Actions {
    fn default() -> Self {
        Actions {
            poweroff: Action::Destroy,
            reboot: Action::Restart,
            crash: Action::Destroy,
            watchdog: Action::Destroy,
            soft_reset: Action::SoftReset,
        }
    }
}

/// A guest to be.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct DomainConfig {
    pub kind: GuestKind,
    pub name: String,
    pub uuid: Uuid,
    /// Empty if only a boot loader knows.
    pub kernel: PathBuf,
    pub bootloader: Option<Bootloader>,
    pub ramdisk: Option<PathBuf>,
    pub cmdline: String,
    /// Memory at start, KiB.
    pub memory_kib: u64,
    /// Memory it may grow to, KiB.
    pub maxmem_kib: u64,
    pub vcpus: u32,
    pub max_vcpus: u32,
    /// Hard affinity: a list for each vcpu; those that have none run anywhere.
    pub cpus: Vec<CpuList>,
    /// Soft affinity, the same.
    pub cpus_soft: Vec<CpuList>,
    pub actions: Actions,
    pub max_event_channels: u32,
    /// -1: the hypervisor's default.
    pub max_grant_frames: i32,
    /// -1: the hypervisor's default.
    pub max_maptrack_frames: i32,
    pub tsc_mode: u32,
    /// What CPUID shows it otherwise than a new guest.
    pub cpuid: Cpuid,
    /// Of the machine's own.
    pub hardware: Hardware,
    /// Highest version of its grant tables, if not the hypervisor's.
    pub max_grant_version: Option<u32>,
    /// Whether a PVH guest gets ACPI tables.
    pub acpi: bool,
    /// It is not to be saved or moved.
    pub nomigrate: bool,
    /// Memory for a PVH guest's second-level page tables, MiB, if not the usual.
    pub paging_mib: Option<u32>,
    /// Its part of the CPUs, and its clock.
    pub shares: Shares,
    pub disks: Vec<Disk>,
    pub vifs: Vec<Vif>,
    /// The settings it was made from, UUID included: text that makes the same domain again.
    pub source: String,
}

/// Most vcpus of a PV guest.
pub const MAX_VCPUS: i64 = 512;
/// Memory of a guest whose configuration does not say, MiB.
const DEFAULT_MEMORY: i64 = 32;
/// Least memory that a kernel could start in, MiB.
const MIN_MEMORY: i64 = 4;

impl DomainConfig {
    /// Checks a configuration. Warnings are left in `diags`; with errors among them the result is an error.
    pub fn from_cfg(cfg: &Cfg, diags: &mut Diagnostics) -> Result<DomainConfig> {
        // What did not parse may hold what would be missed.
        let parsed = !diags.failed();
        keys::check(cfg, diags);
        if !parsed {
            return Err(Error::Config(diags.clone()));
        }
        let mut reader = Reader { cfg, diags };
        let config = reader.read();
        if diags.failed() {
            return Err(Error::Config(diags.clone()));
        }
        let mut config = config.ok_or_else(|| Error::Config(diags.clone()))?;
        if cfg.get("uuid").is_none() {
            config.uuid = Uuid::random().map_err(|e| Error::new(format!("making a UUID: {e}")))?;
            config
                .source
                .push_str(&format!("uuid = \"{}\"\n", config.uuid));
        }
        Ok(config)
    }
}

struct Reader<'a> {
    cfg: &'a Cfg,
    diags: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// `None` after an error that leaves nothing to go on with; other errors are only reported.
    fn read(&mut self) -> Option<DomainConfig> {
        let kind = GuestKind::read(self.cfg, self.diags);
        let name = self.name();
        let bootloader = self.bootloader();
        let kernel = self.kernel(kind, bootloader.is_some());
        self.refuse_what_is_not_for(kind);
        let (memory_kib, maxmem_kib) = self.memory();
        let (vcpus, max_vcpus) = self.vcpus();
        let uuid = self.uuid();
        Some(DomainConfig {
            kind,
            name: name?,
            uuid,
            kernel: kernel?.into(),
            bootloader,
            ramdisk: self
                .text("ramdisk")
                .filter(|r| !r.is_empty())
                .map(PathBuf::from),
            cmdline: self.cmdline(),
            memory_kib,
            maxmem_kib,
            vcpus,
            max_vcpus,
            cpus: self.cpu_lists("cpus", max_vcpus),
            cpus_soft: self.cpu_lists("cpus_soft", max_vcpus),
            actions: self.actions(),
            max_event_channels: self
                .number("max_event_channels", 0..=131_071)
                .unwrap_or(1023) as u32,
            max_grant_frames: self.number("max_grant_frames", 0..=1 << 20).unwrap_or(-1) as i32,
            max_maptrack_frames: self
                .number("max_maptrack_frames", 0..=1 << 20)
                .unwrap_or(-1) as i32,
            tsc_mode: self.tsc_mode(),
            cpuid: self.cpuid(),
            hardware: Hardware::read(self.cfg, kind, self.diags),
            max_grant_version: self.number("max_grant_version", 1..=2).map(|n| n as u32),
            acpi: self.cfg.get("acpi").and_then(|s| s.value.as_int()) != Some(0),
            nomigrate: self.cfg.get("nomigrate").and_then(|s| s.value.as_int()) == Some(1),
            paging_mib: self.number("shadow_memory", 1..=1 << 20).map(|n| n as u32),
            shares: Shares::read(self.cfg, self.diags),
            disks: self.items("disk", |spec, _| Disk::parse(spec)),
            vifs: self.items("vif", Vif::parse_with),
            source: self.cfg.to_text(),
        })
    }

    fn kernel(&mut self, kind: GuestKind, has_bootloader: bool) -> Option<String> {
        if self
            .cfg
            .get("firmware")
            .is_some_and(|s| s.value.as_str() != Some(""))
        {
            return firmware::read(self.cfg, kind, self.diags).map(str::to_string);
        }
        if has_bootloader {
            return Some(self.text("kernel").unwrap_or_default());
        }
        let help = "give the path of a kernel in this host, or a bootloader";
        self.required("kernel", help)
    }

    fn refuse_what_is_not_for(&mut self, kind: GuestKind) {
        if kind == GuestKind::Pv && self.cfg.get("timer_mode").is_some() {
            self.error(
                "timer_mode",
                "\"timer_mode\" is not for PV guests: they have no emulated timers",
            );
        }
    }

    /// Memory at the start and at most, in KiB. Each is the other's default, 32 MiB are both's.
    fn memory(&mut self) -> (u64, u64) {
        let memory = self.number("memory", MIN_MEMORY..=1 << 34);
        let maxmem = self.number("maxmem", MIN_MEMORY..=1 << 34);
        if let (Some(max), Some(m)) = (maxmem, memory)
            && max < m
        {
            self.error(
                "maxmem",
                format!("\"maxmem\" is {max}, less than \"memory\", which is {m}"),
            );
        }
        if (memory, maxmem) == (None, None) {
            let message = format!("\"memory\" is missing: it is {DEFAULT_MEMORY} MiB");
            self.diags
                .warn(&self.start(), message)
                .help("give it in MiB");
        }
        let at_start = memory.or(maxmem).unwrap_or(DEFAULT_MEMORY);
        let kib = |mib: i64| mib.unsigned_abs() * 1024;
        (kib(at_start), kib(maxmem.unwrap_or(at_start)))
    }

    /// Vcpus at the start, and at most.
    fn vcpus(&mut self) -> (u32, u32) {
        let vcpus = self.number("vcpus", 1..=MAX_VCPUS);
        let max = self.number("maxvcpus", 1..=MAX_VCPUS);
        if let (Some(max), Some(v)) = (max, vcpus)
            && max < v
        {
            self.error(
                "maxvcpus",
                format!("\"maxvcpus\" is {max}, less than \"vcpus\", which is {v}"),
            );
        }
        let at_start = vcpus.unwrap_or(1);
        (at_start as u32, max.unwrap_or(at_start) as u32)
    }

    fn value(&self, key: &str) -> Option<&Setting> {
        self.cfg.get(key)
    }

    fn error(&mut self, key: &str, message: impl Into<String>) {
        let pos = self
            .value(key)
            .map_or_else(Pos::nowhere, |s| s.value.pos.clone());
        self.diags.error(&pos, message);
    }

    /// Where what is missing is missed.
    fn start(&self) -> Pos {
        self.cfg.settings.last().map_or_else(Pos::nowhere, |s| Pos {
            line: 1,
            col: 1,
            ..s.pos.clone()
        })
    }

    fn missing(&mut self, key: &str, help: &str) {
        self.diags
            .error(&self.start(), format!("\"{key}\" is missing"))
            .help(help);
    }

    fn text(&self, key: &str) -> Option<String> {
        self.value(key)
            .and_then(|s| s.value.as_str())
            .map(str::to_string)
    }

    fn required(&mut self, key: &str, help: &str) -> Option<String> {
        let text = self.text(key).filter(|t| !t.is_empty());
        if text.is_none() {
            self.missing(key, help);
        }
        text
    }

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let n = self.value(key)?.value.as_int()?;
        if !range.contains(&n) {
            self.error(
                key,
                format!(
                    "\"{key}\" is {n}, outside {} to {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        Some(n)
    }

    fn bootloader(&self) -> Option<Bootloader> {
        let program = self.text("bootloader").filter(|b| !b.is_empty())?;
        let value = self.value("bootloader_args").map(|s| &s.value);
        // A string is words, a list is taken as it is.
        let args = match value.map(|v| (v.as_str(), v.as_list())) {
            Some((Some(words), _)) => words.split_whitespace().map(str::to_string).collect(),
            Some((_, Some(list))) => list
                .iter()
                .filter_map(|v| v.as_str().map(str::to_string))
                .collect(),
            _ => vec![],
        };
        Some(Bootloader { program, args })
    }

    fn name(&mut self) -> Option<String> {
        let name = self.required("name", "every domain needs one")?;
        if name.contains('/') || name.chars().any(char::is_control) {
            self.error("name", "a name has no slashes and no control characters");
        } else if name.bytes().all(|b| b.is_ascii_digit()) {
            let pos = self
                .value("name")
                .map_or_else(Pos::nowhere, |s| s.value.pos.clone());
            self.diags
                .warn(&pos, "a name of digits only will be taken for a domain id");
        }
        Some(name)
    }

    fn uuid(&mut self) -> Uuid {
        let Some(text) = self.text("uuid") else {
            return Uuid::default();
        };
        Uuid::parse(&text).unwrap_or_else(|| {
            self.error(
                "uuid",
                format!("\"{text}\" is not a UUID (32 hexadecimal digits)"),
            );
            Uuid::default()
        })
    }

    fn cmdline(&mut self) -> String {
        if let Some(whole) = self.text("cmdline") {
            for ignored in ["root", "extra"] {
                if let Some(s) = self.cfg.get(ignored) {
                    self.diags.warn(
                        &s.pos,
                        format!("\"{ignored}\" is ignored because \"cmdline\" is given"),
                    );
                }
            }
            return whole;
        }
        let root = self
            .text("root")
            .filter(|r| !r.is_empty())
            .map(|r| format!("root={r}"));
        let parts = [root, self.text("extra").filter(|e| !e.is_empty())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn actions(&mut self) -> Actions {
        let d = Actions::default();
        Actions {
            poweroff: self.action("on_poweroff", d.poweroff),
            reboot: self.action("on_reboot", d.reboot),
            crash: self.action("on_crash", d.crash),
            watchdog: self.action("on_watchdog", d.watchdog),
            soft_reset: self.action("on_soft_reset", d.soft_reset),
        }
    }

    fn action(&mut self, key: &str, default: Action) -> Action {
        let Some(word) = self.text(key) else {
            return default;
        };
        let Some((_, action)) = Action::NAMES.iter().find(|n| n.0 == word) else {
            let names: Vec<_> = Action::NAMES.iter().map(|n| n.0).collect();
            self.error(
                key,
                format!("\"{key}\" is one of {}, not \"{word}\"", names.join(", ")),
            );
            return default;
        };
        *action
    }

    fn cpuid(&mut self) -> Cpuid {
        match self.cfg.get("cpuid") {
            Some(s) => Cpuid::read(&s.value, self.diags),
            None => Cpuid::default(),
        }
    }

    fn tsc_mode(&mut self) -> u32 {
        const NAMES: [&str; 3] = ["default", "always_emulate", "native"];
        let Some(value) = self.value("tsc_mode").map(|s| s.value.clone()) else {
            return 0;
        };
        let by_number = value
            .as_int()
            .filter(|n| (0..3).contains(n))
            .map(|n| n as u32);
        let by_name = value
            .as_str()
            .and_then(|s| NAMES.iter().position(|n| *n == s))
            .map(|n| n as u32);
        by_number.or(by_name).unwrap_or_else(|| {
            self.error(
                "tsc_mode",
                format!(
                    "\"tsc_mode\" is one of {} (\"native_paravirt\" is no more)",
                    NAMES.join(", ")
                ),
            );
            0
        })
    }

    /// Lists of CPUs for each vcpu: a string is for all, a list has one for each of the first.
    fn cpu_lists(&mut self, key: &str, vcpus: u32) -> Vec<CpuList> {
        let Some(value) = self.value(key).map(|s| s.value.clone()) else {
            return vec![];
        };
        let mut read = |v: &Value| match CpuList::parse(v.as_str().unwrap_or_default()) {
            Ok(list) => Some(list),
            Err(e) => {
                self.diags.error(&v.pos, e);
                None
            }
        };
        match &value.kind {
            ValueKind::List(each) => {
                let mut lists: Vec<_> = each.iter().filter_map(read).collect();
                // Of vcpus that there are not.
                lists.truncate(vcpus as usize);
                lists
            }
            _ => read(&value).map_or_else(Vec::new, |all| vec![all; vcpus as usize]),
        }
    }

    fn items<T>(
        &mut self,
        key: &str,
        parse: fn(&str, &mut Vec<Unknown>) -> std::result::Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = self.value(key).map(|s| s.value.clone()) else {
            return vec![];
        };
        let mut items = Vec::new();
        for v in value.as_list().unwrap_or_default() {
            let mut unknown = Vec::new();
            match parse(v.as_str().unwrap_or_default(), &mut unknown) {
                Ok(i) => items.push(i),
                Err(e) => drop(self.diags.error(&v.pos, format!("in \"{key}\": {e}"))),
            }
            for Unknown { what, near } in unknown {
                let warning = self
                    .diags
                    .warn(&v.pos, format!("in \"{key}\": {what} is ignored"));
                if let Some(near) = near {
                    warning.help(format!("did you mean \"{near}\"?"));
                }
            }
        }
        items
    }
}

#[cfg(test)]
mod tests;
