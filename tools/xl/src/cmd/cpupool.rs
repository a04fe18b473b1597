//! CPU pools. Their names are in the xenstore, `/local/pool/ID/name`; everything else the hypervisor knows.
use crate::ctx::{Connections, Ctx, Failure, fail, find};
use crate::opts::Parsed;
use crate::output::scheduler_name;
use libxl::cfg::{self, Cfg, Diagnostics};
use std::path::Path;
use std::process::ExitCode;
use xen_abi::domctl::{SCHEDULER_CREDIT, SCHEDULER_CREDIT2, SCHEDULER_NULL, SCHEDULER_RTDS};
use xenctrl::{CpuMap, CpuPool};
use xenstore::Store;

type Outcome = Result<ExitCode, Failure>;

const SCHEDULERS: &[u32] = &[
    SCHEDULER_CREDIT,
    SCHEDULER_CREDIT2,
    SCHEDULER_RTDS,
    SCHEDULER_NULL,
];

/// A pool's name; one without is called by its number.
pub fn pool_name(xs: &dyn Store, id: u32) -> String {
    let name = xs
        .read_opt(&format!("/local/pool/{id}/name"))
        .ok()
        .flatten();
    name.filter(|n| !n.is_empty())
        .unwrap_or_else(|| format!("Pool-{id}"))
}

fn lookup(c: &Connections, word: &str) -> Result<Option<CpuPool>, Failure> {
    let pools = c.xc.cpupools()?;
    let by_name = pools.iter().find(|p| pool_name(&c.xs, p.id) == word);
    let by_id = || {
        word.parse()
            .ok()
            .and_then(|id: u32| pools.iter().find(|p| p.id == id))
    };
    Ok(by_name.or_else(by_id).cloned())
}

/// The pool that an operand names.
pub fn named(c: &Connections, word: &str) -> Result<CpuPool, Failure> {
    lookup(c, word)?.ok_or_else(|| Failure::Message(format!("unknown cpupool '{word}'")))
}

fn write_name(c: &Connections, id: u32, name: &str) -> Result<(), Failure> {
    let path = format!("/local/pool/{id}/name");
    c.xs.write(&path, name)
        .or_else(|e| fail(format!("writing {path}: {e}")))
}

/// `xl cpupool-list`
pub fn cpupool_list(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let pools = match args.operands.first() {
        None => c.xc.cpupools()?,
        Some(word) => match lookup(&c, word)? {
            Some(p) => vec![p],
            None => return Err(Failure::Message(format!("Pool '{word}' does not exist"))),
        },
    };
    let cpus = args.has("c");
    let head = if cpus {
        "CPU list"
    } else {
        "CPUs   Sched     Active   Domain count"
    };
    println!("{:<19}{head}", "Name");
    for p in pools {
        let members: Vec<String> = p.cpus.iter().map(|c| c.to_string()).collect();
        let name = pool_name(&c.xs, p.id);
        if cpus {
            println!("{name:<19}{}", members.join(","));
        } else {
            let sched = scheduler_name(p.sched);
            println!(
                "{name:<19}{:>3} {sched:>9}       y       {:>4}",
                members.len(),
                p.domains
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a pool's configuration says.
struct Wanted {
    /// Where it says so.
    source: String,
    name: String,
    sched: u32,
    cpus: Vec<u32>,
}

fn read_config(c: &Connections, args: &Parsed) -> Result<Wanted, Failure> {
    let mut diags = Diagnostics::default();
    let mut config = Cfg::default();
    let (settings, files): (Vec<_>, Vec<_>) = args.operands.iter().partition(|o| o.contains('='));
    let mut files = args
        .value("f")
        .into_iter()
        .chain(files.iter().map(|f| f.as_str()));
    let file = files.next();
    if let Some(second) = files.next() {
        return fail(format!(
            "one configuration file at a time, not {second} too"
        ));
    }
    if let Some(file) = file {
        let bytes = std::fs::read(file).or_else(|e| fail(format!("reading {file}: {e}")))?;
        config = cfg::parse(file, &String::from_utf8_lossy(&bytes), &mut diags);
    }
    for s in settings {
        config.merge(cfg::parse_argument(s, &mut diags), &mut diags);
    }
    if diags.failed() {
        return Err(libxl::Error::Config(diags).into());
    }
    let text = |key: &str| config.get(key).and_then(|s| s.value.as_str());
    let base = file.and_then(|f| Path::new(f).file_name()?.to_str());
    let Some(name) = text("name").filter(|n| !n.is_empty()).or(base) else {
        return Err(Failure::Message("Missing cpupool name!".into()));
    };
    if lookup(c, name)?.is_some() {
        return Err(Failure::Message(format!(
            "Pool name \"{name}\" already exists"
        )));
    }
    let sched = match text("sched") {
        None => c.xc.sched_id()?,
        Some(word) => match SCHEDULERS.iter().find(|s| scheduler_name(**s) == word) {
            Some(s) => *s,
            None => return Err(Failure::Message("Unknown scheduler".into())),
        },
    };
    Ok(Wanted {
        source: file.unwrap_or("command line").into(),
        name: name.into(),
        sched,
        cpus: wanted_cpus(c, &config)?,
    })
}

/// The CPUs that a new pool is to have, which must be free: those of its nodes, else those it names, else none.
fn wanted_cpus(c: &Connections, config: &Cfg) -> Result<Vec<u32>, Failure> {
    let max = c.xc.physinfo()?.max_cpu_id;
    let free = c.xc.free_cpus()?;
    if let Some(nodes) = config.get("nodes").and_then(|s| s.value.as_list()) {
        let wanted: Vec<u32> = nodes
            .iter()
            .filter_map(|v| v.as_str()?.parse().ok())
            .collect();
        let places = c.host().cpu_nodes(max)?;
        let cpus: Vec<u32> = (0..)
            .zip(&places)
            .filter(|(cpu, node)| wanted.contains(node) && free.contains(*cpu))
            .map(|(cpu, _)| cpu)
            .collect();
        return match cpus.is_empty() {
            true => Err(Failure::Message("no free cpu found".into())),
            false => Ok(cpus),
        };
    }
    let set = match config.get("cpus").map(|s| &s.value) {
        None => return Ok(Vec::new()),
        Some(v) => match v.as_list() {
            Some(l) => l
                .iter()
                .filter_map(|v| v.as_str())
                .collect::<Vec<_>>()
                .join(","),
            None => v.as_str().unwrap_or_default().into(),
        },
    };
    let cpus: Vec<u32> = cpu_set(c, &set, max)?.iter().collect();
    match cpus.iter().find(|cpu| !free.contains(**cpu)) {
        Some(taken) => Err(Failure::Message(format!(
            "cpu {taken} illegal or not free (if it is in another pool, xl cpupool-cpu-remove it there first)"
        ))),
        None => Ok(cpus),
    }
}

/// CPUs by number, range, or `node:N`.
fn cpu_set(c: &Connections, text: &str, max: u32) -> Result<CpuMap, Failure> {
    let nodes = c.host().cpu_nodes(max)?;
    let list = libxl::CpuList::parse(text).or_else(fail)?;
    list.resolve(&nodes)
        .or_else(|e| fail(format!("\"{text}\": {e}")))
}

/// `xl cpupool-create`
pub fn cpupool_create(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let wanted = read_config(&c, args)?;
    let cpus = &wanted.cpus;
    println!("Using config file \"{}\"", wanted.source);
    println!("cpupool name:   {}", wanted.name);
    println!("scheduler:      {}", scheduler_name(wanted.sched));
    println!("number of cpus: {}", cpus.len());
    if args.has("n") || ctx.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let id = c.xc.cpupool_create(wanted.sched)?;
    let filled = write_name(&c, id, &wanted.name).and_then(|()| {
        Ok(cpus
            .iter()
            .try_for_each(|cpu| c.xc.cpupool_add_cpu(id, *cpu))?)
    });
    if let Err(e) = filled {
        // Better no pool than half a one.
        let _ = remove(&c, id, cpus);
        return Err(e);
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(c: &Connections, id: u32, cpus: &[u32]) -> Result<(), Failure> {
    for cpu in cpus {
        c.xc.cpupool_remove_cpu(id, *cpu)?;
    }
    c.xc.cpupool_destroy(id)?;
    // A name without a pool is found by nobody.
    let _ = c.xs.rm(&format!("/local/pool/{id}"));
    Ok(())
}

/// `xl cpupool-destroy`
pub fn cpupool_destroy(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let word = args.operand(0);
    let pool = named(&c, word)?;
    if pool.id == 0 || pool.domains > 0 {
        let why = if pool.id == 0 {
            "it is the first".into()
        } else {
            format!("{} domains are in it", pool.domains)
        };
        return Err(Failure::Message(format!(
            "Can't destroy cpupool '{word}' ({why})"
        )));
    }
    remove(&c, pool.id, &pool.cpus.iter().collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

/// `xl cpupool-rename`
pub fn cpupool_rename(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let (pool, name) = (named(&c, args.operand(0))?, args.operand(1));
    if name.is_empty() || name.contains('/') || lookup(&c, name)?.is_some() {
        return fail(format!(
            "Can't rename cpupool '{}': \"{name}\" is taken or no name",
            args.operand(0)
        ));
    }
    write_name(&c, pool.id, name)?;
    Ok(ExitCode::SUCCESS)
}

fn each_cpu(
    c: &Connections,
    text: &str,
    op: impl Fn(u32) -> xenctrl::Result<()>,
) -> Result<bool, Failure> {
    let max = c.xc.physinfo()?.max_cpu_id;
    let mut all = true;
    for cpu in cpu_set(c, text, max)?.iter() {
        if let Err(e) = op(cpu) {
            say!("xl: {e}");
            all = false;
        }
    }
    Ok(all)
}

/// `xl cpupool-cpu-add`
pub fn cpupool_cpu_add(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let word = args.operand(0);
    let pool = named(&c, word)?;
    if !each_cpu(&c, args.operand(1), |cpu| {
        c.xc.cpupool_add_cpu(pool.id, cpu)
    })? {
        // No failure to the xl that this is like.
        say!("some cpus may not have been added to {word}");
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl cpupool-cpu-remove`
pub fn cpupool_cpu_remove(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let word = args.operand(0);
    let pool = named(&c, word)?;
    if !each_cpu(&c, args.operand(1), |cpu| {
        c.xc.cpupool_remove_cpu(pool.id, cpu)
    })? {
        say!("Some cpus may have not or only partially been removed from '{word}'.");
        say!("If a cpu can't be added to another cpupool, add it to '{word}' again and retry.");
    }
    Ok(ExitCode::SUCCESS)
}

/// `xl cpupool-migrate`
pub fn cpupool_migrate(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let dom = find(&c.host(), args.operand(0))?;
    let pool = named(&c, args.operand(1))?;
    c.xc.cpupool_move(pool.id, dom)?;
    Ok(ExitCode::SUCCESS)
}

/// `xl cpupool-numa-split`
pub fn cpupool_numa_split(ctx: &Ctx, _: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let pools = c.xc.cpupools()?;
    let [first] = &pools[..] else {
        return fail("splitting not possible, already cpupools in use");
    };
    let places = c.xc.cpu_places(c.xc.physinfo()?.max_cpu_id + 1)?;
    let nodes: std::collections::BTreeSet<u32> = places.iter().map(|p| p.node).collect();
    for node in nodes.iter().skip(1) {
        let id = c.xc.cpupool_create(first.sched)?;
        write_name(&c, id, &format!("Pool-node{node}"))?;
        for (cpu, _) in (0..).zip(&places).filter(|(_, p)| p.node == *node) {
            c.xc.cpupool_remove_cpu(first.id, cpu)?;
            c.xc.cpupool_add_cpu(id, cpu)?;
        }
    }
    write_name(
        &c,
        first.id,
        &format!("Pool-node{}", nodes.first().unwrap_or(&0)),
    )?;
    Ok(ExitCode::SUCCESS)
}
