//! Walking a TOML text so that every mistake is found, each with its file, line and key. Owns
//! positions and the bookkeeping of known keys; knows no key itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files::Files;
use super::value::string;

/// One mistake, or one doubtful value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file; `None` is the command line.
    pub file: Option<PathBuf>,
    /// Line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// The key with its section, such as `limits.idle_timeout`, or the flag; may be empty.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A mistake on the command line; `flag` with its dashes.
    pub(super) fn on_command_line(flag: &str, message: impl Into<String>) -> Self {
        Self { file: None, line: 0, key: flag.to_owned(), message: message.into() }
    }

    /// A mistake that concerns `file` as a whole.
    pub(super) fn in_file(file: &Path, key: &str, message: impl Into<String>) -> Self {
        let file = Some(file.to_owned());
        Self { file, line: 0, key: key.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:", file.display())?,
            None => f.write_str("command line:")?,
        }
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)
    }
}

/// One TOML text under inspection: collects errors, warnings and the keys that were asked for.
pub(super) struct Document<'a> {
    files: &'a Files,
    path: &'a Path,
    text: &'a str,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    known: RefCell<Vec<String>>,
    lines: RefCell<BTreeMap<String, usize>>,
}

/// What a [`Document`] collected.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Every key asked for, with its section.
    pub(super) known: Vec<String>,
    /// Where keys stand that are there, with their sections.
    pub(super) lines: BTreeMap<String, usize>,
}

/// One table of a document. Keys are taken out one by one; [`Section::finish`] refuses the rest.
pub(super) struct Section<'d, 'a> {
    document: &'d Document<'a>,
    table: Option<&'d DeTable<'a>>,
    line: usize,
    name: String,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(files: &'a Files, path: &'a Path, text: &'a str) -> Self {
        let (errors, warnings, known, lines) = Default::default();
        Self { files, path, text, errors, warnings, known, lines }
    }

    pub(super) fn files(&self) -> &'a Files {
        self.files
    }

    /// Parses the text. Syntax errors are collected; then the rest is not looked at, for its
    /// meaning is uncertain.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut reported = 0;
        for error in &errors {
            let line = error.span().map_or(0, |span| self.line(&span));
            // The first error of a line; the others follow from it.
            if line != reported {
                self.error(line, "", format!("not valid TOML: {}", error.message()));
                reported = line;
            }
        }
        errors.is_empty().then_some(table)
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// The directory of the file, where relative pathnames in it start.
    fn directory(&self) -> &'a Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn error(&self, line: usize, key: &str, message: impl Into<String>) {
        let problem = Problem { line, ..Problem::in_file(self.path, key, message) };
        self.errors.borrow_mut().push(problem);
    }

    pub(super) fn finish(self) -> Findings {
        let mut findings = Findings {
            errors: self.errors.into_inner(),
            warnings: self.warnings.into_inner(),
            known: self.known.into_inner(),
            lines: self.lines.into_inner(),
        };
        findings.errors.sort();
        findings.warnings.sort();
        findings
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        before.iter().filter(|&&octet| octet == b'\n').count() + 1
    }
}

impl<'d, 'a> Section<'d, 'a> {
    /// The document itself as a section without name.
    pub(super) fn root(document: &'d Document<'a>, table: &'d DeTable<'a>) -> Self {
        Self::new(document, Some(table), 1, String::new())
    }

    /// The table under `key`, empty when it is missing.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let table = match self.take(key) {
            Some(value) if value.get_ref().as_table().is_some() => value.get_ref().as_table(),
            Some(_) => {
                self.error(key, format!("expected a table, written as [{key}]"));
                None
            }
            None => None,
        };
        Self::new(self.document, table, self.line_of(key), self.full_key(key))
    }

    /// The tables of an array of tables, with the values of `label` as their names.
    pub(super) fn tables(&self, key: &'static str, label: &str) -> Vec<Self> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.error(key, format!("expected an array of tables, written as [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let line = self.document.line(&item.span());
            let Some(table) = item.get_ref().as_table() else {
                self.document.error(line, &self.full_key(key), "expected a table");
                continue;
            };
            let name = table.get(label).and_then(|name| name.get_ref().as_str());
            let name = name.map_or_else(|| (index + 1).to_string(), str::to_owned);
            let name = format!("{}[{name}]", self.full_key(key));
            sections.push(Self::new(self.document, Some(table), line, name));
        }
        sections
    }

    fn new(
        document: &'d Document<'a>,
        table: Option<&'d DeTable<'a>>,
        line: usize,
        name: String,
    ) -> Self {
        Self { document, table, line, name, known: RefCell::default() }
    }

    /// Its name as messages have it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the table stands in the file at all.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether `key` stands in the table.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The value of `key` as `parse` understands it; `None` when missing or refused.
    pub(super) fn get<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.take(key)?.get_ref()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(key, message);
                None
            }
        }
    }

    /// Where the texts of files come from.
    pub(super) fn files(&self) -> &'a Files {
        self.document.files()
    }

    /// A pathname; relative ones start at the directory of the file.
    pub(super) fn path(&self, value: &DeValue<'_>) -> Result<PathBuf, String> {
        string(value).map(|path| self.document.directory().join(path))
    }

    /// Replaces `target`, which holds the default, when `key` is given and good.
    pub(super) fn set<T>(
        &self,
        key: &'static str,
        target: &mut T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) {
        if let Some(value) = self.get(key, parse) {
            *target = value;
        }
    }

    /// The array under `key`; every item that `parse` refuses is reported with its own line.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        mut parse: impl FnMut(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Some(array) = self.take(key)?.get_ref().as_array() else {
            self.error(key, "expected a list, written as [\"…\", \"…\"]");
            return None;
        };
        let mut values = Vec::new();
        for item in array.iter() {
            match parse(item.get_ref()) {
                Ok(value) => values.push(value),
                Err(message) => {
                    let line = self.document.line(&item.span());
                    self.document.error(line, &self.full_key(key), message);
                }
            }
        }
        (values.len() == array.len()).then_some(values)
    }

    /// Reports a mistake at `key`, or at the table's own line when `key` is missing.
    pub(super) fn error(&self, key: &str, message: impl Into<String>) {
        self.document.error(self.line_of(key), &self.full_key(key), message);
    }

    /// Reports a doubtful value; places as for [`Self::error`].
    pub(super) fn warn(&self, key: &str, message: impl Into<String>) {
        let line = self.line_of(key);
        let problem =
            Problem { line, ..Problem::in_file(self.document.path, &self.full_key(key), message) };
        self.document.warnings.borrow_mut().push(problem);
    }

    /// Reports the keys nobody asked for, with those that exist.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let line = self.document.line(&key.span());
            if known.contains(&key.get_ref().as_ref()) {
                let key = self.full_key(key.get_ref());
                self.document.lines.borrow_mut().insert(key, line);
            } else {
                let message = format!("unknown key; known here: {}", known.join(", "));
                self.document.error(line, &self.full_key(key.get_ref()), message);
            }
        }
        self.document.known.borrow_mut().extend(known.iter().map(|key| self.full_key(key)));
    }

    /// Line of `key`, else of the table.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.table
            .and_then(|table| table.get_key_value(key))
            .map_or(self.line, |(key, _)| self.document.line(&key.span()))
    }

    fn take(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'a>>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.table?.get(key)
    }

    fn full_key(&self, key: &str) -> String {
        match (self.name.as_str(), key) {
            ("", key) => key.to_owned(),
            (name, "") => name.to_owned(),
            (name, key) => format!("{name}.{key}"),
        }
    }
}
