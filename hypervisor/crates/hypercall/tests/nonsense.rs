//! Nonsense in every control call: whatever the numbers, the answer is a value or an errno, and the machine stays whole.
mod common;

use common::Tools;
use domain::Host;
use xen_abi::domctl::{self, Domctl};
use xen_abi::sysctl::{self, Sysctl};
use xen_abi::{DomId, hypercall as nr, platform, version};

/// Small numbers, all ones, addresses of memory and anything else, in turn (xorshift).
struct Dice(u64, [u64; 2]);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn word(&mut self) -> u64 {
        let r = self.roll();
        match r & 7 {
            0..=2 => self.roll() & 7,
            3 => u64::MAX - (self.roll() & 3),
            4 | 5 => self.1[(r >> 8 & 1) as usize] + (self.roll() & 0x1f8),
            6 => self.roll() & 0xffff_ffff,
            _ => self.roll(),
        }
    }
    /// Half of the words in each of which the other half is small too.
    fn words<const N: usize>(&mut self) -> [u64; N] {
        std::array::from_fn(|_| {
            if self.roll() & 3 == 0 {
                self.word() & 3 | (self.word() & 3) << 32
            } else {
                self.word()
            }
        })
    }
    fn one_of(&mut self, list: &[xen_abi::layout::Const]) -> u32 {
        match self.roll() % 16 {
            0 => self.roll() as u32,
            _ => list[self.roll() as usize % list.len()].value as u32,
        }
    }
}

#[test]
fn control_calls_survive_nonsense() {
    let t = Tools::new();
    let total = t.h.with_heap(|h| h.total_pages());
    let scratch = [t.mem.put_bytes(&[0; 8192]), t.mem.put_bytes(&[0xa5; 8192])];
    let at = t.mem.put(&Domctl::default());
    let mut dice = Dice(0x1234_5678_9abc_def1, scratch);
    let (mut served, mut refused) = (0, 0);
    for round in 0..60_000 {
        if round % 100 == 0 && t.h.domains().get(DomId(1)).is_none() {
            let _ = t.try_create(DomId(1), Tools::wish(2));
        }
        let args = [at];
        let (number, bytes) = match dice.roll() % 4 {
            0 => {
                let mut op = Sysctl::new(dice.one_of(sysctl::OPS));
                op.u.0 = dice.words();
                (nr::SYSCTL, zerocopy::IntoBytes::as_bytes(&op).to_vec())
            }
            1 => {
                let op = platform::PlatformOp {
                    cmd: dice.one_of(platform::OPS),
                    interface_version: platform::INTERFACE_VERSION,
                    u: xen_abi::Payload(dice.words()),
                };
                (nr::PLATFORM_OP, zerocopy::IntoBytes::as_bytes(&op).to_vec())
            }
            _ => {
                let id = DomId(dice.roll() as u16 & 1);
                let mut op = Domctl::new(dice.one_of(domctl::OPS), id);
                op.u.0 = dice.words();
                (nr::DOMCTL, zerocopy::IntoBytes::as_bytes(&op).to_vec())
            }
        };
        assert!(common::GuestMemory::write(&*t.mem, at, &bytes));
        match t.h.call(&t.dom0, number, &args) {
            Ok(_) => served += 1,
            Err(_) => refused += 1,
        }
        let cmd = u64::from(dice.one_of(version::OPS));
        let _ = t.h.call(&t.dom0, nr::XEN_VERSION, &[cmd, dice.word()]);
    }
    assert!(
        served > 1000 && refused > 1000,
        "{served} served, {refused} refused"
    );
    for dom in t.h.domains().all() {
        if !dom.privileged {
            t.simple(domctl::DESTROYDOMAIN, dom.id).unwrap();
        }
    }
    assert_eq!(t.h.with_heap(|h| h.total_pages()), total);
    assert_eq!(t.h.domains().all().len(), 1);
}
