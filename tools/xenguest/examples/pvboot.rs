//! Boots one PV guest with nothing but the hypervisor: no toolstack, no daemons. Run in dom0 as root:
//! `pvboot KERNEL INITRD MIB SECONDS [CMDLINE]`. Prints what the guest writes to its console ring, then destroys it.
//! Without xenstored the guest stops when it looks for devices; `earlyprintk=xen` shows everything up to there.
use std::time::{Duration, Instant};
use xen_abi::{DomId, Gfn};
use xenctrl::{CreateDomain, Xenctrl};
use xendev::{Prot, SharedMem};
use xenguest::{BuildTarget, PvImage, PvParams};

/// The console ring's `out` buffer and indices (public/io/console.h).
const OUT: usize = 1024;
const OUT_SIZE: u32 = 2048;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.len() < 4 {
        eprintln!("usage: pvboot KERNEL INITRD MIB SECONDS [CMDLINE]");
        std::process::exit(2);
    }
    if let Err(e) = run(&args) {
        eprintln!("pvboot: {e}");
        std::process::exit(1);
    }
}

fn run(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let mib: u64 = args[2].parse()?;
    let params = PvParams {
        kernel: args[0].clone().into(),
        ramdisk: (args[1] != "-").then(|| args[1].clone().into()),
        cmdline: args
            .get(4)
            .cloned()
            .unwrap_or_else(|| "earlyprintk=xen console=hvc0".into()),
        memory_pages: mib * 256,
        vcpus: 1,
    };
    let started = Instant::now();
    let image = PvImage::load(&params)?;
    eprintln!("pvboot: image loaded after {:?}", started.elapsed());
    let xc = Xenctrl::open()?;
    let dom = xc.create_domain(&CreateDomain::default())?;
    let result = boot(
        &xc,
        dom,
        image,
        mib,
        Duration::from_secs(args[3].parse()?),
        started,
    );
    xc.destroy_domain(dom)?;
    result
}

fn boot(
    xc: &Xenctrl,
    dom: DomId,
    image: PvImage,
    mib: u64,
    time: Duration,
    started: Instant,
) -> Result<(), Box<dyn std::error::Error>> {
    xc.max_vcpus(dom, 1)?;
    xc.max_mem(dom, mib * 1024 + 1024)?;
    let store_port = xc.evtchn_alloc_unbound(dom, DomId::DOM0)?;
    let console_port = xc.evtchn_alloc_unbound(dom, DomId::DOM0)?;
    let built = image.build(xc, &BuildTarget::new(dom, store_port, console_port))?;
    eprintln!(
        "pvboot: {dom} built after {:?}: {built:?}",
        started.elapsed()
    );
    let ring = xc
        .foreign()
        .map(dom, Prot::ReadWrite, &[Gfn(built.console_mfn.0)])?;
    xc.unpause_domain(dom)?;
    let end = Instant::now() + time;
    while Instant::now() < end {
        print_ring(&*ring);
        if let Some(reason) = xc.domain_info(dom)?.and_then(|i| i.state.shutdown) {
            print_ring(&*ring);
            eprintln!("\npvboot: {dom} shut down: {reason:?}");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("\npvboot: time is up; {:?}", xc.domain_info(dom)?);
    Ok(())
}

fn print_ring(ring: &dyn SharedMem) {
    let (cons, prod) = (ring.load_u32(OUT_CONS), ring.load_u32(OUT_PROD));
    let count = prod.wrapping_sub(cons).min(OUT_SIZE);
    let mut text = Vec::new();
    for i in 0..count {
        let mut byte = [0];
        ring.read(OUT + (cons.wrapping_add(i) % OUT_SIZE) as usize, &mut byte);
        text.push(byte[0]);
    }
    if count != 0 {
        ring.store_u32(OUT_CONS, cons.wrapping_add(count));
        print!("{}", String::from_utf8_lossy(&text));
    }
}
