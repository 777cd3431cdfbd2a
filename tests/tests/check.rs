//! `wgha check` and `wgha run` on a system that does not fit: said before anything is touched.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use wgha_tests::{
    Namespace, Node, SOON, Settings, Topology,
    Which::A,
    may_run,
    node::{CONFIG, binary, refused, run_wgha},
};

/// What is wrong, and what is said about it.
const WRONG: [(&str, &str, &str); 5] = [
    ("interface = \"eno1\"", "interface = \"eno9\"", "there is no interface eno9"),
    ("interface = \"wg1\"", "interface = \"wg9\"", "wg9 is no WireGuard interface"),
    ("2001:db8:1::2/64", "2001:db8:7::2/64", "outside the prefixes of uplink eno1: it has 2001:db8:1::3/64"),
    ("2001:db8:1::4", "2001:db8:1::3", "an address of this server; use the other server's own address"),
    ("interface = \"eno1\"", "interface = \"lo\"", "has no Ethernet address"),
];

#[test]
fn what_does_not_fit_is_said_and_nothing_is_touched() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let right = Settings::seed(&t.plan, A).to_toml();
    let machine = &t.a.namespace;
    let picture = || {
        [
            machine.ip("-details link show").unwrap(),
            machine.ip("address show").unwrap().replace(" tentative", ""),
        ]
    };
    let before = picture();
    for (from, to, said) in WRONG {
        let wrong = right.replace(from, to);
        assert_ne!(wrong, right, "{from}");
        machine.write(CONFIG, &wrong).unwrap();
        let check = run_wgha(machine, &["check", "--config", CONFIG]).unwrap();
        let out = String::from_utf8_lossy(&check.stdout).into_owned();
        assert_eq!(check.status.code(), Some(2), "{out}");
        assert!(out.lines().any(|l| l.starts_with("PROBLEM") && l.contains(said)), "{said}:\n{out}");
        let run = run_wgha(machine, &["run", "--config", CONFIG]).unwrap();
        let err = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{err}");
        assert!(err.contains(said) && err.contains("nothing was touched"), "{said}:\n{err}");
        assert_eq!(picture(), before, "{to}");
    }
    machine.write(CONFIG, &right).unwrap();
    let check = run_wgha(machine, &["check", "--config", CONFIG]).unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
    assert_eq!(picture(), before);
}

/// What BPF reads of the clock is the same in every time namespace.
#[test]
fn a_shifted_clock_is_a_problem() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let machine = &t.a.namespace;
    machine.write(CONFIG, &Settings::seed(&t.plan, A).to_toml()).unwrap();
    for (shift, code) in [("0", 0), ("1000", 2), ("-1", 2)] {
        let mut check = machine.command("unshare");
        check.args(["--time", "--boottime", shift, "--fork"]).arg(binary().unwrap());
        let check = check.args(["check", "--config", CONFIG]).output().unwrap();
        let out = String::from_utf8_lossy(&check.stdout).into_owned();
        assert_eq!(
            check.status.code(),
            Some(code),
            "{shift}: {out}{}",
            String::from_utf8_lossy(&check.stderr)
        );
        let said = out.lines().any(|l| l.starts_with("PROBLEM") && l.contains("shifts CLOCK_BOOTTIME"));
        assert_eq!(said, code != 0, "{shift}: {out}");
    }
}

#[test]
fn a_second_daemon_is_refused_and_touches_nothing() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let first = Node::start(&t, A, &Settings::seed(&t.plan, A)).unwrap();
    first.wait_role("active", SOON).unwrap();
    let (status, said) = refused(&t, A, &Settings::seed(&t.plan, A), &[]).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another daemon answers"), "{said}");
    // Nor with a socket of its own: the uplink has room for one.
    let elsewhere = Settings::seed(&t.plan, A).to_toml() + "\n[paths]\nsocket = \"/run/wgha/other.sock\"\n";
    t.a.namespace.write("/run/wgha/other.toml", &elsewhere).unwrap();
    for command in ["run", "detach"] {
        // One that is not refused would run for ever.
        let mut other = t.a.namespace.command("timeout");
        other.arg("20").arg(binary().unwrap()).args([command, "--config", "/run/wgha/other.toml"]);
        let other = other.output().unwrap();
        let said = String::from_utf8_lossy(&other.stderr).into_owned();
        assert_eq!(other.status.code(), Some(1), "{said}");
        assert!(said.contains("daemon guards eno1; stop it first"), "{said}");
    }
    assert_eq!(first.role().unwrap().as_deref(), Some("active"));
    assert!(t.a.has_address(t.plan.vip));
}

/// What is used is what was announced, whatever this kernel has; and trying it leaves nothing behind.
#[test]
fn what_check_announces_is_what_is_used() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let machine = &t.a.namespace;
    let picture = || {
        let qdiscs = machine.run("tc", &["qdisc", "show", "dev", "eno1"]).unwrap();
        [machine.ip("-details link show dev eno1").unwrap(), qdiscs]
    };
    for attach in ["auto", "native", "generic", "tc"] {
        let settings = Settings { attach, ..Settings::seed(&t.plan, A) };
        machine.write(CONFIG, &settings.to_toml()).unwrap();
        let before = picture();
        let (looked, tried) = (checked(machine, &[]), checked(machine, &["--attach"]));
        assert_eq!(picture(), before, "{attach}");
        let (planned, announced) = (found(&looked, "ingress"), found(&tried, "ingress"));
        assert!(planned.split(", else ").any(|hook| hook == announced), "{attach}: {planned}; {announced}");
        for what in ["kernel", "maps", "BTF"] {
            assert!(!found(&looked, what).is_empty(), "{looked}");
        }

        let mut a = Node::start(&t, A, &settings).unwrap();
        a.wait_role("active", SOON).unwrap();
        let uplink = a.status().unwrap()["uplink"].clone();
        assert_eq!(uplink["ingress"], announced, "{attach}:\n{tried}");
        let egress = found(&looked, "egress");
        assert_eq!(uplink["egress"].as_str(), egress.split(':').next(), "{attach}:\n{looked}");
        let now = checked(machine, &["--attach"]);
        assert!(found(&now, "ingress").contains("a daemon has it"), "{now}");
        assert_eq!(a.status().unwrap()["uplink"], uplink, "{attach}");
        assert!(a.term().unwrap().success());
    }
}

/// What `wgha check` prints when nothing is in the way.
fn checked(machine: &Namespace, more: &[&str]) -> String {
    let check = run_wgha(machine, &[&["check", "--config", CONFIG], more].concat()).unwrap();
    let out = String::from_utf8(check.stdout).unwrap();
    assert_eq!(check.status.code(), Some(0), "{out}");
    out
}

/// What it has found of one thing.
fn found<'a>(report: &'a str, what: &str) -> &'a str {
    let detail = |line: &'a str| {
        let (_, rest) = line.split_once(' ')?;
        let detail = rest.trim_start().strip_prefix(what)?;
        detail.starts_with(' ').then(|| detail.trim())
    };
    report.lines().find_map(detail).unwrap_or_else(|| panic!("no {what} in\n{report}"))
}
