//! [`ask`]: the menu that a person sees on the guest's console: lines of text, since that works on every terminal.

use crate::Result;
use crate::menu::{Entry, Menu};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{BufRead, Write, stdin, stdout};
use std::time::{Duration, Instant};

/// How long a menu waits that does not say it.
const TIMEOUT: i64 = 5;

/// What a line that somebody typed means.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Boot(usize),
    Add(String),
    Unclear,
}

fn understand(line: &str, menu: &Menu, default: usize) -> Answer {
    let line = line.trim();
    let add = line.strip_prefix("a ").or_else(|| line.strip_prefix('+'));
    match (line, add) {
        ("", _) => Answer::Boot(default),
        (_, Some(words)) => Answer::Add(words.trim().to_owned()),
        _ => match line.parse::<usize>() {
            Ok(n) if (1..=menu.entries.len()).contains(&n) => Answer::Boot(n - 1),
            _ => Answer::Unclear,
        },
    }
}

/// Shows the menu and waits for a choice, or for the time to be up. `default` is taken then.
pub fn ask(menu: &Menu, default: usize) -> Result<Entry> {
    let mut out = stdout();
    writeln!(out, "\nBoot menu of the guest ({}):\n", menu.file)?;
    for (n, entry) in menu.entries.iter().enumerate() {
        let mark = if n == default { '*' } else { ' ' };
        let indent = "  ".repeat(entry.place.len().saturating_sub(1).min(4));
        writeln!(out, "  {mark}{:2}  {indent}{}", n + 1, shown(&entry.title))?;
    }
    let seconds = menu.timeout.unwrap_or(TIMEOUT);
    let wait = match seconds {
        ..0 => String::new(),
        n => format!(" {} starts in {n} s.", default + 1),
    };
    writeln!(
        out,
        "\nA number and Enter starts an entry; \"a WORDS\" adds words to its command line.{wait}"
    )?;
    let end = u64::try_from(seconds)
        .ok()
        .map(|s| Instant::now() + Duration::from_secs(s.min(3600)));
    let mut more = String::new();
    let mut somebody = false;
    let chosen = loop {
        write!(out, "> ")?;
        out.flush()?;
        // Somebody who has typed a line gets the time to type another.
        let Some(line) = line(end.filter(|_| !somebody))? else {
            break default;
        };
        somebody = true;
        match understand(&line, menu, default) {
            Answer::Boot(n) => break n,
            Answer::Add(words) => {
                more = format!("{more} {words}");
                writeln!(out, "added:{}", shown(&more))?;
            }
            Answer::Unclear => writeln!(out, "there are 1 to {}", menu.entries.len())?,
        }
    };
    let mut entry = menu.entries.get(chosen).cloned().ok_or("an empty menu")?;
    writeln!(out, "\nstarting {}", shown(&entry.title))?;
    entry.args = format!("{}{more}", entry.args).trim().to_owned();
    Ok(entry)
}

/// Text of the guest's without what would drive the terminal.
pub fn shown(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.take(120).collect()
}

/// A line from the terminal; `None` when the time is up or the terminal is gone.
fn line(end: Option<Instant>) -> Result<Option<String>> {
    let stdin = stdin();
    let left = end.map(|e| e.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|l| Timespec::try_from(l).ok());
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    if poll(&mut fds, timeout.as_ref())? == 0 {
        return Ok(None);
    }
    let mut line = String::new();
    match stdin.lock().read_line(&mut line)? {
        0 => Ok(None),
        _ => Ok(Some(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        let menu = Menu {
            entries: vec![Entry::default(), Entry::default()],
            ..Menu::default()
        };
        for (line, want) in [
            ("\n", Answer::Boot(1)),
            ("1\n", Answer::Boot(0)),
            ("3", Answer::Unclear),
            ("a single", Answer::Add("single".into())),
            ("x", Answer::Unclear),
        ] {
            assert_eq!(understand(line, &menu, 1), want, "{line}");
        }
        assert_eq!(shown("a\x1b[2Jb\n"), "a[2Jb");
    }
}
