//! The machine through the toolstack's eyes: sysctl, platform calls, version.
mod common;

use common::{Effect, Tools};
use domain::Host;
use std::sync::atomic::Ordering;
use xen_abi::domctl::{GetDomainInfo, SCHEDULER_CREDIT2};
use xen_abi::sysctl::*;
use xen_abi::xen::{CpuidLeaf, MsrEntry, SharedInfo, XenctlBitmap};
use xen_abi::{
    DomId, Errno, GuestHandle, domctl, features, featureset, hypercall as nr, platform, version,
};

fn ask<T>(t: &Tools, mut op: Sysctl, get: impl FnOnce(&Sysctl) -> T) -> Result<T, Errno> {
    t.sysctl(&mut op)?;
    Ok(get(&op))
}

#[test]
fn versions_and_privilege_come_first() {
    let t = Tools::new();
    let (guest, _) = t.create(1, 1);
    assert_eq!(
        t.sysctl_by(&guest, &mut Sysctl::new(PHYSINFO)),
        Err(Errno::EPERM)
    );
    let mut op = Sysctl::new(PHYSINFO);
    op.interface_version = 0x14;
    assert_eq!(t.sysctl(&mut op), Err(Errno::EACCES));
    assert_eq!(t.sysctl(&mut Sysctl::new(999)), Err(Errno::ENOSYS));
    assert_eq!(t.sysctl(&mut Sysctl::new(PCITOPOINFO)), Err(Errno::ENODEV));
    assert_eq!(t.sysctl(&mut Sysctl::new(TBUF_OP)), Err(Errno::ENOSYS));
    assert_eq!(
        t.sysctl(&mut Sysctl::new(COVERAGE_OP)),
        Err(Errno::EOPNOTSUPP)
    );
}

#[test]
fn physinfo_counts_cpus_and_memory() {
    let t = Tools::new();
    let p = ask(&t, Sysctl::new(PHYSINFO), Sysctl::physinfo).unwrap();
    assert_eq!((p.nr_cpus, p.max_cpu_id, p.nr_nodes), (4, 3, 1));
    assert_eq!(p.total_pages, 4095);
    assert_eq!(p.free_pages, t.h.with_heap(|h| h.free_pages()));
    assert_eq!(p.capabilities, PHYSCAP_PV | PHYSCAP_GNTTAB_V1);
    t.h.hvm.store(true, Ordering::Relaxed);
    let p = ask(&t, Sysctl::new(PHYSINFO), Sysctl::physinfo).unwrap();
    assert_ne!(p.capabilities & PHYSCAP_HVM, 0);
    let a = AvailHeap {
        node: -1,
        ..Default::default()
    };
    let a = ask(&t, Sysctl::with(AVAILHEAP, a), Sysctl::availheap).unwrap();
    assert_eq!(a.avail_bytes, p.free_pages * 4096);
}

#[test]
fn topology_is_counted_and_described() {
    let t = Tools::new();
    let n = ask(&t, Sysctl::new(CPUTOPOINFO), |o| o.cputopoinfo().num_cpus);
    assert_eq!(n, Ok(4));
    let at = t.mem.put(&[[9u32; 3]; 8]);
    let room = CpuTopoInfo {
        num_cpus: 8,
        cputopo: GuestHandle::new(at),
        ..Default::default()
    };
    let n = ask(&t, Sysctl::with(CPUTOPOINFO, room), |o| {
        o.cputopoinfo().num_cpus
    });
    assert_eq!(n, Ok(4));
    let places: [[u32; 3]; 5] = t.mem.get(at);
    assert_eq!(places, [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [9; 3]]);
    let n = ask(&t, Sysctl::new(NUMAINFO), |o| o.numainfo().num_nodes);
    assert_eq!(n, Ok(1));
    let (meminfo, distance) = (t.mem.put(&[0u64; 2]), t.mem.put(&0u32));
    let room = NumaInfo {
        num_nodes: 4,
        meminfo: GuestHandle::new(meminfo),
        distance: GuestHandle::new(distance),
        ..Default::default()
    };
    ask(&t, Sysctl::with(NUMAINFO, room), |_| ()).unwrap();
    assert_eq!(t.mem.get::<u32>(distance), 10);
    assert_eq!(t.mem.get::<u64>(meminfo), 4095 * 4096);
    let idle = t.mem.put(&[0u64; 4]);
    let g = GetCpuInfo {
        max_cpus: 9,
        info: GuestHandle::new(idle),
        ..Default::default()
    };
    let n = ask(&t, Sysctl::with(GETCPUINFO, g), |o| o.getcpuinfo().nr_cpus);
    assert_eq!((n, t.mem.get::<[u64; 4]>(idle)), (Ok(4), [0, 10, 20, 30]));
}

#[test]
fn the_console_ring_is_read_on_from_where_one_was() {
    let t = Tools::new();
    t.h.console_write(DomId(0), b"hello ");
    let buffer = t.mem.put_bytes(&[0; 64]);
    let read = |index, count| {
        let r = ReadConsole {
            incremental: 1,
            index,
            count,
            buffer: GuestHandle::new(buffer),
            ..Default::default()
        };
        ask(&t, Sysctl::with(READCONSOLE, r), Sysctl::readconsole).map(|r| (r.count, r.index))
    };
    assert_eq!(read(0, 64), Ok((6, 6)));
    t.h.console_write(DomId(0), b"world");
    assert_eq!(read(6, 64), Ok((5, 11)));
    assert_eq!(&t.mem.get::<[u8; 5]>(buffer), b"world");
    assert_eq!(read(0, u32::MAX), Ok((11, 11)), "an absurd size is cut");
    let keys = DebugKeys {
        keys: GuestHandle::new(t.mem.put_bytes(b"hq")),
        nr_keys: 2,
        ..Default::default()
    };
    t.h.take_effects();
    ask(&t, Sysctl::with(DEBUG_KEYS, keys), |_| ()).unwrap();
    assert_eq!(
        t.h.take_effects(),
        [Effect::DebugKey(b'h'), Effect::DebugKey(b'q')]
    );
    let many = DebugKeys {
        nr_keys: 65,
        ..keys
    };
    assert_eq!(
        ask(&t, Sysctl::with(DEBUG_KEYS, many), |_| ()),
        Err(Errno::E2BIG)
    );
}

#[test]
fn domains_are_listed_from_an_id_on() {
    let t = Tools::new();
    let ids = [5, 9].map(|i| t.try_create(DomId(i), Tools::wish(1)).unwrap());
    let at = t.mem.put(&[GetDomainInfo::default(); 4]);
    let list = |first, max_domains| {
        let l = GetDomainInfoList {
            first_domain: DomId(first),
            max_domains,
            buffer: GuestHandle::new(at),
            ..Default::default()
        };
        let op = Sysctl::with(GETDOMAININFOLIST, l);
        let n = ask(&t, op, |o| o.getdomaininfolist().num_domains).unwrap();
        let infos: [GetDomainInfo; 4] = t.mem.get(at);
        infos.map(|i| i.domain)[..n as usize].to_vec()
    };
    assert_eq!(list(0, 4), [DomId(0), ids[0], ids[1]]);
    assert_eq!(list(6, 4), [ids[1]]);
    assert_eq!(list(0, 2), [DomId(0), ids[0]]);
    assert_eq!(list(0xffff, 4), []);
}

#[test]
fn at_first_there_is_one_pool_with_everything() {
    let t = Tools::new();
    let id = ask(&t, Sysctl::new(SCHED_ID), |o| o.sched_id().sched_id);
    assert_eq!(id, Ok(SCHEDULER_CREDIT2));
    let map = XenctlBitmap {
        bitmap: GuestHandle::new(t.mem.put(&!0u64)),
        nr_bits: 64,
        _pad12: 0,
    };
    let pool = |op, cpupool_id| {
        let p = CpupoolOp {
            op,
            cpupool_id,
            cpumap: map,
            ..Default::default()
        };
        ask(&t, Sysctl::with(CPUPOOL_OP, p), Sysctl::cpupool_op)
    };
    let info = pool(CPUPOOL_OP_INFO, 0).unwrap();
    assert_eq!((info.sched_id, info.n_dom), (SCHEDULER_CREDIT2, 1));
    assert_eq!(t.mem.get::<u64>(map.bitmap.addr()), 0xf);
    assert_eq!(pool(CPUPOOL_OP_INFO, 1), Err(Errno::ENOENT));
    pool(CPUPOOL_OP_FREEINFO, 0).unwrap();
    assert_eq!(t.mem.get::<u64>(map.bitmap.addr()), 0);
    let params = |cmd, ratelimit_us| {
        let mut s = SchedulerOp {
            sched_id: SCHEDULER_CREDIT2,
            cmd,
            ..Default::default()
        };
        s.u.set(Credit2Schedule { ratelimit_us });
        ask(&t, Sysctl::with(SCHEDULER_OP, s), |o| {
            o.scheduler_op().u.get::<Credit2Schedule>().ratelimit_us
        })
    };
    assert_eq!(params(SCHEDOP_GETINFO, 0), Ok(1000));
    assert!(params(SCHEDOP_PUTINFO, 5000).is_ok());
    assert_eq!(params(SCHEDOP_GETINFO, 0), Ok(5000));
    assert_eq!(params(SCHEDOP_PUTINFO, 99), Err(Errno::EINVAL));
}

#[test]
fn featuresets_are_words_of_the_host_or_of_a_pv_guest() {
    let t = Tools::new();
    let words = featureset::WORDS.len() as u32;
    let at = t.mem.put(&[0u32; 32]);
    let get = |index, nr_features, features| {
        let f = CpuFeatureset {
            index,
            nr_features,
            features: GuestHandle::new(features),
        };
        ask(&t, Sysctl::with(GET_CPU_FEATURESET, f), |o| {
            o.cpu_featureset().nr_features
        })
    };
    assert_eq!(get(CPU_FEATURESET_HOST, 0, 0), Ok(words));
    assert_eq!(get(CPU_FEATURESET_HOST, 32, at), Ok(words));
    let host: u32 = t.mem.get(at);
    assert_eq!(get(CPU_FEATURESET_PV, 32, at), Ok(words));
    let pv: u32 = t.mem.get(at);
    assert_eq!((host, pv & !host), (0xbfeb_fbff, 0));
    assert_ne!(pv, host);
    assert_eq!(get(CPU_FEATURESET_PV, 2, at), Err(Errno::ENOBUFS));
    assert_eq!(get(CPU_FEATURESET_HVM, 32, at), Err(Errno::EOPNOTSUPP));
    assert_eq!(get(99, 32, at), Err(Errno::EINVAL));
    let caps = ask(&t, Sysctl::new(GET_CPU_LEVELLING_CAPS), |o| {
        o.cpu_levelling_caps().caps
    });
    assert_eq!(caps, Ok(0));
}

/// As the stock toolstack levels a domain: size, system policy, change, set.
#[test]
fn a_policy_goes_out_changed_and_in_again() {
    let t = Tools::new();
    let (dom, _) = t.create(1, 1);
    let system = |index, nr_leaves, leaves| {
        let p = CpuPolicy {
            index,
            nr_leaves,
            leaves: GuestHandle::new(leaves),
            ..Default::default()
        };
        ask(&t, Sysctl::with(GET_CPU_POLICY, p), Sysctl::cpu_policy)
    };
    let room = system(CPU_POLICY_RAW, 0, 0).unwrap();
    assert_eq!((room.nr_leaves, room.nr_msrs), (128, 2));
    let at = t.mem.put(&vec![CpuidLeaf::default(); 128][..]);
    let n = system(CPU_POLICY_PV_DEFAULT, 128, at).unwrap().nr_leaves;
    assert_eq!(system(CPU_POLICY_PV_DEFAULT, 3, at), Err(Errno::ENOBUFS));
    assert_eq!(system(CPU_POLICY_HVM_MAX, 128, at), Err(Errno::EOPNOTSUPP));
    let mut leaves: Vec<CpuidLeaf> = (0..n)
        .map(|i| t.mem.get(at + u64::from(i) * size_of::<CpuidLeaf>() as u64))
        .collect();
    // Toolstacks write as many leaves as their library knows into the room that these took: no gaps.
    let highest = leaves.iter().find(|l| l.leaf == 0).unwrap().a;
    for leaf in (0..=highest).chain([0x4000_0000, 0x4000_0100]) {
        assert!(leaves.iter().any(|l| l.leaf == leaf), "leaf {leaf:#x}");
    }
    let one = leaves.iter_mut().find(|l| l.leaf == 1).unwrap();
    let shown = one.c;
    // Hide AVX, ask for VMX, which is not to be had, and for HTT.
    one.c = (one.c & !(1 << 28)) | 1 << 5;
    one.d |= 1 << 28;
    leaves.push(CpuidLeaf {
        leaf: 0x4000_0000,
        subleaf: !0,
        ..CpuidLeaf::default()
    });
    let set = |leaves: &[CpuidLeaf], msrs: &[MsrEntry]| {
        let p = domctl::CpuPolicy {
            nr_leaves: leaves.len() as u32,
            nr_msrs: msrs.len() as u32,
            leaves: GuestHandle::new(t.mem.put(leaves)),
            msrs: GuestHandle::new(t.mem.put(msrs)),
            ..Default::default()
        };
        let mut op = domctl::Domctl::with(domctl::SET_CPU_POLICY, dom.id, p);
        let result = t.domctl(&mut op);
        (result, op.cpu_policy())
    };
    assert_eq!(set(&leaves, &[]).0, Ok(0));
    let [_, _, c, d] = dom.cpuid.lock().get(1, 0);
    assert_eq!((c, d >> 28 & 1), (shown & !(1 << 28), 1));
    assert_eq!(dom.cpuid.lock().get(0x4000_0000, 0), [0; 4]);
    let odd = CpuidLeaf {
        leaf: 0x2000_0000,
        ..CpuidLeaf::default()
    };
    let (result, p) = set(&[odd], &[]);
    assert_eq!((result, p.err_leaf), (Err(Errno::EINVAL), 0x2000_0000));
    let msr = |idx, val| MsrEntry { idx, flags: 0, val };
    assert_eq!(set(&[], &[msr(0x10a, 0)]).0, Ok(0));
    let (result, p) = set(&[], &[msr(0x10a, 1)]);
    assert_eq!((result, p.err_msr), (Err(Errno::EINVAL), 0x10a));
    let mut op = domctl::Domctl::new(domctl::GET_CPU_POLICY, dom.id);
    t.domctl(&mut op).unwrap();
    assert_eq!(op.cpu_policy().nr_leaves, 128);
    t.simple(domctl::UNPAUSEDOMAIN, dom.id).unwrap();
    assert_eq!(set(&leaves, &[]).0, Err(Errno::EEXIST), "too late");
}

#[test]
fn setting_the_time_reaches_every_domain() {
    let t = Tools::new();
    let (dom, _) = t.create(1, 1);
    let offset = domctl::SetTimeOffset {
        time_offset_seconds: -3600,
    };
    t.domctl(&mut domctl::Domctl::with(
        domctl::SETTIMEOFFSET,
        dom.id,
        offset,
    ))
    .unwrap();
    let clock = |d: &domain::Domain| {
        let mut bytes = [0; 16];
        let at = core::mem::offset_of!(SharedInfo, wc_version);
        t.h.read_frame(d.shared_info, at, &mut bytes).unwrap();
        let w = |i: usize| u32::from_le_bytes(bytes[i..i + 4].try_into().unwrap());
        assert_eq!(w(0) & 1, 0, "nobody is writing");
        (u64::from(w(12)) << 32 | u64::from(w(4)), w(8))
    };
    let set = |secs, nsecs, mbz, system_time| {
        t.platform(platform::SETTIME64, |op| {
            op.set_settime64(platform::Settime64 {
                secs,
                nsecs,
                mbz,
                system_time,
            })
        })
        .map(|_| ())
    };
    set(1 << 33, 5, 0, 2_000_000_000).unwrap();
    assert_eq!(clock(&t.dom0), ((1 << 33) - 2, 5));
    assert_eq!(clock(&dom), ((1 << 33) - 2 - 3600, 5));
    assert_eq!(set(0, 0, 1, 0), Err(Errno::EINVAL));
    assert_eq!(set(0, 0, 0, 1), Err(Errno::EINVAL), "before the epoch");
    assert_eq!(set(u64::MAX, 0, 0, 0), Err(Errno::EINVAL));
    t.platform(platform::SETTIME32, |op| {
        op.set_settime32(platform::Settime32 {
            secs: 1000,
            nsecs: 0,
            system_time: 0,
        })
    })
    .unwrap();
    assert_eq!(clock(&t.dom0), (1000, 0));
}

#[test]
fn platform_calls() {
    let t = Tools::new();
    let cpu = |xen_cpuid| {
        let info = platform::Pcpuinfo {
            xen_cpuid,
            ..Default::default()
        };
        let op = t.platform(platform::GET_CPUINFO, |op| op.set_pcpu_info(info));
        op.map(|op| op.pcpu_info())
    };
    let two = cpu(2).unwrap();
    assert_eq!((two.flags, two.apic_id, two.max_present), (1, 2, 3));
    assert_eq!(cpu(4).unwrap().flags, platform::XEN_PCPU_FLAGS_INVALID);
    let (map, times) = (t.mem.put(&0x1fu64), t.mem.put(&[7u64; 8]));
    let g = platform::Getidletime {
        cpumap_bitmap: GuestHandle::new(map),
        cpumap_nr_cpus: 64,
        idletime: GuestHandle::new(times),
        ..Default::default()
    };
    t.platform(platform::GETIDLETIME, |op| op.set_getidletime(g))
        .unwrap();
    assert_eq!(t.mem.get::<u64>(map), 0xf);
    assert_eq!(t.mem.get::<[u64; 5]>(times), [0, 10, 20, 30, 7]);
    let sleep = |sleep_state| {
        let s = platform::EnterAcpiSleep {
            sleep_state,
            ..Default::default()
        };
        t.platform(platform::ENTER_ACPI_SLEEP, |op| op.set_enter_acpi_sleep(s))
            .map(|_| ())
    };
    assert_eq!(sleep(3), Err(Errno::EOPNOTSUPP));
    t.h.take_effects();
    assert_eq!(sleep(5), Ok(()));
    assert_eq!(t.h.take_effects(), [Effect::MachineShutdown(0)]);
    let plain = |cmd| t.platform(cmd, |_| ()).map(|_| ());
    assert_eq!(plain(platform::FIRMWARE_INFO), Err(Errno::ESRCH));
    assert_eq!(plain(platform::EFI_RUNTIME_CALL), Err(Errno::EOPNOTSUPP));
    assert_eq!(plain(platform::SET_PROCESSOR_PMINFO), Err(Errno::ENOSYS));
    assert_eq!(
        t.platform(platform::GET_CPUINFO, |op| op.interface_version = 1)
            .map(|_| ()),
        Err(Errno::EACCES)
    );
    let (guest, _) = t.create(1, 1);
    let op = t.mem.put(&platform::PlatformOp {
        cmd: platform::ENTER_ACPI_SLEEP,
        interface_version: platform::INTERFACE_VERSION,
        ..Default::default()
    });
    assert_eq!(t.h.call(&guest, nr::PLATFORM_OP, &[op]), Err(Errno::EPERM));
}

#[test]
fn what_uefi_said_is_told() {
    use platform::*;
    let t = Tools::new();
    let ask = |r#type, index, put: &dyn Fn(&mut FirmwareInfo)| {
        let mut info = FirmwareInfo {
            r#type,
            index,
            ..Default::default()
        };
        put(&mut info);
        t.platform(FIRMWARE_INFO, |op| op.set_firmware_info(info))
            .map(|op| op.firmware_info())
    };
    let nothing = |_: &mut FirmwareInfo| ();
    assert!(ask(XEN_FW_EFI_INFO, XEN_FW_EFI_CONFIG_TABLE, &nothing).is_err());
    let region = domain::EfiRegion {
        start: 0x1000,
        end: 0x3000,
        kind: 9,
        attributes: 0xf,
    };
    let info = domain::EfiInfo {
        version: 2 << 16 | 70,
        firmware_revision: 7,
        runtime_version: 2 << 16,
        config_tables: 0xabc000,
        config_count: 5,
        vendor: "EDK II\0".encode_utf16().collect(),
        regions: vec![region],
    };
    t.h.efi.set(info).unwrap();
    let plain = |index| ask(XEN_FW_EFI_INFO, index, &nothing).unwrap().u;
    assert_eq!(plain(XEN_FW_EFI_VERSION).get::<u32>(), 2 << 16 | 70);
    assert_eq!(plain(XEN_FW_EFI_RT_VERSION).get::<u32>(), 2 << 16);
    let tables: FwEfiConfigTable = plain(XEN_FW_EFI_CONFIG_TABLE).get();
    assert_eq!((tables.addr, tables.nent), (0xabc000, 5));
    assert_eq!(
        ask(XEN_FW_DISK_INFO, 0, &nothing).map(|_| ()),
        Err(Errno::ESRCH)
    );
    assert_eq!(
        ask(XEN_FW_EFI_INFO, 77, &nothing).map(|_| ()),
        Err(Errno::EINVAL)
    );

    let buffer = t.mem.put_bytes(&[0xff; 32]);
    let vendor = |bufsz| {
        let put = |info: &mut FirmwareInfo| {
            info.u.set(FwEfiVendor {
                bufsz,
                name: GuestHandle::new(buffer),
                ..Default::default()
            })
        };
        let told: FwEfiVendor = ask(XEN_FW_EFI_INFO, XEN_FW_EFI_VENDOR, &put)
            .unwrap()
            .u
            .get();
        let text: [u16; 16] = t.mem.get(buffer);
        let text = text.iter().take_while(|c| **c != 0).copied();
        (
            told.revision,
            String::from_utf16_lossy(&text.collect::<Vec<_>>()),
        )
    };
    assert_eq!(vendor(7), (7, "ED".into()), "cut, and terminated");
    assert_eq!(vendor(32), (7, "EDK II".into()));
    assert_eq!(vendor(u32::MAX), (7, "EDK II".into()));
    assert_eq!(vendor(0).0, 7);

    let memory = |addr, size| {
        let put = |info: &mut FirmwareInfo| {
            info.u.set(FwEfiMemInfo {
                addr,
                size,
                ..Default::default()
            })
        };
        ask(XEN_FW_EFI_INFO, XEN_FW_EFI_MEM_INFO, &put).map(|info| {
            let m: FwEfiMemInfo = info.u.get();
            (m.addr, m.size, m.r#type, m.attr)
        })
    };
    assert_eq!(memory(0x2000, u64::MAX), Ok((0x2000, 0x1000, 9, 0xf)));
    assert_eq!(memory(0x1000, 16), Ok((0x1000, 16, 9, 0xf)));
    assert_eq!(memory(0x3000, 1), Err(Errno::ESRCH));
}

#[test]
fn the_version_is_told_to_everybody_the_command_line_is_not() {
    let t = Tools::new();
    let (guest, _) = t.create(1, 1);
    let buffer = t.mem.put_bytes(&[0xff; 1024]);
    let ask = |dom, cmd| t.h.call(dom, nr::XEN_VERSION, &[u64::from(cmd), buffer]);
    let text = || {
        let bytes: [u8; 64] = t.mem.get(buffer);
        let end = bytes.iter().position(|b| *b == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    };
    assert_eq!(ask(&guest, version::VERSION), Ok(4 << 16 | 17));
    assert_eq!(ask(&guest, version::PAGESIZE), Ok(4096));
    ask(&guest, version::EXTRAVERSION).unwrap();
    assert_eq!(text(), ".0-corten");
    ask(&guest, version::CAPABILITIES).unwrap();
    assert_eq!(text(), "xen-3.0-x86_64 ");
    ask(&guest, version::COMPILE_INFO).unwrap();
    assert_eq!(text(), "rustc");
    ask(&guest, version::COMMANDLINE).unwrap();
    assert_eq!(text(), "<denied>");
    ask(&t.dom0, version::COMMANDLINE).unwrap();
    assert_eq!(text(), "dom0_mem=512M");
    ask(&guest, version::GUEST_HANDLE).unwrap();
    assert_eq!(&t.mem.get::<[u8; 16]>(buffer), b"0123456789abcdef");
    ask(&guest, version::PLATFORM_PARAMETERS).unwrap();
    assert_eq!(t.mem.get::<u64>(buffer), 0xffff_8000_0000_0000);
    assert_eq!(ask(&t.dom0, version::BUILD_ID), Err(Errno::ENODATA));
    assert_eq!(ask(&guest, version::BUILD_ID), Err(Errno::EPERM));
    assert_eq!(ask(&guest, 99), Err(Errno::ENOSYS));
    let bits = |dom| {
        let at = t.mem.put(&version::FeatureInfo::default());
        let cmd = u64::from(version::GET_FEATURES);
        t.h.call(dom, nr::XEN_VERSION, &[cmd, at]).unwrap();
        t.mem.get::<version::FeatureInfo>(at).submap
    };
    assert_eq!(bits(&guest) & 1 << features::DOM0, 0);
    assert_eq!(bits(&t.dom0), bits(&guest) | 1 << features::DOM0);
    assert_ne!(bits(&guest) & 1 << features::MMU_PT_UPDATE_PRESERVE_AD, 0);
    assert_eq!(bits(&guest) & 1 << features::WRITABLE_PAGE_TABLES, 0);
    let beyond = t.mem.put(&version::FeatureInfo {
        submap_idx: 1,
        submap: 0,
    });
    let cmd = u64::from(version::GET_FEATURES);
    assert_eq!(
        t.h.call(&guest, nr::XEN_VERSION, &[cmd, beyond]),
        Err(Errno::EINVAL)
    );
}
