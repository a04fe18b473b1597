//! What a guest does with its disk and its network; [`serve`] is the other end, in dom0.

use crate::{Result, each, report};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

/// `O_DIRECT` on x86: around the kernel's cache.
const DIRECT: i32 = 0o40000;
const MIB: usize = 1 << 20;
/// Bytes of a transfer, in MiB.
const TRANSFER: usize = 16;
/// Ports of [`serve`]: takes data, gives data, echoes datagrams.
const TAKE: u16 = 7001;
const GIVE: u16 = 7002;
const ECHO: u16 = 7003;

/// Reads of three sizes, one after another, over the first MiBs.
pub fn disk(args: &[String]) -> Result<()> {
    let path = args.first().ok_or("a device is needed")?;
    let disk = OpenOptions::new()
        .read(true)
        .custom_flags(DIRECT)
        .open(path)?;
    let mut room = vec![0u8; 2 * MIB];
    let skip = room.as_ptr().align_offset(4096);
    for (name, size) in [("1M", MIB), ("64k", 64 << 10), ("4k", 4096)] {
        let buffer = room.get_mut(skip..skip + size).ok_or("no room")?;
        let mut at = 0;
        let taken = each(16, || {
            disk.read_exact_at(buffer, at)?;
            at += size as u64;
            Ok(())
        })?;
        report(&format!("vbd read {name}"), taken);
    }
    Ok(())
}

/// A part of [`net`]: its word, and what measures it.
type Part = (&'static str, fn(&str) -> Result<()>);

/// Throughput both ways and the time there and back; or, with names, only these: `to`, `from`, `ping`.
pub fn net(args: &[String]) -> Result<()> {
    let (host, names) = args.split_first().ok_or("an address is needed")?;
    let parts: [Part; 3] = [("to", to), ("from", from), ("ping", ping)];
    for (name, part) in parts {
        if names.is_empty() || names.iter().any(|n| n == name) {
            part(host)?;
        }
    }
    Ok(())
}

fn to(host: &str) -> Result<()> {
    let mut buffer = vec![0u8; 64 << 10];
    let mut to = connect(host, TAKE)?;
    let start = Instant::now();
    for _ in 0..TRANSFER * MIB / buffer.len() {
        to.write_all(&buffer)?;
    }
    to.shutdown(Shutdown::Write)?;
    // The other end closes when it has had everything.
    let _ = to.read(&mut buffer)?;
    let ns = start.elapsed().as_nanos() as f64;
    report("net to dom0, MiB", ns / TRANSFER as f64);
    Ok(())
}

fn from(host: &str) -> Result<()> {
    let mut buffer = vec![0u8; 64 << 10];
    let mut from = connect(host, GIVE)?;
    let start = Instant::now();
    while from.read(&mut buffer)? > 0 {}
    let ns = start.elapsed().as_nanos() as f64;
    report("net from dom0, MiB", ns / TRANSFER as f64);
    Ok(())
}

fn ping(host: &str) -> Result<()> {
    let mut buffer = [0u8; 64];
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((host, ECHO))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let taken = each(100, || {
        socket.send(&[7])?;
        socket.recv(&mut buffer)?;
        Ok(())
    })?;
    report("net ping", taken);
    Ok(())
}

/// Interfaces take their time to come up.
fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let mut tries = 0;
    loop {
        match TcpStream::connect((host, port)) {
            Err(_) if tries < 100 => std::thread::sleep(Duration::from_millis(100)),
            other => return Ok(other?),
        }
        tries += 1;
    }
}

/// The other end of [`net`], until it is killed.
pub fn serve(_: &[String]) -> Result<()> {
    let take = TcpListener::bind(("0.0.0.0", TAKE))?;
    let give = TcpListener::bind(("0.0.0.0", GIVE))?;
    let echo = UdpSocket::bind(("0.0.0.0", ECHO))?;
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; 64 << 10];
        for peer in take.incoming().flatten() {
            let mut peer = peer;
            while peer.read(&mut buffer).is_ok_and(|n| n > 0) {}
        }
    });
    std::thread::spawn(move || {
        let buffer = vec![0u8; 64 << 10];
        for peer in give.incoming().flatten() {
            let mut peer = peer;
            for _ in 0..TRANSFER * MIB / buffer.len() {
                if peer.write_all(&buffer).is_err() {
                    break;
                }
            }
        }
    });
    let mut buffer = [0; 64];
    loop {
        let (n, from) = echo.recv_from(&mut buffer)?;
        echo.send_to(buffer.get(..n).unwrap_or(&[]), from)?;
    }
}
