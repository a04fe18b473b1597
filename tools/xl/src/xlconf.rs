//! `/etc/xen/xl.conf`: settings of xl itself, in the grammar of domains' configurations.
use crate::ctx::{Connections, Failure};
use libxl::cfg::{self, Cfg, Diagnostics, Setting};
use libxl::{CpuList, DomainConfig, Vif};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use xenctrl::CpuMap;

/// Where it is.
const FILE: &str = "/etc/xen/xl.conf";

/// How many frames a table of grants may have.
const FRAMES: RangeInclusive<i64> = 0..=1 << 20;

/// Every key that the file may have.
const KEYS: &[&str] = &[
    "autoballoon",
    "run_hotplug_scripts",
    "lockfile",
    "max_grant_frames",
    "max_grant_version",
    "max_maptrack_frames",
    "vif.default.script",
    "vif.default.bridge",
    "vif.default.backend",
    "vif.default.gatewaydev",
    "vifscript",
    "defaultbridge",
    "defaultgatewaydev",
    "output_format",
    "blkdev_start",
    "claim_mode",
    "remus.default.netbufscript",
    "colo.default.proxyscript",
    "vm.cpumask",
    "vm.hvm.cpumask",
    "vm.pv.cpumask",
    "domid_policy",
];

/// Whether dom0 gives memory to new domains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AutoBalloon {
    /// Unless `dom0_mem` fixes its size.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What the file says; `Default` is what holds without it.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct XlConf {
    pub autoballoon: AutoBalloon,
    pub lockfile: PathBuf,
    pub claim_mode: bool,
    pub max_grant_frames: Option<i64>,
    pub max_maptrack_frames: Option<i64>,
    pub max_grant_version: Option<i64>,
    pub vif_script: Option<String>,
    pub vif_bridge: Option<String>,
    pub vif_backend: Option<String>,
    pub vif_gatewaydev: Option<String>,
    cpumask: Option<CpuList>,
    cpumask_hvm: Option<CpuList>,
    cpumask_pv: Option<CpuList>,
}

impl Default for XlConf {
    fn default() -> Self {
        XlConf {
            autoballoon: AutoBalloon::Auto,
            lockfile: "/run/lock/xl".into(),
            claim_mode: true,
            max_grant_frames: None,
            max_maptrack_frames: None,
            max_grant_version: None,
            vif_script: None,
            vif_bridge: None,
            vif_backend: None,
            vif_gatewaydev: None,
            cpumask: None,
            cpumask_hvm: None,
            cpumask_pv: None,
        }
    }
}

/// Reads the file. What is wrong in it is reported and has no effect: xl goes on.
pub fn read() -> XlConf {
    let Ok(bytes) = std::fs::read(FILE) else {
        return XlConf::default();
    };
    let (conf, diags) = parse(FILE, &String::from_utf8_lossy(&bytes));
    diags.0.iter().for_each(|d| say!("{d}"));
    conf
}

/// The lock that it names; what is wrong in the file is left for [`read`] to tell.
pub fn lockfile() -> PathBuf {
    let bytes = std::fs::read(FILE).unwrap_or_default();
    parse(FILE, &String::from_utf8_lossy(&bytes)).0.lockfile
}

/// Reads its text.
pub fn parse(file: &str, text: &str) -> (XlConf, Diagnostics) {
    let mut diags = Diagnostics::default();
    let cfg = cfg::parse(file, text, &mut diags);
    for s in &cfg.settings {
        if !KEYS.contains(&s.key.as_str()) {
            let d = diags.warn(&s.pos, format!("unknown key \"{}\" is ignored", s.key));
            if let Some(near) = cfg::keys::nearest(&s.key, KEYS.iter().copied()) {
                d.help(format!("did you mean \"{near}\"?"));
            }
        }
    }
    let mut reader = Reader { cfg: &cfg, diags };
    (reader.read(), reader.diags)
}

struct Reader<'a> {
    cfg: &'a Cfg,
    diags: Diagnostics,
}

impl Reader<'_> {
    fn read(&mut self) -> XlConf {
        let d = XlConf::default();
        self.unsupported();
        let either = |r: &Self, new: &str, old: &str| r.text(new).or_else(|| r.text(old));
        XlConf {
            autoballoon: self.autoballoon(),
            lockfile: self.text("lockfile").map_or(d.lockfile, PathBuf::from),
            claim_mode: self.flag("claim_mode", true),
            max_grant_frames: self.number("max_grant_frames", FRAMES),
            max_maptrack_frames: self.number("max_maptrack_frames", FRAMES),
            max_grant_version: self.number("max_grant_version", 1..=2),
            vif_script: either(self, "vif.default.script", "vifscript"),
            vif_bridge: either(self, "vif.default.bridge", "defaultbridge"),
            vif_backend: self.text("vif.default.backend"),
            vif_gatewaydev: either(self, "vif.default.gatewaydev", "defaultgatewaydev"),
            cpumask: self.cpus("vm.cpumask"),
            cpumask_hvm: self.cpus("vm.hvm.cpumask"),
            cpumask_pv: self.cpus("vm.pv.cpumask"),
        }
    }

    fn get(&self, key: &str) -> Option<Setting> {
        self.cfg.get(key).cloned()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key)
            .and_then(|s| s.value.as_str().map(str::to_string))
    }

    fn wrong(&mut self, s: &Setting, wanted: &str) {
        self.diags.error(
            &s.value.pos,
            format!("\"{}\" takes {wanted}; its default is used", s.key),
        );
    }

    fn number(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let s = self.get(key)?;
        let n = s.value.as_int().filter(|n| range.contains(n));
        if n.is_none() {
            self.wrong(
                &s,
                &format!("a number from {} to {}", range.start(), range.end()),
            );
        }
        n
    }

    fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(s) = self.get(key) else {
            return default;
        };
        match s.value.as_int() {
            Some(n @ 0..=1) => n == 1,
            _ => {
                self.wrong(&s, "0 or 1");
                default
            }
        }
    }

    fn word(&mut self, key: &str, words: &[&str]) -> Option<usize> {
        let s = self.get(key)?;
        let found = s
            .value
            .as_str()
            .and_then(|t| words.iter().position(|w| *w == t));
        if found.is_none() {
            self.wrong(&s, &words.join(" or "));
        }
        found
    }

    /// Names what is asked for in vain.
    fn unsupported(&mut self) {
        let mut vain: Vec<(&str, &str)> = Vec::new();
        if !self.flag("run_hotplug_scripts", true) {
            vain.push(("run_hotplug_scripts", "xl sets devices up itself, not udev"));
        }
        if self.word("output_format", &["json", "sxp"]) == Some(1) {
            vain.push(("output_format", "the output is JSON"));
        }
        if self.word("domid_policy", &["xen", "random"]) == Some(1) {
            vain.push((
                "domid_policy",
                "the hypervisor numbers domains, one after the other",
            ));
        }
        vain.extend([
            ("blkdev_start", "no guest's disk becomes a disk of dom0's"),
            ("remus.default.netbufscript", "there is no Remus"),
            ("colo.default.proxyscript", "there is no COLO"),
        ]);
        for (key, why) in vain {
            if let Some(s) = self.get(key) {
                let text = format!("\"{key}\" has no effect here: {why}");
                self.diags.warn(&s.pos, text);
            }
        }
        for (old, new) in [
            ("vifscript", "vif.default.script"),
            ("defaultbridge", "vif.default.bridge"),
            ("defaultgatewaydev", "vif.default.gatewaydev"),
        ] {
            if let Some(s) = self.get(old) {
                let text = format!("\"{old}\" is deprecated; it is called \"{new}\" now");
                self.diags.warn(&s.pos, text);
            }
        }
    }

    fn autoballoon(&mut self) -> AutoBalloon {
        let Some(s) = self.get("autoballoon") else {
            return AutoBalloon::Auto;
        };
        match s.value.as_str().unwrap_or_default() {
            "auto" => AutoBalloon::Auto,
            "on" | "1" => AutoBalloon::On,
            "off" | "0" => AutoBalloon::Off,
            _ => {
                self.wrong(&s, "auto, on or off");
                AutoBalloon::Auto
            }
        }
    }

    fn cpus(&mut self, key: &str) -> Option<CpuList> {
        let s = self.get(key)?;
        let words: Vec<&str> = match s.value.as_list() {
            Some(l) => l.iter().filter_map(|v| v.as_str()).collect(),
            None => s.value.as_str().into_iter().collect(),
        };
        match CpuList::parse(&words.join(",")) {
            Ok(l) => Some(l),
            Err(e) => {
                self.wrong(&s, &e);
                None
            }
        }
    }
}

/// Whether the hypervisor's command line says anything of dom0's size, be it what it is less than the machine's.
fn dom0_mem_given(cmdline: &str) -> bool {
    let digits = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_digit());
    let size = |t: &str| {
        let t = t.strip_prefix('-').unwrap_or(t);
        digits(t.strip_suffix(|c| "bBkKmMgGtT".contains(c)).unwrap_or(t))
    };
    let share = |t: &str| match t
        .strip_suffix('%')
        .map(|t| t.rsplit_once('+').unwrap_or(("0", t)))
    {
        Some((least, percent)) => size(least) && digits(percent) && percent.len() <= 2,
        None => false,
    };
    let bound = |t: &str| {
        let t = t
            .strip_prefix("min:")
            .or(t.strip_prefix("max:"))
            .unwrap_or(t);
        size(t) || share(t)
    };
    cmdline
        .split(' ')
        .filter_map(|w| w.strip_prefix("dom0_mem="))
        .map(|v| v.strip_suffix(',').unwrap_or(v))
        .any(|v| v.split(',').all(bound))
}

impl XlConf {
    /// Whether dom0 gives of its memory.
    pub fn balloons(&self, cmdline: &str) -> bool {
        match self.autoballoon {
            AutoBalloon::On => true,
            AutoBalloon::Off => false,
            AutoBalloon::Auto => !dom0_mem_given(cmdline),
        }
    }

    /// Makes connections that create domains as the file says.
    pub fn creating(&self, c: Connections) -> Connections {
        let cmdline = c.xc.version().map(|v| v.command_line).unwrap_or_default();
        let memory = (self.claim_mode, self.balloons(&cmdline));
        Connections { memory, ..c }
    }

    /// Gives an interface what it leaves open.
    pub fn complete_vif(&self, v: &mut Vif) {
        let or = |value: &mut Option<String>, default: &Option<String>| {
            if value.is_none() {
                value.clone_from(default);
            }
        };
        or(&mut v.bridge, &self.vif_bridge);
        or(&mut v.script, &self.vif_script);
        or(&mut v.backend, &self.vif_backend);
        or(&mut v.gatewaydev, &self.vif_gatewaydev);
    }

    /// Gives a configuration what it leaves open.
    pub fn complete(&self, config: &mut DomainConfig) {
        config.vifs.iter_mut().for_each(|v| self.complete_vif(v));
        let frames = |value: &mut i32, default: Option<i64>| {
            if let (true, Some(n)) = (*value < 0, default) {
                *value = n as i32;
            }
        };
        frames(&mut config.max_grant_frames, self.max_grant_frames);
        frames(&mut config.max_maptrack_frames, self.max_maptrack_frames);
        if let (None, Some(n)) = (config.max_grant_version, self.max_grant_version) {
            config.max_grant_version = Some(n as u32);
        }
    }

    /// Keeps a domain to be to the CPUs that guests may use. Those that it likes best are its own affair.
    pub fn confine(&self, config: &mut DomainConfig) {
        let kind = match config.kind.name() {
            "pv" => &self.cpumask_pv,
            _ => &self.cpumask_hvm,
        };
        for allowed in [&self.cpumask, kind].into_iter().flatten() {
            // A vcpu without a list of its own gets one.
            let vcpus = config.max_vcpus as usize;
            config.cpus.resize(vcpus, CpuList::all());
            for list in &mut config.cpus {
                *list = list.clone().within(allowed);
            }
        }
    }

    /// Takes the CPUs that domains of this kind may not use out of a hard affinity; `nodes` has the memory node of each CPU.
    pub fn mask(&self, hvm: bool, nodes: &[u32], hard: &mut Option<CpuMap>) -> Result<(), Failure> {
        let kind = if hvm {
            &self.cpumask_hvm
        } else {
            &self.cpumask_pv
        };
        let Some(hard) = hard else { return Ok(()) };
        for list in [&self.cpumask, kind].into_iter().flatten() {
            let Ok(allowed) = list.resolve(nodes) else {
                continue;
            };
            hard.0.iter_mut().zip(&allowed.0).for_each(|(m, a)| *m &= a);
            if hard.iter().next().is_none() {
                let text = format!(
                    "vcpu hard affinity map is empty: {FILE} leaves none of these CPUs (vm.cpumask)"
                );
                return Err(Failure::Message(text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_debians_file() {
        let (c, d) = parse(
            "xl.conf",
            "#autoballoon=\"auto\"\nclaim_mode=1\nvif.default.bridge=\"br0\"\nlockfile=\"/run/x\"\n",
        );
        assert!(d.0.is_empty(), "{:?}", d.0);
        assert_eq!(c.autoballoon, AutoBalloon::Auto);
        assert_eq!(
            (c.vif_bridge.as_deref(), c.lockfile),
            (Some("br0"), PathBuf::from("/run/x"))
        );
        let (c, _) = parse("xl.conf", "max_grant_version=1\n");
        assert_eq!(c.max_grant_version, Some(1));
        let (c, _) = parse("xl.conf", "autoballoon=0\nclaim_mode=0\n");
        assert!(c.autoballoon == AutoBalloon::Off && !c.claim_mode);
    }

    #[test]
    fn every_vcpu_is_kept_to_the_cpus_of_guests() {
        let mut d = Diagnostics::default();
        let text = "name='g'\nkernel='/k'\nmemory=64\nvcpus=3\ncpus=['0-2']\n";
        let cfg = libxl::cfg::parse("g.cfg", text, &mut d);
        let mut config = DomainConfig::from_cfg(&cfg, &mut d).unwrap();
        let (c, _) = parse("xl.conf", "vm.cpumask=\"1-3\"\n");
        c.confine(&mut config);
        let maps = config.cpus.iter().map(|l| l.resolve(&[0; 4]).unwrap());
        let cpus: Vec<Vec<u32>> = maps.map(|m| m.iter().collect()).collect();
        assert_eq!(cpus, [vec![1, 2], vec![1, 2, 3], vec![1, 2, 3]]);
    }

    #[test]
    fn mistakes_are_named_and_have_no_effect() {
        let (c, d) = parse("xl.conf", "autobaloon=1\nclaim_mode=2\nvm.cpumask=\"x\"\n");
        let d: Vec<String> = d.0.iter().map(ToString::to_string).collect();
        assert!(c.claim_mode && c.cpumask.is_none());
        assert_eq!(
            d[0],
            "xl.conf:1:1: warning: unknown key \"autobaloon\" is ignored (did you mean \"autoballoon\"?)"
        );
        assert_eq!(
            d[1],
            "xl.conf:2:12: error: \"claim_mode\" takes 0 or 1; its default is used"
        );
        assert!(
            d[2].starts_with("xl.conf:3:12: error: \"vm.cpumask\" takes"),
            "{}",
            d[2]
        );
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let text = "run_hotplug_scripts=0\noutput_format=\"sxp\"\nblkdev_start=\"xvde\"\ndomid_policy=\"random\"\nvifscript=\"x\"\n";
        let (c, d) = parse("xl.conf", text);
        assert_eq!((d.0.len(), c.vif_script.as_deref()), (5, Some("x")));
        for (warning, key) in
            d.0.iter()
                .zip(["run_", "output", "domid", "blkdev", "vifscript"])
        {
            let warning = warning.to_string();
            assert!(
                warning.contains(key) && warning.contains(": warning: "),
                "{warning}"
            );
        }
        let usual = "run_hotplug_scripts=1\noutput_format=\"json\"\ndomid_policy=\"xen\"\n";
        assert!(parse("xl.conf", usual).1.0.is_empty());
    }

    #[test]
    fn dom0_gives_unless_its_size_is_fixed() {
        let c = XlConf::default();
        assert!(c.balloons("console=com1") && !c.balloons("dom0_mem=512M,max:512M x"));
        assert!(!c.balloons("a dom0_mem=max:1g") && !c.balloons("dom0_mem=-1g"));
        assert!(!c.balloons("dom0_mem=min:1g+50%,max:-2G,") && !c.balloons("dom0_mem=9%"));
        assert!(c.balloons("dom0_mem=much") && c.balloons("dom0_mem=100%"));
        assert!(c.balloons("xdom0_mem=1g") && c.balloons("dom0_mem=512M,sure"));
        let (c, _) = parse("xl.conf", "autoballoon=\"on\"\n");
        assert!(c.balloons("dom0_mem=512M"));
    }

    #[test]
    fn masks_apply_to_guests() {
        let (c, _) = parse("xl.conf", "vm.cpumask=\"0-1\"\nvm.pv.cpumask=\"1-3\"\n");
        let mut hard = Some(CpuMap::full(4));
        c.mask(false, &[0; 4], &mut hard).unwrap();
        assert_eq!(hard.unwrap().iter().collect::<Vec<_>>(), [1]);
        let mut only_zero = CpuMap::empty(4);
        only_zero.set(0);
        assert!(c.mask(false, &[0; 4], &mut Some(only_zero)).is_err());
        assert!(c.mask(false, &[0; 4], &mut None).is_ok());
    }

    #[test]
    fn grant_tables_are_as_the_file_says_where_the_domain_does_not() {
        let (conf, d) = parse("xl.conf", "max_grant_version=2\n");
        assert!(d.0.is_empty(), "{:?}", d.0);
        let config = |more: &str| {
            let mut d = Diagnostics::default();
            let text = format!("name='g'\nkernel='/k'\nmemory=64\n{more}\n");
            let mut c = DomainConfig::from_cfg(&cfg::parse("g", &text, &mut d), &mut d).unwrap();
            conf.complete(&mut c);
            c.max_grant_version
        };
        assert_eq!(config(""), Some(2));
        assert_eq!(config("max_grant_version=1"), Some(1));
    }
}
