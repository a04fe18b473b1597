//! Tells the stories of `tests/tests`: each a process of its own ([`Story`]), a few at a time, from one queue over all files,
//! so that no CPU waits for the last story of a file. [`crate::check`] decides which.

use crate::steps::Steps;
use crate::{Context, Result, paths};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One test of one of the package's test programs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Story {
    /// The file in `tests/tests`, without `.rs`.
    file: String,
    program: PathBuf,
    /// As the test program has it.
    name: String,
}

/// How one went.
struct Told {
    story: Story,
    passed: bool,
    took: Duration,
}

/// Which stories.
pub struct Choice<'a> {
    /// In the name, if anything.
    pub with: Option<&'a str>,
    /// Not in the name.
    pub without: Vec<&'a str>,
}

impl Choice<'_> {
    fn takes(&self, story: &Story) -> bool {
        let name = format!("{}::{}", story.file, story.name);
        self.with.is_none_or(|w| name.contains(w)) && !self.without.iter().any(|w| name.contains(w))
    }
}

/// Tells the chosen stories. One that fails is told a second time, alone: on a busy machine an emulated host may miss a
/// deadline. What fails twice has failed; what fails once is named.
pub fn tell(steps: &Steps, choice: &Choice) -> Result<()> {
    let mut stories = all()?;
    stories.retain(|s| choice.takes(s));
    let said: Vec<Told> = several(steps, stories, at_once());
    slowest(&said);
    let failed: Vec<Story> = said
        .into_iter()
        .filter(|t| !t.passed)
        .map(|t| t.story)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let name = |s: &Story| format!("{}::{}", s.file, s.name);
    let names = |stories: &[Story]| stories.iter().map(name).collect::<Vec<_>>().join(", ");
    println!(
        "failed at first, now told a second time: {}",
        names(&failed)
    );
    let said = several(steps, failed, 1);
    let failed: Vec<Story> = said
        .into_iter()
        .filter(|t| !t.passed)
        .map(|t| t.story)
        .collect();
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(format!("failed twice: {}", names(failed)).into()),
    }
}

/// How many hosts are emulated at a time. A story spends about half of its time waiting, and a host keeps no more than two CPUs
/// busy; more of them than half as many as there are CPUs, but for two, would miss their deadlines.
fn at_once() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    cpus.min(2).max(cpus / 2)
}

fn several(steps: &Steps, stories: Vec<Story>, at_once: usize) -> Vec<Told> {
    let count = stories.len();
    let queue = Mutex::new(stories.into_iter());
    let said = Mutex::new(Vec::new());
    // Nobody panics with a lock held.
    let next = || queue.lock().ok()?.next();
    let work = || {
        while let Some(story) = next() {
            let told = one(story);
            if let Ok(mut said) = said.lock() {
                report(steps, &told.0, &told.1, said.len() + 1, count);
                said.push(told.0);
            }
        }
    };
    std::thread::scope(|s| {
        for _ in 0..at_once {
            s.spawn(work);
        }
    });
    said.into_inner().unwrap_or_default()
}

fn one(story: Story) -> (Told, String) {
    let start = Instant::now();
    let out = Command::new(&story.program)
        .args(["--ignored", "--exact", &story.name])
        .current_dir(paths::workspace().join("tests"))
        .stdin(Stdio::null())
        .output();
    let (passed, said) = match out {
        Ok(out) => (
            out.status.success(),
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
        ),
        Err(e) => (false, format!("{}: {e}", story.program.display())),
    };
    let took = start.elapsed();
    (
        Told {
            story,
            passed,
            took,
        },
        said,
    )
}

fn report(steps: &Steps, told: &Told, said: &str, number: usize, of: usize) {
    let Told {
        story,
        passed,
        took,
    } = told;
    if !passed {
        println!("{said}");
    }
    println!(
        "[{:6.1}s] {number}/{of} {}::{}: {} (+{:.1} s)",
        steps.elapsed().as_secs_f32(),
        story.file,
        story.name,
        if *passed { "passed" } else { "FAILED" },
        took.as_secs_f32()
    );
}

fn slowest(said: &[Told]) {
    let mut by_time: Vec<&Told> = said.iter().collect();
    by_time.sort_by_key(|t| std::cmp::Reverse(t.took));
    let total: Duration = said.iter().map(|t| t.took).sum();
    println!(
        "{} stories, {:.0} s together; the longest:",
        said.len(),
        total.as_secs_f32()
    );
    for Told { story, took, .. } in by_time.iter().take(8) {
        println!(
            "{:7.1} s  {}::{}",
            took.as_secs_f32(),
            story.file,
            story.name
        );
    }
}

/// All stories that need an emulator, built.
fn all() -> Result<Vec<Story>> {
    let out = Command::new("cargo")
        .args([
            "test",
            "--package",
            "integration",
            "--test",
            "*",
            "--no-run",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(paths::workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    if !out.status.success() {
        return Err(format!("cargo test --no-run: {}", out.status).into());
    }
    let mut stories = Vec::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        if let Some((file, program)) = program(line) {
            stories.extend(names(&program)?.map(|name| Story {
                file: file.clone(),
                program: program.clone(),
                name,
            }));
        }
    }
    Ok(spread(stories))
}

/// The first of each file, then the second of each, and so on: those of one file often want the same thing made first, and would
/// wait for one another.
fn spread(mut stories: Vec<Story>) -> Vec<Story> {
    let mut seen = BTreeMap::new();
    stories.sort_by(|a, b| a.file.cmp(&b.file));
    stories.sort_by_cached_key(|s| {
        let n: &mut usize = seen.entry(s.file.clone()).or_default();
        *n += 1;
        *n
    });
    stories
}

/// Name and path of a test program, from one of cargo's messages (<https://doc.rust-lang.org/cargo/reference/external-tools.html>).
fn program(message: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

/// The stories in a test program.
fn names(program: &PathBuf) -> Result<impl Iterator<Item = String>> {
    let out = Command::new(program)
        .args(["--ignored", "--list", "--format", "terse"])
        .output()
        .context(program.display())?;
    let text = String::from_utf8(out.stdout).context(program.display())?;
    let names: Vec<String> = text
        .lines()
        .filter_map(|l| l.strip_suffix(": test"))
        .map(str::to_owned)
        .collect();
    Ok(names.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"boot"},"executable":"/x/boot-1"}"#;
        assert_eq!(program(message), Some(("boot".into(), "/x/boot-1".into())));
        assert_eq!(
            program(r#"{"target":{"name":"qemu"},"executable":null}"#),
            None
        );
        assert_eq!(program("warning: x"), None);
    }

    #[test]
    fn stories_of_one_file_are_far_apart() {
        let story = |file: &str, name: &str| Story {
            file: file.into(),
            program: PathBuf::new(),
            name: name.into(),
        };
        let all = [("b", "1"), ("b", "2"), ("a", "1"), ("a", "2"), ("a", "3")];
        let told = spread(all.map(|(f, n)| story(f, n)).to_vec());
        let told: Vec<_> = told.iter().map(|s| (&*s.file, &*s.name)).collect();
        assert_eq!(
            told,
            [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"), ("a", "3")]
        );
    }

    #[test]
    fn a_choice_looks_at_file_and_name() {
        let story = Story {
            file: "boot".into(),
            program: PathBuf::new(),
            name: "it_boots::product".into(),
        };
        let takes = |with, without: &[&'static str]| {
            let without = without.to_vec();
            Choice { with, without }.takes(&story)
        };
        assert!(takes(None, &[]) && takes(Some("boot::it"), &["::reference", "::more::"]));
        assert!(!takes(Some("xl"), &[]) && !takes(None, &["::reference", "::product"]));
    }
}
