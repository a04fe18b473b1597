//! Disk specifications: `target, format, vdev, access`, by position or by key, with xend's old prefixes.
use crate::VirtualDevice;

/// How the image is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Format {
    Raw,
    Qcow,
    Qcow2,
    Vhd,
    Qed,
    /// A CD drive without a disc.
    Empty,
}

impl Format {
    const NAMES: &'static [(&'static str, Format)] = &[
        ("raw", Format::Raw),
        ("qcow", Format::Qcow),
        ("qcow2", Format::Qcow2),
        ("vhd", Format::Vhd),
        ("qed", Format::Qed),
        ("empty", Format::Empty),
    ];

    /// The specification's word for it.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|n| n.1 == self)
            .map_or("raw", |n| n.0)
    }
}

/// A disk of a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// Block device or file in the back end's domain; empty for an empty CD drive.
    pub target: String,
    /// Layout.
    pub format: Format,
    /// What the guest sees.
    pub vdev: VirtualDevice,
    /// Whether the guest may write.
    pub writable: bool,
    /// `w!`: whoever else uses it.
    pub shared: bool,
    /// Whether it is a CD drive.
    pub cdrom: bool,
    /// `phy`, `qdisk`, ...; chosen from the target if absent.
    pub backendtype: Option<String>,
    /// Hotplug script.
    pub script: Option<String>,
    /// Domain that serves it.
    pub backend: Option<String>,
    /// Whether discard requests pass through; those of a disk that can be written do by default.
    pub discard: Option<bool>,
    /// Direct I/O on the target is safe.
    pub direct_io_safe: bool,
    /// Whether the guest is to trust the back end, which it does by default.
    pub trusted: Option<bool>,
}

/// Prefixes from xend's days that say nothing which is not known otherwise.
const PREFIXES: &[&str] = &["phy", "file", "tapdisk", "tap2", "tap", "aio", "ioemu"];
/// Prefixes that stand for the script `block-PREFIX`.
const SCRIPTED: &[&str] = &["drbd", "iscsi", "nbd", "enbd"];
/// Parameters with a value, for suggestions.
const KEYS: &[&str] = &[
    "target",
    "format",
    "vdev",
    "access",
    "devtype",
    "backend",
    "backendtype",
    "script",
    "specification",
    "trusted",
];

#[derive(Default)]
struct Parts {
    target: Option<String>,
    format: Option<Format>,
    vdev: Option<String>,
    access: Option<&'static Access>,
    /// By position.
    access_given: bool,
    old_prefix: bool,
    cdrom: bool,
    backendtype: Option<String>,
    script: Option<String>,
    backend: Option<String>,
    discard: Option<bool>,
    direct_io_safe: bool,
    trusted: Option<bool>,
}

impl Disk {
    /// Reads a specification.
    pub fn parse(spec: &str) -> Result<Disk, String> {
        Disk::parse_words([spec])
    }

    /// The same in several words, of which each goes on where the one before it ended.
    pub fn parse_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Disk, String> {
        let mut p = Parts::default();
        let mut all = Vec::new();
        for word in words {
            p.word(word)?;
            all.push(word);
        }
        p.finish(&all.join(" "))
    }
}

impl Disk {
    /// The same as a specification, every part by its key.
    pub fn spec(&self) -> String {
        let mut spec = format!(
            "vdev={},format={},access={}",
            self.vdev,
            self.format.name(),
            self.mode()
        );
        let mut add = |key: &str, value: &Option<String>| {
            if let Some(v) = value {
                spec.push_str(&format!(",{key}={v}"));
            }
        };
        add("backendtype", &self.backendtype);
        add("backend", &self.backend);
        add("script", &self.script);
        let flags = [
            (self.cdrom, ",devtype=cdrom"),
            (self.discard == Some(true), ",discard"),
            (self.discard == Some(false), ",no-discard"),
            (self.direct_io_safe, ",direct-io-safe"),
            (self.trusted == Some(true), ",trusted"),
            (self.trusted == Some(false), ",untrusted"),
        ];
        for (_, word) in flags.iter().filter(|f| f.0) {
            spec.push_str(word);
        }
        // Last, since it may hold anything.
        spec + ",target=" + &self.target
    }

    /// `r`, `w` or `w!`.
    pub fn mode(&self) -> &'static str {
        match (self.writable, self.shared) {
            (false, _) => "r",
            (true, false) => "w",
            (true, true) => "w!",
        }
    }
}

impl Parts {
    fn word(&mut self, word: &str) -> Result<(), String> {
        let mut rest = word.trim();
        while !rest.is_empty() {
            // The target may hold commas and equals signs when it is last and named.
            if let Some(target) = rest.strip_prefix("target=") {
                return once(&mut self.target, "target", target.trim());
            }
            if let Some(after) = self.prefix(rest)? {
                rest = after;
                continue;
            }
            let (item, more) = rest.split_once(',').unwrap_or((rest, ""));
            self.item(item.trim())?;
            rest = more.trim_start();
        }
        Ok(())
    }

    /// Takes a prefix off, if there is one; what follows it.
    fn prefix<'a>(&mut self, text: &'a str) -> Result<Option<&'a str>, String> {
        let Some((prefix, rest)) = text.split_once(':') else {
            return Ok(None);
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !prefix.starts_with(|c: char| c.is_ascii_lowercase()) || !prefix.chars().all(plain) {
            return Ok(None);
        }
        if SCRIPTED.contains(&prefix) {
            once(&mut self.script, "script", &format!("block-{prefix}"))?;
        } else if let Some((_, format)) = Format::NAMES.iter().find(|n| n.0 == prefix) {
            self.set_format(*format)?;
        } else if !PREFIXES.contains(&prefix) {
            // It may be a device with its type, or a target such as "rbd:pool/image".
            return match rest.starts_with(plain) {
                true => Ok(None),
                false => Err(format!(
                    "\"{prefix}:\" is no prefix of a target ({}, raw, qcow2, vhd, {})",
                    PREFIXES.join(", "),
                    SCRIPTED.join(", ")
                )),
            };
        }
        self.old_prefix = true;
        Ok(Some(rest))
    }

    fn item(&mut self, item: &str) -> Result<(), String> {
        let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        match item.split_once('=') {
            Some((key, value)) if key.chars().all(is_key) => self.named(key, value),
            _ => self.positional(item),
        }
    }

    fn named(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "format" => return self.set_format(format(value)?),
            "vdev" => return once(&mut self.vdev, key, value),
            "access" => self.access = Some(access(value)?),
            "devtype" if matches!(value, "cdrom" | "disk") => self.cdrom = value == "cdrom",
            "devtype" => return Err(format!("devtype is \"cdrom\" or \"disk\", not \"{value}\"")),
            "backendtype" if matches!(value, "phy" | "tap" | "qdisk" | "standalone") => {
                return once(&mut self.backendtype, key, value);
            }
            "backendtype" => {
                return Err(format!(
                    "backendtype is phy, tap, qdisk or standalone, not \"{value}\""
                ));
            }
            "script" => return once(&mut self.script, key, value),
            "backend" => return once(&mut self.backend, key, value),
            "specification" if value == "xen" => {}
            "specification" if value == "virtio" => {
                return Err(
                    "there are no virtio disks, as there is no device model that serves them; \
                     leave \"specification\" out"
                        .into(),
                );
            }
            "specification" => return Err(format!("specification is \"xen\", not \"{value}\"")),
            "grant_usage" => {
                return Err(
                    "grant_usage is of virtio disks, which there are not; others always use grants: leave it out"
                        .into(),
                );
            }
            "trusted" if matches!(value, "0" | "1") => self.trusted = Some(value == "1"),
            "trusted" => return Err(format!("trusted is 0 or 1, not \"{value}\"")),
            _ => {
                let near = crate::cfg::keys::nearest(key, KEYS.iter().copied());
                let help = near.map_or_else(String::new, |n| format!("; did you mean \"{n}\"?"));
                return Err(format!("unknown disk parameter \"{key}\"{help}"));
            }
        }
        Ok(())
    }

    fn positional(&mut self, item: &str) -> Result<(), String> {
        match item {
            "cdrom" => self.cdrom = true,
            "discard" => self.discard = Some(true),
            "no-discard" => self.discard = Some(false),
            "direct-io-safe" => self.direct_io_safe = true,
            "trusted" => self.trusted = Some(true),
            "untrusted" => self.trusted = Some(false),
            "no-colo" => {}
            "colo" => return Err("there is no COLO; leave it out".into()),
            _ if self.target.is_none() => self.target = Some(item.into()),
            _ if self.format.is_none() && !self.old_prefix => {
                // Of a drive without a disc, the format may be left out altogether.
                let empty = self.target.as_deref() == Some("");
                if empty && item.contains(':') {
                    self.format = Some(Format::Empty);
                    return self.old_vdev(item);
                }
                self.format = Some(format(item)?);
            }
            _ if self.vdev.is_none() => return self.old_vdev(item),
            _ if !self.access_given => {
                self.access_given = true;
                self.access = Some(access(item)?);
            }
            _ => return Err(format!("nothing known to do with \"{item}\"")),
        }
        Ok(())
    }

    fn set_format(&mut self, format: Format) -> Result<(), String> {
        match self.format.replace(format) {
            Some(old) if old != format => Err(format!(
                "there are two formats, {} and {}",
                old.name(),
                format.name()
            )),
            _ => Ok(()),
        }
    }

    fn old_vdev(&mut self, item: &str) -> Result<(), String> {
        let (vdev, devtype) = item.rsplit_once(':').unwrap_or((item, "disk"));
        match devtype {
            "disk" => {}
            "cdrom" => self.cdrom = true,
            other => return Err(format!("\"{other}\" after \"{vdev}:\" is not \"cdrom\"")),
        }
        once(&mut self.vdev, "vdev", vdev)
    }

    fn finish(self, spec: &str) -> Result<Disk, String> {
        let Some(vdev) = self.vdev.filter(|v| !v.is_empty()) else {
            return Err(format!(
                "\"{spec}\" names no virtual device, as in \"/dev/vg/disk,raw,xvda,rw\""
            ));
        };
        let vdev = VirtualDevice::parse(&vdev)?;
        let mut target = self.target.unwrap_or_default();
        let mut format = self.format.unwrap_or(Format::Raw);
        if target == "none" || target.is_empty() {
            target.clear();
            format = Format::Empty;
        }
        if format == Format::Empty && !self.cdrom {
            return Err(format!(
                "\"{spec}\" names no target, which only a CD drive may lack"
            ));
        }
        let writable = self.access.is_none_or(|a| a.writable) && !self.cdrom;
        if self.script.is_some() && format != Format::Raw {
            return Err(format!("\"{spec}\": scripts are for raw disks only"));
        }
        Ok(Disk {
            target,
            format,
            vdev,
            writable,
            shared: writable && self.access.is_some_and(|a| a.shared),
            cdrom: self.cdrom,
            backendtype: self.backendtype,
            script: self.script,
            backend: self.backend,
            discard: self.discard,
            direct_io_safe: self.direct_io_safe,
            trusted: self.trusted,
        })
    }
}

/// Gives a parameter its value, unless it has one.
fn once(slot: &mut Option<String>, key: &str, value: &str) -> Result<(), String> {
    match slot.replace(value.into()) {
        Some(old) if !old.is_empty() => Err(format!(
            "\"{key}\" is given twice, as \"{old}\" and \"{value}\""
        )),
        _ => Ok(()),
    }
}

fn format(word: &str) -> Result<Format, String> {
    if word.is_empty() {
        return Ok(Format::Raw);
    }
    let found = Format::NAMES.iter().find(|n| n.0 == word).map(|n| n.1);
    found.ok_or_else(|| format!("\"{word}\" is no disk format (raw, qcow, qcow2, vhd, qed)"))
}

/// A mode of access.
struct Access {
    word: &'static str,
    writable: bool,
    shared: bool,
}

const ACCESS: &[Access] = &[
    // What is left empty is as usual.
    mode("", true, false),
    mode("r", false, false),
    mode("ro", false, false),
    mode("w", true, false),
    mode("rw", true, false),
    mode("w!", true, true),
    mode("rw!", true, true),
];

const fn mode(word: &'static str, writable: bool, shared: bool) -> Access {
    Access {
        word,
        writable,
        shared,
    }
}

fn access(word: &str) -> Result<&'static Access, String> {
    let found = ACCESS.iter().find(|a| a.word == word);
    found.ok_or_else(|| format!("\"{word}\" is no access mode (r, ro, w, rw, w!)"))
}

#[cfg(test)]
mod tests;
