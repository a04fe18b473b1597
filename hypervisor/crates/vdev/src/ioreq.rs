//! Device models outside the hypervisor: [`Servers`], who emulates which port, address and PCI function; [`Pending`], a vcpu
//! that waits for an answer; [`put_buffered`], writes nobody waits for.
//!
//! Layouts are those of `hvm/ioreq.h` ([`Ioreq`]), the calls those of `hvm/dm_op.h`. What a device model writes into the
//! shared pages is as little trusted as a guest.
use xen_abi::Errno;
use xen_abi::hvm::dm_op;
use xen_abi::hvm::ioreq::*;
use xen_abi::hvm::{IOREQSRV_BUFIOREQ_ATOMIC, IOREQSRV_BUFIOREQ_OFF};

/// Servers of a domain.
pub const SERVERS: usize = 8;
/// Ranges of a domain, of all its servers.
pub const RANGES: usize = 512;
/// Vcpus that have a place in a server's page.
pub const VCPUS_PER_PAGE: u32 = 4096 / 32;
const CF8_ENABLED: u32 = 1 << 31;

/// What is asked of a device model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Port I/O or memory.
    pub space: Space,
    /// First port or guest-physical address.
    pub addr: u64,
    /// The value to write, or (`by_pointer`) the guest-physical address of the values.
    pub data: u64,
    /// Bytes of an access: 1, 2, 4 or 8.
    pub size: u8,
    /// Accesses, one but for repeated instructions.
    pub count: u32,
    /// A read.
    pub read: bool,
    /// Addresses fall.
    pub down: bool,
    /// `data` points.
    pub by_pointer: bool,
}

/// Kinds of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// I/O ports.
    Port,
    /// Guest-physical memory.
    Memory,
    /// PCI configuration: segment, bus, device and function above 32 bits of register.
    Pci,
}

impl Space {
    fn of_type(kind: u32) -> Option<Space> {
        match kind {
            dm_op::IO_RANGE_PORT => Some(Space::Port),
            dm_op::IO_RANGE_MEMORY => Some(Space::Memory),
            dm_op::IO_RANGE_PCI => Some(Space::Pci),
            _ => None,
        }
    }
}

impl Request {
    /// The request as it goes into the vcpu's place, to be written with state [`STATE_IOREQ_READY`] last.
    pub fn encode(&self, port: xen_abi::Port) -> Ioreq {
        let flag = |set: bool, bit: u8| if set { 1 << bit } else { 0 };
        Ioreq {
            addr: self.addr,
            data: self.data,
            count: self.count,
            size: self.size.into(),
            vp_eport: port,
            _pad0: 0,
            _bits: STATE_IOREQ_READY as u8
                | flag(self.by_pointer, 4)
                | flag(self.read, 5)
                | flag(self.down, 6),
            r#type: match self.space {
                Space::Port => IOREQ_TYPE_PIO,
                Space::Memory => IOREQ_TYPE_COPY,
                Space::Pci => IOREQ_TYPE_PCI_CONFIG,
            } as u8,
        }
    }

    /// An access to 0xcfc to 0xcff becomes one to the configuration of the function that `cf8` has chosen.
    pub fn through_cf8(self, cf8: u32) -> Request {
        if self.space != Space::Port || self.addr & !3 != 0xcfc || cf8 & CF8_ENABLED == 0 {
            return self;
        }
        let function = u64::from(cf8 >> 8 & 0xffff);
        let register = u64::from(cf8 & 0xfc) | self.addr & 3;
        Request {
            space: Space::Pci,
            addr: function << 32 | register,
            ..self
        }
    }

    /// First and last of what is accessed, as ranges count it.
    fn extent(&self) -> Option<(u64, u64)> {
        let size = u64::from(self.size.max(1));
        let (first, last) = match self.space {
            // A repeated port is the same port.
            Space::Port => (self.addr, self.addr.checked_add(size - 1)?),
            Space::Pci => (self.addr >> 32, self.addr >> 32),
            Space::Memory => {
                let others = size.checked_mul(u64::from(self.count.max(1)) - 1)?;
                match self.down {
                    false => (
                        self.addr,
                        self.addr.checked_add(others)?.checked_add(size - 1)?,
                    ),
                    true => (
                        self.addr.checked_sub(others)?,
                        self.addr.checked_add(size - 1)?,
                    ),
                }
            }
        };
        Some((first, last))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    server: u8,
    space: Space,
    start: u64,
    end: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Server {
    enabled: bool,
    buffered: u8,
}

/// The servers of a domain (12 KiB: box it).
#[derive(Clone, Debug)]
pub struct Servers {
    servers: [Option<Server>; SERVERS],
    ranges: [Range; RANGES],
    used: usize,
}

impl Default for Servers {
    fn default() -> Servers {
        let none = Range {
            server: 0,
            space: Space::Port,
            start: 0,
            end: 0,
        };
        Servers {
            servers: [None; SERVERS],
            ranges: [none; RANGES],
            used: 0,
        }
    }
}

impl Servers {
    /// Creates a server, not enabled; `buffered` is one of `HVM_IOREQSRV_BUFIOREQ_*`.
    pub fn create(&mut self, buffered: u8) -> Result<u16, Errno> {
        if buffered > IOREQSRV_BUFIOREQ_ATOMIC {
            return Err(Errno::EINVAL);
        }
        let free = self.servers.iter_mut().zip(0..).find(|(s, _)| s.is_none());
        let (slot, id) = free.ok_or(Errno::ENOSPC)?;
        *slot = Some(Server {
            enabled: false,
            buffered,
        });
        Ok(id)
    }

    /// Destroys a server with its ranges. Vcpus that wait for it are answered with all ones: see [`Pending::abandon`].
    pub fn destroy(&mut self, id: u16) -> Result<(), Errno> {
        self.server(id)?;
        let mut n = 0;
        while let Some(range) = self.ranges().get(n).copied() {
            match u16::from(range.server) == id {
                true => self.remove(n),
                false => n += 1,
            }
        }
        if let Some(slot) = self.servers.get_mut(usize::from(id)) {
            *slot = None;
        }
        Ok(())
    }

    /// Enables or disables a server; a disabled one is passed over.
    pub fn set_enabled(&mut self, id: u16, enabled: bool) -> Result<(), Errno> {
        self.server(id)?.enabled = enabled;
        Ok(())
    }

    /// How a server takes buffered writes (`HVM_IOREQSRV_BUFIOREQ_*`).
    pub fn buffered(&mut self, id: u16) -> Result<u8, Errno> {
        Ok(self.server(id)?.buffered)
    }

    fn server(&mut self, id: u16) -> Result<&mut Server, Errno> {
        let slot = self.servers.get_mut(usize::from(id));
        slot.and_then(Option::as_mut).ok_or(Errno::ENOENT)
    }

    fn ranges(&self) -> &[Range] {
        self.ranges.get(..self.used).unwrap_or(&[])
    }

    fn remove(&mut self, n: usize) {
        if n < self.used {
            self.used -= 1;
            self.ranges.swap(n, self.used);
        }
    }

    fn insert(&mut self, range: Range) -> Result<(), Errno> {
        *self.ranges.get_mut(self.used).ok_or(Errno::ENOSPC)? = range;
        self.used += 1;
        Ok(())
    }

    fn range(&mut self, id: u16, kind: u32, start: u64, end: u64) -> Result<Range, Errno> {
        self.server(id)?;
        let space = Space::of_type(kind).filter(|_| start <= end);
        Ok(Range {
            server: id as u8,
            space: space.ok_or(Errno::EINVAL)?,
            start,
            end,
        })
    }

    /// Gives `start..=end` (of type `XEN_DMOP_IO_RANGE_*`) to a server; no part of it may be its own already.
    pub fn map(&mut self, id: u16, kind: u32, start: u64, end: u64) -> Result<(), Errno> {
        let new = self.range(id, kind, start, end)?;
        let same = |r: &&Range| (r.server, r.space) == (new.server, new.space);
        let overlaps = |r: &Range| r.start <= end && start <= r.end;
        if self.ranges().iter().filter(same).any(overlaps) {
            return Err(Errno::EEXIST);
        }
        // Neighbours become one, so that they can be given back as one.
        let find = |this: &Self, touches: &dyn Fn(&Range) -> bool| {
            let mut all = this.ranges().iter();
            all.position(|r| (r.server, r.space) == (new.server, new.space) && touches(r))
        };
        let mut whole = new;
        if let Some(n) = find(self, &|r| r.end.checked_add(1) == Some(start)) {
            whole.start = self.ranges().get(n).map_or(start, |r| r.start);
            self.remove(n);
        }
        if let Some(n) = find(self, &|r| end.checked_add(1) == Some(r.start)) {
            whole.end = self.ranges().get(n).map_or(end, |r| r.end);
            self.remove(n);
        }
        self.insert(whole)
    }

    /// Takes `start..=end` from a server, all of which must be its own.
    pub fn unmap(&mut self, id: u16, kind: u32, start: u64, end: u64) -> Result<(), Errno> {
        let old = self.range(id, kind, start, end)?;
        let contains = |r: &Range| {
            (r.server, r.space) == (old.server, old.space) && r.start <= start && end <= r.end
        };
        let n = self
            .ranges()
            .iter()
            .position(contains)
            .ok_or(Errno::ENOENT)?;
        let whole = self.ranges().get(n).copied().ok_or(Errno::ENOENT)?;
        let before = (whole.start < start).then(|| Range {
            end: start - 1,
            ..whole
        });
        let after = (end < whole.end).then(|| Range {
            start: end + 1,
            ..whole
        });
        if before.is_some() && after.is_some() && self.used == RANGES {
            return Err(Errno::ENOSPC);
        }
        self.remove(n);
        for part in [before, after].into_iter().flatten() {
            self.insert(part)?;
        }
        Ok(())
    }

    /// The server that takes the whole of a request: of several the youngest number; `None`: nobody's.
    pub fn select(&self, request: &Request) -> Option<u16> {
        let (first, last) = request.extent()?;
        let enabled = |r: &&Range| {
            let server = self.servers.get(usize::from(r.server));
            server.is_some_and(|s| s.is_some_and(|s| s.enabled))
        };
        self.ranges()
            .iter()
            .filter(|r| r.space == request.space && r.start <= first && last <= r.end)
            .filter(enabled)
            .map(|r| r.server.into())
            .max()
    }

    /// Whether a server takes buffered requests at all.
    pub fn takes_buffered(&self, id: u16) -> bool {
        let server = self.servers.get(usize::from(id)).copied().flatten();
        server.is_some_and(|s| s.buffered != IOREQSRV_BUFIOREQ_OFF)
    }
}

/// A vcpu's request on its way; the vcpu does not run until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Who was asked.
    pub server: u16,
    /// What.
    pub request: Request,
    /// The state last seen.
    state: u8,
}

/// What a look at the vcpu's place says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Not yet.
    Waiting,
    /// This value (of reads); now write [`STATE_IOREQ_NONE`] into the place.
    Data(u64),
    /// The device model has broken the protocol: the domain cannot go on.
    Broken,
}

impl Pending {
    /// `request` has been written and announced.
    pub fn new(server: u16, request: Request) -> Pending {
        Pending {
            server,
            request,
            state: STATE_IOREQ_READY as u8,
        }
    }

    /// Looks at the vcpu's place. States only go on, from ready by in process to the answer.
    pub fn poll(&mut self, place: &Ioreq) -> Answer {
        let state = place.state();
        let forward = state >= self.state;
        self.state = state;
        match u32::from(state) {
            STATE_IORESP_READY => Answer::Data(self.value(place.data)),
            STATE_IOREQ_READY | STATE_IOREQ_INPROCESS if forward => Answer::Waiting,
            _ => Answer::Broken,
        }
    }

    /// The server has gone: what nobody answers reads as ones.
    pub fn abandon(self) -> u64 {
        self.value(u64::MAX)
    }

    fn value(&self, data: u64) -> u64 {
        match self.request.size {
            1 => data & 0xff,
            2 => data & 0xffff,
            4 => data & 0xffff_ffff,
            _ => data,
        }
    }
}

/// Slots of a buffered write and the write pointer that publishes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffered {
    /// Index and contents; the second only of eight bytes.
    pub slots: [Option<(u32, BufIoreq)>; 2],
    /// To be written after the slots.
    pub write_pointer: u32,
}

/// Puts a write into a ring whose pointers are `read` and `write`. `None`: it does not fit, neither the ring nor its form:
/// ask synchronously.
pub fn put_buffered(request: &Request, read: u32, write: u32) -> Option<Buffered> {
    let fits = request.addr < 1 << 20 && request.count == 1 && !request.by_pointer && !request.read;
    let (kind, log2) = match (request.space, request.size) {
        (Space::Pci, _) => return None,
        (_, size @ (1 | 2 | 4 | 8)) => (request.space, size.trailing_zeros()),
        _ => return None,
    };
    let needed = if request.size == 8 { 2 } else { 1 };
    // The reader owns its pointer: whatever it says, no more than the ring is used.
    let used = write.wrapping_sub(read);
    if !fits || used > IOREQ_BUFFER_SLOT_NUM || IOREQ_BUFFER_SLOT_NUM - used < needed {
        return None;
    }
    let kind = match kind {
        Space::Port => IOREQ_TYPE_PIO,
        _ => IOREQ_TYPE_COPY,
    };
    let slot = |n: u32, data: u64| {
        let contents = BufIoreq {
            _bits: kind | log2 << 10 | (request.addr as u32) << 12,
            data: data as u32,
        };
        (write.wrapping_add(n) % IOREQ_BUFFER_SLOT_NUM, contents)
    };
    let second = (needed == 2).then(|| slot(1, request.data >> 32));
    Some(Buffered {
        slots: [Some(slot(0, request.data)), second],
        write_pointer: write.wrapping_add(needed),
    })
}

/// Both pointers a round lower, if the reader (in atomic mode) has completed one; to be exchanged together.
pub fn wrap_pointers(read: u32, write: u32) -> Option<(u32, u32)> {
    let round = IOREQ_BUFFER_SLOT_NUM;
    (read >= round && write >= round).then(|| (read - round, write - round))
}
