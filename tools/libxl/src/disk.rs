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
    /// Discard requests pass through.
    pub discard: bool,
    /// Direct I/O on the target is safe.
    pub direct_io_safe: bool,
}

/// Prefixes from xend's days: name, format they imply.
const PREFIXES: &[(&str, Option<Format>)] = &[
    ("phy:", Some(Format::Raw)),
    ("file:", Some(Format::Raw)),
    ("tap2:", None),
    ("tap:", None),
    ("aio:", Some(Format::Raw)),
    ("ioemu:", None),
    ("raw:", Some(Format::Raw)),
    ("qcow2:", Some(Format::Qcow2)),
    ("qcow:", Some(Format::Qcow)),
    ("vhd:", Some(Format::Vhd)),
    ("qed:", Some(Format::Qed)),
];

/// Prefixes that stand for the script `block-PREFIX`.
const SCRIPTED: &[&str] = &["drbd", "iscsi", "nbd", "enbd"];

#[derive(Default)]
struct Parts {
    target: Option<String>,
    format: Option<Format>,
    vdev: Option<String>,
    access: Option<&'static Access>,
    old_prefix: bool,
    cdrom: bool,
    backendtype: Option<String>,
    script: Option<String>,
    backend: Option<String>,
    discard: Option<bool>,
    direct_io_safe: bool,
}

impl Disk {
    /// Reads a specification.
    pub fn parse(spec: &str) -> Result<Disk, String> {
        Disk::parse_words(&[spec])
    }

    /// Reads a specification that comes as several words; each may end in a target with commas.
    pub fn parse_words(words: &[&str]) -> Result<Disk, String> {
        let mut p = Parts::default();
        words.iter().try_for_each(|word| p.items(word))?;
        p.finish(&words.join(","))
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
            (self.discard, ",discard"),
            (!self.discard, ",no-discard"),
            (self.direct_io_safe, ",direct-io-safe"),
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
    /// One word's items.
    fn items(&mut self, word: &str) -> Result<(), String> {
        let mut rest = word.trim();
        while !rest.is_empty() {
            // The target may hold commas and equals signs when it is last and named.
            if let Some(target) = rest.strip_prefix("target=") {
                self.target = Some(target.trim().into());
                break;
            }
            let (item, more) = rest.split_once(',').unwrap_or((rest, ""));
            self.item(item.trim())?;
            rest = more.trim_start();
        }
        Ok(())
    }

    fn item(&mut self, item: &str) -> Result<(), String> {
        match item.split_once('=') {
            Some((key, value)) if key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
                self.named(key, value)
            }
            _ => self.positional(item),
        }
    }

    fn named(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "format" => self.format = Some(format(value)?),
            "vdev" => self.vdev = Some(value.into()),
            "access" => self.access = Some(access(value)?),
            "devtype" if matches!(value, "cdrom" | "disk") => self.cdrom = value == "cdrom",
            "devtype" => return Err(format!("devtype is \"cdrom\" or \"disk\", not \"{value}\"")),
            "backendtype" if matches!(value, "phy" | "tap" | "qdisk" | "standalone") => {
                self.backendtype = Some(value.into());
            }
            "backendtype" => {
                return Err(format!(
                    "backendtype is phy, tap, qdisk or standalone, not \"{value}\""
                ));
            }
            "script" => self.script = Some(value.into()),
            "backend" => self.backend = Some(value.into()),
            "specification" if matches!(value, "xen" | "virtio") => {}
            "grant_usage" | "trusted" => {}
            _ => return Err(format!("unknown disk parameter \"{key}\"")),
        }
        Ok(())
    }

    fn positional(&mut self, item: &str) -> Result<(), String> {
        match item {
            "cdrom" => self.cdrom = true,
            "discard" => self.discard = Some(true),
            "no-discard" => self.discard = Some(false),
            "direct-io-safe" => self.direct_io_safe = true,
            _ if self.target.is_none() => self.old_target(item),
            _ if self.format.is_none() && !self.old_prefix => {
                self.format = Some(if item.is_empty() {
                    Format::Raw
                } else {
                    format(item)?
                });
            }
            _ if self.vdev.is_none() => self.old_vdev(item)?,
            _ if self.access.is_none() => self.access = Some(access(item)?),
            _ => return Err(format!("nothing known to do with \"{item}\"")),
        }
        Ok(())
    }

    fn old_target(&mut self, item: &str) {
        let mut rest = item;
        if let Some((prefix, target)) = item.split_once(':')
            && SCRIPTED.contains(&prefix)
        {
            self.script = Some(format!("block-{prefix}"));
            self.old_prefix = true;
            rest = target;
        }
        while let Some((prefix, format)) = PREFIXES.iter().find(|p| rest.starts_with(p.0)) {
            rest = &rest[prefix.len()..];
            self.old_prefix = true;
            self.format = format.or(self.format);
        }
        self.target = Some(rest.into());
    }

    fn old_vdev(&mut self, item: &str) -> Result<(), String> {
        let item = item.strip_prefix("ioemu:").unwrap_or(item);
        let (vdev, devtype) = item.split_once(':').unwrap_or((item, ""));
        match devtype {
            "" | "disk" => {}
            "cdrom" => self.cdrom = true,
            other => return Err(format!("\"{other}\" after \"{vdev}:\" is not \"cdrom\"")),
        }
        self.vdev = Some(vdev.into());
        Ok(())
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
            discard: self.discard.unwrap_or(writable),
            direct_io_safe: self.direct_io_safe,
        })
    }
}

fn format(word: &str) -> Result<Format, String> {
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
mod tests {
    use super::*;

    fn ok(spec: &str) -> (String, Format, u32, bool, bool) {
        let d = Disk::parse(spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
        (d.target, d.format, d.vdev.number, d.writable, d.cdrom)
    }

    #[test]
    fn each_word_is_read_on_its_own() {
        let words = ["target=/dev/vg/a,b=c", "vdev=xvdb", "access=r"];
        let d = Disk::parse_words(&words).unwrap();
        assert_eq!((&*d.target, d.vdev.number), ("/dev/vg/a,b=c", 51728));
        assert!(!d.writable);
        let positions = Disk::parse_words(&["phy:/dev/vg/a", "xvdb,r"]).unwrap();
        assert!(positions.target == "/dev/vg/a" && !positions.writable);
        assert!(Disk::parse(&words.join(",")).is_err());
    }

    #[test]
    fn documented_forms() {
        let lv = || "/dev/vg/guest".to_string();
        assert_eq!(
            ok("/dev/vg/guest,raw,xvda,rw"),
            (lv(), Format::Raw, 51712, true, false)
        );
        assert_eq!(
            ok("/dev/vg/guest,,hda"),
            (lv(), Format::Raw, 768, true, false)
        );
        assert_eq!(
            ok("format=raw, vdev=sda1, access=r, target=/dev/vg/guest"),
            (lv(), Format::Raw, 2049, false, false)
        );
        assert_eq!(
            ok("raw:/dev/vg/guest,hda,w"),
            (lv(), Format::Raw, 768, true, false)
        );
        assert_eq!(
            ok("phy:/dev/vg/guest,xvda1,w"),
            (lv(), Format::Raw, 51713, true, false)
        );
        assert_eq!(ok("file:/a.img,sda2,w").2, 2050);
        assert!(!ok("tap:aio:/a.img,xvdb,r").3);
        assert_eq!(ok("tap2:qcow2:/a,xvdb,w").1, Format::Qcow2);
        assert_eq!(
            ok("/a.iso,,hdc,cdrom"),
            ("/a.iso".into(), Format::Raw, 5632, false, true)
        );
        assert!(ok("file:/a.iso,hdc:cdrom,r").4);
        assert_eq!(
            ok(",empty,hdc,cdrom"),
            (String::new(), Format::Empty, 5632, false, true)
        );
        assert_eq!(ok("vdev=xvda,target=/a,b=c").0, "/a,b=c");
    }

    #[test]
    fn a_specification_of_a_disk_makes_the_same_disk() {
        for spec in [
            "phy:/dev/vg/guest,xvda1,w!",
            "file:/a.iso,hdc:cdrom,r",
            ",empty,hdc,cdrom",
            "script=block-x,vdev=xvdb,backendtype=phy,discard,direct-io-safe,target=a,b=c",
            "drbd:res0,xvda,w",
        ] {
            let one = Disk::parse(spec).unwrap();
            assert_eq!(Disk::parse(&one.spec()).unwrap(), one, "{}", one.spec());
        }
        let drbd = Disk::parse("drbd:res0,xvda,w").unwrap();
        assert_eq!(
            (drbd.script.as_deref(), &*drbd.target),
            (Some("block-drbd"), "res0")
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (spec, part) in [
            ("/a", "no virtual device"),
            ("/a,raw,xyz,w", "xyz"),
            ("/a,foo,xvda,w", "\"foo\" is no disk format"),
            ("/a,raw,xvda,q", "\"q\" is no access mode"),
            ("/a,raw,xvda,w,more", "\"more\""),
            ("/a,raw,xvda,colour=red", "\"colour\""),
            (",raw,xvda,w", "no target"),
        ] {
            let e = Disk::parse(spec).unwrap_err();
            assert!(e.contains(part), "{spec}: {e}");
        }
    }
}
