//! The typed calls against a hypervisor of a few lines.
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use xen_abi::domctl::{self, Domctl, GetDomainInfo};
use xen_abi::sysctl::{self, Sysctl};
use xen_abi::{DomId, Errno, Gfn, hypercall};
use xenctrl::Xenctrl;
use xendev::{Arena, ForeignMemory, Hypercall, Prot, SharedMem};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Speaks one interface version only; has domains 0, 3 and 5; needs three calls to destroy one.
struct Fake {
    arena: Arena,
    version: u32,
    calls: AtomicU32,
    dying: AtomicU32,
    console: Mutex<Vec<u8>>,
}

impl Fake {
    fn get<T: FromBytes + IntoBytes>(&self, addr: u64) -> Result<T, Errno> {
        let mut v = T::new_zeroed();
        if self.arena.read(addr, v.as_mut_bytes()) {
            Ok(v)
        } else {
            Err(Errno::EFAULT)
        }
    }
    fn put<T: IntoBytes + Immutable>(&self, addr: u64, v: &T) -> Result<(), Errno> {
        if self.arena.write(addr, v.as_bytes()) {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    fn domctl(&self, addr: u64) -> Result<i64, Errno> {
        let mut op: Domctl = self.get(addr)?;
        if op.interface_version != self.version {
            return Err(Errno::EACCES);
        }
        match op.cmd {
            domctl::GETDOMAININFO => {
                let next = [0, 3, 5]
                    .into_iter()
                    .find(|d| *d >= op.domain.0)
                    .ok_or(Errno::ESRCH)?;
                op.domain = DomId(next);
                op.set_getdomaininfo(info(next));
                self.put(addr, &op)?;
                Ok(0)
            }
            domctl::DESTROYDOMAIN if self.dying.fetch_add(1, Ordering::Relaxed) < 2 => {
                Err(Errno::EAGAIN)
            }
            domctl::DESTROYDOMAIN => Ok(0),
            domctl::PAUSEDOMAIN if ![0, 3, 5].contains(&op.domain.0) => Err(Errno::ESRCH),
            domctl::PAUSEDOMAIN => Ok(0),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn sysctl(&self, addr: u64) -> Result<i64, Errno> {
        let mut op: Sysctl = self.get(addr)?;
        match op.cmd {
            sysctl::GETDOMAININFOLIST => {
                let mut list = op.getdomaininfolist();
                let found: Vec<_> = [0, 3, 5]
                    .into_iter()
                    .filter(|d| *d >= list.first_domain.0)
                    .collect();
                list.num_domains = found.len().min(list.max_domains as usize) as u32;
                for (i, d) in found.iter().take(list.num_domains as usize).enumerate() {
                    self.put(list.buffer.nth(i as u64).unwrap().addr(), &info(*d))?;
                }
                op.set_getdomaininfolist(list);
            }
            sysctl::READCONSOLE => {
                let mut r = op.readconsole();
                let mut ring = self.console.lock().unwrap();
                let from = if r.incremental != 0 {
                    (r.index as usize).min(ring.len())
                } else {
                    0
                };
                let n = (ring.len() - from).min(r.count as usize);
                if n > 0 && !self.arena.write(r.buffer.addr(), &ring[from..from + n]) {
                    return Err(Errno::EFAULT);
                }
                (r.index, r.count) = ((from + n) as u32, n as u32);
                if r.clear != 0 {
                    ring.drain(..n);
                }
                op.set_readconsole(r);
            }
            _ => return Err(Errno::ENOSYS),
        }
        self.put(addr, &op).map(|()| 0)
    }
}

fn info(domid: u16) -> GetDomainInfo {
    GetDomainInfo {
        domain: DomId(domid),
        tot_pages: 1000 + u64::from(domid),
        flags: domctl::DOMINF_SHUTDOWN | 3 << domctl::DOMINF_SHUTDOWNSHIFT,
        max_vcpu_id: domctl::INVALID_MAX_VCPU_ID,
        ..GetDomainInfo::new_zeroed()
    }
}

impl Hypercall for Fake {
    fn hypercall(&self, op: u32, args: [u64; 5]) -> Result<i64, Errno> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match op {
            hypercall::DOMCTL => self.domctl(args[0]),
            hypercall::SYSCTL => self.sysctl(args[0]),
            _ => Err(Errno::ENOSYS),
        }
    }
    fn alloc(&self, len: usize) -> Result<Box<dyn SharedMem>, Errno> {
        Ok(self.arena.alloc(len))
    }
}

struct NoForeign;
impl ForeignMemory for NoForeign {
    fn map(&self, dom: DomId, _: Prot, _: &[Gfn]) -> xendev::Result<Box<dyn SharedMem>> {
        Err(xendev::Error::new(
            format!("mapping {dom}"),
            std::io::ErrorKind::Unsupported.into(),
        ))
    }
    fn map_resource(
        &self,
        dom: DomId,
        _: u32,
        _: u32,
        _: u64,
        _: u64,
    ) -> xendev::Result<Box<dyn SharedMem>> {
        self.map(dom, Prot::Read, &[])
    }
}

fn fake(version: u32) -> (Arc<Fake>, Xenctrl) {
    let f = Arc::new(Fake {
        arena: Arena::default(),
        version,
        calls: AtomicU32::new(0),
        dying: AtomicU32::new(0),
        console: Mutex::new(b"hello".repeat(9000)),
    });
    (f.clone(), Xenctrl::new(f, Arc::new(NoForeign)))
}

#[test]
fn the_interface_version_is_found_by_trying_and_then_kept() {
    let (f, xc) = fake(0x17);
    assert_eq!(xc.domain_info(DomId(3)).unwrap().unwrap().tot_pages, 1003);
    assert_eq!(f.calls.load(Ordering::Relaxed), 3);
    xc.pause_domain(DomId(3)).unwrap();
    assert_eq!(f.calls.load(Ordering::Relaxed), 4);
}

#[test]
fn a_hypervisor_of_another_age_is_named_as_the_cause() {
    let (_, xc) = fake(0x99);
    let e = xc.pause_domain(DomId(3)).unwrap_err().to_string();
    assert!(
        e.starts_with("pausing d3: EACCES") && e.contains("0x15 to 0x18"),
        "{e}"
    );
}

#[test]
fn info_answers_about_the_domain_asked_for_only() {
    let (_, xc) = fake(0x15);
    assert!(
        xc.domain_info(DomId(4)).unwrap().is_none(),
        "the hypervisor answers about d5"
    );
    assert!(xc.domain_info(DomId(9)).unwrap().is_none());
    let d = xc.domain_info(DomId(5)).unwrap().unwrap();
    assert_eq!(d.state.shutdown, Some(xenctrl::ShutdownReason::Crash));
    assert_eq!(d.max_vcpu_id, None);
}

#[test]
fn errors_name_operation_object_and_cause() {
    let (_, xc) = fake(0x15);
    assert_eq!(
        xc.pause_domain(DomId(7)).unwrap_err().to_string(),
        "pausing d7: ESRCH (no such domain)"
    );
}

#[test]
fn destroying_goes_on_until_it_is_done() {
    let (f, xc) = fake(0x15);
    xc.destroy_domain(DomId(3)).unwrap();
    assert_eq!(f.dying.load(Ordering::Relaxed), 3);
}

#[test]
fn lists_are_complete() {
    let (_, xc) = fake(0x15);
    let ids = |l: Vec<xenctrl::DomainInfo>| l.iter().map(|d| d.domid.0).collect::<Vec<_>>();
    assert_eq!(ids(xc.domains().unwrap()), [0, 3, 5]);
    assert_eq!(ids(xc.domain_info_list(DomId(1), 1).unwrap()), [3]);
}

#[test]
fn the_console_is_read_whole_and_cleared_on_request() {
    let (_, xc) = fake(0x15);
    assert_eq!(xc.read_console(false).unwrap().len(), 45_000);
    assert_eq!(xc.read_console(true).unwrap().len(), 45_000);
    assert_eq!(xc.read_console(false).unwrap().len(), 0);
}
