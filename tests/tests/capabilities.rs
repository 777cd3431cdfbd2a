//! Root is not required: CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW are; without one nothing is touched.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use wgha_tests::{
    Node, SOON, Settings, Topology,
    Which::A,
    may_run,
    node::{refused, run_wgha},
};

/// nobody
const USER: &str = "65534";

#[test]
fn three_capabilities_are_enough() {
    if !may_run() {
        return;
    }
    let mut t = Topology::ipv6().unwrap();
    prepare_as_an_administrator_would(&mut t);
    let start = |capabilities: &[&str]| {
        let words = as_nobody_with(capabilities);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Node::start_through(&t, A, &Settings::seed(&t.plan, A), &words)
    };
    // Older verifiers (Linux 6.1) want one more, and the daemon says so.
    let node = start(&["bpf", "net_admin", "net_raw"]).or_else(|refused| {
        assert!(format!("{refused:#}").contains("only with CAP_PERFMON"), "{refused:#}");
        println!("this kernel wants CAP_PERFMON too");
        start(&["bpf", "net_admin", "net_raw", "perfmon"])
    });
    let mut node = node.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    assert!(status.contains(&format!("Uid:\t{USER}\t{USER}")), "{status}");
    node.wait_role("active", SOON).unwrap();
    assert!(t.a.has_address(t.plan.vip));
    assert!(t.a.tunnel.is_up());
    assert!(node.term().unwrap().success());
    assert!(!t.a.has_address(t.plan.vip));
}

#[test]
fn a_missing_capability_is_named_and_nothing_is_touched() {
    if !may_run() {
        return;
    }
    let mut t = Topology::ipv6().unwrap();
    prepare_as_an_administrator_would(&mut t);
    let all = ["bpf", "net_admin", "net_raw"];
    for missing in all {
        let others: Vec<_> = all.into_iter().filter(|c| *c != missing).collect();
        let words = as_nobody_with(&others);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let before = picture(&t);
        let (status, said) = refused(&t, A, &Settings::seed(&t.plan, A), &words).unwrap();
        assert!(!status.success());
        let complains_of = |capability: &str| {
            let name = format!("CAP_{}", capability.to_uppercase());
            said.lines().any(|line| line.contains(&name) && line.contains("missing"))
        };
        assert!(complains_of(missing), "{said}");
        assert!(!others.iter().any(|other| complains_of(other)), "{said}");
        assert_eq!(picture(&t), before, "without {missing}");
        assert!(!run_wgha(&t.a.namespace, &["status"]).unwrap().status.success());
    }
}

/// What packaging does: the folders belong to the user, and so does a userspace WireGuard.
fn prepare_as_an_administrator_would(t: &mut Topology) {
    let machine = t.a.namespace.clone();
    machine.run("mkdir", &["-p", "/sys/fs/bpf/wgha"]).unwrap();
    machine.run("chown", &[USER, "/run/wgha", "/run/wireguard", "/sys/fs/bpf/wgha"]).unwrap();
    // udev lets everybody open it, and there may be none here.
    machine.run("mkdir", &["-p", "/dev/net"]).unwrap();
    machine.run("mount", &["-t", "tmpfs", "tmpfs", "/dev/net"]).unwrap();
    machine.run("mknod", &["-m", "666", "/dev/net/tun", "c", "10", "200"]).unwrap();
    // wireguard-go ends when its socket's owner is changed.
    t.a.tunnel.create_through(&as_nobody_with(&["net_admin"])).unwrap();
}

fn as_nobody_with(capabilities: &[&str]) -> Vec<String> {
    let these: String = capabilities.iter().map(|c| format!(",+{c}")).collect();
    let mut words = vec!["setpriv".to_owned()];
    words.extend([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".into()]);
    words.extend(["--bounding-set", "--inh-caps", "--ambient-caps"].map(|set| format!("{set}=-all{these}")));
    // Changing the user clears it.
    words.push("--pdeathsig=KILL".into());
    words
}

/// Everything that a daemon could have touched.
fn picture(t: &Topology) -> [String; 4] {
    let machine = &t.a.namespace;
    [
        machine.ip("-details link show").unwrap(),
        // An address that has just been added is tentative for a while, whoever looks.
        machine.ip("address show").unwrap().replace(" tentative", ""),
        machine.run("find", &["/sys/fs/bpf", "-type", "f"]).unwrap(),
        machine.run("tc", &["qdisc", "show"]).unwrap(),
    ]
}
