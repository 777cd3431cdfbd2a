//! The namespace tests: built here, run there one after the other.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// The package.
const PACKAGE: &str = "wgha-tests";

/// A file of tests, built.
#[derive(Debug)]
pub struct Binary {
    /// Its name below tests/tests.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its tests.
    pub tests: Vec<String>,
}

/// Builds them, and leaves out tests whose full name (`file::test`) contains none of `filters`, if there are any.
///
/// # Errors
/// They do not build.
pub fn build(filters: &[String]) -> Result<Vec<Binary>> {
    let mut command = run::cargo();
    command.args([
        "test",
        "--package",
        PACKAGE,
        "--tests",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    command.stderr(std::process::Stdio::inherit());
    let said = String::from_utf8(command.output()?.stdout)?;
    let mut binaries = Vec::new();
    for (name, path) in said.lines().filter_map(executable) {
        let list = run::output(Command::new(&path).args(["--list", "--format=terse"]))?;
        let ignored = run::output(Command::new(&path).args(["--list", "--format=terse", "--ignored"]))?;
        let ignored = names(&ignored).collect::<Vec<_>>();
        let is_named = |test: &str| {
            let full = format!("{name}::{test}");
            filters.is_empty() || filters.iter().any(|filter| full.contains(filter))
        };
        let wanted = |test: &&str| !ignored.contains(test) && is_named(test);
        let tests = names(&list).filter(wanted).map(str::to_owned).collect::<Vec<_>>();
        if !tests.is_empty() {
            binaries.push(Binary { name, path, tests });
        }
    }
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    binaries.first().with_context(|| format!("no test is called {}", filters.join(" or ")))?;
    Ok(binaries)
}

/// Name and path of a test binary, if cargo's message is of one that is not the library's own.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["target"]["kind"][0] == "test" && message["profile"]["test"] == true;
    let path = message["executable"].as_str().filter(|_| is_test)?;
    Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
}

/// From lines `name: test`.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_suffix(": test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_tests_are_run() {
        let message = |kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"fence"}},"profile":{{"test":{test}}},"executable":"/t/fence-1"}}"#
            )
        };
        assert_eq!(executable(&message("test", true)), Some(("fence".to_owned(), "/t/fence-1".into())));
        assert_eq!(executable(&message("lib", true)), None);
        assert_eq!(executable(&message("test", false)), None);
        assert_eq!(executable("not JSON"), None);
    }
}
