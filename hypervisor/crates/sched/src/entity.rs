//! [`Entity`]: what the scheduling policy knows about one vcpu.
use crate::budget::Budget;
use core::fmt;
use xen_abi::{DomId, VcpuId};

/// Weight of a vcpu whose domain was given none.
pub const DEFAULT_WEIGHT: u16 = 256;

/// Names a vcpu.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Its domain.
    pub dom: DomId,
    /// Which of the domain's.
    pub vcpu: VcpuId,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dom, self.vcpu)
    }
}

/// A set of CPUs 0..64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuMask(pub u64);

impl CpuMask {
    /// Every CPU.
    pub const ALL: CpuMask = CpuMask(!0);

    /// Only `cpu`; empty beyond 63.
    pub const fn one(cpu: u32) -> CpuMask {
        CpuMask(if cpu < 64 { 1 << cpu } else { 0 })
    }
    /// Is `cpu` in it?
    pub const fn has(self, cpu: u32) -> bool {
        self.0 & CpuMask::one(cpu).0 != 0
    }
    /// CPUs in both.
    pub const fn and(self, other: CpuMask) -> CpuMask {
        CpuMask(self.0 & other.0)
    }
    /// No CPU at all?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The CPUs in rising order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |&cpu| self.has(cpu))
    }
}

/// One vcpu as the policy sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entity {
    /// Which vcpu.
    pub key: Key,
    /// Its share relative to others; 0 counts as 1.
    pub weight: u16,
    /// CPUs it must run on.
    pub hard: CpuMask,
    /// CPUs it should run on, if one of them is idle.
    pub soft: CpuMask,
    /// CPU it ran on last.
    pub last_cpu: u32,
    /// Nanoseconds it has run in total.
    pub ran_ns: u64,
    /// Weighted nanoseconds it has run; the lowest is served first.
    pub(crate) vruntime: u64,
    /// What its cap leaves it.
    pub(crate) budget: Budget,
}

impl Entity {
    /// A vcpu that never ran, without cap, allowed anywhere.
    pub fn new(key: Key) -> Entity {
        Entity {
            key,
            weight: DEFAULT_WEIGHT,
            hard: CpuMask::ALL,
            soft: CpuMask::ALL,
            last_cpu: 0,
            ran_ns: 0,
            vruntime: 0,
            budget: Budget::default(),
        }
    }

    /// Limits it to `cap` hundredths of a percent of one CPU; 0: no limit. A domain's cap is to be shared out over its vcpus.
    pub fn set_cap(&mut self, cap: u32) {
        self.budget.set_cap(cap);
    }

    /// Its limit in hundredths of a percent of one CPU, 0: none.
    pub fn cap(&self) -> u32 {
        self.budget.cap()
    }

    /// Charges `ran` nanoseconds that end at `now`.
    pub(crate) fn charge(&mut self, ran: u64, now: u64) {
        let weight = u64::from(self.weight.max(1));
        let scaled = u128::from(ran) * u128::from(DEFAULT_WEIGHT) / u128::from(weight);
        let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
        self.vruntime = self.vruntime.saturating_add(scaled);
        self.ran_ns = self.ran_ns.saturating_add(ran);
        self.budget.charge(ran, now);
    }
}
