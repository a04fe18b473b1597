//! Guest configuration files (`xl.cfg`): text to values with positions.
//!
//! [`parse`] turns text into a [`Cfg`] of settings; [`keys`] is the one table of what is known about each key, and
//! `DomainConfig` (in `config`) gives the settings their meaning. Everything found on the way is a [`Diagnostic`].
pub mod keys;
mod lex;
mod nearest;
mod parse;

use std::fmt;
use std::rc::Rc;

pub use parse::{parse, parse_argument};

/// Where something stands: file, line and column (both from 1; columns count characters).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pos {
    /// File name as the user gave it, or "command line".
    pub file: Rc<str>,
    /// Line.
    pub line: u32,
    /// Column.
    pub col: u32,
}

impl Pos {
    /// For what is missing altogether.
    pub fn nowhere() -> Pos {
        Pos {
            file: Rc::from("configuration"),
            line: 1,
            col: 1,
        }
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.col)
    }
}

/// Whether a diagnostic stops us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// Something to tell the user about a place in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub pos: Pos,
    /// What.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}: {severity}: {}", self.pos, self.message)?;
        match &self.help {
            Some(h) => write!(f, " ({h})"),
            None => Ok(()),
        }
    }
}

/// Diagnostics in the order in which they were found.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds an error.
    pub fn error(&mut self, pos: &Pos, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, pos, message.into())
    }

    /// Adds a warning.
    pub fn warn(&mut self, pos: &Pos, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, pos, message.into())
    }

    fn push(&mut self, severity: Severity, pos: &Pos, message: String) -> &mut Diagnostic {
        self.0.push(Diagnostic {
            severity,
            pos: pos.clone(),
            message,
            help: None,
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Whether there is an error among them.
    pub fn failed(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }
}

impl Diagnostic {
    /// Adds how to fix it.
    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}

/// A value with its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    /// Where it starts.
    pub pos: Pos,
    /// What it is.
    pub kind: ValueKind,
}

/// What a value is. Numbers keep their spelling: where a string is wanted, `name = 007` is "007".
#[derive(Clone, PartialEq, Debug)]
pub enum ValueKind {
    /// Quoted text, unquoted.
    Str(String),
    /// Digits as written (decimal, 0x…, 0…).
    Num(String),
    /// `[ … ]`.
    List(Vec<Value>),
}

impl Value {
    /// As an integer: a number, or a string that is one.
    pub fn as_int(&self) -> Option<i64> {
        match &self.kind {
            ValueKind::Num(s) | ValueKind::Str(s) => parse_int(s),
            ValueKind::List(_) => None,
        }
    }

    /// As text: a string, or a number as it was spelled.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            ValueKind::Num(s) | ValueKind::Str(s) => Some(s),
            ValueKind::List(_) => None,
        }
    }

    /// As a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match &self.kind {
            ValueKind::List(l) => Some(l),
            _ => None,
        }
    }

    /// What it is, in words.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            ValueKind::Str(_) => "a string",
            ValueKind::Num(_) => "a number",
            ValueKind::List(_) => "a list",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ValueKind::Num(n) => f.write_str(n),
            ValueKind::Str(s) => {
                f.write_str("\"")?;
                for c in s.chars() {
                    match c {
                        '"' | '\\' => write!(f, "\\{c}")?,
                        '\n' => f.write_str("\\n")?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("\"")
            }
            ValueKind::List(l) => {
                f.write_str("[ ")?;
                for (i, v) in l.iter().enumerate() {
                    write!(f, "{}{v}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(" ]")
            }
        }
    }
}

/// Reads an integer the way C's `strtol` with base 0 does, but all of it.
pub fn parse_int(s: &str) -> Option<i64> {
    let s = s.trim();
    let (neg, digits) = match s.strip_prefix('-') {
        Some(d) => (true, d),
        None => (false, s.strip_prefix('+').unwrap_or(s)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let v = if let Some(hex) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        i64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(&digits[1..], 8).ok()?
    } else {
        digits.parse().ok()?
    };
    Some(if neg { -v } else { v })
}

/// One `key = value`.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub pos: Pos,
    /// The value.
    pub value: Value,
}

/// A configuration: settings in order of first mention, one per key.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Cfg {
    /// The settings.
    pub settings: Vec<Setting>,
}

impl Cfg {
    /// The setting of a key.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|s| s.key == key)
    }

    /// Sets or, for `append`, extends a key. Later settings win, as in xl.
    pub fn assign(&mut self, setting: Setting, append: bool, diags: &mut Diagnostics) {
        let Some(old) = self.settings.iter_mut().find(|s| s.key == setting.key) else {
            self.settings.push(setting);
            return;
        };
        if !append {
            *old = setting;
            return;
        }
        match (&mut old.value.kind, setting.value.kind) {
            (ValueKind::List(l), ValueKind::List(more)) => l.extend(more),
            (ValueKind::Str(s), ValueKind::Str(more) | ValueKind::Num(more)) => s.push_str(&more),
            (_, new) => {
                let new = Value {
                    pos: setting.value.pos,
                    kind: new,
                };
                let message = format!(
                    "cannot append {} to \"{}\", which is {}",
                    new.kind_name(),
                    old.key,
                    old.value.kind_name()
                );
                diags
                    .error(&setting.pos, message)
                    .help(format!("it was set at {}", old.pos));
            }
        }
    }

    /// Text that parses to the same settings.
    pub fn to_text(&self) -> String {
        self.settings
            .iter()
            .map(|s| format!("{} = {}\n", s.key, s.value))
            .collect()
    }

    /// Takes all of `over`'s settings, which win.
    pub fn merge(&mut self, over: Cfg, diags: &mut Diagnostics) {
        for s in over.settings {
            self.assign(s, false, diags);
        }
    }
}
