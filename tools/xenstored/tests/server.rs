//! The server by itself: permissions, quotas, watches, transactions and domains, told as sentences.
mod common;

use common::{Bench, Fact};
use xenstore::Op;
use xenstored::access::Limits;
use xenstored::server::DomainState;

#[test]
fn a_guest_sees_only_what_it_was_given() {
    let mut b = Bench::new();
    let (dom0, guest) = (b.dom0(), b.introduce(5));
    b.ok(dom0, Op::WRITE, &["/secret", "x"]);
    b.ok(dom0, Op::WRITE, &["/local/domain/5/name", "five"]);
    b.ok(dom0, Op::SET_PERMS, &["/local/domain/5", "n0", "r5"]);
    b.ok(dom0, Op::SET_PERMS, &["/local/domain/5/name", "n0", "r5"]);
    assert_eq!(b.ask(guest, Op::READ, &["/secret"]), Err("EACCES".into()));
    assert_eq!(b.ask(guest, Op::READ, &["/absent"]), Err("EACCES".into()));
    assert_eq!(b.ask(guest, Op::READ, &["name"]), Ok("five".into()));
    assert_eq!(b.ask(guest, Op::READ, &["absent"]), Err("ENOENT".into()));
    assert_eq!(
        b.ask(guest, Op::WRITE, &["name", "mine"]),
        Err("EACCES".into())
    );
    assert_eq!(b.ask(guest, Op::RM, &["name"]), Err("EACCES".into()));
    assert_eq!(b.ask(guest, Op::MKDIR, &["new"]), Err("EACCES".into()));
    assert_eq!(
        b.ask(guest, Op::DIRECTORY, &["/local/domain/5"]),
        Ok("name\0".into())
    );
}

#[test]
fn nodes_inherit_permissions_and_belong_to_the_guest_that_made_them() {
    let mut b = Bench::new();
    let (dom0, guest) = (b.dom0(), b.introduce(5));
    b.ok(dom0, Op::MKDIR, &["/local/domain/5/data"]);
    b.ok(
        dom0,
        Op::SET_PERMS,
        &["/local/domain/5/data", "n0", "b5", "r6"],
    );
    b.ok(guest, Op::WRITE, &["data/a/b", "1"]);
    assert_eq!(
        b.ask(dom0, Op::GET_PERMS, &["/local/domain/5/data/a"]),
        Ok("n5\0b5\0r6\0".into())
    );
    b.ok(dom0, Op::WRITE, &["/local/domain/5/data/c", "1"]);
    assert_eq!(
        b.ask(dom0, Op::GET_PERMS, &["/local/domain/5/data/c"]),
        Ok("n0\0b5\0r6\0".into())
    );
}

#[test]
fn a_guest_may_not_give_its_nodes_away() {
    let mut b = Bench::new();
    let guest = b.home(5);
    b.ok(guest, Op::WRITE, &["x", "1"]);
    b.ok(guest, Op::SET_PERMS, &["x", "r5", "w6"]);
    assert_eq!(
        b.ask(guest, Op::SET_PERMS, &["x", "r6"]),
        Err("EPERM".into())
    );
    assert_eq!(
        b.ask(
            guest,
            Op::SET_PERMS,
            &["x", "r5", "r1", "r2", "r3", "r4", "r6"]
        ),
        Err("ENOSPC".into())
    );
}

#[test]
fn quotas_bind_guests_and_not_dom0() {
    let mut b = Bench::with(Limits {
        nodes: 5,
        watches: 2,
        transactions: 2,
        ..Limits::default()
    });
    let (dom0, guest) = (b.dom0(), b.home(5));
    for i in 0..4 {
        b.ok(guest, Op::WRITE, &[&format!("n{i}"), "x"]);
    }
    assert_eq!(
        b.ask(guest, Op::WRITE, &["one-too-many", "x"]),
        Err("ENOSPC".into())
    );
    b.ok(guest, Op::RM, &["n0"]);
    assert_eq!(b.ask(guest, Op::MKDIR, &["a/b"]), Err("ENOSPC".into()));
    b.ok(guest, Op::MKDIR, &["a"]);
    assert_eq!(
        b.ask(guest, Op::WRITE, &["a", &"x".repeat(2048)]),
        Err("ENOSPC".into())
    );
    b.ok(guest, Op::WATCH, &["a", "1"]);
    b.ok(guest, Op::WATCH, &["a", "2"]);
    assert_eq!(b.ask(guest, Op::WATCH, &["a", "3"]), Err("ENOSPC".into()));
    b.ok(guest, Op::TRANSACTION_START, &[""]);
    b.ok(guest, Op::TRANSACTION_START, &[""]);
    assert_eq!(
        b.ask(guest, Op::TRANSACTION_START, &[""]),
        Err("ENOSPC".into())
    );
    for i in 0..50 {
        b.ok(dom0, Op::WRITE, &[&format!("/n{i}"), &"x".repeat(3000)]);
        b.ok(dom0, Op::WATCH, &["/", &i.to_string()]);
        b.ok(dom0, Op::TRANSACTION_START, &[""]);
    }
}

#[test]
fn a_quota_holds_inside_transactions_too() {
    let mut b = Bench::with(Limits {
        nodes: 3,
        transaction_nodes: 20,
        ..Limits::default()
    });
    let guest = b.home(5);
    let tx = b.begin(guest);
    b.ok_in(tx, guest, Op::MKDIR, &["a"]);
    b.ok_in(tx, guest, Op::MKDIR, &["b"]);
    assert_eq!(b.ask_in(tx, guest, Op::MKDIR, &["c"]), Err("ENOSPC".into()));
    let tx = b.begin(guest);
    let refused = (0..40)
        .find(|i| b.ask_in(tx, guest, Op::READ, &[&format!("n{i}")]) == Err("ENOSPC".into()));
    assert!(refused.is_some(), "an endless transaction");
}

#[test]
fn a_watch_fires_at_once_and_for_everything_below() {
    let mut b = Bench::new();
    let (a, w) = (b.dom0(), b.dom0());
    b.ok(w, Op::WATCH, &["/a", "t"]);
    assert_eq!(b.events(w), ["/a t"]);
    b.ok(a, Op::WRITE, &["/a/b/c", "1"]);
    b.ok(a, Op::WRITE, &["/ab", "1"]);
    b.ok(a, Op::SET_PERMS, &["/a/b", "n0"]);
    b.ok(a, Op::RM, &["/a"]);
    assert_eq!(b.events(w), ["/a/b/c t", "/a/b t", "/a t"]);
    b.ok(w, Op::UNWATCH, &["/a", "t"]);
    assert_eq!(b.ask(w, Op::UNWATCH, &["/a", "t"]), Err("ENOENT".into()));
    b.ok(a, Op::WRITE, &["/a", "1"]);
    assert!(b.events(w).is_empty());
}

#[test]
fn watchers_of_nodes_below_a_removed_one_hear_of_it() {
    let mut b = Bench::new();
    let (a, w) = (b.dom0(), b.dom0());
    b.ok(a, Op::WRITE, &["/a/b/c", "1"]);
    b.ok(w, Op::WATCH, &["/a/b/c", "deep"]);
    b.ok(w, Op::WATCH, &["/a/b/never-was", "no"]);
    b.events(w);
    b.ok(a, Op::RM, &["/a"]);
    assert_eq!(b.events(w), ["/a/b/c deep"]);
}

#[test]
fn relative_watches_answer_relatively() {
    let mut b = Bench::new();
    let guest = b.home(5);
    b.ok(guest, Op::WATCH, &["control", "t"]);
    b.ok(guest, Op::WRITE, &["control/shutdown", ""]);
    assert_eq!(b.events(guest), ["control t", "control/shutdown t"]);
}

#[test]
fn watches_do_not_tell_a_guest_what_it_may_not_know() {
    let mut b = Bench::new();
    let (dom0, guest) = (b.dom0(), b.introduce(5));
    b.ok(guest, Op::WATCH, &["/", "t"]);
    b.ok(guest, Op::WATCH, &["@releaseDomain", "t"]);
    b.events(guest);
    b.ok(dom0, Op::WRITE, &["/secret", "1"]);
    b.ok(dom0, Op::RM, &["/secret"]);
    b.introduce(6);
    b.facts.insert(6, Fact::new(DomainState::Gone));
    b.check_domains();
    assert!(b.events(guest).is_empty());
    b.ok(dom0, Op::SET_PERMS, &["@releaseDomain", "n0", "r5"]);
    b.introduce(7);
    b.facts.insert(7, Fact::new(DomainState::Gone));
    b.check_domains();
    assert_eq!(b.events(guest), ["@releaseDomain t"]);
}

#[test]
fn changes_in_a_transaction_are_heard_when_it_commits() {
    let mut b = Bench::new();
    let (a, w) = (b.dom0(), b.dom0());
    b.ok(w, Op::WATCH, &["/a", "t"]);
    b.events(w);
    let tx = b.begin(a);
    b.ok_in(tx, a, Op::WRITE, &["/a/1", ""]);
    b.ok_in(tx, a, Op::WRITE, &["/a/2", ""]);
    assert!(b.events(w).is_empty());
    b.ok_in(tx, a, Op::TRANSACTION_END, &["T"]);
    assert_eq!(b.events(w), ["/a/1 t", "/a/2 t"]);
    let tx = b.begin(a);
    b.ok_in(tx, a, Op::WRITE, &["/a/3", ""]);
    b.ok_in(tx, a, Op::TRANSACTION_END, &["F"]);
    assert!(b.events(w).is_empty());
    assert_eq!(b.ask_in(tx, a, Op::READ, &["/a/3"]), Err("ENOENT".into()));
    assert_eq!(
        b.ask_in(tx, a, Op::TRANSACTION_START, &[""]),
        Err("EBUSY".into())
    );
}

#[test]
fn domains_come_and_go() {
    let mut b = Bench::new();
    let w = b.dom0();
    b.ok(w, Op::WATCH, &["@introduceDomain", "in"]);
    b.ok(w, Op::WATCH, &["@releaseDomain", "out"]);
    b.events(w);
    let guest = b.home(5);
    assert_eq!(b.events(w), ["@introduceDomain in"]);
    assert_eq!(b.ask(w, Op::IS_DOMAIN_INTRODUCED, &["5"]), Ok("T\0".into()));
    assert_eq!(
        b.ask(w, Op::GET_DOMAIN_PATH, &["5"]),
        Ok("/local/domain/5\0".into())
    );
    b.ok(guest, Op::WRITE, &["mine", "1"]);
    b.ok(w, Op::WRITE, &["/backend", "1"]);
    b.ok(w, Op::SET_PERMS, &["/backend", "n0", "r5"]);

    b.facts.insert(5, Fact::new(DomainState::Shutdown));
    b.check_domains();
    b.check_domains();
    assert_eq!(b.events(w), ["@releaseDomain out"], "once per shutdown");
    b.ok(w, Op::RESUME, &["5"]);
    b.check_domains();
    assert_eq!(
        b.events(w),
        ["@releaseDomain out"],
        "again after it was resumed"
    );

    b.facts.insert(5, Fact::new(DomainState::Gone));
    b.check_domains();
    assert_eq!(b.events(w), ["@releaseDomain out"]);
    assert_eq!(b.ask(w, Op::IS_DOMAIN_INTRODUCED, &["5"]), Ok("F\0".into()));
    assert_eq!(
        b.ask(w, Op::READ, &["/local/domain/5/mine"]),
        Err("ENOENT".into())
    );
    assert_eq!(
        b.ask(w, Op::GET_PERMS, &["/backend"]),
        Ok("n0\0".into()),
        "the next domain 5 is another"
    );
    assert_eq!(b.disconnected, [guest]);
    assert_eq!(b.ask(w, Op::CONTROL, &["check"]), Ok("OK\0".into()));
}

#[test]
fn only_dom0_manages_domains_and_the_server() {
    let mut b = Bench::new();
    let guest = b.introduce(5);
    for (op, args) in [
        (Op::INTRODUCE, &["6", "1", "1"][..]),
        (Op::RELEASE, &["5"]),
        (Op::RESUME, &["5"]),
        (Op::SET_TARGET, &["5", "0"]),
        (Op::CONTROL, &["help"]),
        (Op::SET_PERMS, &["@releaseDomain", "n5"]),
    ] {
        assert_eq!(b.ask(guest, op, args), Err("EACCES".into()), "{op:?}");
    }
    for op in [20, 23, 24, 25, 26, 27, 0xffff] {
        assert_eq!(b.ask(guest, Op(op), &["x"]), Err("ENOSYS".into()), "{op}");
    }
}

#[test]
fn a_device_model_may_do_what_its_target_may() {
    let mut b = Bench::new();
    let (dom0, dm, _) = (b.dom0(), b.introduce(9), b.home(5));
    assert_eq!(
        b.ask(dm, Op::WRITE, &["/local/domain/5/x", "1"]),
        Err("EACCES".into())
    );
    b.ok(dom0, Op::SET_TARGET, &["9", "5"]);
    b.ok(dm, Op::WRITE, &["/local/domain/5/x", "1"]);
    b.ok(dom0, Op::RELEASE, &["5"]);
    assert_eq!(
        b.ask(dm, Op::WRITE, &["/local/domain/5/x", "1"]),
        Err("EACCES".into())
    );
}

#[test]
fn resetting_forgets_watches_and_transactions() {
    let mut b = Bench::new();
    let (dom0, guest) = (b.dom0(), b.home(5));
    b.ok(guest, Op::WATCH, &["a", "t"]);
    let tx = b.begin(guest);
    b.events(guest);
    b.ok(guest, Op::RESET_WATCHES, &[""]);
    b.ok(dom0, Op::WRITE, &["/local/domain/5/a", "1"]);
    assert!(b.events(guest).is_empty());
    assert_eq!(
        b.ask_in(tx, guest, Op::TRANSACTION_END, &["T"]),
        Err("ENOENT".into())
    );
}

#[test]
fn large_directories_come_in_parts() {
    let mut b = Bench::new();
    let dom0 = b.dom0();
    let names: Vec<String> = (0..500)
        .map(|i| format!("a-rather-long-name-{i:04}"))
        .collect();
    for n in &names {
        b.ok(dom0, Op::MKDIR, &[&format!("/d/{n}")]);
    }
    assert_eq!(b.ask(dom0, Op::DIRECTORY, &["/d"]), Err("E2BIG".into()));
    let (mut all, mut generation) = (String::new(), None);
    loop {
        let part = b
            .ask(dom0, Op::DIRECTORY_PART, &["/d", &all.len().to_string()])
            .unwrap();
        let (g, rest) = part.split_once('\0').unwrap();
        assert_eq!(*generation.get_or_insert(g.to_string()), g);
        match rest.strip_suffix("\0\0") {
            Some(last) => break all.push_str(&format!("{last}\0")),
            None => all.push_str(rest),
        }
    }
    assert_eq!(all.split_terminator('\0').collect::<Vec<_>>(), names);
    b.ok(dom0, Op::MKDIR, &["/d/new"]);
    let part = b.ask(dom0, Op::DIRECTORY_PART, &["/d", "0"]).unwrap();
    assert_ne!(part.split_once('\0').unwrap().0, generation.unwrap());
}

#[test]
fn malformed_requests_are_einval() {
    let mut b = Bench::new();
    let dom0 = b.dom0();
    for (op, args) in [
        (Op::READ, &["/a//b"][..]),
        (Op::READ, &["/a", "b"]),
        (Op::RM, &["/"]),
        (Op::WATCH, &["/a"]),
        (Op::TRANSACTION_END, &["X"]),
        (Op::INTRODUCE, &["5", "x", "1"]),
        (Op::INTRODUCE, &["40000", "1", "1"]),
        (Op::RELEASE, &["0"]),
        (Op::SET_PERMS, &["/", "z0"]),
        (Op::SET_PERMS, &["/"]),
        (Op::GET_DOMAIN_PATH, &["five"]),
        (Op::DIRECTORY_PART, &["/", "-1"]),
    ] {
        assert_eq!(
            b.ask(dom0, op, args),
            Err("EINVAL".into()),
            "{op:?} {args:?}"
        );
    }
    assert_eq!(
        b.raw(dom0, Op::READ, b"/no-terminator"),
        Err("EINVAL".into())
    );
    assert_eq!(b.raw(dom0, Op::WRITE, b""), Err("EINVAL".into()));
    assert_eq!(b.ask(dom0, Op::RM, &["/no/such"]), Err("ENOENT".into()));
    b.ok(dom0, Op::RM, &["/nothing-there"]);
}
