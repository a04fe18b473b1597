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

impl Vif {
    /// Reads a specification; an empty one is an interface with defaults.
    pub fn parse(spec: &str) -> Result<Vif, String> {
        let mut vif = Vif::default();
        for item in spec.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let Some((key, value)) = item.split_once('=') else {
                return Err(format!("\"{item}\" is not of the form key=value"));
            };
            vif.set(key.trim(), value.trim())?;
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

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
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
            "accel" => {}
            _ => return Err(format!("unknown vif parameter \"{key}\"")),
        }
        Ok(())
    }
}

/// `10Mb/s`, `250KB/s`, `1MB/s@20ms`: to bytes per interval, and the interval in microseconds.
fn rate(text: &str) -> Option<(u64, u64)> {
    let (speed, interval) = text
        .split_once('@')
        .map_or((text, None), |(s, i)| (s, Some(i)));
    let interval = match interval {
        None => RATE_INTERVAL,
        Some(i) => {
            let (number, unit) = i.split_at(i.find(|c: char| !c.is_ascii_digit())?);
            let scale = match unit {
                "us" => 1,
                "ms" => 1000,
                "s" => 1_000_000,
                _ => return None,
            };
            let interval = number.parse::<u64>().ok()?.checked_mul(scale)?;
            u32::try_from(interval).ok()?.into()
        }
    };
    let speed = speed.strip_suffix("/s")?;
    let (number, unit) = speed.split_at(speed.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let bytes = match unit {
        "b" => number / 8,
        "Kb" => number.checked_mul(1000)? / 8,
        "Mb" => number.checked_mul(1_000_000)? / 8,
        "Gb" => number.checked_mul(1_000_000_000)? / 8,
        "B" => number,
        "KB" => number.checked_mul(1000)?,
        "MB" => number.checked_mul(1_000_000)?,
        "GB" => number.checked_mul(1_000_000_000)?,
        _ => return None,
    };
    let per_interval = u128::from(bytes) * u128::from(interval) / 1_000_000;
    u64::try_from(per_interval)
        .ok()
        .filter(|b| *b > 0)
        .map(|b| (b, interval))
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
            ("bridge", "key=value"),
            ("brigde=br0", "\"brigde\""),
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
}
