//! The shipped units, as a real systemd runs them: the user, the capabilities, the filters and the folders are theirs.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::fs;

use serde_json::Value;
use wgha_common::abi::Counter;
use wgha_tests::{
    AFTER_WIREGUARD, Capture, Node, Pinger, Plan, Property, SOON, Settings, Topology,
    Which::{self, A, B},
    leftovers::{counted, has_programs},
    may_run, monotonic_ns, pinger,
    privilege::skipped,
    systemd::{Installed, Systemd, USER, packaged},
    wait_until,
};

/// `[paths] bpffs` of the shipped configuration.
const BPFFS: &str = "/run/wgha/bpf/wgha";

#[test]
fn every_change_of_role_works_under_the_shipped_unit() {
    let Some((mut t, systemd)) = booted(|_, _| ()) else { return };
    bring_up_tunnel(&mut t, &systemd);
    systemd.must("start wgha").unwrap();
    wait_role(&systemd, "active");
    assert_limited(&systemd);
    let mut b = Node::start(&t, B, &settings(&t, B)).unwrap();
    let ping = Pinger::start(&t.client, t.plan.tunnel_server, pinger::INTERVAL).unwrap();
    let served_by = |which| {
        ping.wait_answer(monotonic_ns(), Some(which), AFTER_WIREGUARD).unwrap();
    };
    served_by(A);
    wait_until("B to go by probes", SOON, || Ok(b.status()?["detection"]["by"] == "probes")).unwrap();

    let (process, before) = (systemd.main_process("wgha").unwrap(), status(&systemd).unwrap());
    systemd.must("reload wgha").unwrap();
    let after = status(&systemd).unwrap();
    assert_eq!(systemd.main_process("wgha").unwrap(), process);
    assert_eq!((&after["role"], &after["lease"]["epoch"]), (&before["role"], &before["lease"]["epoch"]));
    assert!(after["uptime_s"].as_f64() < before["uptime_s"].as_f64(), "it goes on as it was: {after}");
    assert_eq!(b.role().unwrap().as_deref(), Some("backup"));
    assert_limited(&systemd);

    systemd.must("restart wgha").unwrap();
    b.wait_role("active", SOON).unwrap();
    served_by(B);
    wait_role(&systemd, "backup");
    wait_until("A to go by probes", SOON, || Ok(status(&systemd).unwrap()["detection"]["by"] == "probes"))
        .unwrap();
    b.kill9();
    wait_role(&systemd, "active");
    served_by(A);

    b = Node::start(&t, B, &settings(&t, B)).unwrap();
    wait_until("B to go by probes", SOON, || Ok(b.status()?["detection"]["by"] == "probes")).unwrap();
    kill9(systemd.main_process("wgha").unwrap());
    b.wait_role("active", SOON).unwrap();
    served_by(B);
    wait_role(&systemd, "backup");
    assert_eq!(systemd.property("wgha", "NRestarts").unwrap(), "1");
    assert_limited(&systemd);

    systemd.must("stop wgha").unwrap();
    assert_eq!(systemd.property("wgha", "Result").unwrap(), "success");
    assert!(!t.a.has_address(t.plan.vip) && !t.a.tunnel.is_up());
    served_by(B);
}

/// That it is the unit that is tested: with less it does not start, and says what is missing.
#[test]
fn with_less_than_the_unit_gives_it_does_not_start() {
    let Some((mut t, systemd)) = booted(|_, _| ()) else { return };
    bring_up_tunnel(&mut t, &systemd);
    let file = "/run/host/etc/systemd/system/wgha.service";
    let whole = fs::read_to_string(t.a.namespace.path(file)).unwrap();
    for (from, to, says) in [
        (" CAP_NET_RAW ", " ", "CAP_NET_RAW: missing"),
        ("SystemCallFilter=@system-service bpf", "SystemCallFilter=@system-service", "the kernel half"),
        ("AF_NETLINK ", "", "Address family not supported"),
        ("ReadWritePaths=/run/wgha\n", "ReadOnlyPaths=/run/wgha\n", "/run/wgha is not writable"),
    ] {
        assert!(whole.contains(from), "{from}");
        // It is to fail once, not for ever.
        let less = whole.replace(from, to).replace("Restart=on-failure", "Restart=no");
        t.a.namespace.write(file, &less).unwrap();
        systemd.must("daemon-reload").unwrap();
        let before = systemd.log().len();
        let output = systemd.systemctl("start wgha").unwrap();
        assert!(!output.status.success(), "it starts with {to:?} instead of {from:?}");
        let said = systemd.log().split_off(before);
        assert!(said.contains(says), "{from:?}: {said}");
        systemd.must("reset-failed wgha").unwrap();
    }
    t.a.namespace.write(file, &whole).unwrap();
    systemd.must("daemon-reload").unwrap();
    systemd.must("start wgha").unwrap();
    wait_role(&systemd, "active");
}

/// wg-quick brings wg1 up with all that it needs to speak, while no daemon runs: behind the fence, which is there first.
#[test]
fn what_boot_brings_up_is_silent_until_it_is_elected_and_after_systemctl_stop() {
    let Some((t, systemd)) = booted(|t, installed| enable_at_boot(t, installed, true)) else { return };
    let wire = Capture::at_port(&t, A).unwrap();
    let moment = |unit: &str, of: &str| systemd.property(unit, of).unwrap().parse::<u64>().unwrap();
    let fenced = moment("wgha-fence", "ActiveEnterTimestampMonotonic");
    let begun = moment("wg-quick@wg1", "InactiveExitTimestampMonotonic");
    assert!(0 < fenced && fenced <= begun, "fence {fenced}, wg-quick {begun}");
    assert!(t.a.tunnel.is_up(), "{}", systemd.log());
    wait_fenced(&t, &systemd);
    assert_silent(&wire, 0);

    systemd.must("start wgha").unwrap();
    wait_role(&systemd, "active");
    let ping = Pinger::start(&t.client, t.plan.tunnel_server, pinger::INTERVAL).unwrap();
    ping.wait_answer(0, Some(A), AFTER_WIREGUARD).unwrap();
    systemd.must("stop wgha").unwrap();
    let stopped = monotonic_ns();
    t.a.tunnel.set(true).unwrap();
    wait_fenced(&t, &systemd);
    assert_silent(&wire, stopped);

    // Stopping the unit takes nothing off: detach does.
    systemd.must("stop wgha-fence").unwrap();
    assert!(has_programs(&t.a.namespace).unwrap());
    let detached = systemd.run("wgha", &["detach"]).unwrap();
    assert!(detached.status.success(), "{detached:?}");
    assert!(!has_programs(&t.a.namespace).unwrap());
    assert!(!systemd.path(BPFFS).exists());
}

#[test]
fn without_the_fence_boot_brings_nothing_up() {
    let Some((t, systemd)) = booted(|t, installed| enable_at_boot(t, installed, false)) else { return };
    assert!(systemd.log().contains("which port is WireGuard's?"), "{}", systemd.log());
    assert_eq!(systemd.property("wgha-fence", "Result").unwrap(), "exit-code");
    assert!(!t.a.namespace.has_link("wg1"));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some((_t, systemd)) = booted(|_, _| ()) else { return };
    let units = ["wgha.service", "wgha-fence.service", "run-wgha-bpf.mount"];
    let args: Vec<_> = ["verify", "--man=no"].into_iter().chain(units).collect();
    let verified = systemd.run("systemd-analyze", &args).unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && said.is_empty(), "{said}");
}

/// What is said about the sandbox is said twice, and must not drift apart.
#[test]
fn the_fence_is_in_the_sandbox_of_the_daemon() {
    let lines = |unit: &str| packaged(unit).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let (daemon, fence) = (lines("wgha.service"), lines("wgha-fence.service"));
    let sandbox = |unit: &[String]| {
        let begin = unit.iter().position(|line| line == "NoNewPrivileges=yes").unwrap();
        let end = unit.iter().position(|line| line == "[Install]").unwrap();
        unit[begin..end].to_vec()
    };
    assert!(sandbox(&daemon).len() > 20);
    assert_eq!(sandbox(&fence), sandbox(&daemon));
    let capabilities = |unit: &[String]| {
        let set = unit.iter().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        set.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let more = capabilities(&daemon);
    assert!(capabilities(&fence).iter().all(|one| more.contains(one)));
}

/// A network in which A is under systemd, with what `prepare` installs as well; none, where systemd does not boot.
fn booted(prepare: impl FnOnce(&mut Topology, &mut Installed)) -> Option<(Topology, Systemd)> {
    if !may_run() || !Property::Systemd.is_there() {
        return None;
    }
    let mut t = Topology::ipv6().unwrap();
    let configuration = format!("{}\n[paths]\nbpffs = \"{BPFFS}\"\n", settings(&t, A).to_toml());
    let mut installed = Installed::packaged(&configuration).unwrap();
    prepare(&mut t, &mut installed);
    match Systemd::boot(&t.a.namespace, &installed) {
        Ok(systemd) => Some((t, systemd)),
        Err(e) => {
            skipped(&format!("systemd does not boot here: {e:#}"));
            None
        }
    }
}

/// Who has the role keeps it, also where a busy machine keeps it waiting.
fn settings(t: &Topology, which: Which) -> Settings {
    Settings { preempt: false, detect: Some(("50ms", 6)), ..Settings::seed(&t.plan, which) }
}

/// A userspace WireGuard must belong to the daemon's user.
fn bring_up_tunnel(t: &mut Topology, systemd: &Systemd) {
    let id = systemd.run("id", &["-u", USER]).unwrap();
    let id = String::from_utf8_lossy(&id.stdout).trim().to_owned();
    t.a.tunnel.create_through(&as_user(&id)).unwrap();
}

fn as_user(id: &str) -> Vec<String> {
    let words = format!(
        "setpriv --reuid={id} --regid={id} --clear-groups --inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin --pdeathsig=KILL"
    );
    words.split(' ').map(str::to_owned).collect()
}

/// The fence, and wg-quick with the client's endpoint and a keepalive.
fn enable_at_boot(t: &mut Topology, installed: &mut Installed, port: bool) {
    if port {
        let line = format!("interface = \"wg1\"\nlisten_port = {}\n", Plan::PORT);
        installed.change("wgha.toml", "interface = \"wg1\"\n", &line);
    }
    let client = t.client_tunnel.wg_show("listen-port").unwrap();
    let configuration = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = {}\nAddress = {}\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = {}\nEndpoint = [{}]:{}\nPersistentKeepalive = 1\n",
        Plan::SERVER_KEY,
        Plan::PORT,
        t.plan.with_prefix(t.plan.tunnel_server),
        Plan::CLIENT_PUBLIC,
        Plan::alone(t.plan.tunnel_client),
        t.plan.client,
        client.trim()
    );
    t.a.tunnel.delete().unwrap();
    installed.etc.push(("wireguard/wg1.conf".to_owned(), configuration));
    let unit = fs::read_to_string("/usr/lib/systemd/system/wg-quick@.service").unwrap();
    installed.etc.push(("systemd/system/wg-quick@.service".to_owned(), unit));
    let script = format!(
        "#!/bin/sh\nexec setpriv --reuid={USER} --regid={USER} --clear-groups --inh-caps=-all,+net_admin \
         --ambient-caps=-all,+net_admin wireguard-go \"$@\"\n"
    );
    installed.bin.push(("wireguard-as-wgha".to_owned(), script));
    let environment = "[Service]\nEnvironment=WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-as-wgha\n";
    installed.etc.push(("systemd/system/wg-quick@.service.d/user.conf".to_owned(), environment.to_owned()));
    installed.enabled = ["wgha-fence", "wg-quick@wg1"].map(str::to_owned).to_vec();
}

fn status(systemd: &Systemd) -> Option<Value> {
    let output = systemd.run("wgha", &["status", "--json"]).unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

fn wait_role(systemd: &Systemd, role: &str) {
    let is_so = || Ok(status(systemd).is_some_and(|status| status["role"] == role));
    let waited = wait_until(&format!("A to be {role}"), SOON, is_so);
    waited.unwrap_or_else(|e| panic!("{e:#}: {:?}", status(systemd).map(|s| s["reason"].clone())));
}

/// It is what the unit makes of it, as the kernel sees it.
fn assert_limited(systemd: &Systemd) {
    let process = systemd.main_process("wgha").unwrap();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_ne!(field("Uid:"), "0");
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()));
    // BPF, PERFMON, SYS_NICE, IPC_LOCK, NET_RAW, NET_ADMIN: linux/capability.h
    let six = [39, 38, 23, 14, 13, 12].iter().fold(0_u64, |set, bit| set | 1 << bit);
    for set in ["CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), six, "{set}");
    }
}

fn kill9(process: u32) {
    let killed = std::process::Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Until WireGuard has tried to speak once more.
fn wait_fenced(t: &Topology, systemd: &Systemd) {
    let count = || counted(&t.a.namespace, &systemd.path(BPFFS), Counter::WireguardOutFenced);
    let before = count().unwrap();
    wait_until("WireGuard to try", AFTER_WIREGUARD, || Ok(count()? > before)).unwrap();
}

fn assert_silent(wire: &Capture, since: u64) {
    let sent = wire.received(since).into_iter().filter(|p| p.frame().is_udp_port(Plan::PORT));
    assert_eq!(sent.count(), 0, "A has spoken");
}
