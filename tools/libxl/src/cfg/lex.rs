//! Characters to tokens.
use super::{Diagnostics, Pos};
use std::rc::Rc;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    Ident(String),
    Num(String),
    Str(String),
    Assign,
    Append,
    Comma,
    Open,
    Close,
    /// `;` or a line's end.
    End(char),
    /// Something that was reported already.
    Bad,
    Eof,
}

impl Token {
    /// For messages.
    pub fn describe(&self) -> String {
        match self {
            Token::Ident(s) => format!("\"{s}\""),
            Token::Num(s) => format!("number {s}"),
            Token::Str(_) => "a string".into(),
            Token::Assign => "\"=\"".into(),
            Token::Append => "\"+=\"".into(),
            Token::Comma => "\",\"".into(),
            Token::Open => "\"[\"".into(),
            Token::Close => "\"]\"".into(),
            Token::End('\n') => "the end of the line".into(),
            Token::End(_) => "\";\"".into(),
            Token::Bad => "this".into(),
            Token::Eof => "the end of the file".into(),
        }
    }
}

pub struct Lexer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    pos: Pos,
}

impl<'a> Lexer<'a> {
    pub fn new(file: &str, text: &'a str) -> Self {
        Lexer {
            chars: text.chars().peekable(),
            pos: Pos {
                file: Rc::from(file),
                line: 1,
                col: 1,
            },
        }
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\n' {
            self.pos.line += 1;
            self.pos.col = 1;
        } else {
            self.pos.col += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, mut f: impl FnMut(char) -> bool) -> String {
        let mut s = String::new();
        while let Some(&c) = self.chars.peek()
            && f(c)
        {
            s.push(c);
            self.bump();
        }
        s
    }

    /// The next token and where it starts.
    pub fn next(&mut self, diags: &mut Diagnostics) -> (Token, Pos) {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\u{feff}'));
        if self.chars.peek() == Some(&'#') {
            self.take_while(|c| c != '\n');
        }
        let pos = self.pos.clone();
        let Some(&c) = self.chars.peek() else {
            return (Token::Eof, pos);
        };
        let token = match c {
            c if c.is_ascii_alphabetic() || c == '_' => Token::Ident(
                self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')),
            ),
            c if c.is_ascii_digit() || c == '-' => self.number(&pos, diags),
            '"' | '\'' => self.string(c, &pos, diags),
            '+' => {
                self.bump();
                if self.chars.peek() == Some(&'=') {
                    self.bump();
                    Token::Append
                } else {
                    diags
                        .error(&pos, "\"+\" without \"=\"")
                        .help("to append to a setting write +=");
                    Token::Bad
                }
            }
            _ => {
                self.bump();
                self.punctuation(c, &pos, diags)
            }
        };
        (token, pos)
    }

    fn punctuation(&self, c: char, pos: &Pos, diags: &mut Diagnostics) -> Token {
        match c {
            '=' => Token::Assign,
            ',' => Token::Comma,
            '[' => Token::Open,
            ']' => Token::Close,
            '\n' | ';' => Token::End(c),
            _ => {
                diags
                    .error(pos, format!("unexpected character {c:?}"))
                    .help("text values go in quotes");
                Token::Bad
            }
        }
    }

    fn number(&mut self, pos: &Pos, diags: &mut Diagnostics) -> Token {
        let mut first = true;
        let s = self.take_while(|c| {
            c.is_ascii_alphanumeric() || c == '_' || (std::mem::take(&mut first) && c == '-')
        });
        if super::parse_int(&s).is_none() {
            diags
                .error(pos, format!("\"{s}\" is not a number"))
                .help("text values go in quotes");
            return Token::Bad;
        }
        Token::Num(s)
    }

    fn string(&mut self, quote: char, pos: &Pos, diags: &mut Diagnostics) -> Token {
        self.bump();
        let mut s = String::new();
        loop {
            match self.chars.peek() {
                None | Some('\n') => {
                    diags
                        .error(pos, "this string has no end")
                        .help(format!("close it with {quote} on the same line"));
                    return Token::Bad;
                }
                Some('\\') => {
                    let at = self.pos.clone();
                    self.bump();
                    match self.escape() {
                        Some(c) => s.push(c),
                        None => {
                            diags
                                .error(&at, "unknown escape in a string")
                                .help("write \\\\ for a backslash");
                        }
                    }
                }
                Some(&c) => {
                    self.bump();
                    if c == quote {
                        return Token::Str(s);
                    }
                    s.push(c);
                }
            }
        }
    }

    /// What follows a backslash, C's way.
    fn escape(&mut self) -> Option<char> {
        let c = *self.chars.peek()?;
        if let '0'..='7' = c {
            let mut n = 0;
            let digits = self.take_while(|c| {
                n += 1;
                n <= 3 && ('0'..='7').contains(&c)
            });
            return u32::from_str_radix(&digits, 8)
                .ok()
                .and_then(char::from_u32);
        }
        if c == '\n' {
            return None;
        }
        self.bump();
        Some(match c {
            '\\' | '"' | '\'' => c,
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => {
                let mut n = 0;
                let digits = self.take_while(|c| {
                    n += 1;
                    n <= 2 && c.is_ascii_hexdigit()
                });
                return u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
            }
            _ => return None,
        })
    }
}
