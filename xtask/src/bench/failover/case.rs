//! What happens, and under which circumstances.

use std::fmt;

use anyhow::{Context, Result};
use wgha_tests::Which::{self, A, B};

/// A fault under a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What is done.
    pub fault: Fault,
    /// How things were before.
    pub condition: Condition,
}

/// What is done to the Active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: what the prober sees of itself and of the machine.
    Nothing,
    /// Its frames go nowhere, its carrier stays.
    Crash,
    /// It loses its carrier.
    Carrier,
    /// SIGTERM.
    Stop,
    /// A, stopped before, is started again and takes its role back.
    Return,
    /// SIGKILL for the daemon.
    Kill,
    /// SIGSTOP for the daemon.
    Hang,
    /// wg1 is deleted, and the program behind it ends.
    Tunnel,
    /// What it sends is lost.
    Sent,
    /// What is sent to it is lost.
    Received,
}

/// How things were before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The Backup has never been Active, and has never heard of the client.
    Cold,
    /// It has been Active before.
    Warm,
    /// A has crashed and has come back as the Backup of B, which now fails.
    Double,
    /// The client has just changed its address.
    Address,
    /// The client has just changed its port.
    Port,
    /// The client is behind a NAT.
    Nat,
    /// The client only answers; the server speaks first.
    Idle,
}

const FAULTS: [(Fault, &str, &str); 10] = [
    (Fault::Nothing, "nothing", "nothing happens"),
    (Fault::Crash, "crash", "black-hole crash"),
    (Fault::Carrier, "carrier", "carrier lost"),
    (Fault::Stop, "stop", "planned stop"),
    (Fault::Return, "return", "fail-back"),
    (Fault::Kill, "kill", "kill -9 of the daemon"),
    (Fault::Hang, "hang", "SIGSTOP of the daemon"),
    (Fault::Tunnel, "tunnel", "WireGuard gone"),
    (Fault::Sent, "sent", "one-way loss: what A sends"),
    (Fault::Received, "received", "one-way loss: what A should receive"),
];

const CONDITIONS: [(Condition, &str, &str); 7] = [
    (Condition::Cold, "cold", "cold Backup"),
    (Condition::Warm, "warm", "warm Backup"),
    (Condition::Double, "double", "double failure"),
    (Condition::Address, "address", "client with a new address"),
    (Condition::Port, "port", "client with a new port"),
    (Condition::Nat, "nat", "client behind NAT"),
    (Condition::Idle, "idle", "idle client, traffic from the server"),
];

impl Case {
    /// The one that matters most.
    pub const PLAIN: Self = Self { fault: Fault::Crash, condition: Condition::Cold };

    /// From `crash/warm`, `stop`, or `all`.
    ///
    /// # Errors
    /// A word that means nothing; the error says what would.
    pub fn parse_all(words: &[String]) -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for word in words {
            let meant = if word == "all" { Self::all() } else { vec![Self::parse(word)?] };
            cases.extend(meant.into_iter().filter(|case| !cases.contains(case)).collect::<Vec<_>>());
        }
        Ok(cases)
    }

    /// Every condition of a crash, and everything else with a cold Backup.
    fn all() -> Vec<Self> {
        let conditions = CONDITIONS.map(|(condition, ..)| Self { fault: Fault::Crash, condition });
        let faults = FAULTS.iter().map(|(fault, ..)| Self { fault: *fault, condition: Condition::Cold });
        conditions.into_iter().chain(faults.filter(|case| *case != Self::PLAIN)).collect()
    }

    fn parse(word: &str) -> Result<Self> {
        let (fault, condition) = word.split_once('/').unwrap_or((word, "cold"));
        let fault = FAULTS.iter().find(|(_, name, _)| *name == fault);
        let condition = CONDITIONS.iter().find(|(_, name, _)| *name == condition);
        let names = |list: Vec<&str>| list.join(", ");
        Ok(Self {
            fault: fault.map(|(f, ..)| *f).with_context(|| {
                format!("{word}: faults are {}", names(FAULTS.iter().map(|f| f.1).collect()))
            })?,
            condition: condition.map(|(c, ..)| *c).with_context(|| {
                format!("{word}: conditions are {}", names(CONDITIONS.iter().map(|c| c.1).collect()))
            })?,
        })
    }

    /// As it is typed.
    pub fn name(self) -> String {
        let fault = FAULTS.iter().find(|(fault, ..)| *fault == self.fault).map_or("?", |f| f.1);
        let condition = CONDITIONS.iter().find(|(c, ..)| *c == self.condition).map_or("?", |c| c.1);
        if self.condition == Condition::Cold { fault.to_owned() } else { format!("{fault}/{condition}") }
    }

    /// Who is Active when it happens.
    pub fn active(self) -> Which {
        if self.fault == Fault::Return || self.condition == Condition::Double { B } else { A }
    }

    /// Who should serve afterwards.
    pub fn expected(self) -> Which {
        if self.fault == Fault::Nothing { self.active() } else { self.active().other() }
    }

    /// Whether a router that comes back takes its role back.
    pub fn preempts(self) -> bool {
        self.condition != Condition::Double
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = FAULTS.iter().find(|(fault, ..)| *fault == self.fault).map_or("?", |f| f.2);
        let condition = CONDITIONS.iter().find(|(c, ..)| *c == self.condition).map_or("?", |c| c.2);
        write!(f, "{fault}, {condition}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_read_as_it_is_written() {
        for case in Case::all() {
            assert_eq!(Case::parse_all(&[case.name()]).unwrap(), [case]);
        }
        assert_eq!(Case::parse_all(&["crash".into()]).unwrap(), [Case::PLAIN]);
        assert!(Case::parse_all(&["crash/lukewarm".into()]).is_err());
    }

    #[test]
    fn all_has_every_fault_and_every_condition_once() {
        let all = Case::parse_all(&["crash".into(), "all".into()]).unwrap();
        assert_eq!(all.len(), FAULTS.len() + CONDITIONS.len() - 1);
    }
}
