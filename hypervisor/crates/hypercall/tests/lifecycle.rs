//! Domains through the toolstack's eyes: created, listed, paused, changed, destroyed.
mod common;

use common::{Effect, Tools};
use core::sync::atomic::Ordering;
use domain::Host;
use xen_abi::domctl::*;
use xen_abi::xen::{X86_EMU_LAPIC, XenctlBitmap};
use xen_abi::{DomId, Errno, GuestHandle, VcpuId, hypercall as nr, sched};

#[test]
fn a_domain_is_created_listed_and_destroyed_without_a_trace() {
    let t = Tools::new();
    let free = t.h.with_heap(|h| h.free_pages());
    let (dom, _) = t.create(2, 10);
    let info = t.info(dom.id).unwrap();
    assert_eq!(
        (info.domain, info.tot_pages, info.max_pages),
        (dom.id, 10, 256)
    );
    assert_eq!((info.max_vcpu_id, info.nr_online_vcpus), (1, 0));
    assert_eq!((info.handle, info.cpu_time), (*b"0123456789abcdef", 3000));
    assert_eq!(info.shared_info_frame, dom.shared_info.0);
    assert_eq!(info.flags & 0xffff, DOMINF_PAUSED);
    assert_eq!(t.simple(DESTROYDOMAIN, dom.id), Ok(0));
    assert_eq!(t.info(dom.id), None);
    assert_eq!(t.h.with_heap(|h| h.free_pages()), free);
    assert!(t.h.take_effects().contains(&Effect::Retired(dom.id)));
    assert_eq!(t.simple(DESTROYDOMAIN, dom.id), Err(Errno::ESRCH));
    assert_eq!(
        t.simple(DESTROYDOMAIN, DomId::DOM0),
        Err(Errno::EINVAL),
        "not oneself"
    );
}

#[test]
fn a_dead_domain_stays_while_somebody_refers_to_its_pages() {
    let t = Tools::new();
    let (dom, pages) = t.create(1, 3);
    let held = t.h.frames().get_page(pages[0], dom.id).unwrap();
    t.simple(DESTROYDOMAIN, dom.id).unwrap();
    let info = t.info(dom.id).unwrap();
    assert_eq!(
        (info.flags & DOMINF_DYING, info.tot_pages),
        (DOMINF_DYING, 1)
    );
    assert_eq!(t.simple(DESTROYDOMAIN, dom.id), Ok(0), "again does no harm");
    domain::put_page(t.h, held);
    assert_eq!(t.info(dom.id), None);
}

#[test]
fn ids_are_chosen_or_given_and_not_reused_at_once() {
    let t = Tools::new();
    let a = t.try_create(DomId(0), Tools::wish(1)).unwrap();
    t.simple(DESTROYDOMAIN, a).unwrap();
    let b = t.try_create(DomId::INVALID, Tools::wish(1)).unwrap();
    assert_ne!(a, b);
    assert_eq!(t.try_create(DomId(500), Tools::wish(1)), Ok(DomId(500)));
    assert_eq!(t.try_create(DomId(500), Tools::wish(1)), Err(Errno::EEXIST));
}

#[test]
fn wishes_that_cannot_be_met_are_refused() {
    let t = Tools::new();
    let refused = |change: &dyn Fn(&mut CreateDomain)| {
        let mut wish = Tools::wish(1);
        change(&mut wish);
        t.try_create(DomId(0), wish)
    };
    let einval = Err(Errno::EINVAL);
    assert_eq!(
        refused(&|w| w.flags = CDF_HVM | CDF_HAP),
        Err(Errno::EOPNOTSUPP)
    );
    assert_eq!(refused(&|w| w.flags = CDF_IOMMU), einval);
    assert_eq!(refused(&|w| w.flags = 1 << 20), einval);
    assert_eq!(refused(&|w| w.max_vcpus = 0), einval);
    assert_eq!(refused(&|w| w.max_vcpus = 100_000), einval);
    assert_eq!(refused(&|w| w.max_grant_frames = i32::MAX), einval);
    assert_eq!(refused(&|w| w.max_maptrack_frames = i32::MAX), einval);
    assert_eq!(refused(&|w| w.grant_opts = 2), einval);
    assert_eq!(refused(&|w| w.vmtrace_size = 4096), einval);
    assert_eq!(refused(&|w| w.arch.emulation_flags = X86_EMU_LAPIC), einval);
    assert_eq!(refused(&|w| w.cpupool_id = 1), Err(Errno::ESRCH));
    assert!(refused(&|w| w.max_evtchn_port = u32::MAX).is_ok());
    assert!(refused(&|w| w.grant_opts = 0).is_ok());
}

#[test]
fn a_creation_that_fails_half_way_is_undone() {
    let t = Tools::new();
    let free = t.h.with_heap(|h| h.free_pages());
    t.h.refuse_vcpus_from
        .store(1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(t.try_create(DomId(9), Tools::wish(2)), Err(Errno::ENOMEM));
    assert_eq!(t.info(DomId(9)), None);
    assert_eq!(t.h.with_heap(|h| h.free_pages()), free);
}

#[test]
fn versions_and_privilege_come_first() {
    let t = Tools::new();
    let (guest, _) = t.create(1, 1);
    let mut op = Domctl::new(PAUSEDOMAIN, DomId(0));
    assert_eq!(t.domctl_by(&guest, &mut op), Err(Errno::EPERM));
    for (version, result) in [
        (0x14, Err(Errno::EACCES)),
        (0x15, Ok(0)),
        (0x18, Ok(0)),
        (0x19, Err(Errno::EACCES)),
    ] {
        let mut op = Domctl::new(GETDOMAININFO, guest.id);
        op.interface_version = version;
        assert_eq!(t.domctl(&mut op), result, "{version:#x}");
    }
    assert_eq!(t.simple(9999, guest.id), Err(Errno::ENOSYS));
    assert_eq!(t.simple(SOFT_RESET, guest.id), Err(Errno::EOPNOTSUPP));
    assert_eq!(t.simple(ASSIGN_DEVICE, guest.id), Err(Errno::ENODEV));
    assert_eq!(t.simple(GETHVMCONTEXT, guest.id), Err(Errno::EINVAL));
    assert_eq!(t.simple(PAUSEDOMAIN, DomId(77)), Err(Errno::ESRCH));
    assert_eq!(
        t.h.call(&t.dom0, nr::DOMCTL, &[0xdead_0000]),
        Err(Errno::EFAULT)
    );
}

#[test]
fn the_older_interface_finds_the_next_domain() {
    let t = Tools::new();
    let id = t.try_create(DomId(40), Tools::wish(1)).unwrap();
    let mut op = Domctl::new(GETDOMAININFO, DomId(3));
    assert_eq!(t.domctl(&mut op), Ok(0));
    assert_eq!((op.domain, op.getdomaininfo().domain), (id, id));
    op = Domctl::new(GETDOMAININFO, DomId(41));
    assert_eq!(t.domctl(&mut op), Err(Errno::ESRCH));
    assert_eq!(t.info(DomId(3)), None);
}

#[test]
fn pauses_nest_and_the_first_unpause_ends_the_building() {
    let t = Tools::new();
    let (dom, _) = t.create(1, 1);
    t.simple(PAUSEDOMAIN, dom.id).unwrap();
    t.simple(UNPAUSEDOMAIN, dom.id).unwrap();
    assert!(!dom.may_run());
    t.simple(UNPAUSEDOMAIN, dom.id).unwrap();
    assert!(dom.may_run() && !dom.creating.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(t.info(dom.id).unwrap().flags & DOMINF_PAUSED, 0);
    assert_eq!(t.simple(UNPAUSEDOMAIN, dom.id), Err(Errno::EINVAL));
    assert_eq!(t.simple(PAUSEDOMAIN, DomId::DOM0), Err(Errno::EINVAL));
    for _ in 0..255 {
        t.simple(PAUSEDOMAIN, dom.id).unwrap();
    }
    assert_eq!(t.simple(PAUSEDOMAIN, dom.id), Err(Errno::EOVERFLOW));
}

#[test]
fn a_domain_that_shut_down_says_why_and_can_be_resumed() {
    let t = Tools::new();
    let (dom, _) = t.create(1, 1);
    t.simple(UNPAUSEDOMAIN, dom.id).unwrap();
    let args = sched::RemoteShutdown {
        domain_id: dom.id,
        reason: sched::SHUTDOWN_SUSPEND,
        ..Default::default()
    };
    let args = t.mem.put(&args);
    t.h.call(
        &t.dom0,
        nr::SCHED_OP,
        &[u64::from(sched::REMOTE_SHUTDOWN), args],
    )
    .unwrap();
    let info = t.info(dom.id).unwrap();
    assert_eq!(info.shutdown_reason(), Some(sched::SHUTDOWN_SUSPEND));
    assert!(!dom.may_run());
    t.simple(RESUMEDOMAIN, dom.id).unwrap();
    assert_eq!(t.info(dom.id).unwrap().shutdown_reason(), None);
    assert!(dom.may_run());
    t.simple(RESUMEDOMAIN, dom.id).unwrap();
    assert!(dom.may_run(), "resuming what runs changes nothing");
}

#[test]
fn an_announced_reason_is_the_one_that_counts() {
    let t = Tools::new();
    let (dom, _) = t.create(1, 1);
    t.simple(UNPAUSEDOMAIN, dom.id).unwrap();
    let say = |cmd: u32, reason| {
        let args = t.mem.put(&sched::Shutdown { reason });
        t.h.call(&dom, nr::SCHED_OP, &[cmd.into(), args])
    };
    assert_eq!(say(sched::SHUTDOWN_CODE, 6), Err(Errno::EINVAL));
    say(sched::SHUTDOWN_CODE, sched::SHUTDOWN_WATCHDOG).unwrap();
    let reason = || t.info(dom.id).unwrap().shutdown_reason();
    assert_eq!(reason(), None);
    say(sched::SHUTDOWN, sched::SHUTDOWN_POWEROFF).unwrap();
    assert_eq!(reason(), Some(sched::SHUTDOWN_WATCHDOG));
    t.simple(RESUMEDOMAIN, dom.id).unwrap();
    say(sched::SHUTDOWN, sched::SHUTDOWN_SOFT_RESET).unwrap();
    assert_eq!(reason(), Some(sched::SHUTDOWN_SOFT_RESET));
}

#[test]
fn watchdogs_are_two_and_numbered_from_one() {
    let t = Tools::new();
    let (dom, _) = t.create(2, 1);
    let set = |id, timeout| {
        let args = t.mem.put(&sched::Watchdog { id, timeout });
        t.h.call(&dom, nr::SCHED_OP, &[sched::WATCHDOG.into(), args])
    };
    assert_eq!(set(0, 0), Err(Errno::EINVAL));
    assert_eq!(set(1, 5), Err(Errno::EINVAL), "not in use");
    assert_eq!((set(0, 5), set(0, u32::MAX)), (Ok(1), Ok(2)));
    assert_eq!(set(0, 5), Err(Errno::ENOSPC));
    let at = |n: usize| dom.vcpus[0].watchdog_ns[n].load(Ordering::Relaxed);
    assert!(at(0) != 0 && at(1) > at(0));
    assert_eq!((set(2, 0), at(1)), (Ok(0), 0));
    assert_eq!(set(2, 5), Err(Errno::EINVAL), "stopped is not in use");
    for id in [3, u32::MAX] {
        assert_eq!(set(id, 5), Err(Errno::EINVAL));
    }
}

#[test]
fn settings_are_kept() {
    let t = Tools::new();
    let (dom, _) = t.create(2, 1);
    let set = |op: Domctl| t.domctl(&mut { op });
    set(Domctl::with(
        SETDOMAINHANDLE,
        dom.id,
        SetDomainHandle { handle: [7; 16] },
    ))
    .unwrap();
    assert_eq!(t.info(dom.id).unwrap().handle, [7; 16]);
    assert_eq!(
        set(Domctl::with(MAX_VCPUS, dom.id, MaxVcpus { max: 2 })),
        Ok(0)
    );
    assert_eq!(
        set(Domctl::with(MAX_VCPUS, dom.id, MaxVcpus { max: 3 })),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        set(Domctl::with(
            SET_ADDRESS_SIZE,
            dom.id,
            AddressSize { size: 64 }
        )),
        Ok(0)
    );
    assert_eq!(
        set(Domctl::with(
            SET_ADDRESS_SIZE,
            dom.id,
            AddressSize { size: 32 }
        )),
        Err(Errno::EOPNOTSUPP)
    );
    let mut op = Domctl::new(GET_ADDRESS_SIZE, dom.id);
    t.domctl(&mut op).unwrap();
    assert_eq!(op.address_size().size, 64);
    let tsc = |mode| {
        Domctl::with(
            SETTSCINFO,
            dom.id,
            TscInfo {
                tsc_mode: mode,
                ..Default::default()
            },
        )
    };
    assert_eq!(set(tsc(0)), Ok(0));
    for none in [3, 9] {
        assert_eq!(set(tsc(none)), Err(Errno::EINVAL));
    }
}

#[test]
fn a_counter_goes_on_where_the_tsc_info_says() {
    let t = Tools::new();
    let (dom, _) = t.create(2, 1);
    let get = || {
        let mut op = Domctl::new(GETTSCINFO, dom.id);
        t.domctl(&mut op).unwrap();
        op.tsc_info()
    };
    let set = |tsc_mode, gtsc_khz, elapsed_nsec| {
        let info = TscInfo {
            tsc_mode,
            gtsc_khz,
            elapsed_nsec,
            incarnation: 4,
            ..Default::default()
        };
        t.domctl(&mut Domctl::with(SETTSCINFO, dom.id, info))
            .unwrap();
    };
    let counter = &dom.vcpus[0].tsc;
    let pass = |ns| t.h.now.fetch_add(ns, Ordering::Relaxed) + ns;
    // The machine's ticks are nanoseconds.
    let now = pass(1000);
    assert_eq!((counter.at(now), counter.is_trapped()), (now, false));
    let info = get();
    assert_eq!(
        (info.tsc_mode, info.gtsc_khz, info.incarnation),
        (0, 1_000_000, 1)
    );
    assert_eq!(info.elapsed_nsec, now);
    // From a machine twice as fast, after a second.
    set(0, 2_000_000, 1_000_000_000);
    assert!(counter.is_trapped());
    assert_eq!(counter.at(now), 2_000_000_000);
    let now = pass(500);
    assert_eq!(counter.at(now), 2_000_001_000);
    let info = get();
    assert_eq!(
        (info.gtsc_khz, info.elapsed_nsec),
        (2_000_000, 1_000_000_500)
    );
    assert_eq!(info.incarnation, 5);
    set(1, 0, 0);
    assert!(counter.is_trapped());
    assert_eq!(counter.at(now), 0);
    assert_eq!((get().gtsc_khz, get().elapsed_nsec), (1_000_000, 0));
    set(2, 2_000_000, 7);
    assert_eq!((counter.at(now), counter.is_trapped()), (now, false));
    let info = get();
    assert_eq!((info.tsc_mode, info.gtsc_khz, info.elapsed_nsec), (2, 0, 0));
}

#[test]
fn targets_and_virqs_are_only_given_where_they_exist() {
    let t = Tools::new();
    let (dom, _) = t.create(2, 1);
    let set = |op: Domctl| t.domctl(&mut { op });
    assert_eq!(
        set(Domctl::with(
            SET_TARGET,
            dom.id,
            SetTarget { target: dom.id }
        )),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        set(Domctl::with(
            SET_TARGET,
            dom.id,
            SetTarget { target: DomId(99) }
        )),
        Err(Errno::ESRCH)
    );
    assert_eq!(
        set(Domctl::with(
            SET_TARGET,
            dom.id,
            SetTarget { target: DomId(0) }
        )),
        Ok(0)
    );
    assert_eq!(
        set(Domctl::with(
            SET_VIRQ_HANDLER,
            DomId(0),
            SetVirqHandler { virq: 3 }
        )),
        Ok(0)
    );
    assert_eq!(
        set(Domctl::with(
            SET_VIRQ_HANDLER,
            dom.id,
            SetVirqHandler { virq: 3 }
        )),
        Err(Errno::EOPNOTSUPP)
    );
    assert_eq!(
        set(Domctl::with(
            SET_VIRQ_HANDLER,
            DomId(0),
            SetVirqHandler { virq: 99 }
        )),
        Err(Errno::EINVAL)
    );
}

fn map(t: &Tools, bits: u64) -> XenctlBitmap {
    XenctlBitmap {
        bitmap: GuestHandle::new(t.mem.put(&bits)),
        nr_bits: 64,
        _pad12: 0,
    }
}

#[test]
fn affinity_is_checked_and_its_effect_told() {
    let t = Tools::new();
    let (dom, _) = t.create(1, 1);
    let bits = |m: &XenctlBitmap| t.mem.get::<u64>(m.bitmap.addr());
    let call = |cmd, flags, hard, soft| {
        let a = VcpuAffinity {
            vcpu: VcpuId(0),
            flags,
            cpumap_hard: hard,
            cpumap_soft: soft,
        };
        t.domctl(&mut Domctl::with(cmd, dom.id, a))
    };
    let (hard, soft) = (map(&t, 0), map(&t, 0));
    call(
        GETVCPUAFFINITY,
        VCPUAFFINITY_HARD | VCPUAFFINITY_SOFT,
        hard,
        soft,
    )
    .unwrap();
    assert_eq!((bits(&hard), bits(&soft)), (0xf, 0xf), "all four CPUs");
    let (hard, soft) = (map(&t, 0xf6), map(&t, 0x3));
    call(
        SETVCPUAFFINITY,
        VCPUAFFINITY_HARD | VCPUAFFINITY_SOFT,
        hard,
        soft,
    )
    .unwrap();
    assert_eq!((bits(&hard), bits(&soft)), (0x6, 0x2));
    assert!(
        t.h.take_effects()
            .contains(&Effect::Affinity(dom.id, VcpuId(0)))
    );
    let none = map(&t, 0xf0);
    assert_eq!(
        call(SETVCPUAFFINITY, VCPUAFFINITY_HARD, none, none),
        Err(Errno::EINVAL)
    );
    assert_eq!(call(SETVCPUAFFINITY, 0, hard, soft), Err(Errno::EINVAL));
    assert_eq!(call(SETVCPUAFFINITY, 0x80, hard, soft), Err(Errno::EINVAL));
    let node = |cmd, m| t.domctl(&mut Domctl::with(cmd, dom.id, NodeAffinity { nodemap: m }));
    let nodes = map(&t, 0);
    node(GETNODEAFFINITY, nodes).unwrap();
    assert_eq!(bits(&nodes), 1);
    assert_eq!(node(SETNODEAFFINITY, map(&t, 3)), Ok(0));
    assert_eq!(node(SETNODEAFFINITY, map(&t, 2)), Err(Errno::EINVAL));
}

#[test]
fn weight_and_cap_are_kept() {
    let t = Tools::new();
    let (dom, _) = t.create(1, 1);
    let call = |sched_id, cmd, weight, cap| {
        let mut s = SchedulerOp {
            sched_id,
            cmd,
            ..Default::default()
        };
        s.u.set(SchedCredit2 { weight, cap });
        let mut op = Domctl::with(SCHEDULER_OP, dom.id, s);
        t.domctl(&mut op)
            .map(|_| op.scheduler_op().u.get::<SchedCredit2>())
    };
    let get = || call(SCHEDULER_CREDIT2, SCHEDOP_GETINFO, 0, 0).map(|c| (c.weight, c.cap));
    assert_eq!(get(), Ok((256, 0)));
    call(SCHEDULER_CREDIT2, SCHEDOP_PUTINFO, 512, 50).unwrap();
    assert_eq!(get(), Ok((512, 50)));
    call(SCHEDULER_CREDIT2, SCHEDOP_PUTINFO, 0, 0).unwrap();
    assert_eq!(
        get(),
        Ok((512, 0)),
        "no weight given leaves it, no cap removes it"
    );
    assert!(t.h.take_effects().contains(&Effect::Params(dom.id)));
    assert_eq!(
        call(SCHEDULER_CREDIT, SCHEDOP_GETINFO, 0, 0).err(),
        Some(Errno::EINVAL)
    );
    assert_eq!(
        call(SCHEDULER_CREDIT2, SCHEDOP_GETVCPUINFO, 0, 0).err(),
        Some(Errno::EINVAL)
    );
}

#[test]
fn memory_questions() {
    let t = Tools::new();
    let (dom, pages) = t.create(1, 2);
    let list = [
        pages[0].0,
        dom.shared_info.0,
        t.dom0.shared_info.0,
        u64::MAX,
    ];
    let at = t.mem.put(&list);
    let ask = |num| GetPageFrameInfo3 {
        num,
        array: GuestHandle::new(at),
    };
    t.domctl(&mut Domctl::with(GETPAGEFRAMEINFO3, dom.id, ask(4)))
        .unwrap();
    let x = u64::from(PFINFO_XTAB);
    assert_eq!(t.mem.get::<[u64; 4]>(at), [0, x, x, x]);
    assert_eq!(
        t.domctl(&mut Domctl::with(GETPAGEFRAMEINFO3, dom.id, ask(1025))),
        Err(Errno::E2BIG)
    );
    let shadow = |op| {
        let mut d = Domctl::with(
            SHADOW_OP,
            dom.id,
            ShadowOp {
                op,
                mb: 4,
                ..Default::default()
            },
        );
        t.domctl(&mut d).map(|_| d.shadow_op().mb)
    };
    assert!(shadow(SHADOW_OP_OFF).is_ok());
    assert_eq!(shadow(SHADOW_OP_SET_ALLOCATION), Ok(0));
    // What it writes is not seen: once somebody asks, all of it counts as written.
    assert_eq!(shadow(SHADOW_OP_CLEAN), Err(Errno::EINVAL));
    assert!(shadow(SHADOW_OP_ENABLE_LOGDIRTY).is_ok());
    assert!(shadow(SHADOW_OP_CLEAN).is_ok());
    assert!(shadow(SHADOW_OP_OFF).is_ok());
    assert_eq!(shadow(SHADOW_OP_PEEK), Err(Errno::EINVAL));
    assert_eq!(shadow(77), Err(Errno::EINVAL));
    assert_eq!(
        t.simple(SET_PAGING_MEMPOOL_SIZE, dom.id),
        Err(Errno::EOPNOTSUPP)
    );
    assert_eq!(t.simple(GET_PAGING_MEMPOOL_SIZE, dom.id), Ok(0));
    let allow = |id, allow_access| {
        let p = IomemPermission {
            nr_mfns: 1,
            allow_access,
            ..Default::default()
        };
        t.domctl(&mut Domctl::with(IOMEM_PERMISSION, id, p))
    };
    assert_eq!(allow(DomId(0), 1), Ok(0));
    assert_eq!(allow(dom.id, 0), Ok(0));
    assert_eq!(allow(dom.id, 1), Err(Errno::EOPNOTSUPP));
}

#[test]
fn the_hypercall_page_has_a_stub_per_number() {
    let t = Tools::new();
    let (dom, pages) = t.create(1, 1);
    let init = |mfn| {
        Domctl::with(
            HYPERCALL_INIT,
            dom.id,
            HypercallInit {
                gmfn: xen_abi::Gfn(mfn),
            },
        )
    };
    t.domctl(&mut init(pages[0].0)).unwrap();
    let stub = |n: usize| {
        let mut code = [0; 14];
        t.h.read_frame(pages[0], n * 32, &mut code).unwrap();
        code
    };
    assert_eq!(
        stub(12),
        [
            0x51, 0x41, 0x53, 0xb8, 12, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3
        ]
    );
    assert_eq!(
        stub(23)[..11],
        [0x51, 0x41, 0x53, 0x50, 0xb8, 23, 0, 0, 0, 0x0f, 0x05]
    );
    assert_eq!(
        t.domctl(&mut init(t.dom0.shared_info.0)),
        Err(Errno::EINVAL),
        "somebody else's page"
    );
}

#[test]
fn an_update_for_a_domain_that_is_gone_says_that_nothing_was_done() {
    let t = Tools::new();
    let pdone = t.mem.put(&7u32);
    let args = [t.mem.put(&[0u64; 2]), 1, pdone, 77];
    assert_eq!(t.h.call(&t.dom0, nr::MMU_UPDATE, &args), Err(Errno::ESRCH));
    assert_eq!(t.mem.get::<u32>(pdone), 0);
}
