//! What every kernel does: system calls, page faults, address spaces, processes. Runs on the bare machine, in dom0, in guests.

use crate::{Result, each, report};
use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Larger than what malloc ever keeps for itself: each buffer is mapped and unmapped.
const LARGE: usize = 64 << 20;
const PAGE: usize = 4096;

/// What is measured, and by what.
type Operation = (&'static str, fn() -> Result<f64>);
const OPERATIONS: [Operation; 6] = [
    ("cpuid", cpuid),
    ("syscall", syscall),
    ("page fault", fault),
    ("mmap + munmap", map),
    ("fork + exec + exit", fork),
    ("pipe round trip", pipe),
];

/// All of them, or those that are named.
pub fn run(names: &[String]) -> Result<()> {
    for (name, measure) in OPERATIONS {
        if names.is_empty() || names.iter().any(|n| n == name) {
            report(name, measure()?);
        }
    }
    Ok(())
}

/// One CPUID instruction: an exit, where the guest is a hardware one.
fn cpuid() -> Result<f64> {
    each(20_000, || {
        black_box(std::arch::x86_64::__cpuid(0));
        Ok(())
    })
}

/// The shortest call that libc does not answer itself: who the parent is.
fn syscall() -> Result<f64> {
    each(20_000, || {
        black_box(std::os::unix::process::parent_id());
        Ok(())
    })
}

/// First touch of a page.
fn fault() -> Result<f64> {
    const PAGES: usize = 4096;
    let mut memory: Vec<u8> = vec![0; LARGE];
    let start = Instant::now();
    for page in 0..PAGES {
        memory[page * PAGE] = 1;
    }
    let taken = start.elapsed().as_nanos() as f64 / PAGES as f64;
    black_box(&memory);
    Ok(taken)
}

/// A mapping of which one page is touched.
fn map() -> Result<f64> {
    each(500, || {
        let mut memory: Vec<u8> = Vec::with_capacity(LARGE);
        memory.push(1);
        black_box(&memory);
        Ok(())
    })
}

/// A shell that starts a program again and again; less what the shell itself takes.
fn fork() -> Result<f64> {
    let shell = |command: &str| -> Result<f64> {
        let script = format!("i=0; while [ $i -lt 100 ]; do {command}; i=$((i+1)); done");
        let start = Instant::now();
        let status = Command::new("/bin/sh").args(["-c", &script]).status()?;
        if !status.success() {
            return Err(format!("/bin/sh: {status}").into());
        }
        Ok(start.elapsed().as_nanos() as f64)
    };
    shell("/bin/busybox true")?;
    Ok((shell("/bin/busybox true")? - shell(":")?) / 100.0)
}

/// A byte to another process and back.
fn pipe() -> Result<f64> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut to = child.stdin.take().ok_or("no pipe")?;
    let mut from = child.stdout.take().ok_or("no pipe")?;
    let mut byte = [7];
    let taken = each(2_000, || {
        to.write_all(&byte)?;
        from.read_exact(&mut byte)?;
        Ok(())
    })?;
    drop(to);
    child.wait()?;
    Ok(taken)
}
