//! Rules for one source file: an opening comment, reasons for unsafe code, no long tail of huge files and functions.

/// Longest file and function, in lines.
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
/// A test may tell a longer story.
const TEST_LINES: usize = 100;

/// Files that may be longer, and how long. A ceiling goes down, never up.
const LONG_FILES: &[(&str, usize)] = &[];
/// Functions (`file`, `name`) that may be longer, and how long. A ceiling goes down, never up.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Where unsafe code may be: the hypervisor's shell, and the one tools crate that talks to the kernel.
const UNSAFE: &[&str] = &["hypervisor/src/", "tools/xendev/", "tests/guests/"];

/// All faults of a file.
pub fn check(file: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!(
            "{file}:1: does not open with `//!` saying what it is for"
        ));
    }
    let ceiling = LONG_FILES
        .iter()
        .find(|(f, _)| *f == file)
        .map_or(FILE_LINES, |(_, n)| *n);
    if lines.len() > ceiling {
        faults.push(format!("{file}: {} lines, at most {ceiling}", lines.len()));
    }
    for (name, at, length) in functions(&lines) {
        let exception = LONG_FUNCTIONS
            .iter()
            .find(|(f, n, _)| *f == file && *n == name);
        let usual = if file.contains("tests/") {
            TEST_LINES
        } else {
            FUNCTION_LINES
        };
        let ceiling = exception.map_or(usual, |(_, _, n)| *n);
        if length > ceiling {
            faults.push(format!(
                "{file}:{at}: {name} has {length} lines, at most {ceiling}"
            ));
        }
    }
    for (i, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        // A quote before it means it is within a string, as in this file.
        let Some(at) = code
            .find("unsafe ")
            .filter(|at| !code[..*at].contains(['"', '`']))
        else {
            continue;
        };
        let rest = &code[at + "unsafe ".len()..];
        if !(rest.starts_with('{') || rest.starts_with("impl")) {
            continue;
        }
        if !UNSAFE.iter().any(|dir| file.starts_with(dir)) && !file.contains("/tests/") {
            faults.push(format!("{file}:{}: no unsafe code here", i + 1));
        }
        if !line.contains("SAFETY:") && !explained(&lines[..i]) {
            faults.push(format!(
                "{file}:{}: unsafe without a `// SAFETY:` before it",
                i + 1
            ));
        }
    }
    faults
}

/// Whether a SAFETY comment stands before, within the same statement.
fn explained(before: &[&str]) -> bool {
    for (distance, line) in before.iter().rev().take(12).enumerate() {
        let line = line.trim();
        if line.contains("SAFETY:") {
            return true;
        }
        let continues = line.starts_with("//")
            || line.starts_with('#')
            || !line.ends_with([';', '}', '{']) && !line.is_empty();
        // One comment may cover neighbouring one-line blocks, or stand before the expression around the block.
        let opens = distance < 3 && line.ends_with('{');
        if !(continues || opens || line.contains("unsafe")) {
            return false;
        }
    }
    false
}

/// (name, line number, length) of each function; rustfmt's layout lets indentation tell where one ends.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize, usize)> {
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if code.starts_with("//") {
            continue;
        }
        let Some((prefix, rest)) = code.split_once("fn ") else {
            continue;
        };
        let modifiers = ["pub", "const", "unsafe", "async", "extern"];
        let is_modifier = |w: &str| {
            w.starts_with('"') || modifiers.iter().any(|m| w.starts_with(m)) || w.ends_with(')')
        };
        if !prefix.split_whitespace().all(is_modifier) {
            continue;
        }
        let name = rest
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or("");
        let ends =
            |l: &&str| l.len() == indent + 1 && l.ends_with('}') && l.trim_start().len() == 1;
        if !line.ends_with('}')
            && !line.ends_with(';')
            && let Some(length) = lines[i..].iter().position(ends)
        {
            found.push((name, i + 1, length + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tidy_file_has_no_faults() {
        let text =
            "//! Purpose.\nfn f() {\n    // SAFETY: it is.\n    let x = unsafe { g() };\n}\n";
        assert_eq!(check("hypervisor/src/a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_noticed() {
        let body = "    x();\n".repeat(FUNCTION_LINES);
        let text = format!(
            "fn long() {{\n{body}}}\nfn g() {{\n    {} {{ h() }}\n}}\n",
            "unsafe"
        );
        let faults = check("tools/xl/src/a.rs", &text).join("\n");
        for part in ["open with", "long has", "no unsafe code", "without a"] {
            assert!(faults.contains(part), "{part} not in {faults}");
        }
    }
}
