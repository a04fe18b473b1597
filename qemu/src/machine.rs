//! [`Machine`]: a computer that boots a host and talks over a serial line. [`Serial`] collects what it says and waits for words.

use crate::host::HostSpec;
use crate::{Context, Result};
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Something that can boot a host: an emulator today, a real machine some day.
pub trait Machine {
    /// Prepares what is booted: images, initrds.
    fn deploy(&mut self, spec: &HostSpec) -> Result<()>;
    /// Switches it on.
    fn run(&mut self) -> Result<()>;
    /// Its first serial port.
    fn serial(&mut self) -> Result<&mut Serial>;
    /// The line on which its dom0 takes commands: one of its own, or the first serial port.
    fn agent(&mut self) -> Result<&mut Serial>;
    /// Waits for it to switch itself off; false when it has not by then.
    fn wait(&mut self, timeout: Duration) -> Result<bool>;
    /// Pulls the plug.
    fn kill(&mut self);
}

#[derive(Default)]
struct Heard {
    text: String,
    closed: bool,
}

/// A serial line: everything heard so far, a place up to which it was read, and a way to speak.
pub struct Serial {
    heard: Arc<(Mutex<Heard>, Condvar)>,
    read: usize,
    out: Box<dyn Write + Send>,
}

impl Serial {
    /// Listens to `input` in a thread of its own; `echo` also prints it.
    pub fn new(
        mut input: impl Read + Send + 'static,
        out: impl Write + Send + 'static,
        echo: bool,
    ) -> Self {
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let n = input.read(&mut buffer).unwrap_or(0);
                let (Ok(mut heard), more) = (shared.0.lock(), &shared.1) else {
                    return;
                };
                let text = String::from_utf8_lossy(&buffer[..n]).replace('\r', "");
                if echo {
                    print!("{text}");
                    let _ = std::io::stdout().flush();
                }
                heard.text.push_str(&text);
                heard.closed = n == 0;
                more.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Self {
            heard,
            read: 0,
            out: Box::new(out),
        }
    }

    /// Types text, as is.
    pub fn send(&mut self, text: &str) -> Result<()> {
        // Slowly: a console's input buffer is small, and what does not fit is lost.
        for some in text.as_bytes().chunks(16) {
            self.out.write_all(some).context("serial")?;
            self.out.flush().context("serial")?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until one of `words` is said after what was read so far. Returns which, and the text before it.
    pub fn expect_any(&mut self, words: &[&str], timeout: Duration) -> Result<(usize, String)> {
        let deadline = Instant::now() + timeout;
        let (lock, more) = (&self.heard.0, &self.heard.1);
        let mut heard = lock.lock().map_err(|_| "serial listener died")?;
        loop {
            let text = heard.text.get(self.read..).unwrap_or("");
            let hit = words
                .iter()
                .enumerate()
                .filter_map(|(i, w)| Some((text.find(w)?, i)))
                .min();
            if let Some((at, i)) = hit {
                let before = text[..at].to_owned();
                self.read += at + words[i].len();
                return Ok((i, before));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if heard.closed || left.is_zero() {
                let why = if heard.closed {
                    "the machine stopped"
                } else {
                    "time is up"
                };
                let tail: Vec<&str> = text.lines().rev().take(30).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(format!(
                    "waiting for {words:?}: {why}; last lines:\n{}",
                    tail.join("\n")
                )
                .into());
            }
            heard = more
                .wait_timeout(heard, left)
                .map_err(|_| "serial listener died")?
                .0;
        }
    }

    /// Waits for one word; returns the text before it.
    pub fn expect(&mut self, word: &str, timeout: Duration) -> Result<String> {
        Ok(self.expect_any(&[word], timeout)?.1)
    }

    /// Everything heard since power-on.
    pub fn all(&self) -> String {
        self.heard
            .0
            .lock()
            .map(|h| h.text.clone())
            .unwrap_or_default()
    }
}
