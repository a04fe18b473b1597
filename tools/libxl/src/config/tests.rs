//! What configurations mean, and how they are refused.
use super::*;
use crate::cfg::parse;

fn read(text: &str) -> (Result<DomainConfig>, Vec<String>) {
    let mut d = Diagnostics::default();
    let cfg = parse("g.cfg", text, &mut d);
    let config = DomainConfig::from_cfg(&cfg, &mut d);
    (config, d.0.iter().map(|d| d.to_string()).collect())
}

#[test]
fn a_plain_guest() {
    let (c, d) = read(
        "name='g'\nkernel='/k'\nmemory=128\nvcpus=2\nmaxvcpus=4\nroot='/dev/xvda'\nextra='ro'\ncpus='0-1'\n",
    );
    let c = c.unwrap();
    assert!(d.is_empty(), "{d:?}");
    assert_eq!(
        (c.memory_kib, c.maxmem_kib, c.vcpus, c.max_vcpus),
        (131_072, 131_072, 2, 4)
    );
    assert_eq!(c.cmdline, "root=/dev/xvda ro");
    assert_eq!(c.actions, Actions::default());
    // What is kept makes the same domain again.
    let again = read(&c.source).0.unwrap();
    assert_eq!((again.uuid, again.cmdline), (c.uuid, c.cmdline));
}

#[test]
fn every_mistake_at_its_place() {
    let (c, d) = read(
        "name='a/b'\nmemory=0\nmaxmem=4\nvcpus=0\ntype='hvm'\nuuid='x'\non_crash='explode'\ncpus=['0','x']\n\
         disk=['nonsense']\ncolour=1\n",
    );
    assert!(matches!(c, Err(Error::Config(_))));
    assert_eq!(
        d,
        [
            "g.cfg:10:1: warning: unknown key \"colour\" is ignored",
            "g.cfg:5:6: error: this type of guest is not supported yet (this release starts PV and PVH guests; take type = \"pvh\" if the kernel can be one)",
            "g.cfg:1:6: error: a name has no slashes and no control characters",
            "g.cfg:1:1: error: \"kernel\" is missing (give the path of a kernel in this host, or a bootloader)",
            "g.cfg:2:8: error: \"memory\" is 0, outside 4 to 17179869184",
            "g.cfg:4:7: error: \"vcpus\" is 0, outside 1 to 512",
            "g.cfg:6:6: error: \"x\" is not a UUID (32 hexadecimal digits)",
        ]
    );
}

#[test]
fn lists_and_words_are_checked() {
    let (_, d) = read(
        "name='a'\nkernel='/k'\nmemory=64\nmaxmem=32\non_crash='explode'\ncpus=['0','x']\ndisk=['nonsense']\n\
         vif=['mac=1']\ncmdline='a'\nroot='b'\non_reboot='coredump-restart'\n",
    );
    assert_eq!(d.len(), 6, "{d:#?}");
    assert!(
        d[0].starts_with("g.cfg:4:8: error: \"maxmem\" is 32, less than"),
        "{}",
        d[0]
    );
    assert!(
        d.iter()
            .any(|d| d.starts_with("g.cfg:6:11: error: \"x\" is not a list of CPUs")),
        "{d:#?}"
    );
    assert!(
        d.iter()
            .any(|d| d.starts_with("g.cfg:7:7: error: in \"disk\": ")),
        "{d:#?}"
    );
}

fn good(keys: &str) -> (DomainConfig, Vec<String>) {
    let (c, d) = read(&format!("name='g'\nkernel='/k'\n{keys}\n"));
    (c.unwrap_or_else(|e| panic!("{keys}: {e}")), d)
}

#[test]
fn what_is_left_out_is_as_xl_has_it() {
    let memory = |keys: &str| {
        let c = good(keys).0;
        (c.memory_kib / 1024, c.maxmem_kib / 1024)
    };
    assert_eq!(memory("memory=64"), (64, 64));
    assert_eq!(memory("maxmem=64"), (64, 64));
    assert_eq!(memory("memory=32\nmaxmem=64"), (32, 64));
    assert_eq!(memory(""), (32, 32));
    assert_eq!(
        good("").1,
        ["g.cfg:1:1: warning: \"memory\" is missing: it is 32 MiB (give it in MiB)"]
    );
    let vcpus = |keys: &str| {
        let c = good(keys).0;
        (c.vcpus, c.max_vcpus)
    };
    assert_eq!(vcpus("memory=64"), (1, 1));
    assert_eq!(vcpus("vcpus=2"), (2, 2));
    assert_eq!(vcpus("maxvcpus=4"), (1, 4));
    assert_eq!(vcpus("vcpus=2\nmaxvcpus=4"), (2, 4));
    assert_eq!(good("").0.max_grant_version, None);
}

#[test]
fn cpus_are_for_all_vcpus_or_for_each() {
    let one = || CpuList::parse("1").unwrap();
    let (c, _) = good("maxvcpus=3\ncpus='1'\ncpus_soft=['1']");
    assert_eq!((c.cpus, c.cpus_soft), (vec![one(); 3], vec![one()]));
    let (c, _) = good("vcpus=2\ncpus=['1','0','2','3']");
    assert_eq!(c.cpus, [one(), CpuList::parse("0").unwrap()]);
}

#[test]
fn what_is_not_for_pv_guests_is_refused() {
    let (c, d) = read("name='g'\nkernel='/k'\nmemory=64\ntimer_mode=1\n");
    assert!(c.is_err());
    assert!(
        d.contains(
            &"g.cfg:4:12: error: \"timer_mode\" is not for PV guests: they have no emulated timers"
                .into()
        ),
        "{d:#?}"
    );
    good("memory=64\ntype='pvh'\ntimer_mode=1");
}

#[test]
fn an_unknown_word_of_an_interface_is_a_warning() {
    let (c, d) = good("memory=64\nvif=['brigde=br0,mtu=1400','frobnicate']");
    assert_eq!((c.vifs.len(), c.vifs[0].mtu), (2, Some(1400)));
    assert_eq!(
        d,
        [
            "g.cfg:4:6: warning: in \"vif\": unknown vif parameter \"brigde\" is ignored (did you mean \"bridge\"?)",
            "g.cfg:4:28: warning: in \"vif\": unknown vif parameter \"frobnicate\" is ignored",
        ]
    );
}
