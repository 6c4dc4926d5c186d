//! What is wrong, or worth a warning: a line for people, and the same in parts for programs.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};

use crate::config::Problem;

/// One cause of a failure, or one warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// In a file, or on the command line.
    At(Problem),
    /// About a key of which no place is known, or about none: then the key is empty.
    About(Cow<'static, str>, String),
}

impl Finding {
    /// One that is about no key.
    pub(super) fn plain(message: impl fmt::Display) -> Self {
        Self::About("".into(), message.to_string())
    }

    /// With what is not known as `null`.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::At(problem) => problem_value(problem),
            Self::About(key, message) => json!({
                "file": null, "line": null, "key": named(key), "message": message,
                "remedy": remedy_of(message),
            }),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(problem) => write!(f, "{problem}"),
            Self::About(key, message) if key.is_empty() => f.write_str(message),
            Self::About(key, message) => write!(f, "{key}: {message}"),
        }
    }
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        Self::At(problem)
    }
}

/// Each on a line.
pub(super) fn lines_of(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What did not happen, and why.
pub(super) fn failure(findings: &[Finding]) -> Value {
    let problems: Vec<_> = findings.iter().map(Finding::value).collect();
    json!({ "ok": false, "problems": problems })
}

/// A mistake in parts.
pub(super) fn problem_value(problem: &Problem) -> Value {
    let Problem { file, line, key, message } = problem;
    let line = Some(line).filter(|line| **line > 0);
    json!({
        "file": file, "line": line, "key": named(key), "message": message,
        "remedy": remedy_of(message),
    })
}

fn named(key: &str) -> Option<&str> {
    Some(key).filter(|key| !key.is_empty())
}

/// What to do about it: the messages of this program say it behind a semicolon. One between quotes
/// is somebody else's.
pub(super) fn remedy_of(message: &str) -> Option<&str> {
    let mut quoted = false;
    let end = message.char_indices().find(|(at, character)| {
        quoted ^= *character == '"';
        !quoted && message[*at..].starts_with("; ")
    });
    end.map(|(at, _)| &message[at + 2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies() {
        for (message, remedy) in [
            ("\"5\" has no unit; write ms, s, m, h or d", Some("write ms, s, m, h or d")),
            (
                "\"a; b\" is no user; create it; or write a number",
                Some("create it; or write a number"),
            ),
            ("unknown", None),
            ("an open \"quote; that stays open", None),
            ("über; ändern", Some("ändern")),
        ] {
            assert_eq!(remedy_of(message), remedy, "{message}");
        }
    }

    #[test]
    fn what_is_not_known_is_null() {
        let problem = Problem {
            file: Some("a.toml".into()),
            line: 7,
            key: "listen.implicit".to_owned(),
            message: "is wrong; mend it".to_owned(),
        };
        let finding = Finding::from(problem.clone());
        assert_eq!(finding.to_string(), problem.to_string());
        assert_eq!(
            finding.value(),
            json!({
                "file": "a.toml", "line": 7, "key": "listen.implicit",
                "message": "is wrong; mend it", "remedy": "mend it",
            })
        );
        let plain = Finding::plain("no memory");
        assert_eq!(plain.to_string(), "no memory");
        let value = plain.value();
        assert!(
            ["file", "line", "key", "remedy"].iter().all(|key| value[key].is_null()),
            "{value}"
        );
        let about = Finding::About("tls.key".into(), "is old".to_owned());
        assert_eq!(about.to_string(), "tls.key: is old");
        assert_eq!(failure(&[about])["problems"][0]["key"], "tls.key");
    }
}
