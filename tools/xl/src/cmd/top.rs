//! `top`: the host and its domains, live on the terminal or as text (`-b`).
use super::list::name_of;
use crate::ctx::{Connections, Ctx, Failure, fail};
use crate::opts::Parsed;
use crate::top::{Column, HEADER, Row, Sample, line, next_column, rows, sort, title};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{self, ClearType};
use crossterm::{cursor, execute, queue};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Outcome = Result<ExitCode, Failure>;

/// Seconds between two looks.
const DELAY: f64 = 3.0;

/// A look at the host.
struct Look {
    at: Instant,
    samples: Vec<Sample>,
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

fn add_devices(samples: &mut [Sample]) {
    let net = "/sys/class/net";
    for name in names(net) {
        let of = owner(&name, "vif", '.').and_then(|id| samples.iter_mut().find(|s| s.domid == id));
        if let Some(s) = of {
            let count =
                |what: &str| number(&Path::new(net).join(&name).join("statistics").join(what));
            s.nets += 1;
            // What dom0 receives, the guest has sent.
            s.net_tx += count("rx_bytes");
            s.net_rx += count("tx_bytes");
        }
    }
    let bus = "/sys/bus/xen-backend/devices";
    for name in names(bus) {
        let of =
            owner(&name, "vbd-", '-').and_then(|id| samples.iter_mut().find(|s| s.domid == id));
        if let Some(s) = of {
            s.vbds += 1;
            for (sum, what) in s
                .vbd
                .iter_mut()
                .zip(["oo_req", "rd_req", "wr_req", "rd_sect", "wr_sect"])
            {
                *sum += number(&Path::new(bus).join(&name).join("statistics").join(what));
            }
        }
    }
}

fn look(c: &Connections) -> Result<Look, Failure> {
    let host = c.host();
    let mut samples = Vec::new();
    for d in c.xc.domains()? {
        samples.push(Sample::of(name_of(&host, d.domid)?, &d));
    }
    add_devices(&mut samples);
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
}

fn table(
    c: &Connections,
    before: &Look,
    now: Look,
    view: &View,
) -> Result<(Vec<String>, Look), Failure> {
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
    let lines = vec![
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
        HEADER.to_string(),
    ];
    let body = all.iter().map(|r| line(r, total, view.full));
    Ok((lines.into_iter().chain(body).collect(), now))
}

fn positive(args: &Parsed, name: &str) -> Result<Option<f64>, Failure> {
    match args.value(name) {
        None => Ok(None),
        Some(text) => match text
            .parse::<f64>()
            .ok()
            .filter(|n| *n > 0.0 && *n <= 86_400.0)
        {
            Some(n) => Ok(Some(n)),
            None => fail(format!("\"{text}\" is not a positive number")),
        },
    }
}

/// `xl top`
pub fn top(ctx: &Ctx, args: &Parsed) -> Outcome {
    let c = ctx.connect()?;
    let view = View {
        delay: Duration::from_secs_f64(positive(args, "d")?.unwrap_or(DELAY)),
        sort: Column::Cpu,
        reverse: false,
        full: args.has("f"),
    };
    let rounds = positive(args, "i")?.map(|n| n as u64);
    if args.has("b") {
        return batch(&c, &view, rounds.unwrap_or(u64::MAX));
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

fn batch(c: &Connections, view: &View, rounds: u64) -> Outcome {
    let mut before = look(c)?;
    let by_id = View {
        sort: Column::Name,
        delay: view.delay,
        ..*view
    };
    for n in 0..rounds {
        if n > 0 {
            std::thread::sleep(by_id.delay);
        }
        let (lines, now) = table(c, &before, look(c)?, &by_id)?;
        before = now;
        let mut out = std::io::stdout().lock();
        // A reader that has seen enough is no failure.
        if lines.iter().skip(2).any(|l| writeln!(out, "{l}").is_err()) {
            break;
        }
        let _ = out.flush();
    }
    Ok(ExitCode::SUCCESS)
}

fn live(c: &Connections, mut view: View, rounds: u64) -> Outcome {
    let mut before = look(c)?;
    for _ in 0..rounds {
        let (lines, now) = table(c, &before, look(c)?, &view)?;
        draw(&lines, &view)?;
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
            let same = Look {
                at: before.at,
                samples: before.samples.clone(),
            };
            draw(&table(c, &earlier, same, &view)?.0, &view)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Acts on a key; `false` ends.
fn pressed(view: &mut View, key: KeyCode) -> bool {
    match key {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => return false,
        KeyCode::Char('s' | 'S') | KeyCode::Right => view.sort = next_column(view.sort, false),
        KeyCode::Left => view.sort = next_column(view.sort, true),
        KeyCode::Char('r' | 'R') => view.reverse = !view.reverse,
        KeyCode::Char('f') => view.full = !view.full,
        KeyCode::Char('c') => view.sort = Column::Cpu,
        KeyCode::Char('m') => view.sort = Column::Mem,
        KeyCode::Char('n') => view.sort = Column::Name,
        KeyCode::Char('+') => view.delay = (view.delay * 2).min(Duration::from_secs(60)),
        KeyCode::Char('-') => view.delay = (view.delay / 2).max(Duration::from_millis(250)),
        _ => {}
    }
    true
}

fn draw(lines: &[String], view: &View) -> Result<(), Failure> {
    let (width, height) = terminal::size()?;
    let mut out = std::io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0))?;
    let (order, wait) = (
        if view.reverse { ", reversed" } else { "" },
        view.delay.as_secs_f32(),
    );
    let keys = format!(
        "sorted by {}{order}, every {wait}s   q quit  s/arrows sort by  r reverse  c cpu  m memory  n name  f full names  +/- delay",
        title(view.sort)
    );
    let room = usize::from(height).saturating_sub(1);
    for (i, l) in lines.iter().take(room).enumerate() {
        let text: String = l.chars().take(usize::from(width)).collect();
        let attribute = if i == 2 {
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
    let text: String = keys.chars().take(usize::from(width)).collect();
    queue!(
        out,
        terminal::Clear(ClearType::FromCursorDown),
        cursor::MoveTo(0, height.saturating_sub(1)),
        Print(text)
    )?;
    queue!(out, terminal::Clear(ClearType::UntilNewLine))?;
    Ok(out.flush()?)
}
