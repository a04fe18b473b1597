//! Memory writes do what a CPU does: digests of outcomes recorded on an AMD EPYC, 256 states for each instruction.
//!
//! Recorded by executing `popfq; <instruction>; pushfq` with rbx = rdi = `BASE` + 8 and everything else as [`State::draw`]
//! has it, memory being three words at `BASE`; flags the manuals leave undefined are left out.
mod common;

use common::Regs;
use x86emu::{Cpu, Gpr, decode_mem_write};

const BASE: u64 = 0x2000_0000;
const STATES: usize = 256;
/// The arithmetic flags; without AF, which logic leaves undefined; those defined after a bit test.
const ALL: u64 = 0x8d5;
const LOGIC: u64 = 0x8c5;
const BIT: u64 = 0x41;
const DIRECTION: u64 = 0x400;

struct Digest(u64);

impl Digest {
    fn add(&mut self, words: &[u64]) {
        for word in words {
            self.0 = (self.0 ^ word).wrapping_mul(0x100_0000_01b3);
            self.0 ^= self.0 >> 29;
        }
    }
}

/// Marsaglia's xorshift.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Often a value at an edge.
    fn value(&mut self) -> u64 {
        const EDGES: [u64; 8] = [
            0,
            1,
            u64::MAX,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_8000_8080,
            0x7fff_7f7f,
            0x10,
            0xffff_ffff,
        ];
        let choice = self.next();
        if choice & 1 == 0 {
            self.next()
        } else {
            EDGES[(choice >> 8 & 7) as usize]
        }
    }
}

struct State {
    memory: [u64; 3],
    regs: Regs,
}

impl State {
    fn draw(rng: &mut Rng) -> State {
        let memory = [rng.value(), rng.value(), rng.value()];
        let other = rng.value();
        // cmpxchg is to succeed as often as not.
        let rax = if rng.next() & 2 == 0 {
            memory[1]
        } else {
            other
        };
        // A bit offset within the three words.
        let rcx = ((rng.next() & 127) as i64 - 64) as u64;
        let rdx = rng.value();
        let mut gpr = [0; 16];
        (gpr[0], gpr[1], gpr[2], gpr[3], gpr[7]) = (rax, rcx, rdx, BASE + 8, BASE + 8);
        let flags = rng.next() & (ALL | DIRECTION) | 2;
        State {
            memory,
            regs: Regs {
                gpr,
                rip: 0x1000,
                flags,
            },
        }
    }

    /// Executes the instruction.
    fn step(&mut self, text: &str, bytes: &[u8]) {
        let op = decode_mem_write(bytes, &self.regs).expect(text);
        let at = (op.addr() - BASE) as usize;
        let mut memory: Vec<u8> = self.memory.iter().flat_map(|w| w.to_le_bytes()).collect();
        let operand = &mut memory[at..at + op.width().bytes() as usize];
        let mut old = [0; 8];
        old[..operand.len()].copy_from_slice(operand);
        let old = u64::from_le_bytes(old);
        if let Some(new) = op.value(old, &self.regs) {
            operand.copy_from_slice(&new.to_le_bytes()[..operand.len()]);
        }
        op.retire(old, &mut self.regs);
        for (word, bytes) in self.memory.iter_mut().zip(memory.chunks(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap());
        }
    }
}

#[test]
fn outcomes_are_those_of_a_cpu() {
    for (text, bytes, flags, recorded) in RECORDED {
        let (mut digest, mut rng) = (Digest(0xcbf2_9ce4_8422_2325), Rng(0x9e37_79b9_7f4a_7c15));
        for _ in 0..STATES {
            let mut state = State::draw(&mut rng);
            state.step(text, bytes);
            let r = &state.regs;
            assert_eq!(r.rip, 0x1000 + bytes.len() as u64, "{text}");
            assert_eq!((r.gpr(Gpr::RBX), r.gpr(Gpr(4))), (BASE + 8, 0), "{text}");
            digest.add(&[r.gpr[0], r.gpr[1], r.gpr[2], r.gpr[7], r.flags & flags]);
            digest.add(&state.memory);
        }
        assert_eq!(digest.0, *recorded, "{text}");
    }
}

/// Instruction, encoding, defined flags, digest.
#[rustfmt::skip]
const RECORDED: &[(&str, &[u8], u64, u64)] = &[
    ("and byte ptr [rbx], dl", &[0x20, 0x13], LOGIC, 0x138dd74a0dfe6053),
    ("and byte ptr [rbx], -0x6f", &[0x80, 0x23, 0x91], LOGIC, 0xbb95cc853d17459d),
    ("or byte ptr [rbx], dl", &[0x08, 0x13], LOGIC, 0xa35d5c0ef724db6b),
    ("or byte ptr [rbx], -0x6f", &[0x80, 0x0b, 0x91], LOGIC, 0x68738e859e45bf77),
    ("xor byte ptr [rbx], dl", &[0x30, 0x13], LOGIC, 0xc4f7e1081e6e74ae),
    ("xor byte ptr [rbx], -0x6f", &[0x80, 0x33, 0x91], LOGIC, 0x7af32b765538285b),
    ("add byte ptr [rbx], dl", &[0x00, 0x13], ALL, 0x3dffa8a7b606c38b),
    ("add byte ptr [rbx], -0x6f", &[0x80, 0x03, 0x91], ALL, 0xf6ddc53d93daa19c),
    ("sub byte ptr [rbx], dl", &[0x28, 0x13], ALL, 0x798e6ac05b762394),
    ("sub byte ptr [rbx], -0x6f", &[0x80, 0x2b, 0x91], ALL, 0xa1af2a9f073caa28),
    ("inc byte ptr [rbx]", &[0xfe, 0x03], ALL, 0x5f4590bfe91898be),
    ("dec byte ptr [rbx]", &[0xfe, 0x0b], ALL, 0x5c501fb1074db874),
    ("neg byte ptr [rbx]", &[0xf6, 0x1b], ALL, 0xd52ea8f7b3c3a706),
    ("not byte ptr [rbx]", &[0xf6, 0x13], ALL, 0x220840b9c3050952),
    ("mov byte ptr [rbx], dl", &[0x88, 0x13], ALL, 0xb750085be59f7a49),
    ("mov byte ptr [rbx], -0x6f", &[0xc6, 0x03, 0x91], ALL, 0xbe8c5845be9e10a4),
    ("xchg byte ptr [rbx], dl", &[0x86, 0x13], ALL, 0x51739d4e84398c5c),
    ("xadd byte ptr [rbx], dl", &[0x0f, 0xc0, 0x13], ALL, 0x97e45ef069b03dd8),
    ("xadd byte ptr [rbx], al", &[0x0f, 0xc0, 0x03], ALL, 0xecc9a422ca391bc1),
    ("lock cmpxchg byte ptr [rbx], dl", &[0xf0, 0x0f, 0xb0, 0x13], ALL, 0x7532a2b13a55a982),
    ("cmpxchg byte ptr [rbx], al", &[0x0f, 0xb0, 0x03], ALL, 0xca4e49113b0b7021),
    ("stosb", &[0xaa], ALL, 0xac7148445e461a22),
    ("and word ptr [rbx], dx", &[0x66, 0x21, 0x13], LOGIC, 0x36ef08720f1f0293),
    ("and word ptr [rbx], 0x7ff0", &[0x66, 0x81, 0x23, 0xf0, 0x7f], LOGIC, 0x96acd3e8e4412824),
    ("and word ptr [rbx], -2", &[0x66, 0x83, 0x23, 0xfe], LOGIC, 0x918f1e8ee6541a2a),
    ("or word ptr [rbx], dx", &[0x66, 0x09, 0x13], LOGIC, 0x5d2504ec40666801),
    ("or word ptr [rbx], 0x7ff0", &[0x66, 0x81, 0x0b, 0xf0, 0x7f], LOGIC, 0xd5c4cbdebda4679f),
    ("or word ptr [rbx], -2", &[0x66, 0x83, 0x0b, 0xfe], LOGIC, 0x95d59680f78e9513),
    ("xor word ptr [rbx], dx", &[0x66, 0x31, 0x13], LOGIC, 0xf08146391e8f32b4),
    ("xor word ptr [rbx], 0x7ff0", &[0x66, 0x81, 0x33, 0xf0, 0x7f], LOGIC, 0x8cbea2523d5f6ad3),
    ("xor word ptr [rbx], -2", &[0x66, 0x83, 0x33, 0xfe], LOGIC, 0xb00725cda8ac434b),
    ("add word ptr [rbx], dx", &[0x66, 0x01, 0x13], ALL, 0x6f17d25e3f1c0f01),
    ("add word ptr [rbx], 0x7ff0", &[0x66, 0x81, 0x03, 0xf0, 0x7f], ALL, 0xefa58d0abd58bf91),
    ("add word ptr [rbx], -2", &[0x66, 0x83, 0x03, 0xfe], ALL, 0x837c063d98fadb47),
    ("sub word ptr [rbx], dx", &[0x66, 0x29, 0x13], ALL, 0xbba9fe547f06a678),
    ("sub word ptr [rbx], 0x7ff0", &[0x66, 0x81, 0x2b, 0xf0, 0x7f], ALL, 0x30d8eeba817cbd22),
    ("sub word ptr [rbx], -2", &[0x66, 0x83, 0x2b, 0xfe], ALL, 0x7a44218c6bfb64f0),
    ("inc word ptr [rbx]", &[0x66, 0xff, 0x03], ALL, 0x1f3a94bfbfd4b072),
    ("dec word ptr [rbx]", &[0x66, 0xff, 0x0b], ALL, 0x4c118379984cc586),
    ("neg word ptr [rbx]", &[0x66, 0xf7, 0x1b], ALL, 0x6ed861c35775b5de),
    ("not word ptr [rbx]", &[0x66, 0xf7, 0x13], ALL, 0xadf4f7c4118ba0b3),
    ("mov word ptr [rbx], dx", &[0x66, 0x89, 0x13], ALL, 0xa0529416798eb169),
    ("mov word ptr [rbx], 0x7ff0", &[0x66, 0xc7, 0x03, 0xf0, 0x7f], ALL, 0x3d5eaabd59498148),
    ("xchg word ptr [rbx], dx", &[0x66, 0x87, 0x13], ALL, 0x16cf5ccc302603cc),
    ("xadd word ptr [rbx], dx", &[0x66, 0x0f, 0xc1, 0x13], ALL, 0x9393c656768fa578),
    ("xadd word ptr [rbx], ax", &[0x66, 0x0f, 0xc1, 0x03], ALL, 0xc60906a94f0038a4),
    ("lock cmpxchg word ptr [rbx], dx", &[0x66, 0xf0, 0x0f, 0xb1, 0x13], ALL, 0x309d711973dced7e),
    ("cmpxchg word ptr [rbx], ax", &[0x66, 0x0f, 0xb1, 0x03], ALL, 0x9b799d0a89677e2c),
    ("stosw", &[0x66, 0xab], ALL, 0x7619503ba3ffc37a),
    ("bts word ptr [rbx], cx", &[0x66, 0x0f, 0xab, 0x0b], BIT, 0xc65a93844f19ac69),
    ("bts word ptr [rbx], 0x2d", &[0x66, 0x0f, 0xba, 0x2b, 0x2d], BIT, 0xf491ddbd85a30b61),
    ("btr word ptr [rbx], cx", &[0x66, 0x0f, 0xb3, 0x0b], BIT, 0x1869d0a27eb32c63),
    ("btr word ptr [rbx], 0x2d", &[0x66, 0x0f, 0xba, 0x33, 0x2d], BIT, 0x02acecd9ec68b19a),
    ("btc word ptr [rbx], cx", &[0x66, 0x0f, 0xbb, 0x0b], BIT, 0x618db64493fbecc7),
    ("btc word ptr [rbx], 0x2d", &[0x66, 0x0f, 0xba, 0x3b, 0x2d], BIT, 0x6f9e70b4ff560fbb),
    ("and dword ptr [rbx], edx", &[0x21, 0x13], LOGIC, 0x966896c7852fe866),
    ("and dword ptr [rbx], -0x7654321", &[0x81, 0x23, 0xdf, 0xbc, 0x9a, 0xf8], LOGIC, 0xcc9dbbd6338061ee),
    ("and dword ptr [rbx], -2", &[0x83, 0x23, 0xfe], LOGIC, 0xe0d961566e3dce02),
    ("or dword ptr [rbx], edx", &[0x09, 0x13], LOGIC, 0xcc7851b6008f235e),
    ("or dword ptr [rbx], -0x7654321", &[0x81, 0x0b, 0xdf, 0xbc, 0x9a, 0xf8], LOGIC, 0x0a557e58dd3cc5bf),
    ("or dword ptr [rbx], -2", &[0x83, 0x0b, 0xfe], LOGIC, 0x2e8d722c6f0ce5a2),
    ("xor dword ptr [rbx], edx", &[0x31, 0x13], LOGIC, 0x7801d70b09acddec),
    ("xor dword ptr [rbx], -0x7654321", &[0x81, 0x33, 0xdf, 0xbc, 0x9a, 0xf8], LOGIC, 0xffae60ddb6fb37cf),
    ("xor dword ptr [rbx], -2", &[0x83, 0x33, 0xfe], LOGIC, 0xb2723ebf3a7705a3),
    ("add dword ptr [rbx], edx", &[0x01, 0x13], ALL, 0x3fccd57a7830b87a),
    ("add dword ptr [rbx], -0x7654321", &[0x81, 0x03, 0xdf, 0xbc, 0x9a, 0xf8], ALL, 0xa88fc6c4b983f29b),
    ("add dword ptr [rbx], -2", &[0x83, 0x03, 0xfe], ALL, 0xeef230e5881c675a),
    ("sub dword ptr [rbx], edx", &[0x29, 0x13], ALL, 0x58896a4500b05e2b),
    ("sub dword ptr [rbx], -0x7654321", &[0x81, 0x2b, 0xdf, 0xbc, 0x9a, 0xf8], ALL, 0x4dc610463bb4a1c9),
    ("sub dword ptr [rbx], -2", &[0x83, 0x2b, 0xfe], ALL, 0x1476662ee412f637),
    ("inc dword ptr [rbx]", &[0xff, 0x03], ALL, 0x65ae3e2ac86b71b4),
    ("dec dword ptr [rbx]", &[0xff, 0x0b], ALL, 0x1540aeac70ca19fc),
    ("neg dword ptr [rbx]", &[0xf7, 0x1b], ALL, 0x3bda5fdfafacde83),
    ("not dword ptr [rbx]", &[0xf7, 0x13], ALL, 0xaaecdd4f5fe6996e),
    ("mov dword ptr [rbx], edx", &[0x89, 0x13], ALL, 0x94b1b6a2ad0d9d47),
    ("mov dword ptr [rbx], -0x7654321", &[0xc7, 0x03, 0xdf, 0xbc, 0x9a, 0xf8], ALL, 0xfc234a12d434b524),
    ("xchg dword ptr [rbx], edx", &[0x87, 0x13], ALL, 0x3893e82d049571ee),
    ("xadd dword ptr [rbx], edx", &[0x0f, 0xc1, 0x13], ALL, 0x724dd485d8c1d44d),
    ("xadd dword ptr [rbx], eax", &[0x0f, 0xc1, 0x03], ALL, 0x2259d634917d281b),
    ("lock cmpxchg dword ptr [rbx], edx", &[0xf0, 0x0f, 0xb1, 0x13], ALL, 0xe9ce8c75b86c77e7),
    ("cmpxchg dword ptr [rbx], eax", &[0x0f, 0xb1, 0x03], ALL, 0x55a887200057462c),
    ("stosd", &[0xab], ALL, 0xab9adf753daa6902),
    ("bts dword ptr [rbx], ecx", &[0x0f, 0xab, 0x0b], BIT, 0xc65a93844f19ac69),
    ("bts dword ptr [rbx], 0x2d", &[0x0f, 0xba, 0x2b, 0x2d], BIT, 0xf491ddbd85a30b61),
    ("btr dword ptr [rbx], ecx", &[0x0f, 0xb3, 0x0b], BIT, 0x1869d0a27eb32c63),
    ("btr dword ptr [rbx], 0x2d", &[0x0f, 0xba, 0x33, 0x2d], BIT, 0x02acecd9ec68b19a),
    ("btc dword ptr [rbx], ecx", &[0x0f, 0xbb, 0x0b], BIT, 0x618db64493fbecc7),
    ("btc dword ptr [rbx], 0x2d", &[0x0f, 0xba, 0x3b, 0x2d], BIT, 0x6f9e70b4ff560fbb),
    ("lock and qword ptr [rbx], rdx", &[0xf0, 0x48, 0x21, 0x13], LOGIC, 0xe201a25c25243b73),
    ("and qword ptr [rbx], -0x7654321", &[0x48, 0x81, 0x23, 0xdf, 0xbc, 0x9a, 0xf8], LOGIC, 0x0a31c5027f1acfdf),
    ("and qword ptr [rbx], -2", &[0x48, 0x83, 0x23, 0xfe], LOGIC, 0x1be6ecd224f75832),
    ("lock or qword ptr [rbx], rdx", &[0xf0, 0x48, 0x09, 0x13], LOGIC, 0xd2fd72de8f3f01c0),
    ("or qword ptr [rbx], -0x7654321", &[0x48, 0x81, 0x0b, 0xdf, 0xbc, 0x9a, 0xf8], LOGIC, 0x710555d5dbeacbf5),
    ("or qword ptr [rbx], -2", &[0x48, 0x83, 0x0b, 0xfe], LOGIC, 0x1d1adc7f93befeac),
    ("lock xor qword ptr [rbx], rdx", &[0xf0, 0x48, 0x31, 0x13], LOGIC, 0x1c1d9d829edf91ab),
    ("xor qword ptr [rbx], -0x7654321", &[0x48, 0x81, 0x33, 0xdf, 0xbc, 0x9a, 0xf8], LOGIC, 0x77ba11fab29a6790),
    ("xor qword ptr [rbx], -2", &[0x48, 0x83, 0x33, 0xfe], LOGIC, 0xd67084ad1c56fbb7),
    ("lock add qword ptr [rbx], rdx", &[0xf0, 0x48, 0x01, 0x13], ALL, 0xe9d5b3f7e404258b),
    ("add qword ptr [rbx], -0x7654321", &[0x48, 0x81, 0x03, 0xdf, 0xbc, 0x9a, 0xf8], ALL, 0xdb8d3e6d6d44762b),
    ("add qword ptr [rbx], -2", &[0x48, 0x83, 0x03, 0xfe], ALL, 0xcd9ac6746ed9f6bd),
    ("lock sub qword ptr [rbx], rdx", &[0xf0, 0x48, 0x29, 0x13], ALL, 0x812ace72e41e29a1),
    ("sub qword ptr [rbx], -0x7654321", &[0x48, 0x81, 0x2b, 0xdf, 0xbc, 0x9a, 0xf8], ALL, 0xd9c66ac4d162bab0),
    ("sub qword ptr [rbx], -2", &[0x48, 0x83, 0x2b, 0xfe], ALL, 0xb8e8ecc59f339bae),
    ("inc qword ptr [rbx]", &[0x48, 0xff, 0x03], ALL, 0x36cdc07aaea8b7ba),
    ("dec qword ptr [rbx]", &[0x48, 0xff, 0x0b], ALL, 0xf15b8eaa268b0574),
    ("neg qword ptr [rbx]", &[0x48, 0xf7, 0x1b], ALL, 0xf5f147154fd68efb),
    ("not qword ptr [rbx]", &[0x48, 0xf7, 0x13], ALL, 0xf638339a99e90ab0),
    ("mov qword ptr [rbx], rdx", &[0x48, 0x89, 0x13], ALL, 0x20cb8efa395c8502),
    ("mov qword ptr [rbx], -0x7654321", &[0x48, 0xc7, 0x03, 0xdf, 0xbc, 0x9a, 0xf8], ALL, 0x8ccc271114f846fa),
    ("xchg qword ptr [rbx], rdx", &[0x48, 0x87, 0x13], ALL, 0x62270af62f537b9e),
    ("xadd qword ptr [rbx], rdx", &[0x48, 0x0f, 0xc1, 0x13], ALL, 0x685a025d145d5330),
    ("xadd qword ptr [rbx], rax", &[0x48, 0x0f, 0xc1, 0x03], ALL, 0xe831f89c709205cb),
    ("lock cmpxchg qword ptr [rbx], rdx", &[0xf0, 0x48, 0x0f, 0xb1, 0x13], ALL, 0x546e80a3fa19d63c),
    ("cmpxchg qword ptr [rbx], rax", &[0x48, 0x0f, 0xb1, 0x03], ALL, 0x82aad11e99da14a4),
    ("stosq", &[0x48, 0xab], ALL, 0xb8f621207cf551ac),
    ("bts qword ptr [rbx], rcx", &[0x48, 0x0f, 0xab, 0x0b], BIT, 0xc65a93844f19ac69),
    ("bts qword ptr [rbx], 0x2d", &[0x48, 0x0f, 0xba, 0x2b, 0x2d], BIT, 0x141c48f444badb7c),
    ("btr qword ptr [rbx], rcx", &[0x48, 0x0f, 0xb3, 0x0b], BIT, 0x1869d0a27eb32c63),
    ("btr qword ptr [rbx], 0x2d", &[0x48, 0x0f, 0xba, 0x33, 0x2d], BIT, 0x4c9552ac3bc82fff),
    ("btc qword ptr [rbx], rcx", &[0x48, 0x0f, 0xbb, 0x0b], BIT, 0x618db64493fbecc7),
    ("btc qword ptr [rbx], 0x2d", &[0x48, 0x0f, 0xba, 0x3b, 0x2d], BIT, 0x766ed10f33fa0a82),
    ("mov byte ptr [rbx], ah", &[0x88, 0x23], ALL, 0x65270315404f28dd),
    ("xchg byte ptr [rbx], dh", &[0x86, 0x33], ALL, 0x67567ec81f83a1cd),
    ("xadd byte ptr [rbx], ah", &[0x0f, 0xc0, 0x23], ALL, 0x9dbeb0e30dd2215f),
    ("and byte ptr [rbx], ch", &[0x20, 0x2b], LOGIC, 0x00657c2835109f24),
    ("cmpxchg byte ptr [rbx], ah", &[0x0f, 0xb0, 0x23], ALL, 0xec6c73e95c56d24e),
    ("movnti [rbx], rdx", &[0x48, 0x0f, 0xc3, 0x13], ALL, 0x20cb8efa395c8502),
    ("movnti [rbx], edx", &[0x0f, 0xc3, 0x13], ALL, 0x94b1b6a2ad0d9d47),
    ("xchg [rbx-4], rdx", &[0x48, 0x87, 0x53, 0xfc], ALL, 0xff0eac89e48ced80),
    ("movabs [0x2000000c], eax", &[0xa3, 0x0c, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00], ALL, 0xdafd87af2bb5da8d),
    ("mov qword ptr [rdi], rdx", &[0x48, 0x89, 0x17], ALL, 0x20cb8efa395c8502),
    ("add qword ptr [ebx], rdx", &[0x67, 0x48, 0x01, 0x13], ALL, 0xe9d5b3f7e404258b),
];
