//! Shares of the CPUs: weights and caps of domains, and the scheduler's own parameters.
use crate::{Error, Result, SchedParams, Xenctrl};
use xen_abi::domctl::{self as dc, Domctl, SchedCredit2, SchedulerOp};
use xen_abi::sysctl::{self as sc, Credit2Schedule, CreditSchedule, Sysctl};
use xen_abi::{DomId, VcpuId};
use zerocopy::{Immutable, IntoBytes};

impl Xenctrl {
    /// Weight and cap of a domain; `sched` is its pool's scheduler, a credit one.
    pub fn sched_params(&self, dom: DomId, sched: u32) -> Result<SchedParams> {
        let member = SchedulerOp {
            sched_id: sched,
            cmd: dc::SCHEDOP_GETINFO,
            ..Default::default()
        };
        let mut op = Domctl::with(dc::SCHEDULER_OP, dom, member);
        self.domctl(&mut op)
            .map_err(|e| Error::new(format!("asking for the scheduling parameters of {dom}"), e))?;
        // The credit schedulers' members are laid out alike.
        let p: SchedCredit2 = op.scheduler_op().u.get();
        Ok(SchedParams {
            weight: p.weight,
            cap: p.cap,
        })
    }

    /// Sets weight and cap of a domain.
    pub fn set_sched_params(&self, dom: DomId, sched: u32, params: SchedParams) -> Result<()> {
        let (weight, cap) = (params.weight, params.cap);
        let mut member = SchedulerOp {
            sched_id: sched,
            cmd: dc::SCHEDOP_PUTINFO,
            ..Default::default()
        };
        member.u.set(SchedCredit2 { weight, cap });
        self.domctl(&mut Domctl::with(dc::SCHEDULER_OP, dom, member))
            .map(drop)
            .map_err(|e| Error::new(format!("setting weight {weight} and cap {cap} of {dom}"), e))
    }

    /// The time in microseconds that a vcpu runs before another may take over, in a pool under credit2.
    pub fn credit2_ratelimit(&self, pool: u32) -> Result<u32> {
        let op = self.scheduler_op(pool, dc::SCHEDULER_CREDIT2, None::<Credit2Schedule>)?;
        Ok(op.u.get::<Credit2Schedule>().ratelimit_us)
    }

    /// Sets that time.
    pub fn set_credit2_ratelimit(&self, pool: u32, ratelimit_us: u32) -> Result<()> {
        let wanted = Some(Credit2Schedule { ratelimit_us });
        self.scheduler_op(pool, dc::SCHEDULER_CREDIT2, wanted)
            .map(drop)
    }

    /// What the credit scheduler does in a pool under it.
    pub fn credit_schedule(&self, pool: u32) -> Result<CreditSchedule> {
        let op = self.scheduler_op(pool, dc::SCHEDULER_CREDIT, None::<CreditSchedule>)?;
        Ok(op.u.get())
    }

    /// Sets that.
    pub fn set_credit_schedule(&self, pool: u32, wanted: CreditSchedule) -> Result<()> {
        self.scheduler_op(pool, dc::SCHEDULER_CREDIT, Some(wanted))
            .map(drop)
    }

    /// Asks for a scheduler's own parameters in a pool, or sets them.
    fn scheduler_op<T: IntoBytes + Immutable>(
        &self,
        pool: u32,
        sched: u32,
        wanted: Option<T>,
    ) -> Result<sc::SchedulerOp> {
        let mut member = sc::SchedulerOp {
            cpupool_id: pool,
            sched_id: sched,
            cmd: sc::SCHEDOP_GETINFO,
            ..Default::default()
        };
        let what = match wanted {
            None => "asking for",
            Some(wanted) => {
                member.cmd = sc::SCHEDOP_PUTINFO;
                member.u.set(wanted);
                "setting"
            }
        };
        let mut op = Sysctl::with(sc::SCHEDULER_OP, member);
        self.sysctl(&mut op)
            .map(|_| op.scheduler_op())
            .map_err(|e| {
                Error::new(
                    format!("{what} the scheduler's parameters in pool {pool}"),
                    e,
                )
            })
    }

    /// Presses a button of a domain, or sends it an NMI (`SENDTRIGGER_*`).
    pub fn send_trigger(&self, dom: DomId, trigger: u32, vcpu: VcpuId) -> Result<()> {
        let member = dc::SendTrigger { trigger, vcpu };
        self.domctl(&mut Domctl::with(dc::SENDTRIGGER, dom, member))
            .map(drop)
            .map_err(|e| Error::new(format!("sending trigger {trigger} to {dom}{vcpu}"), e))
    }

    /// Sets how far a domain's wall clock is from the host's, in seconds.
    pub fn set_time_offset(&self, dom: DomId, seconds: i64) -> Result<()> {
        let member = dc::SetTimeOffset {
            time_offset_seconds: seconds,
        };
        self.domctl(&mut Domctl::with(dc::SETTIMEOFFSET, dom, member))
            .map(drop)
            .map_err(|e| Error::new(format!("setting the clock of {dom} {seconds} s off"), e))
    }
}
