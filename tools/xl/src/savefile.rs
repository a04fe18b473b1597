//! The head of a saved domain: what xl puts in front of the stream, in a file and on the way to another host.
//!
//! Layout (Xen's `xl`): a magic of 32 bytes, four numbers, and as many bytes as the last of them says. These are a length and the
//! domain's configuration as JSON, so that other tools can read it; and, which they pass over, a length and the same in the
//! grammar of `xl.cfg`.
use libxl::cfg::{self, Diagnostics};
use libxl::{DomainConfig, Error};
use serde_json::Value;
use std::io::{self, Read, Write};

const MAGIC: &[u8; 32] = b"Xen saved domain, xl format\n \0 \r";
const BYTE_ORDER: u32 = 0x0102_0304;
/// There is a configuration as JSON; the stream is of version 2. Both are always so.
const FLAGS: u32 = 3;
const HAS_JSON: u32 = 1;
/// No configuration is longer.
const LONGEST: u32 = 16 << 20;
/// Ends what JSON is in the file.
const TERMINATOR: u8 = 0;

/// What was read.
pub struct Head {
    /// Its numbers, as xl shows them.
    pub info: String,
    /// The configuration as JSON, if there is one.
    pub json: Option<Value>,
    /// The configuration in the grammar of `xl.cfg`, if we wrote it.
    pub text: Option<String>,
}

/// Writes the head; returns its numbers, as xl shows them.
pub fn write(out: &mut dyn Write, json: &Value, config: &DomainConfig) -> io::Result<String> {
    let mut data = Vec::new();
    let mut part = |bytes: &[u8]| {
        data.extend((bytes.len() as u32).to_le_bytes());
        data.extend_from_slice(bytes);
    };
    let mut shown = super::cmd::pretty(json).into_bytes();
    shown.push(TERMINATOR);
    part(&shown);
    part(config.source.as_bytes());
    out.write_all(MAGIC)?;
    for number in [BYTE_ORDER, FLAGS, 0, data.len() as u32] {
        out.write_all(&number.to_le_bytes())?;
    }
    out.write_all(&data)?;
    Ok(info(FLAGS, 0, data.len() as u32))
}

fn info(mandatory: u32, optional: u32, len: u32) -> String {
    format!("{mandatory:#x}/{optional:#x}/{len}")
}

/// Reads the head; says what about it cannot be.
pub fn read(input: &mut dyn Read) -> Result<Head, String> {
    let mut head = [0; 48];
    input
        .read_exact(&mut head)
        .map_err(|_| "it is too short to be a saved domain".to_string())?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..32] != MAGIC[..] {
        return Err("it is no saved domain".into());
    }
    let (order, mandatory, optional, len) = (word(32), word(36), word(40), word(44));
    if order != BYTE_ORDER {
        return Err("it was saved on a machine with another byte order".into());
    }
    if mandatory & !FLAGS != 0 || mandatory & !HAS_JSON == 0 {
        return Err(format!(
            "it is of a kind that is not known (flags {mandatory:#x})"
        ));
    }
    if len > LONGEST {
        return Err(format!("a head of {len} bytes is too long"));
    }
    let mut data = vec![0; len as usize];
    input
        .read_exact(&mut data)
        .map_err(|_| "it ends within its head".to_string())?;
    let mut rest = &data[..];
    let json = take(&mut rest).filter(|_| mandatory & HAS_JSON != 0);
    let json = match json {
        None | Some([]) => None,
        Some(bytes) => {
            let text = bytes.strip_suffix(&[TERMINATOR]).unwrap_or(bytes);
            let value = serde_json::from_slice(text)
                .map_err(|e| format!("the configuration in it cannot be read: {e}"))?;
            Some(value)
        }
    };
    let text = take(&mut rest).and_then(|t| String::from_utf8(t.to_vec()).ok());
    Ok(Head {
        info: info(mandatory, optional, len),
        json,
        text: text.filter(|t| !t.is_empty()),
    })
}

/// The next part of the data.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, behind) = rest.split_first_chunk::<4>()?;
    let (part, behind) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = behind;
    Some(part)
}

impl Head {
    /// The configuration: `given` instead of the kept one, if there is any.
    pub fn config(&self, given: Option<(&str, &str)>) -> Result<DomainConfig, Error> {
        const SAVED: &str = "<saved>";
        let from_json;
        let (name, text) = match (given, &self.text, &self.json) {
            (Some(given), ..) => given,
            (None, Some(text), _) => (SAVED, &**text),
            (None, None, Some(json)) => {
                from_json = libxl::text_of_json(json);
                (SAVED, &*from_json)
            }
            (None, None, None) => {
                return Err(Error::new("it does not hold the domain's configuration")
                    .hint("give xl restore a configuration file too"));
            }
        };
        let mut diags = Diagnostics::default();
        let mut cfg = cfg::parse(name, text, &mut diags);
        // The same domain, not another that is like it.
        let uuid = self
            .json
            .as_ref()
            .and_then(|j| j["c_info"]["uuid"].as_str());
        if let (Some(uuid), None) = (uuid, cfg.get("uuid")) {
            cfg.merge(
                cfg::parse_argument(&format!("uuid = {uuid:?}"), &mut diags),
                &mut diags,
            );
        }
        DomainConfig::from_cfg(&cfg, &mut diags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> DomainConfig {
        let mut d = Diagnostics::default();
        let text =
            "name='g'\nkernel='/k'\nmemory=128\nuuid='05043ff8-e6df-11f1-bb59-1dfc751db053'\n";
        DomainConfig::from_cfg(&cfg::parse("g", text, &mut d), &mut d).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut file = Vec::new();
        let told = write(&mut file, &config().json(), &config()).unwrap();
        file.extend(b"the stream");
        let mut input = &file[..];
        let head = read(&mut input).unwrap();
        assert_eq!(input, b"the stream");
        assert_eq!(head.info, told);
        assert!(told.starts_with("0x3/0x0/"), "{told}");
        let again = head.config(None).unwrap();
        assert_eq!((again.name.as_str(), again.uuid), ("g", config().uuid));
        // Of another file, but the same domain.
        let given = head.config(Some(("f", "name='h'\nkernel='/k'\nmemory=64\n")));
        assert_eq!(given.unwrap().uuid, config().uuid);
        assert!(read(&mut &file[..60]).is_err());
    }

    #[test]
    fn a_file_of_another_xl_holds_json_alone() {
        let json = json!({"c_info": {"type": "pv", "name": "g"}}).to_string();
        let mut file = MAGIC.to_vec();
        for n in [
            BYTE_ORDER,
            3,
            0,
            json.len() as u32 + 5,
            json.len() as u32 + 1,
        ] {
            file.extend(n.to_le_bytes());
        }
        file.extend(json.bytes().chain([0]));
        let head = read(&mut &file[..]).unwrap();
        assert_eq!(head.json.unwrap()["c_info"]["name"], "g");
        assert!(head.text.is_none());
        file[36] = 7;
        assert!(read(&mut &file[..]).err().unwrap().contains("0x7"));
        assert!(read(&mut &b"#!/bin/sh\n"[..]).is_err());
    }
}
