//! Tokens to settings. After an error the parser goes on with the next line, to report all of them at once.
use super::lex::{Lexer, Token};
use super::{Cfg, Diagnostics, Pos, Setting, Value, ValueKind};
use std::rc::Rc;

/// Lists may nest; deeper than this is an error.
const MAX_DEPTH: u32 = 16;

/// Parses a configuration file's text.
pub fn parse(file: &str, text: &str, diags: &mut Diagnostics) -> Cfg {
    let mut p = Parser {
        lexer: Lexer::new(file, text),
        token: Token::Eof,
        pos: start(file),
    };
    let mut cfg = Cfg::default();
    p.advance(diags);
    while p.token != Token::Eof {
        p.statement(&mut cfg, diags);
    }
    cfg
}

/// Parses a `key=value` argument of the command line. Text needs no quotes there: what is no number, list or quoted
/// string is taken as it stands.
pub fn parse_argument(arg: &str, diags: &mut Diagnostics) -> Cfg {
    const FILE: &str = "command line";
    let mut strict = Diagnostics::default();
    let cfg = parse(FILE, arg, &mut strict);
    if !strict.failed() {
        return cfg;
    }
    if let Some((key, value)) = arg.split_once('=')
        && is_key(key.trim())
        && !value.trim_start().starts_with(['"', '\'', '['])
    {
        let pos = start(FILE);
        let value_pos = Pos {
            col: key.chars().count() as u32 + 2,
            ..pos.clone()
        };
        let value = Value {
            pos: value_pos,
            kind: ValueKind::Str(value.into()),
        };
        return Cfg {
            settings: vec![Setting {
                key: key.trim().into(),
                pos,
                value,
            }],
        };
    }
    diags.0.extend(strict.0);
    cfg
}

fn start(file: &str) -> Pos {
    Pos {
        file: Rc::from(file),
        line: 1,
        col: 1,
    }
}

fn is_key(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && s.chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    pos: Pos,
}

/// An error that was reported.
struct Reported;

impl Parser<'_> {
    fn advance(&mut self, diags: &mut Diagnostics) -> Token {
        let (token, pos) = self.lexer.next(diags);
        self.pos = pos;
        std::mem::replace(&mut self.token, token)
    }

    fn unexpected<T>(
        &self,
        wanted: &str,
        help: &str,
        diags: &mut Diagnostics,
    ) -> Result<T, Reported> {
        // A bad token was reported where it was read.
        if self.token != Token::Bad {
            let d = diags.error(
                &self.pos,
                format!("expected {wanted}, found {}", self.token.describe()),
            );
            if !help.is_empty() {
                d.help(help);
            }
        }
        Err(Reported)
    }

    fn statement(&mut self, cfg: &mut Cfg, diags: &mut Diagnostics) {
        if let Token::End(_) = self.token {
            self.advance(diags);
            return;
        }
        if self.assignment(cfg, diags).is_err() {
            while !matches!(self.token, Token::End('\n') | Token::Eof) {
                self.advance(diags);
            }
        }
    }

    fn assignment(&mut self, cfg: &mut Cfg, diags: &mut Diagnostics) -> Result<(), Reported> {
        let Token::Ident(key) = self.token.clone() else {
            return self.unexpected("a key", "", diags);
        };
        let pos = self.pos.clone();
        self.advance(diags);
        let append = match self.token {
            Token::Assign => false,
            Token::Append => true,
            _ => return self.unexpected(&format!("\"=\" after \"{key}\""), "", diags),
        };
        self.advance(diags);
        let value = self.value(0, diags)?;
        if !matches!(self.token, Token::End(_) | Token::Eof) {
            let help = "put each setting on its own line or separate them with ;";
            return self.unexpected("the end of the line", help, diags);
        }
        cfg.assign(Setting { key, pos, value }, append, diags);
        Ok(())
    }

    fn value(&mut self, depth: u32, diags: &mut Diagnostics) -> Result<Value, Reported> {
        let pos = self.pos.clone();
        let kind = match self.token.clone() {
            Token::Str(s) => ValueKind::Str(s),
            Token::Num(s) => ValueKind::Num(s),
            Token::Open if depth >= MAX_DEPTH => {
                diags.error(&pos, "lists are nested too deeply");
                return Err(Reported);
            }
            Token::Open => return self.list(pos, depth, diags),
            Token::Ident(s) => {
                let help = match s.as_str() {
                    "True" | "true" | "yes" => "write 1".into(),
                    "False" | "false" | "no" | "None" => "write 0".into(),
                    _ => format!("text values go in quotes: \"{s}\""),
                };
                return self.unexpected("a value", &help, diags);
            }
            _ => return self.unexpected("a value", "", diags),
        };
        self.advance(diags);
        Ok(Value { pos, kind })
    }

    fn list(&mut self, pos: Pos, depth: u32, diags: &mut Diagnostics) -> Result<Value, Reported> {
        let mut items = Vec::new();
        self.advance(diags);
        self.skip_newlines(diags);
        while self.token != Token::Close {
            items.push(self.value(depth + 1, diags)?);
            self.skip_newlines(diags);
            match self.token {
                Token::Comma => {
                    self.advance(diags);
                    self.skip_newlines(diags);
                }
                Token::Close => {}
                _ => {
                    return self.unexpected(
                        &format!("\",\" or \"]\" in the list that starts at {pos}"),
                        "",
                        diags,
                    );
                }
            }
        }
        self.advance(diags);
        Ok(Value {
            pos,
            kind: ValueKind::List(items),
        })
    }

    fn skip_newlines(&mut self, diags: &mut Diagnostics) {
        while self.token == Token::End('\n') {
            self.advance(diags);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Cfg {
        let mut d = Diagnostics::default();
        let cfg = parse("t.cfg", text, &mut d);
        assert!(d.0.is_empty(), "{:?}", d.0);
        cfg
    }

    fn bad(text: &str) -> Vec<String> {
        let mut d = Diagnostics::default();
        parse("t.cfg", text, &mut d);
        d.0.iter().map(|d| d.to_string()).collect()
    }

    #[test]
    fn the_whole_grammar() {
        let c = good(
            "# a guest\nname = \"g1\"; memory=512 # MiB\n\nkernel='/k v'\ndisk = [ 'a', # first\n 'b',\n]\n\
             vcpus=0x2;;x=[]\nn = [ 1, [ \"a\", 'b' ] ]\ns=\"a\\\"b\\n\\x41\\101\"",
        );
        assert_eq!(c.get("name").unwrap().value.as_str(), Some("g1"));
        assert_eq!(c.get("memory").unwrap().value.as_int(), Some(512));
        assert_eq!(c.get("memory").unwrap().pos.to_string(), "t.cfg:2:14");
        assert_eq!(c.get("kernel").unwrap().value.as_str(), Some("/k v"));
        assert_eq!(c.get("disk").unwrap().value.as_list().unwrap().len(), 2);
        assert_eq!(c.get("vcpus").unwrap().value.as_int(), Some(2));
        assert_eq!(
            c.get("n").unwrap().value.as_list().unwrap()[1]
                .as_list()
                .unwrap()
                .len(),
            2
        );
        assert_eq!(c.get("s").unwrap().value.as_str(), Some("a\"b\nAA"));
    }

    #[test]
    fn appending_and_overriding() {
        let c = good(
            "extra=\"a\"\nextra+=\" b\"\ndisk=['a']\ndisk+=['b']\nmemory=1\nmemory=2\nvif+=['x']\n",
        );
        assert_eq!(c.get("extra").unwrap().value.as_str(), Some("a b"));
        assert_eq!(c.get("disk").unwrap().value.as_list().unwrap().len(), 2);
        assert_eq!(c.get("memory").unwrap().value.as_int(), Some(2));
        assert_eq!(c.get("vif").unwrap().value.as_list().unwrap().len(), 1);
    }

    #[test]
    fn a_missing_line_end_is_fine() {
        assert_eq!(good("a=1\r\nb=2").settings.len(), 2);
        assert_eq!(good("").settings.len(), 0);
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        assert_eq!(
            bad(
                "name = guest\nmemory 512\nkernel = \"/boot\nvcpus = 2 cpus = 3\nx = 12ab\n= 3\ny = $\nz = True\n"
            ),
            [
                "t.cfg:1:8: error: expected a value, found \"guest\" (text values go in quotes: \"guest\")",
                "t.cfg:2:8: error: expected \"=\" after \"memory\", found number 512",
                "t.cfg:3:10: error: this string has no end (close it with \" on the same line)",
                "t.cfg:4:11: error: expected the end of the line, found \"cpus\" (put each setting on its own line or separate them with ;)",
                "t.cfg:5:5: error: \"12ab\" is not a number (text values go in quotes)",
                "t.cfg:6:1: error: expected a key, found \"=\"",
                "t.cfg:7:5: error: unexpected character '$' (text values go in quotes)",
                "t.cfg:8:5: error: expected a value, found \"True\" (write 1)",
            ]
        );
        assert_eq!(
            bad("disk = [ 'a' 'b' ]\n"),
            [
                "t.cfg:1:14: error: expected \",\" or \"]\" in the list that starts at t.cfg:1:8, found a string"
            ]
        );
        assert_eq!(
            bad("disk = [ 'a',\n"),
            ["t.cfg:2:1: error: expected a value, found the end of the file"]
        );
        assert_eq!(
            bad("a = 1\na += [2]\n"),
            [
                "t.cfg:2:1: error: cannot append a list to \"a\", which is a number (it was set at t.cfg:1:1)"
            ]
        );
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let text = format!("a = {}", "[".repeat(100_000));
        assert_eq!(
            bad(&text),
            ["t.cfg:1:21: error: lists are nested too deeply"]
        );
    }

    #[test]
    fn arguments_need_no_quotes() {
        let mut d = Diagnostics::default();
        let one = |a: &str, d: &mut Diagnostics| parse_argument(a, d).settings.remove(0);
        assert_eq!(
            one("kernel=/boot/vmlinuz", &mut d).value.as_str(),
            Some("/boot/vmlinuz")
        );
        assert_eq!(one("name=\"x\"", &mut d).value.as_str(), Some("x"));
        assert_eq!(one("memory=64", &mut d).value.as_int(), Some(64));
        assert_eq!(one("disk=['a']", &mut d).value.as_list().unwrap().len(), 1);
        assert_eq!(parse_argument("a=1;b=2", &mut d).settings.len(), 2);
        assert!(d.0.is_empty());
    }
}
