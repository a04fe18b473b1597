//! [`Caller`]: who asks; what a permission list lets him do; and the [`Limits`] unprivileged callers have.
use xenstore::{Access, Perm};

/// On whose behalf a request is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The domain.
    pub domid: u16,
    /// A domain whose rights it has as well (it runs that domain's device model).
    pub target: Option<u16>,
}

impl Caller {
    /// Domain 0, to which everything is permitted.
    pub const DOM0: Caller = Caller {
        domid: 0,
        target: None,
    };

    /// No permission or quota applies.
    pub fn privileged(&self) -> bool {
        self.domid == 0
    }

    fn is(&self, domid: u16) -> bool {
        self.domid == domid || self.target == Some(domid)
    }

    /// Does the caller count as the owner?
    pub fn owns(&self, perms: &[Perm]) -> bool {
        self.privileged() || perms.first().is_some_and(|p| self.is(p.domid))
    }

    /// Rights under `perms`: all for the owner; else an entry that names the caller; else the default.
    pub fn access(&self, perms: &[Perm]) -> Access {
        let Some((first, others)) = perms.split_first() else {
            return Access::NONE;
        };
        if self.owns(perms) {
            return Access::BOTH;
        }
        others
            .iter()
            .find(|p| self.is(p.domid))
            .map_or(first.access, |p| p.access)
    }
}

/// What an unprivileged domain may use up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nodes it owns.
    pub nodes: usize,
    /// Bytes in a node: value, permissions, names of children.
    pub node_size: usize,
    /// Watches.
    pub watches: usize,
    /// Open transactions.
    pub transactions: usize,
    /// Nodes looked at or changed in one transaction.
    pub transaction_nodes: usize,
    /// Entries in a permission list.
    pub perms: usize,
    /// Replies and distinct events it has not read yet.
    pub outstanding: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            nodes: 1000,
            node_size: 2048,
            watches: 128,
            transactions: 10,
            transaction_nodes: 1024,
            perms: 5,
            outstanding: 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D5: Caller = Caller {
        domid: 5,
        target: None,
    };

    #[test]
    fn the_first_entry_names_the_owner_and_what_others_may() {
        assert_eq!(D5.access(&[Perm::none(5)]), Access::BOTH);
        assert_eq!(D5.access(&[Perm::read(1)]), Access::READ);
        assert_eq!(D5.access(&[Perm::none(1)]), Access::NONE);
    }

    #[test]
    fn an_entry_of_ones_own_beats_the_default() {
        assert_eq!(D5.access(&[Perm::both(1), Perm::none(5)]), Access::NONE);
        assert_eq!(D5.access(&[Perm::none(1), Perm::write(5)]), Access::WRITE);
    }

    #[test]
    fn a_device_model_acts_for_its_target() {
        let dm = Caller {
            domid: 9,
            target: Some(5),
        };
        assert!(dm.owns(&[Perm::none(5)]));
        assert_eq!(dm.access(&[Perm::none(1), Perm::read(5)]), Access::READ);
    }

    #[test]
    fn domain_0_may_everything() {
        assert_eq!(Caller::DOM0.access(&[Perm::none(1)]), Access::BOTH);
    }
}
