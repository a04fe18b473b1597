//! `top`: the host and its domains, live on the terminal or as text (`-b`).
use super::list::name_of;
use crate::ctx::{Connections, Ctx, Failure, fail};
use crate::opts::Parsed;
use crate::top::{
    Column, Details, HEADER, Net, Row, Sample, details, heading, line, next_column, rows, sort,
    title,
};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{self, ClearType};
use crossterm::{cursor, execute, queue};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xen_abi::VcpuId;

type Outcome = Result<ExitCode, Failure>;

/// Seconds between two looks.
const DELAY: f64 = 3.0;

/// Characters that a delay may have.
const MAX_TYPED: usize = 16;

/// A look at the host.
struct Look {
    at: Instant,
    samples: Vec<Sample>,
}

impl Look {
    /// Before the first: nothing is known to have been used since.
    fn none() -> Look {
        let (at, samples) = (Instant::now(), Vec::new());
        Look { at, samples }
    }
}

fn number(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).ok();
    text.and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

/// Names in a directory; none where there is no such directory.
fn names(dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The domain that a device's name ends with, as in `vif1.0` and `vbd-1-51712`.
fn owner(name: &str, kind: &str, end: char) -> Option<u16> {
    name.strip_prefix(kind)?.split(end).next()?.parse().ok()
}

/// The number that a device's name ends with.
fn last_number(name: &str) -> u32 {
    let digits = name.rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|d| d.parse().ok()).unwrap_or(0)
}

fn add_devices(samples: &mut [Sample]) {
    let net = "/sys/class/net";
    for name in names(net) {
        let of = owner(&name, "vif", '.').and_then(|id| samples.iter_mut().find(|s| s.domid == id));
        if let Some(s) = of {
            let dir = Path::new(net).join(&name).join("statistics");
            let count = |side: &str| {
                ["bytes", "packets", "errors", "dropped"]
                    .map(|what| number(&dir.join(format!("{side}_{what}"))))
            };
            // What dom0 receives, the guest has sent.
            let (tx, rx) = (count("rx"), count("tx"));
            s.nets += 1;
            s.net_tx += tx[0];
            s.net_rx += rx[0];
            s.net_list.push((last_number(&name), Net { rx, tx }));
        }
    }
    let bus = "/sys/bus/xen-backend/devices";
    for name in names(bus) {
        let of =
            owner(&name, "vbd-", '-').and_then(|id| samples.iter_mut().find(|s| s.domid == id));
        if let Some(s) = of {
            let counts = ["oo_req", "rd_req", "wr_req", "rd_sect", "wr_sect"]
                .map(|what| number(&Path::new(bus).join(&name).join("statistics").join(what)));
            s.vbds += 1;
            s.vbd.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
            s.vbd_list.push((last_number(&name), counts));
        }
    }
}

fn look(c: &Connections, show: Details) -> Result<Look, Failure> {
    let host = c.host();
    let mut samples = Vec::new();
    for d in c.xc.domains()? {
        let mut s = Sample::of(name_of(&host, d.domid)?, &d);
        let vcpus = 0..d.max_vcpu_id.map_or(0, |m| m + 1);
        // One that was never made is not shown.
        s.vcpu_ns = vcpus
            .filter(|_| show.vcpus)
            .filter_map(|v| Some((v, c.xc.vcpu_info(d.domid, VcpuId(v)).ok()?.cpu_time)))
            .collect();
        samples.push(s);
    }
    add_devices(&mut samples);
    for s in &mut samples {
        s.net_list.sort_by_key(|n| n.0);
        s.vbd_list.sort_by_key(|n| n.0);
    }
    Ok(Look {
        at: Instant::now(),
        samples,
    })
}

/// How it is shown.
struct View {
    delay: Duration,
    sort: Column,
    reverse: bool,
    full: bool,
    repeat: bool,
    show: Details,
    /// Domains before the first that is shown.
    first: usize,
    /// What is typed for the delay, while it is typed.
    typed: Option<String>,
}

/// What is shown, as lines.
struct Table {
    /// Of the host.
    summary: Vec<String>,
    /// Of the domains, with headers.
    rows: Vec<String>,
}

fn table(
    c: &Connections,
    before: &Look,
    now: Look,
    view: &mut View,
) -> Result<(Table, Look), Failure> {
    let phys = c.xc.physinfo()?;
    let total = phys.total_pages * 4;
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    let mut all: Vec<Row> = rows(&before.samples, now.samples.clone(), seconds);
    sort(&mut all, view.sort, view.reverse);
    let count = |letter: char| {
        now.samples
            .iter()
            .filter(|s| s.state.contains(letter))
            .count()
    };
    let clock = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
    let summary = vec![
        heading(&clock, &c.xc.version()?),
        format!(
            "{} domains: {} running, {} blocked, {} paused, {} crashed, {} dying, {} shutdown",
            all.len(),
            count('r'),
            count('b'),
            count('p'),
            count('c'),
            count('d'),
            count('s')
        ),
        format!(
            "Mem: {total}k total, {}k used, {}k free    CPUs: {} @ {}MHz",
            (phys.total_pages.saturating_sub(phys.free_pages)) * 4,
            phys.free_pages * 4,
            phys.nr_cpus,
            phys.cpu_khz / 1000
        ),
    ];
    view.first = view.first.min(all.len().saturating_sub(1));
    let mut lines = Vec::new();
    for (i, r) in all.iter().skip(view.first).enumerate() {
        if view.repeat || i == 0 {
            lines.push(HEADER.to_string());
        }
        lines.push(line(r, total, view.full));
        lines.extend(details(&r.now, view.show));
    }
    let rows = lines;
    Ok((Table { summary, rows }, now))
}

/// A positive number, of seconds or rounds.
fn seconds(text: &str) -> Option<f64> {
    let number = text.trim().parse::<f64>().ok();
    number.filter(|n| *n > 0.0 && *n <= 86_400.0)
}

fn positive(args: &Parsed, name: &str) -> Result<Option<f64>, Failure> {
    match args.value(name) {
        None => Ok(None),
        Some(text) => match seconds(text) {
            Some(n) => Ok(Some(n)),
            None => fail(format!("\"{text}\" is not a positive number")),
        },
    }
}

/// `xl top`
pub fn top(ctx: &Ctx, args: &Parsed) -> Outcome {
    if args.has("V") {
        return super::host::version(ctx);
    }
    let c = ctx.connect()?;
    let view = View {
        delay: Duration::from_secs_f64(positive(args, "d")?.unwrap_or(DELAY)),
        sort: Column::Id,
        reverse: false,
        full: args.has("f"),
        repeat: args.has("r"),
        show: Details {
            vcpus: args.has("v"),
            networks: args.has("n"),
            vbds: args.has("x"),
        },
        first: 0,
        typed: None,
    };
    let rounds = positive(args, "i")?.map(|n| n as u64);
    if args.has("b") {
        return batch(&c, view, rounds.unwrap_or(u64::MAX));
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return fail("top needs a terminal; use -b for text");
    }
    terminal::enable_raw_mode()?;
    let result = execute!(
        std::io::stdout(),
        terminal::EnterAlternateScreen,
        cursor::Hide
    )
    .map_err(Failure::from)
    .and_then(|()| live(&c, view, rounds.unwrap_or(u64::MAX)));
    // The terminal as it was, whatever happened.
    let _ = execute!(
        std::io::stdout(),
        cursor::Show,
        terminal::LeaveAlternateScreen
    );
    let _ = terminal::disable_raw_mode();
    result
}

fn batch(c: &Connections, mut view: View, rounds: u64) -> Outcome {
    let mut before = Look::none();
    for n in 0..rounds {
        if n > 0 {
            std::thread::sleep(view.delay);
        }
        let (text, now) = table(c, &before, look(c, view.show)?, &mut view)?;
        before = now;
        let mut out = std::io::stdout().lock();
        // A reader that has seen enough is no failure.
        if text.rows.iter().any(|l| writeln!(out, "{l}").is_err()) {
            break;
        }
        let _ = out.flush();
    }
    Ok(ExitCode::SUCCESS)
}

fn live(c: &Connections, mut view: View, rounds: u64) -> Outcome {
    let mut before = Look::none();
    for _ in 0..rounds {
        let (text, now) = table(c, &before, look(c, view.show)?, &mut view)?;
        draw(&text, &view)?;
        let earlier = std::mem::replace(&mut before, now);
        let end = Instant::now() + view.delay;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(k) if k.kind == KeyEventKind::Press => {
                    let ctrl_c =
                        k.code == KeyCode::Char('c') && k.modifiers == KeyModifiers::CONTROL;
                    if ctrl_c || !pressed(&mut view, k.code) {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                Event::Resize(..) => {}
                _ => continue,
            }
            // What a key asks for may not have been looked at.
            let same = Look {
                at: before.at,
                ..look(c, view.show)?
            };
            draw(&table(c, &earlier, same, &mut view)?.0, &view)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Acts on a key; `false` ends.
fn pressed(view: &mut View, key: KeyCode) -> bool {
    if let Some(typed) = view.typed.take() {
        view.typed = type_delay(typed, key, &mut view.delay);
        return true;
    }
    match key {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => return false,
        KeyCode::Char('s' | 'S') | KeyCode::Right => view.sort = next_column(view.sort, false),
        KeyCode::Left => view.sort = next_column(view.sort, true),
        KeyCode::Char('i' | 'I') => view.reverse = !view.reverse,
        KeyCode::Char('r' | 'R') => view.repeat = !view.repeat,
        KeyCode::Char('v' | 'V') => view.show.vcpus = !view.show.vcpus,
        KeyCode::Char('n' | 'N') => view.show.networks = !view.show.networks,
        KeyCode::Char('b' | 'B') => view.show.vbds = !view.show.vbds,
        KeyCode::Char('d' | 'D') => view.typed = Some(String::new()),
        KeyCode::Down => view.first += 1,
        KeyCode::Up => view.first = view.first.saturating_sub(1),
        KeyCode::Char('f') => view.full = !view.full,
        KeyCode::Char('c') => view.sort = Column::Cpu,
        KeyCode::Char('m') => view.sort = Column::Mem,
        KeyCode::Char('+') => view.delay = (view.delay * 2).min(Duration::from_secs(60)),
        KeyCode::Char('-') => view.delay = (view.delay / 2).max(Duration::from_millis(250)),
        _ => {}
    }
    true
}

/// A key while the delay is typed; what is typed then, unless that is over.
fn type_delay(mut typed: String, key: KeyCode, delay: &mut Duration) -> Option<String> {
    match key {
        KeyCode::Enter => {
            if let Some(seconds) = seconds(&typed) {
                *delay = Duration::from_secs_f64(seconds);
            }
            return None;
        }
        KeyCode::Esc => return None,
        KeyCode::Backspace => drop(typed.pop()),
        KeyCode::Char(c) if typed.len() < MAX_TYPED => typed.push(c),
        _ => {}
    }
    Some(typed)
}

/// The last line: what keys do, or what is typed.
fn bottom(view: &View) -> String {
    if let Some(typed) = &view.typed {
        return format!("Delay(sec): {typed}");
    }
    let order = if view.reverse { " inverted" } else { "" };
    format!(
        "by {}{order}, every {}s  Delay Quit Sort arrows Cpu Mem Invert Vcpus Networks Blockdevs Repeat-header Full-names +/-",
        title(view.sort),
        view.delay.as_secs_f32()
    )
}

fn draw(text: &Table, view: &View) -> Result<(), Failure> {
    // A terminal that does not know its size is an old one.
    let (width, height) = match terminal::size()? {
        (0, _) | (_, 0) => (80, 24),
        size => size,
    };
    let mut out = std::io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0))?;
    let room = usize::from(height).saturating_sub(1);
    for l in text.summary.iter().chain(&text.rows).take(room) {
        let text: String = l.chars().take(usize::from(width)).collect();
        let attribute = if l == HEADER {
            Attribute::Reverse
        } else {
            Attribute::Reset
        };
        queue!(
            out,
            SetAttribute(attribute),
            Print(text),
            SetAttribute(Attribute::Reset)
        )?;
        queue!(out, terminal::Clear(ClearType::UntilNewLine), Print("\r\n"))?;
    }
    let text: String = bottom(view).chars().take(usize::from(width)).collect();
    queue!(
        out,
        terminal::Clear(ClearType::FromCursorDown),
        cursor::MoveTo(0, height.saturating_sub(1)),
        Print(text)
    )?;
    queue!(out, terminal::Clear(ClearType::UntilNewLine))?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            delay: Duration::from_secs(3),
            sort: Column::Id,
            reverse: false,
            full: false,
            repeat: false,
            show: Details::default(),
            first: 0,
            typed: None,
        }
    }

    #[test]
    fn the_delay_is_typed_at_the_bottom() {
        let mut v = view();
        for key in [KeyCode::Char('D'), KeyCode::Char('7'), KeyCode::Char('q')] {
            assert!(pressed(&mut v, key));
        }
        assert_eq!(bottom(&v), "Delay(sec): 7q");
        pressed(&mut v, KeyCode::Backspace);
        pressed(&mut v, KeyCode::Enter);
        assert_eq!((v.delay.as_secs(), v.typed.as_deref()), (7, None));
        pressed(&mut v, KeyCode::Char('d'));
        pressed(&mut v, KeyCode::Char('9'));
        // Escape leaves the line, and only then the program.
        assert!(pressed(&mut v, KeyCode::Esc) && v.delay.as_secs() == 7);
        assert!(!pressed(&mut v, KeyCode::Esc));
    }

    #[test]
    fn up_and_down_scroll() {
        let mut v = view();
        pressed(&mut v, KeyCode::Up);
        assert_eq!(v.first, 0);
        pressed(&mut v, KeyCode::Down);
        pressed(&mut v, KeyCode::Down);
        pressed(&mut v, KeyCode::Up);
        assert_eq!(v.first, 1);
    }
}
