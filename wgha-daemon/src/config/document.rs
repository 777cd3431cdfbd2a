//! The file as a tree of values with their lines.
//!
//! serde's derive stops at the first key that it does not like, and names no line for one that is missing.
//! Who mends a file wants all of it at once, so the tree is read section by section instead.

use std::cell::RefCell;

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{problem::Problem, suggest::suggest, syntax};

/// How much is shown of what is long.
const SHOWN_CHARS: usize = 60;
/// What is shown of a value that may be a secret.
const HIDDEN: &str = "…";
/// The section that there may be several of.
const LISTED: &str = "peer";

/// The sections or keys that wgha knows.
pub(super) type Names = &'static [&'static str];

/// The file, and what was found to be wrong with it so far.
pub(super) struct Document<'t> {
    text: &'t str,
    root: DeTable<'t>,
    known: Names,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Document<'t> {
    /// Reads TOML with these sections. Others are told.
    ///
    /// # Errors
    /// Each line that is not TOML.
    pub fn parse(text: &'t str, known: Names) -> Result<Self, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let problems = syntax::problems(text, &errors);
        if !problems.is_empty() {
            return Err(problems);
        }
        let document = Self { text, root: root.into_inner(), known, problems: RefCell::default() };
        document.refuse_unknown_sections();
        Ok(document)
    }

    /// Notes that something is wrong.
    pub fn tell(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// What is wrong, in the order of the lines.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| p.line);
        problems
    }

    fn refuse_unknown_sections(&self) {
        let known = self.known;
        for (key, value) in self.root.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let listed = known.iter().map(|k| heading(k)).collect::<Vec<_>>().join(", ");
            let hint = suggest(key.get_ref(), known).map(|k| format!("did you mean {}? ", heading(k)));
            let wrong = format!("no such section; {}wgha knows {listed}", hint.unwrap_or_default());
            let name = shown(key.get_ref());
            self.tell(match value.get_ref() {
                DeValue::Table(_) | DeValue::Array(_) => self.problem(key, format!("[{name}]"), None, wrong),
                _ => self.problem(
                    key,
                    name,
                    Some(value),
                    format!("a key outside of every section; wgha knows {listed}"),
                ),
            });
        }
    }

    /// Whether there is such a section.
    pub fn has(&self, name: &str) -> bool {
        self.root.contains_key(name)
    }

    /// The section `[name]`, with its unknown keys told. Without it all its keys are absent, which is told only if
    /// they are `wanted`.
    pub fn section<'d>(&'d self, name: &'static str, known: Names, wanted: Option<&str>) -> Section<'d> {
        let Some((key, value)) = self.root.get_key_value(name) else {
            let misspelt = is_misspelt(name, &self.root, self.known);
            if let Some(wanted) = wanted.filter(|_| !misspelt) {
                let wrong = format!("missing; {wanted}");
                self.tell(Problem { line: 1, key: Some(format!("[{name}]")), value: None, wrong });
            }
            return Section { document: self, name, known, line: 1, table: None };
        };
        let table = value.get_ref().as_table();
        if table.is_none() {
            let wrong = format!("not a section; write [{name}] on a line of its own, once");
            self.tell(self.problem(key, format!("[{name}]"), None, wrong));
        }
        let section = Section { document: self, name, known, line: self.line(key.span().start), table };
        section.refuse_unknown_keys();
        section
    }

    /// Every section `[[name]]`.
    pub fn sections<'d>(&'d self, name: &'static str, known: Names) -> Vec<Section<'d>> {
        let Some((key, value)) = self.root.get_key_value(name) else { return Vec::new() };
        let elements = value.get_ref().as_array().map(|array| array.iter().collect::<Vec<_>>());
        let sections = elements.and_then(|elements| {
            let section = |element: &'d Spanned<DeValue<'d>>| {
                let line = self.line(element.span().start);
                Some(Section {
                    document: self,
                    name,
                    known,
                    line,
                    table: Some(element.get_ref().as_table()?),
                })
            };
            elements.into_iter().map(section).collect::<Option<Vec<_>>>()
        });
        let Some(sections) = sections else {
            let wrong = format!("not a list of sections; write [[{name}]], in double brackets, for each");
            self.tell(self.problem(key, format!("[{name}]"), None, wrong));
            return Vec::new();
        };
        sections.iter().for_each(|section| section.refuse_unknown_keys());
        sections
    }

    fn problem(
        &self,
        at: &Spanned<DeString<'_>>,
        key: String,
        value: Option<&Spanned<DeValue<'_>>>,
        wrong: String,
    ) -> Problem {
        let shown = |value| if may_be_secret(at.get_ref()) { HIDDEN.to_owned() } else { self.shown(value) };
        let value = value.map(shown);
        Problem { line: self.line(at.span().start), key: Some(key), value, wrong }
    }

    fn line(&self, offset: usize) -> usize {
        line_of(self.text, offset)
    }

    /// A value as it was written.
    fn shown(&self, value: &Spanned<DeValue<'_>>) -> String {
        shown(self.text.get(value.span()).unwrap_or_default())
    }
}

/// One section, or one of several with the same name.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    name: &'static str,
    known: Names,
    line: usize,
    table: Option<&'d DeTable<'d>>,
}

impl<'d> Section<'d> {
    /// The value of `key` as `read` understands it. Tells what is wrong with it, or that it is missing and what is
    /// `wanted` there.
    pub fn required<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&Value<'d>) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let table = self.table?;
        let Some(value) = table.get(key) else {
            if is_misspelt(key, table, self.known) {
                return None; // told already, as an unknown key
            }
            let key = Some(format!("{}.{key}", self.name));
            let wrong = format!("missing; {wanted}");
            self.document.tell(Problem { line: self.line, key, value: None, wrong });
            return None;
        };
        self.understood(self.located(key, value), read)
    }

    /// The value of `key` as `read` understands it, or the default when it is not there. None: it is wrong.
    pub fn optional<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&Value<'d>) -> Result<T, String>,
    ) -> Option<T> {
        match self.table.and_then(|table| table.get(key)) {
            Some(value) => self.understood(self.located(key, value), read).map(|located| located.value),
            None => Some(default),
        }
    }

    /// The value of `key` as `read` understands it, and where it stands, or nothing when it is not there. None: it is wrong.
    pub fn optional_at<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Value<'d>) -> Result<T, String>,
    ) -> Option<Option<Located<T>>> {
        match self.table.and_then(|table| table.get(key)) {
            Some(value) => self.understood(self.located(key, value), read).map(Some),
            None => Some(None),
        }
    }

    /// Each element of a list, if it is one, as `read` understands it. None: one is wrong.
    pub fn each<T>(
        &self,
        list: &Located<Vec<&'d Spanned<DeValue<'d>>>>,
        read: impl Fn(&Value<'d>) -> Result<T, String>,
    ) -> Option<Vec<Located<T>>> {
        let read: Vec<_> =
            list.value.iter().map(|value| self.understood(self.located(&list.name, value), &read)).collect();
        read.into_iter().collect()
    }

    /// Notes that something is wrong.
    pub fn tell(&self, problem: Problem) {
        self.document.tell(problem);
    }

    fn understood<T>(
        &self,
        value: Value<'d>,
        read: impl FnOnce(&Value<'d>) -> Result<T, String>,
    ) -> Option<Located<T>> {
        match read(&value) {
            Ok(understood) => Some(value.with(understood)),
            Err(wrong) => {
                self.document.tell(value.problem(wrong));
                None
            }
        }
    }

    fn located(&self, name: &str, value: &'d Spanned<DeValue<'d>>) -> Value<'d> {
        let hidden = may_be_secret(name) && value.get_ref().as_str().is_some();
        Located {
            section: self.name,
            name: name.to_owned(),
            line: self.document.line(value.span().start),
            shown: if hidden { HIDDEN.to_owned() } else { self.document.shown(value) },
            value: value.get_ref(),
        }
    }

    fn refuse_unknown_keys(&self) {
        let known = self.known;
        let keys = self.table.into_iter().flatten();
        for (key, value) in keys.filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let hint = suggest(key.get_ref(), known).map(|k| format!("did you mean {k}? "));
            let (hint, known) = (hint.unwrap_or_default(), known.join(", "));
            let wrong = format!("no such key; {hint}{} knows {known}", heading(self.name));
            let name = format!("{}.{}", self.name, shown(key.get_ref()));
            self.document.tell(self.document.problem(key, name, Some(value), wrong));
        }
    }
}

/// Something of the file, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    section: &'static str,
    name: String,
    line: usize,
    shown: String,
    pub value: T,
}

/// A value as TOML has it.
pub(super) type Value<'d> = Located<&'d DeValue<'d>>;

impl<T> Located<T> {
    /// That `wrong` is wrong with it.
    pub fn problem(&self, wrong: impl Into<String>) -> Problem {
        let key = Some(format!("{}.{}", self.section, self.name));
        Problem { line: self.line, key, value: Some(self.shown.clone()), wrong: wrong.into() }
    }

    /// The line that it is on.
    pub fn line(&self) -> usize {
        self.line
    }

    fn with<U>(self, value: U) -> Located<U> {
        let Self { section, name, line, shown, .. } = self;
        Located { section, name, line, shown, value }
    }
}

impl<'d> Value<'d> {
    /// The text of a string, as in this `example`.
    pub fn string(&self, example: &str) -> Result<&'d str, String> {
        let wanted = || self.not(&format!("a string in double quotes, as in \"{example}\""));
        self.value.as_str().ok_or_else(wanted)
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Result<bool, String> {
        self.value.as_bool().ok_or_else(|| self.not("true or false, without quotes"))
    }

    /// A whole number that there is room for. `right` says which ones are right.
    pub fn integer<T: TryFrom<u64>>(&self, right: &str) -> Result<T, String> {
        let integer = self.value.as_integer().ok_or_else(|| self.not("a whole number, without quotes"))?;
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| format!("out of range; {right}"))
    }

    /// The elements of a list.
    pub fn list(&self) -> Result<Vec<&'d Spanned<DeValue<'d>>>, String> {
        let list = self.value.as_array().ok_or_else(|| self.not("a list of strings in square brackets"))?;
        Ok(list.iter().collect())
    }

    fn not(&self, wanted: &str) -> String {
        let article = if matches!(self.value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        format!("{article} {}; it must be {wanted}", self.value.type_str())
    }
}

/// How a section begins. Of one kind there may be several.
fn heading(section: &str) -> String {
    if section == LISTED { format!("[[{section}]]") } else { format!("[{section}]") }
}

/// Whether what somebody has put under this key is better not shown: wgha wants no secret in its file (its `authentication`
/// is true or false), and logs are read by many (I12).
fn may_be_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["key", "psk", "secret", "pass", "auth"].iter().any(|word| key.contains(word))
}

/// Whether an unknown key of the table stands for `meant`, which is not there.
fn is_misspelt(meant: &str, table: &DeTable<'_>, known: Names) -> bool {
    let mut unknown = table.keys().map(|key| key.get_ref().as_ref()).filter(|key| !known.contains(key));
    unknown.any(|key| suggest(key, &[meant]).is_some())
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

/// Something of the file, on one line, not too long, and without what a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let cut: String = first.chars().take(SHOWN_CHARS).collect();
    let escaped =
        cut.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
    escaped.chain((cut.len() < text.len()).then(|| "…".to_owned())).collect()
}
