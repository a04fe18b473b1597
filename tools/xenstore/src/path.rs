//! Paths: [`Path`] is always absolute and valid. Relative ones start at the caller's home.
use crate::XsError;
use std::{fmt, sync::Arc};

/// Longest absolute path in bytes.
pub const ABS_MAX: usize = 3072;
/// Longest relative path in bytes.
pub const REL_MAX: usize = 2048;

/// A valid absolute path, or one of the special watch names that start with `@`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

/// Base path of a domain: `/local/domain/N`.
pub fn home(domid: u16) -> String {
    format!("/local/domain/{domid}")
}

fn valid_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-/_@".contains(&b)
}

impl Path {
    /// The root, `/`.
    pub fn root() -> Path {
        Path("/".into())
    }

    /// Parse what a caller living at `/local/domain/<domid>` sent.
    ///
    /// `EINVAL` for an empty or overlong path, `//`, a trailing `/` or a byte outside `[A-Za-z0-9-/_@]`.
    pub fn parse(raw: &[u8], domid: u16) -> Result<Path, XsError> {
        let s = std::str::from_utf8(raw).map_err(|_| XsError::EINVAL)?;
        if !raw.iter().all(|b| valid_byte(*b)) || s.contains("//") {
            return Err(XsError::EINVAL);
        }
        match raw.first() {
            None => Err(XsError::EINVAL),
            Some(b'/') if raw.len() > ABS_MAX => Err(XsError::EINVAL),
            Some(b'/') if raw.len() > 1 && raw.ends_with(b"/") => Err(XsError::EINVAL),
            Some(b'/') => Ok(Path(s.into())),
            Some(_) if raw.len() > REL_MAX || raw.ends_with(b"/") => Err(XsError::EINVAL),
            Some(_) => Ok(Path(format!("{}/{s}", home(domid)).into())),
        }
    }

    /// Parse a watch's path: as [`Path::parse`], or a special name such as `@releaseDomain`.
    pub fn parse_watch(raw: &[u8], domid: u16) -> Result<Path, XsError> {
        match raw {
            [b'@', rest @ ..] if !rest.is_empty() && raw.len() <= REL_MAX => {
                if !rest
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b))
                {
                    return Err(XsError::EINVAL);
                }
                let s = std::str::from_utf8(raw).map_err(|_| XsError::EINVAL)?;
                Ok(Path(s.into()))
            }
            _ => Path::parse(raw, domid),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Starts with `@`: names an event, not a node.
    pub fn is_special(&self) -> bool {
        self.0.starts_with('@')
    }
    /// Is this `/`?
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }
    /// Components from the root downwards; none for `/`, one for a special name.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|p| !p.is_empty())
    }
    /// The directory this node is in; `None` for the root and special names.
    pub fn parent(&self) -> Option<Path> {
        if self.is_special() || self.is_root() {
            return None;
        }
        match self.0.rsplit_once('/') {
            Some(("", _)) | None => Some(Path::root()),
            Some((dir, _)) => Some(Path(dir.into())),
        }
    }
    /// Last component, empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
    /// The child called `name`, which must be one valid component.
    pub fn child(&self, name: &str) -> Path {
        if self.is_root() {
            Path(format!("/{name}").into())
        } else {
            Path(format!("{}/{name}", self.0).into())
        }
    }
}

/// Lets maps keyed by paths be searched by text; ordering and hash are the text's.
impl std::borrow::Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &str) -> Result<String, XsError> {
        Path::parse(s.as_bytes(), 7).map(|p| p.to_string())
    }

    #[test]
    fn relative_paths_start_at_home() {
        assert_eq!(parse("data/x").unwrap(), "/local/domain/7/data/x");
        assert_eq!(parse("/a/b").unwrap(), "/a/b");
        assert_eq!(parse("/").unwrap(), "/");
    }

    #[test]
    fn malformed_paths_are_einval() {
        for bad in [
            "", "/a/", "a/", "//", "/a//b", "/a b", "/a\u{e9}", "/a.b", "/a\0b",
        ] {
            assert_eq!(parse(bad), Err(XsError::EINVAL), "{bad:?}");
        }
    }

    #[test]
    fn length_limits_are_inclusive() {
        assert!(parse(&format!("/{}", "x".repeat(ABS_MAX - 1))).is_ok());
        assert!(parse(&format!("/{}", "x".repeat(ABS_MAX))).is_err());
        assert!(parse(&"x".repeat(REL_MAX)).is_ok());
        assert!(parse(&"x".repeat(REL_MAX + 1)).is_err());
    }

    #[test]
    fn special_names_are_for_watches() {
        let p = Path::parse_watch(b"@releaseDomain", 0).unwrap();
        assert!(p.is_special() && p.parent().is_none());
        assert!(Path::parse_watch(b"@", 0).is_ok_and(|p| !p.is_special()));
        assert!(Path::parse_watch(b"@a/b", 0).is_err());
    }

    #[test]
    fn parents_lead_to_the_root() {
        let p = Path::parse(b"/a/b", 0).unwrap();
        assert_eq!(p.name(), "b");
        let a = p.parent().unwrap();
        assert_eq!(a.as_str(), "/a");
        assert!(a.parent().unwrap().is_root());
        assert!(Path::root().parent().is_none());
        assert_eq!(a.child("c").as_str(), "/a/c");
        assert_eq!(Path::root().child("c").as_str(), "/c");
    }
}
