//! Both syntaxes of `cpuid=`, their mistakes, and what a host cannot give ([`Cpuid`]).
use super::*;
use crate::cfg::parse;

fn read(text: &str) -> (Cpuid, Vec<String>) {
    let mut d = Diagnostics::default();
    let cfg = parse("g.cfg", &format!("cpuid={text}\n"), &mut d);
    let cpuid = Cpuid::read(&cfg.get("cpuid").unwrap().value, &mut d);
    (cpuid, d.0.iter().map(|d| d.to_string()).collect())
}

fn leaf(leaf: u32, subleaf: u32, [a, b, c, d]: [u32; 4]) -> CpuidLeaf {
    CpuidLeaf {
        leaf,
        subleaf,
        a,
        b,
        c,
        d,
    }
}

fn changed(text: &str) -> Vec<[u32; 6]> {
    let policy = [
        leaf(1, !0, [0x306a9, 0x1_0800, 0x0200_0001, 0x800]),
        leaf(7, 0, [0, 0x20, 0, 0]),
        leaf(0x8000_0001, !0, [0; 4]),
    ];
    let host = [leaf(1, !0, [0, 0, 0x20, 0])];
    let (cpuid, diags) = read(text);
    assert_eq!(diags, Vec::<String>::new());
    let changes = cpuid.changes(&policy, &host).unwrap();
    changes
        .iter()
        .map(|l| [l.leaf, l.subleaf, l.a, l.b, l.c, l.d])
        .collect()
}

#[test]
fn both_syntaxes_change_the_same_bits() {
    let less = [1, !0, 0x306a9, 0x1_0800, 0x20, 0x2000_0800];
    assert_eq!(changed("'host,aes=0,sse3=0,tm=1,vmx=k'"), [less]);
    assert_eq!(
        changed("['1:ecx=xxxxxx0xxxxxxxxxxxxxxxxxxxkxxxx0, edx=xx1xxxxxxxxxxxxxxxxxxxxxxxxxxxxx']"),
        [less]
    );
    assert_eq!(changed("'host,aes=0,aesni=x,avx512-ifma=0'"), {
        [
            [1, !0, 0x306a9, 0x1_0800, 0x0200_0001, 0x800],
            [7, 0, 0, 0x20, 0, 0],
        ]
    });
    assert_eq!(
        changed("['7,0:ebx=xxxxxxxxxxxxxxxxxxxxxxxxxx0xxxxx']"),
        [[7, 0, 0, 0, 0, 0]]
    );
    assert_eq!(
        changed("'host,lahf-lm=1,LAHF_LM=1,3dnow=1'"),
        [[0x8000_0001, !0, 0, 0, 1, 1 << 31]]
    );
}

#[test]
fn numbers_fill_their_fields() {
    let one = |text: &str| changed(text)[0][2..4].to_vec();
    assert_eq!(one("'host,family=6,model=0x9e,stepping=3'")[0], 0x906e3);
    assert_eq!(one("'host,family=0x17,model=1,stepping=2'")[0], 0x80_0f12);
    assert_eq!(
        one("'host,clflush=4,proccount=2,brandid=7'")[1],
        0x0002_0407
    );
    assert_eq!(one("'host,family=6,family=x'")[0], 0x306a9);
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (text, said) in [
        (
            "'aes=0'",
            "g.cfg:1:8: error: \"cpuid\" begins with the word host (as in \"host,aes=0\"; or give a list of leaves, as in [ \"1:ecx=...\" ])",
        ),
        (
            "'host,tm=0, sse5=0'",
            "g.cfg:1:19: error: in \"cpuid\": there is no feature \"sse5\" (did you mean \"sse\"?)",
        ),
        (
            "'host,hypervizor=0'",
            "g.cfg:1:13: error: in \"cpuid\": there is no feature \"hypervizor\" (did you mean \"hypervisor\"?)",
        ),
        (
            "'host,aes'",
            "g.cfg:1:13: error: in \"cpuid\": \"aes\" lacks its value (as in aes=0)",
        ),
        (
            "'host,aes=2'",
            "g.cfg:1:17: error: in \"cpuid\": aes=2 is none of 0, 1, x, k, s (0 and 1 force a bit, x leaves what a new guest gets, k and s take the host's)",
        ),
        (
            "'host,family=271'",
            "g.cfg:1:20: error: in \"cpuid\": family=271 is not a number from 0 to 270 (or x, k, s for what there is)",
        ),
        (
            "'host,stepping=-1'",
            "g.cfg:1:22: error: in \"cpuid\": stepping=-1 is not a number from 0 to 15 (or x, k, s for what there is)",
        ),
        (
            "['0x1g:eax=x']",
            "g.cfg:1:9: error: in \"cpuid\": \"0x1g\" is no leaf and no leaf,subleaf (decimal, or hexadecimal after 0x)",
        ),
        (
            "['1:eax=01x']",
            "g.cfg:1:15: error: in \"cpuid\": 3 bits where a register has 32",
        ),
        (
            "['1:rax=01x']",
            "g.cfg:1:11: error: in \"cpuid\": there is no register \"rax\" (eax, ebx, ecx or edx)",
        ),
        (
            "['1:ecx=xxxxxx0xxyxxxxxxxxxxxxxxxxxxxxxx']",
            "g.cfg:1:24: error: in \"cpuid\": 'y' is none of 0, 1, x, k, s (0 and 1 force a bit, x leaves what a new guest gets, k and s take the host's)",
        ),
    ] {
        let (_, diags) = read(text);
        assert_eq!(diags, [said], "{text}");
    }
    let (_, diags) = read("['host,aes=0']");
    assert!(
        diags[0].contains("\"host,aes=0\" begins with no leaf"),
        "{diags:?}"
    );
}

#[test]
fn what_the_host_cannot_give_is_named() {
    let most = [leaf(1, !0, [0, 0, 1 << 25, 0]), leaf(7, 0, [0; 4])];
    let (cpuid, _) = read("'host,aes=1,avx=1,avx512f=1,htt=1,family=6,sse3=k'");
    assert_eq!(cpuid.beyond(&most), ["avx", "avx512f"]);
    let (cpuid, _) = read("['0x20:eax=1xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx']");
    assert!(cpuid.beyond(&most).is_empty());
    assert!(
        cpuid
            .changes(&most, &most)
            .unwrap_err()
            .contains("leaf 0x20")
    );
    let (cpuid, _) = read("['0x20:eax=0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx']");
    assert_eq!(cpuid.changes(&most, &most).unwrap(), []);
}

#[test]
fn names_are_unique_and_no_number_hides_an_older_name() {
    let mut names: Vec<String> = features().map(|f| f.0).collect();
    names.extend(OTHER_NAMES.iter().map(|o| o.0.to_string()));
    names.sort();
    assert!(
        names.windows(2).all(|w| w[0] != w[1]),
        "a name in both tables"
    );
    assert!(
        OTHER_NAMES
            .iter()
            .all(|o| NUMBERS.iter().all(|n| n.0 != o.0))
    );
}
