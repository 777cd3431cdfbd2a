//! What wgha says about a wrong configuration, word for word; and that the shipped one is right.

#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use wgha::config::{Attach, Config, ConfigError, Detect, Paths, Uplink, VirtualAddress, Vrrp, Witness};
use wgha::proto::{HealthRules, Remedy};
use wgha_common::{Centiseconds, Family, Priority, Vrid, abi::ChecksumStyle};

const BASE: &str = include_str!("config/base.toml");
const WRONG: &str = "tests/config/wrong.txt";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("wgha.toml"), text)
}

#[test]
fn wrong_configurations_are_told_word_for_word() {
    let golden = fs::read_to_string(WRONG).unwrap();
    let mut got = String::new();
    let mut cases = 0;
    for block in golden.split_inclusive("\n\n") {
        let asked: String =
            block.lines().filter(|l| !l.starts_with("> ")).map(|l| format!("{l}\n")).collect();
        if block.starts_with("== ") {
            cases += 1;
            got += asked.trim_end();
            got += "\n";
            let error = parse(&changed(block)).expect_err(block).to_string();
            error.lines().for_each(|line| got += &format!("> {line}\n"));
            got += "\n";
        } else {
            got += &asked;
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(WRONG, &got).unwrap();
    }
    assert!(cases >= 240, "only {cases} cases");
    for (want, got) in golden.split("\n\n").zip(got.split("\n\n")) {
        assert_eq!(want, got, "{WRONG}");
    }
    assert_eq!(golden, got, "{WRONG}");
}

/// The base with the changes of one case.
fn changed(block: &str) -> String {
    let mut lines: Vec<String> = BASE.lines().map(str::to_owned).collect();
    let mut at = 0;
    for change in block.lines() {
        if change == "- *" {
            lines.clear();
        } else if let Some(old) = change.strip_prefix("- ") {
            at += lines[at..].iter().position(|line| line == old).unwrap_or_else(|| panic!("no line {old}"));
            lines.remove(at);
        } else if let Some(new) = change.strip_prefix("+ ") {
            lines.insert(at, new.to_owned());
            at += 1;
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn seed() -> Config {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    Config {
        file: "wgha.toml".into(),
        uplink: Uplink { interface: "eno1".into(), attach: Attach::Auto },
        wireguard: "wg1".into(),
        listen_port: None,
        vrrp: Vrrp {
            id: Vrid::new(52).unwrap(),
            priority: Priority::new(100).unwrap(),
            advert_interval: Centiseconds::new(10).unwrap(),
            preempt: true,
            preempt_delay: Duration::ZERO,
            checksum: None,
            authentication: false,
            virtual_addresses: vec![VirtualAddress { address: address("2001:db8:1::2"), prefix_len: 64 }],
            family: Family::V6,
        },
        peers: vec![address("2001:db8:1::4")],
        detect: Some(Detect { interval: Duration::from_millis(10), multiplier: 5 }),
        witness: Witness::Gateway,
        health: HealthRules::default(),
        paths: Paths { bpffs: "/sys/fs/bpf/wgha".into(), socket: "/run/wgha/wgha.sock".into() },
    }
}

#[test]
fn the_shipped_example_is_the_seed_with_the_bpffs_of_the_unit() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let example = packaging.join("wgha.toml");
    let config = Config::load(&example).unwrap();
    let paths = Paths { bpffs: "/run/wgha/bpf/wgha".into(), ..seed().paths };
    assert_eq!(config, Config { file: example, paths, detect: None, ..seed() });
    let mount = fs::read_to_string(packaging.join("run-wgha-bpf.mount")).unwrap();
    let mounted = mount.lines().find_map(|line| line.strip_prefix("Where=")).unwrap();
    assert_eq!(config.paths.bpffs.parent(), Some(Path::new(mounted)));
}

#[test]
fn the_readme_shows_the_seed_too() {
    let readme = include_str!("../../README.md");
    let shown = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let paths = Paths { bpffs: "/run/wgha/bpf/wgha".into(), ..seed().paths };
    assert_eq!(parse(shown).unwrap(), Config { paths, ..seed() }, "with the bpffs of the shipped units");
}

#[test]
fn what_is_not_written_has_its_default() {
    let least = r#"
        uplink.interface = "eno1"
        wireguard.interface = "wg1"
        vrrp = { id = 52, priority = 100, virtual_addresses = ["2001:db8:1::2/64"] }
    "#;
    assert_eq!(parse(least).unwrap(), Config { peers: vec![], detect: None, ..seed() });
}

#[test]
fn every_value_arrives() {
    let text = BASE
        .replace("\"auto\"", "\"tc\"")
        .replace("\"wg1\"", "\"wg1\"\nlisten_port = 65535")
        .replace("id = 52", "id = 0xff\nchecksum = \"pseudo-header\"")
        .replace("priority = 100", "priority = 2_5_4")
        .replace("100ms", "40s 950ms")
        .replace("true", "false")
        .replace("0s\"\nvirtual", "1m 30s\"\nvirtual")
        .replace("[\"2001:db8:1::2/64\"]", "[\"192.0.2.2/31\", \"192.0.2.3/32\"]")
        .replace("2001:db8:1::4", "192.0.2.4")
        .replace("\"10ms\"\nmultiplier = 5", "\"1ms\"\nmultiplier = 2\nwitness = \"none\"")
        .replace("weight = 20", "weight = 50\nsilence = \"1m\"\nhold_off = \"2m\"")
        .replace("wireguard_stuck = \"priority\"", "wireguard_stuck = \"fault\"")
        .replace("path_broken = \"priority\"", "path_broken = \"ignore\"")
        .replace("/sys/fs/bpf/wgha", "/run/wgha/bpf")
        .replace("/run/wgha/wgha.sock", "/run/w.sock");
    let config = parse(&text).unwrap();
    let vips: Vec<_> = config.vrrp.virtual_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(vips, ["192.0.2.2/31", "192.0.2.3/32"]);
    assert_eq!(config.uplink.attach, Attach::Tc);
    assert_eq!(config.listen_port, Some(65535));
    assert_eq!((config.vrrp.id.number(), config.vrrp.priority.number()), (255, 254));
    assert_eq!(config.vrrp.advert_interval, Centiseconds::MAX);
    assert_eq!((config.vrrp.preempt, config.vrrp.preempt_delay), (false, Duration::from_secs(90)));
    assert_eq!((config.vrrp.checksum, config.vrrp.family), (Some(ChecksumStyle::PseudoHeader), Family::V4));
    assert_eq!(config.peers, ["192.0.2.4".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.detect, Some(Detect { interval: Duration::from_millis(1), multiplier: 2 }));
    assert_eq!(config.witness, Witness::None);
    let health = HealthRules {
        wireguard_stuck: Remedy::Fault,
        path_broken: Remedy::Ignore,
        weight: 50,
        silence: Duration::from_secs(60),
        hold_off: Duration::from_secs(120),
    };
    assert_eq!(config.health, health);
    assert_eq!(config.paths, Paths { bpffs: "/run/wgha/bpf".into(), socket: "/run/w.sock".into() });
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = std::env::temp_dir().join(format!("wgha-config-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, content: &[u8]| -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let cases = [
        (folder.join("none.toml"), "none.toml: cannot be read: No such file or directory (os error 2)"),
        (folder.clone(), ": cannot be read: Is a directory (os error 21)"),
        (
            file("latin1.toml", b"[uplink]\n# caf\xe9\n"),
            "latin1.toml:2: not UTF-8; save the file as UTF-8 text",
        ),
        (
            file("large.toml", &[b'#'; 65 * 1024]),
            "large.toml: larger than 65536 bytes; this is not a configuration of wgha",
        ),
    ];
    for (path, says) in cases {
        let error = format!("{:#}", anyhow::Error::from(Config::load(&path).unwrap_err()));
        let folder = folder.display().to_string();
        let tail =
            error.strip_prefix(&folder).unwrap_or_else(|| panic!("{error} does not start with {folder}"));
        assert_eq!(tail.trim_start_matches('/'), says);
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_read() {
    let text = format!("\u{feff}{}", BASE.replace('\n', "\r\n"));
    assert_eq!(parse(&text).unwrap(), seed());
    let wrong = parse(&text.replace("= 100\r", "= 255\r")).unwrap_err().to_string();
    assert!(wrong.starts_with("wgha.toml:10: vrrp.priority = 255: "), "{wrong}");
}

/// Every byte of the base replaced by one that TOML cares about: no panic, and every line named exists.
#[test]
fn spoilt_files_are_told_with_a_line_that_exists() {
    let mut told = 0;
    for at in 0..BASE.len() {
        for byte in ["", "\n", "\"", "[", "]", "=", "{", "0", "\\", "é"] {
            let text = format!("{}{byte}{}", &BASE[..at], &BASE[at + 1..]);
            match parse(&text) {
                Ok(_) => {}
                Err(ConfigError::Invalid { problems, .. }) => {
                    told += 1;
                    let lines = text.split('\n').count();
                    assert!(problems.iter().all(|p| (1..=lines).contains(&p.line)), "{text}\n{problems:?}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(told > BASE.len() * 5, "only {told} told");
}
