//! What the file is not even TOML for, in the words of who writes one.

use super::{
    document::{line_of, shown},
    problem::Problem,
};

/// What toml says when a list goes on where it should have ended: of every line from there on.
const LIST_GOES_ON: &str = "a list goes on here; a comma, or the ] that ends it, is missing before this";

/// Each line that is not TOML, in order.
pub(super) fn problems(text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut problems: Vec<_> = errors.iter().map(|error| problem(text, error)).collect();
    problems.sort_by_key(|p| p.line);
    problems.dedup_by_key(|p| p.line);
    problems.dedup_by(|later, p| later.wrong == p.wrong && p.wrong.ends_with(LIST_GOES_ON));
    problems
}

fn problem(text: &str, error: &toml::de::Error) -> Problem {
    let line = line_of(text, error.span().map_or(text.len(), |span| span.start));
    let message = match error.message() {
        "duplicate key" => {
            let twice = error.span().and_then(|span| text.get(span)).unwrap_or_default();
            format!("{} is there twice, leave one out", shown(twice))
        }
        other => in_words(other),
    };
    Problem { line, key: None, value: None, wrong: format!("not TOML: {message}") }
}

/// toml says what it has not found; this says what to write.
fn in_words(message: &str) -> String {
    let first = message.split([',', '\n']).next().unwrap_or_default();
    let known = match first {
        "string values must be quoted" => {
            "neither a number nor true or false; put text in double quotes, and # before a comment"
        }
        "unexpected leading zero" => "a number that begins with 0; leave the 0 out",
        "key with no value" => {
            "neither a section nor a key with a value; write key = value, and # before a comment"
        }
        "invalid key-value pair" => {
            "neither a section nor a key with a value; write [section] or key = value"
        }
        "missing comma between array elements" => LIST_GOES_ON,
        "unexpected key or value" => {
            "more after the value; write each key on a line of its own, and # before a comment"
        }
        "missing escaped value" => "a \\ that begins nothing; write \\\\, or use single quotes",
        _ if first.starts_with("invalid time") || first.starts_with("invalid date") => {
            "a number that goes on as none; put an address or a duration in double quotes"
        }
        _ if first.starts_with("cannot extend value") => {
            "a key with a dot, of which the first part has a value already; leave the dot out"
        }
        _ => return message.lines().collect::<Vec<_>>().join(", "),
    };
    known.to_owned()
}
