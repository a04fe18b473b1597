//! A domain's life, from configuration to nothing, on a machine of a few lines.
mod common;

use common::tempdir::TempDir;
use common::{Machine, config};
use libxl::{Error, Outcome};
use xen_abi::DomId;
use xenctrl::ShutdownReason;

#[test]
fn creating_takes_the_documented_steps_and_leaves_the_documented_nodes() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let c = config("vcpus=1\nmaxvcpus=2\nmaxmem=128\ncpus=['0','1-2']\nextra='quiet'\n");
    let dom = host.prepare(&c).unwrap().create().unwrap();
    assert_eq!(dom, DomId(1));
    let calls = m.calls.borrow();
    let hv: Vec<&str> = calls
        .iter()
        .map(String::as_str)
        .filter(|c| c.starts_with(char::is_lowercase))
        .collect();
    assert_eq!(
        hv,
        [
            "create",
            "max_vcpus d1 2",
            "max_mem d1 66560",
            "memory_map d1 131072",
            "affinity d1v0 [0]",
            "affinity d1v1 [1, 2]",
            "claim d1 16384",
            "alloc_unbound d1 d0",
            "alloc_unbound d1 d0",
            "build d1",
            "claim d1 0"
        ]
    );
    assert_eq!(calls.last().unwrap(), "INTRODUCE 1");
    drop(calls);
    let nodes = m.nodes.borrow();
    let value = |p: &str| {
        nodes
            .get(p)
            .unwrap_or_else(|| panic!("no node {p}"))
            .0
            .clone()
    };
    let vm = format!("/vm/{}", c.uuid);
    assert_eq!(value("/local/domain/1/vm"), vm);
    assert_eq!(value("/local/domain/1/name"), "g");
    assert_eq!(value("/local/domain/1/memory/target"), "65536");
    assert_eq!(value("/local/domain/1/memory/static-max"), "131072");
    assert_eq!(value("/local/domain/1/cpu/0/availability"), "online");
    assert_eq!(value("/local/domain/1/cpu/1/availability"), "offline");
    assert_eq!(value("/local/domain/1/store/ring-ref"), "101");
    assert_eq!(value("/local/domain/1/console/ring-ref"), "100");
    assert_eq!(value("/local/domain/1/console/type"), "xenconsoled");
    assert_eq!(value("/local/domain/1/console/limit"), "1048576");
    assert_eq!(value(&format!("{vm}/image/cmdline")), "quiet");
    assert_eq!(value("/libxl/1/type"), "pv");
    assert_eq!(nodes["/local/domain/1"].1, "n0,r1");
    assert_eq!(nodes["/local/domain/1/control/shutdown"].1, "n1");
    assert_eq!(nodes["/libxl/1"].1, "n0");
    assert_eq!(dir.files().len(), 1);
}

#[test]
fn whichever_step_fails_nothing_is_left_behind() {
    let dir = TempDir::new();
    let c = config("cpus='0'\ntsc_mode='native'\n");
    let mut failures = 0;
    for n in 0.. {
        let m = Machine::new();
        let before = m.snapshot();
        let host = m.host(&dir);
        m.arm(n);
        match host.create_and_start(&c) {
            Ok(_) => break,
            Err(e) => {
                assert!(!e.to_string().contains("undoing"), "step {n}: {e}");
                assert_eq!(
                    m.snapshot(),
                    before,
                    "step {n}: {e}, after {:?}",
                    m.calls.borrow()
                );
                assert!(dir.files().is_empty(), "step {n}");
                failures += 1;
            }
        }
    }
    assert!(failures > 50, "only {failures} steps could fail");
}

#[test]
fn what_can_be_seen_beforehand_is_refused_beforehand() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    host.create_and_start(&config("")).unwrap();
    let before = m.snapshot();
    let refused = |more: &str| match host.prepare(&config(more)) {
        Ok(_) => panic!("{more} was accepted"),
        Err(e) => e.to_string(),
    };
    assert_eq!(
        refused(""),
        "a domain named \"g\" already exists, as d1 (choose another name, or destroy that one)"
    );
    assert_eq!(
        refused("name='h'\nmemory=2000"),
        "not enough free memory for \"h\": it needs 2002 MiB and 960 MiB are free (lower \"memory\", or free some with xl mem-set or xl destroy)"
    );
    assert_eq!(
        refused("name='h'\nkernel='/missing'"),
        "opening the kernel /missing: No such file"
    );
    assert!(refused("name='h'\ncpus='9'").starts_with("\"cpus\": it names no CPU of this machine"));
    assert!(
        refused("name='h'\ndisk=['/no/such,raw,xvda,w']")
            .starts_with("disk xvda (/no/such): /no/such: ")
    );
    assert!(
        refused("name='h'\ndisk=['/,qcow2,xvda,w']").contains("neither a file nor a block device")
    );
    assert!(refused("name='h'\nvif=['bridge=nope']").contains("no bridge \"nope\""));
    assert_eq!(m.snapshot(), before);
}

#[test]
fn destroying_removes_every_trace() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    // A first life makes the directories that stay.
    let first = host.create_and_start(&config("")).unwrap();
    host.destroy(first).unwrap();
    let before = m.snapshot();
    let dom = host.create_and_start(&config("")).unwrap();
    host.destroy(dom).unwrap();
    assert_eq!(m.snapshot(), before);
    assert!(dir.files().is_empty());
    assert!(matches!(host.destroy(dom), Err(Error::NoSuchDomain(_))));
    assert!(
        host.destroy(DomId::DOM0)
            .unwrap_err()
            .to_string()
            .contains("dom0 cannot be destroyed")
    );
}

#[test]
fn what_a_killed_toolstack_left_can_be_cleaned_up() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let dom = host.create_and_start(&config("")).unwrap();
    // The hypervisor lost it; the nodes stayed.
    m.domains.borrow_mut().remove(&dom.0);
    assert!(host.find("g").is_err());
    host.create_and_start(&config("")).unwrap();
    assert_eq!(host.clean_stale().unwrap(), 1);
    assert!(!m.nodes.borrow().contains_key("/local/domain/1"));
    assert_eq!(host.find("g").unwrap(), DomId(2));
}

#[test]
fn a_new_name_outlives_a_reboot() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let c = config("");
    let one = host.create_and_start(&c).unwrap();
    host.rename(one, "other").unwrap();
    m.shut_down(one, ShutdownReason::Reboot);
    assert_eq!(
        host.tend(one, &c, &|c| c, &mut |_| ()).unwrap(),
        Outcome::Reborn(DomId(2))
    );
    assert_eq!(host.find("other").unwrap(), DomId(2));
    assert!(host.find("g").is_err());
    let kept = host.saved_config(DomId(2)).unwrap().unwrap();
    assert_eq!((kept.name.as_str(), kept.uuid), ("other", c.uuid));
}

#[test]
fn what_was_changed_while_it_ran_outlives_a_reboot() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let c = config("maxmem=96\nvcpus=2\nmaxvcpus=3\ncpus='1'\ncpu_weight=300");
    let one = host.create_and_start(&c).unwrap();
    host.set_memory_limit(one, 128 << 10).unwrap();
    host.set_memory_target(one, 100 << 10).unwrap();
    host.set_vcpus(one, 1).unwrap();
    let share = |weight, cap| xenctrl::SchedParams { weight, cap };
    libxl::Hypervisor::set_share(&m, one, share(512, 40)).unwrap();
    assert_eq!(
        host.json(one).unwrap()["config"]["b_info"]["max_memkb"],
        128 << 10
    );
    let now = host.config_now(one).unwrap();
    assert_eq!((now.shares.weight, now.shares.cap), (Some(512), Some(40)));
    m.shut_down(one, ShutdownReason::Reboot);
    host.tend(one, &c, &|c| c, &mut |_| ()).unwrap();
    let two = host.saved_config(DomId(2)).unwrap().unwrap();
    assert_eq!(
        (two.memory_kib, two.maxmem_kib, two.vcpus, two.max_vcpus),
        (100 << 10, 128 << 10, 1, 3)
    );
    assert_eq!(m.shares.borrow()[&2], (512, 40));
    assert_eq!((two.uuid, &two.cpus), (c.uuid, &c.cpus));
    // Unless something else was told it for that.
    let other = config("on_reboot='destroy'").with_uuid(c.uuid);
    let update = libxl::userdata::UPDATE;
    host.store_userdata(DomId(2), c.uuid, update, &other.source)
        .unwrap();
    assert_eq!(
        host.json(DomId(2)).unwrap()["config"]["b_info"]["target_memkb"],
        100 << 10
    );
    m.shut_down(DomId(2), ShutdownReason::Reboot);
    host.tend(DomId(2), &two, &|c| c, &mut |_| ()).unwrap();
    assert_eq!(host.config_now(DomId(3)).unwrap().memory_kib, 64 << 10);
    assert_eq!(m.shares.borrow().get(&3), None);
}

#[test]
fn an_end_leads_to_what_the_configuration_says() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let c = config("on_crash='preserve'\non_watchdog='rename-restart'");
    let mut log = |_: String| {};
    let one = host.create_and_start(&c).unwrap();
    assert_eq!(
        host.tend(one, &c, &|c| c, &mut log).unwrap(),
        Outcome::Running
    );
    m.shut_down(one, ShutdownReason::Suspend);
    assert_eq!(
        host.tend(one, &c, &|c| c, &mut log).unwrap(),
        Outcome::Running,
        "suspended is not ended"
    );
    m.shut_down(one, ShutdownReason::Reboot);
    assert_eq!(
        host.tend(one, &c, &|c| c, &mut log).unwrap(),
        Outcome::Reborn(DomId(2))
    );
    assert_eq!(host.find("g").unwrap(), DomId(2));
    m.shut_down(DomId(2), ShutdownReason::Watchdog);
    assert_eq!(
        host.tend(DomId(2), &c, &|c| c, &mut log).unwrap(),
        Outcome::Reborn(DomId(3))
    );
    let aside = m.nodes.borrow()["/local/domain/2/name"].0.clone();
    assert!(
        aside.starts_with("g-2") && aside.ends_with('Z') && aside.len() == 16,
        "{aside}"
    );
    assert_eq!(host.find("g").unwrap(), DomId(3));
    let handle = |d: u16| m.domains.borrow()[&d].handle;
    assert_eq!(handle(3), c.uuid.0, "who goes on keeps the UUID");
    assert_ne!(handle(2), c.uuid.0);
    let json = host.json(DomId(2)).unwrap();
    assert_eq!(
        json["config"]["c_info"]["name"], aside,
        "its configuration is kept"
    );
    host.destroy(DomId(2)).unwrap();
    assert!(
        m.nodes
            .borrow()
            .contains_key(&format!("/vm/{}/name", c.uuid))
    );
    let c = host.saved_config(DomId(3)).unwrap().unwrap();
    m.shut_down(DomId(3), ShutdownReason::Crash);
    assert_eq!(
        host.tend(DomId(3), &c, &|c| c, &mut log).unwrap(),
        Outcome::Over
    );
    assert_eq!(host.find("g").unwrap(), DomId(3), "kept for examination");
    host.destroy(DomId(3)).unwrap();
    let four = host.create_and_start(&config("")).unwrap();
    m.shut_down(four, ShutdownReason::Poweroff);
    let c = host.saved_config(four).unwrap().unwrap();
    assert_eq!(
        host.tend(four, &c, &|c| c, &mut log).unwrap(),
        Outcome::Over
    );
    assert!(host.find("g").is_err());
    assert_eq!(
        host.tend(four, &c, &|c| c, &mut log).unwrap(),
        Outcome::Over,
        "gone is gone"
    );
}

#[test]
fn renaming_and_resizing_check_first() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let dom = host
        .create_and_start(&config("maxmem=96\nvcpus=1\nmaxvcpus=2"))
        .unwrap();
    host.rename(dom, "h").unwrap();
    assert_eq!(host.find("h").unwrap(), dom);
    assert!(
        host.rename(dom, "Domain-0")
            .unwrap_err()
            .to_string()
            .contains("already exists")
    );
    host.set_memory_target(dom, 80 * 1024).unwrap();
    assert_eq!(m.nodes.borrow()["/local/domain/1/memory/target"].0, "81920");
    let e = host
        .set_memory_target(dom, 100 * 1024)
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("100 MiB is more than d1 may have, which is 96 MiB"),
        "{e}"
    );
    host.set_memory_limit(dom, 128 * 1024).unwrap();
    host.set_memory_target(dom, 100 * 1024).unwrap();
    host.set_vcpus(dom, 2).unwrap();
    assert_eq!(
        m.nodes.borrow()["/local/domain/1/cpu/1/availability"].0,
        "online"
    );
    assert!(host.set_vcpus(dom, 3).is_err());
    host.control(dom, "poweroff").unwrap();
    assert_eq!(
        m.nodes.borrow()["/local/domain/1/control/shutdown"].0,
        "poweroff"
    );
}

#[test]
fn names_and_numbers_find_domains() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    assert_eq!(host.find("Domain-0").unwrap(), DomId(0));
    assert_eq!(host.find("0").unwrap(), DomId(0));
    for word in ["", "1", "70000", "nobody"] {
        assert!(
            matches!(host.find(word), Err(Error::NoSuchDomain(_))),
            "{word}"
        );
    }
    let before = m.snapshot();
    host.init_dom0(0).unwrap();
    assert_eq!(m.snapshot(), before, "what is there stays");
}

#[test]
fn json_has_libxls_fields() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let dom = host
        .create_and_start(&config("vcpus=2\nramdisk='/r'\ndisk=[]"))
        .unwrap();
    let j = host.json(dom).unwrap();
    assert_eq!(j["domid"], 1);
    assert_eq!(j["config"]["c_info"]["name"], "g");
    assert_eq!(j["config"]["b_info"]["max_memkb"], 65536);
    assert_eq!(j["config"]["b_info"]["avail_vcpus"][1], 1);
    assert_eq!(j["config"]["on_soft_reset"], "soft_reset");
    assert_eq!(
        host.json(DomId(0)).unwrap()["config"]["c_info"]["name"],
        "Domain-0"
    );
}

#[test]
fn shares_pool_clock_and_claim_are_set_before_it_is_built() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let c = config("cpu_weight=512\ncap=50\npool=\"Pool-3\"\nrtc_timeoffset=60");
    host.prepare(&c).unwrap().create().unwrap();
    let calls = m.calls.borrow().clone();
    let place = |what: &str| {
        let found = calls.iter().position(|c| c == what);
        found.unwrap_or_else(|| panic!("{what} not in {calls:#?}"))
    };
    let built = place("build d1");
    for before in ["share d1 512 50", "time d1 60", "claim d1 16384"] {
        assert!(place(before) < built, "{before}");
    }
    assert!(place("claim d1 0") > built);
    let c = libxl::DomainConfig {
        name: "n".into(),
        ..config("pool=\"nowhere\"")
    };
    let e = host.prepare(&c).err().unwrap().to_string();
    assert_eq!(e, "there is no CPU pool \"nowhere\" (see xl cpupool-list)");
    let c = config("claim_mode=0\nuuid=\"00000000-0000-0000-0000-000000000007\"").clone();
    let c = libxl::DomainConfig {
        name: "h".into(),
        ..c
    };
    host.prepare(&c).unwrap().create().unwrap();
    assert!(!m.calls.borrow().iter().any(|c| c.starts_with("claim d2")));
}

#[test]
fn dom0_gives_what_a_domain_needs_and_not_more_than_it_can() {
    let (m, dir) = (Machine::new(), TempDir::new());
    // Dom0 has 1000 of 1024 MiB.
    m.change(DomId::DOM0, |d| d.tot_pages = 1000 * 256);
    let c = config("");
    let e = m.host(&dir).prepare(&c).err().unwrap().to_string();
    assert!(
        e.starts_with("not enough free memory for \"g\": it needs 66 MiB and 24 MiB are free"),
        "{e}"
    );
    let host = libxl::Host {
        autoballoon: true,
        ..m.host(&dir)
    };
    host.prepare(&c).unwrap();
    let target = m.domains.borrow()[&0].tot_pages / 256;
    assert!((940..=958).contains(&target), "{target}");
    // Dom0 keeps what it needs to live, and its size if that does not help.
    let too_much = libxl::DomainConfig {
        memory_kib: 1000 * 1024,
        ..c
    };
    let e = host.prepare(&too_much).err().unwrap().to_string();
    assert!(e.contains("dom0 cannot give it"), "{e}");
    assert_eq!(m.domains.borrow()[&0].tot_pages / 256, target);
}

#[test]
fn a_crash_leaves_a_core_where_one_is_wanted() {
    let (m, dir) = (Machine::new(), TempDir::new());
    let host = m.host(&dir);
    let c = config("on_crash=\"coredump-restart\"");
    let dom = host.prepare(&c).unwrap().create().unwrap();
    m.shut_down(dom, ShutdownReason::Crash);
    let mut heard = vec![];
    let next = host.tend(dom, &c, &|c| c, &mut |l| heard.push(l)).unwrap();
    assert_eq!(next, Outcome::Reborn(DomId(2)));
    assert_eq!(
        std::fs::read_to_string(dir.0.join("dump/g")).unwrap(),
        "core of d1"
    );
    assert!(heard.iter().any(|l| l.contains("dump/g")), "{heard:?}");
}
