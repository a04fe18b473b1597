//! Network interface specifications: `mac=..., bridge=..., ...`.
use std::fmt;

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads six hexadecimal pairs.
    pub fn parse(text: &str) -> Option<Mac> {
        let bytes: Vec<u8> = text
            .split([':', '-'])
            .map(|p| {
                u8::from_str_radix(p, 16)
                    .ok()
                    .filter(|_| (1..=2).contains(&p.len()) && !p.starts_with('+'))
            })
            .collect::<Option<_>>()?;
        bytes.try_into().ok().map(Mac)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A network interface of a guest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Vif {
    /// Made from the domain's UUID if absent.
    pub mac: Option<Mac>,
    pub bridge: Option<String>,
    pub gatewaydev: Option<String>,
    pub vifname: Option<String>,
    pub script: Option<String>,
    pub ip: Option<String>,
    pub backend: Option<String>,
    pub model: Option<String>,
    pub mtu: Option<u32>,
    /// Bytes per interval, and the interval in microseconds.
    pub rate: Option<(u64, u64)>,
    /// Its number in the domain; else the next one that is free.
    pub devid: Option<u32>,
    /// For the script.
    pub vlan: Option<String>,
    /// Whether the guest is to trust the back end.
    pub trusted: Option<bool>,
}

/// Device numbers are below this: the kernel names interfaces by them.
const MAX_DEVID: u32 = 1000;
/// Default interval of a rate limit, in microseconds.
const RATE_INTERVAL: u64 = 50_000;

/// A part of a specification that means nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unknown {
    /// Which, for a message.
    pub what: String,
    /// What was meant, perhaps.
    pub near: Option<&'static str>,
}

/// What a specification can have.
const KEYS: &[&str] = &[
    "backend",
    "bridge",
    "devid",
    "gatewaydev",
    "ip",
    "mac",
    "model",
    "mtu",
    "netdev",
    "rate",
    "script",
    "trusted",
    "type",
    "untrusted",
    "vifname",
    "vlan",
];

impl Vif {
    /// Reads a specification; an empty one is an interface with defaults.
    pub fn parse(spec: &str) -> Result<Vif, String> {
        let mut unknown = Vec::new();
        let vif = Vif::parse_with(spec, &mut unknown)?;
        match unknown.into_iter().next() {
            None => Ok(vif),
            Some(Unknown { what, near: None }) => {
                Err(format!("{what}; there are {}", KEYS.join(", ")))
            }
            Some(Unknown {
                what,
                near: Some(n),
            }) => Err(format!("{what}; did you mean \"{n}\"?")),
        }
    }

    /// The same, but what is unknown is noted and left out, as configurations of other toolstacks need it.
    pub(crate) fn parse_with(spec: &str, unknown: &mut Vec<Unknown>) -> Result<Vif, String> {
        let mut vif = Vif::default();
        for item in spec.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let (key, value) = match item.split_once('=') {
                Some((key, value)) => (key.trim(), Some(value.trim())),
                None => (item, None),
            };
            let known = match (key, value) {
                ("trusted" | "untrusted", None) => {
                    vif.trusted = Some(key == "trusted");
                    true
                }
                (_, Some(value)) => vif.set(key, value)?,
                (_, None) if KEYS.contains(&key) => {
                    return Err(format!("\"{key}\" is not of the form {key}=value"));
                }
                _ => false,
            };
            if !known {
                unknown.push(Unknown {
                    what: format!("unknown vif parameter \"{key}\""),
                    near: crate::cfg::keys::nearest(key, KEYS.iter().copied()),
                });
            }
        }
        Ok(vif)
    }

    /// The specification that reads back as this.
    pub fn spec(&self) -> String {
        let number = |n: Option<u32>| n.map(|n| n.to_string());
        let rate = |(bytes, interval): (u64, u64)| {
            let per_second = (u128::from(bytes) * 1_000_000).div_ceil(u128::from(interval));
            format!("{per_second}B/s@{interval}us")
        };
        let pairs = [
            ("devid", number(self.devid)),
            ("mac", self.mac.map(|m| m.to_string())),
            ("bridge", self.bridge.clone()),
            ("gatewaydev", self.gatewaydev.clone()),
            ("vifname", self.vifname.clone()),
            ("script", self.script.clone()),
            ("ip", self.ip.clone()),
            ("backend", self.backend.clone()),
            ("model", self.model.clone()),
            ("mtu", number(self.mtu)),
            ("rate", self.rate.map(rate)),
            ("vlan", self.vlan.clone()),
            ("trusted", self.trusted.map(|t| u32::from(t).to_string())),
        ];
        let given = pairs
            .into_iter()
            .filter_map(|(k, v)| Some(format!("{k}={}", v?)));
        given.collect::<Vec<_>>().join(",")
    }

    /// Takes one setting; says whether there is such a key.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        let text = || Some(value.to_string());
        match key {
            "mac" => {
                let mac =
                    Mac::parse(value).ok_or_else(|| format!("\"{value}\" is no MAC address"))?;
                if mac.0[0] & 1 != 0 {
                    return Err(format!(
                        "{mac} is a multicast address; the first byte must be even"
                    ));
                }
                self.mac = Some(mac);
            }
            "bridge" => self.bridge = text(),
            "gatewaydev" | "netdev" => self.gatewaydev = text(),
            "vifname" if crate::bridge::valid_name(value) => self.vifname = text(),
            "vifname" => {
                return Err(format!(
                    "\"{value}\" is no interface's name: 1 to 15 letters and digits"
                ));
            }
            "script" => self.script = text(),
            "ip" => self.ip = text(),
            "backend" => self.backend = text(),
            "model" => self.model = text(),
            "type" if matches!(value, "vif" | "ioemu") => {}
            "type" => return Err(format!("type is \"vif\" or \"ioemu\", not \"{value}\"")),
            "mtu" => {
                let mtu = value.parse().ok().filter(|m| (68..=65535).contains(m));
                let bad = || format!("\"{value}\" is no MTU: it is a number from 68 to 65535");
                self.mtu = Some(mtu.ok_or_else(bad)?);
            }
            "rate" => {
                self.rate = Some(
                    rate(value).ok_or_else(|| format!("\"{value}\" is no rate, as in 10Mb/s"))?,
                )
            }
            "devid" => {
                let id = value.parse().ok().filter(|d| *d < MAX_DEVID);
                self.devid = Some(id.ok_or_else(|| format!("\"{value}\" is no device number"))?);
            }
            "vlan" => self.vlan = text(),
            "trusted" => {
                self.trusted = Some(match value {
                    "0" | "false" => false,
                    "1" | "true" => true,
                    _ => return Err(format!("trusted is 0 or 1, not \"{value}\"")),
                })
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// `10Mb/s`, `250KB/s`, `1MB/s@20ms`: to bytes per interval, and the interval in microseconds. An interval without a
/// unit is of seconds; `m` and `u` will do for `ms` and `us`. Numbers are of 32 bits, their product of 64.
fn rate(text: &str) -> Option<(u64, u64)> {
    let (speed, interval) = text
        .split_once('@')
        .map_or((text, None), |(s, i)| (s, Some(i)));
    let interval = match interval {
        None => RATE_INTERVAL,
        Some(i) => {
            let (number, unit) = number_and_unit(i)?;
            let scale = match unit {
                "us" | "u" => 1,
                "ms" | "m" => 1000,
                "s" | "" => 1_000_000,
                _ => return None,
            };
            u32::try_from(number.checked_mul(scale)?).ok()?.into()
        }
    };
    let (number, unit) = number_and_unit(speed.strip_suffix("/s")?)?;
    let bytes = match unit {
        "b" => number / 8,
        "Kb" => number * 1000 / 8,
        "Mb" => number * 1_000_000 / 8,
        "Gb" => number.checked_mul(1_000_000_000)? / 8,
        "B" => number,
        "KB" => number * 1000,
        "MB" => number * 1_000_000,
        "GB" => number.checked_mul(1_000_000_000)?,
        _ => return None,
    };
    let per_interval = bytes.checked_mul(interval)? / 1_000_000;
    (per_interval > 0).then_some((per_interval, interval))
}

/// A number of 32 bits that is not zero, and what follows it.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse::<u32>().ok().filter(|n| *n > 0)?;
    Some((number.into(), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications() {
        assert_eq!(Vif::parse("").unwrap(), Vif::default());
        let v = Vif::parse("mac=00:16:3e:01:02:03, bridge=br0,type=ioemu,model=e1000,rate=10Mb/s")
            .unwrap();
        assert_eq!(v.mac.unwrap().to_string(), "00:16:3e:01:02:03");
        assert_eq!(v.bridge.as_deref(), Some("br0"));
        assert_eq!(v.rate, Some((62_500, 50_000)));
        assert_eq!(
            Vif::parse("rate=1MB/s@20ms").unwrap().rate,
            Some((20_000, 20_000))
        );
    }

    #[test]
    fn specifications_read_back() {
        let text = "devid=3,mac=00:16:3e:01:02:03,bridge=br0,vifname=v,ip=10.0.0.1,mtu=1400,rate=10Mb/s,vlan=7,trusted=0";
        let vif = Vif::parse(text).unwrap();
        assert_eq!(Vif::parse(&vif.spec()), Ok(vif));
        assert_eq!(Vif::default().spec(), "");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (spec, part) in [
            ("mac=1", "\"1\" is no MAC"),
            ("mac=01:16:3e:01:02:03", "multicast"),
            ("mac=00:16:3e:01:02:03:04", "no MAC"),
            ("bridge", "bridge=value"),
            ("brigde=br0", "\"brigde\"; did you mean \"bridge\"?"),
            ("foo", "\"foo\"; there are backend, bridge, "),
            ("rate=fast", "no rate"),
            ("type=other", "type is"),
            ("vifname=much-too-long-a-name", "no interface's name"),
            ("vifname=../x", "no interface's name"),
            ("mtu=9", "68 to 65535"),
            ("rate=1MB/s@0ms", "no rate"),
        ] {
            let e = Vif::parse(spec).unwrap_err();
            assert!(e.contains(part), "{spec}: {e}");
        }
    }

    #[test]
    fn what_is_unknown_is_left_out_of_a_configuration() {
        let mut unknown = Vec::new();
        let vif = Vif::parse_with("brigde=br0,mtu=1400,accel=1,untrusted", &mut unknown).unwrap();
        assert_eq!((vif.mtu, vif.trusted), (Some(1400), Some(false)));
        let near: Vec<_> = unknown.iter().map(|u| u.near).collect();
        assert_eq!(near, [Some("bridge"), None]);
        assert_eq!(Vif::parse("trusted").unwrap().trusted, Some(true));
    }

    /// What Xen's own test of vif specifications has.
    #[test]
    fn rates_as_xen_has_them() {
        for (usual, speeds) in [
            (
                (100_000, 50_000),
                ["16000000b/s", "2000000B/s", "16Mb/s", "2MB/s"].as_slice(),
            ),
            ((100, 50_000), &["16Kb/s", "2KB/s"]),
            ((50_000_000, 50_000), &["8Gb/s", "1GB/s"]),
        ] {
            for speed in speeds {
                assert_eq!(rate(speed), Some(usual), "{speed}");
                assert_eq!(rate(&format!("{speed}@50ms")), Some(usual), "{speed}");
            }
        }
        for (text, got) in [
            ("80Mb/s@1s", (10_000_000, 1_000_000)),
            ("10MB/s@1s", (10_000_000, 1_000_000)),
            ("10MB/s@1", (10_000_000, 1_000_000)),
            ("10MB/s@5", (50_000_000, 5_000_000)),
            ("10MB/s@5m", (50_000, 5_000)),
            ("10MB/s@5u", (50, 5)),
        ] {
            assert_eq!(rate(text), Some(got), "{text}");
        }
        for bad in "foo 10MB 10MB/m 10ZB 10ZB/s 10ZB/m 4294967296b/s 4294967296Kb/s 4294967296Mb/s \
                    4294967296Gb/s 0B/s 10Mb/s@foo 10Mb/s@10h 10MB/s@foo 10MB/s@10h 1B/s@4294967296us \
                    1B/s@4294968ms 1B/s@4295s 1B/s@0us 4294967295GB/s@5us 4296MB/s@4294s @"
            .split_whitespace()
        {
            assert_eq!(rate(bad), None, "{bad}");
        }
    }
}
