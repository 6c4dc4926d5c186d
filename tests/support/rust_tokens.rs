//! Rust source as tokens and paths, as far as tests/tidy.rs needs them: words in comments and
//! strings do not count, and `use` groups over several lines do.

#![allow(unreachable_pub, reason = "a module of a test")]

/// A word (of a macro call with its `!`), `::`, one other character, or `"` for a literal of text.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// Where it is, from 1.
    pub line: usize,
    pub text: &'a str,
}

/// Where a path such as `std::fs::File` is used; `use a::{b, c}` uses `a::b` and `a::c`.
pub struct PathUse<'a> {
    /// Line of the last segment.
    pub line: usize,
    /// Index of the first token that is its own.
    pub at: usize,
    pub segments: Vec<&'a str>,
}

/// All of them, in order.
pub fn paths<'a>(tokens: &[Token<'a>]) -> Vec<PathUse<'a>> {
    let mut paths = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if is_word(tokens[index].text) {
            index = read_path(tokens, index, &[], &mut paths);
        } else {
            index += 1;
        }
    }
    paths
}

/// Reads the path or `use` tree at `at`, under `prefix`; gives the index behind it.
fn read_path<'a>(
    tokens: &[Token<'a>],
    at: usize,
    prefix: &[&'a str],
    paths: &mut Vec<PathUse<'a>>,
) -> usize {
    let mut segments = prefix.to_vec();
    let mut index = at;
    let mut line = tokens[at].line;
    while let Some(token) = tokens.get(index) {
        if token.text == "{" {
            index += 1;
            while let Some(inner) = tokens.get(index) {
                match inner.text {
                    "}" => return index + 1,
                    "as" => index += 2,
                    word if is_word(word) => index = read_path(tokens, index, &segments, paths),
                    _ => index += 1,
                }
            }
            return index;
        }
        if !is_word(token.text) {
            break;
        }
        segments.push(token.text);
        line = token.line;
        index += 1;
        if tokens.get(index).is_none_or(|next| next.text != "::") {
            break;
        }
        index += 1;
    }
    paths.push(PathUse { line, at, segments });
    index
}

/// Whether a token is a name or a keyword.
pub fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Rust's tokens, as far as the checks need them, without comments.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (length, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (block_comment_length(rest), None)
        } else if let Some(length) = literal_length(rest) {
            (length, Some("\""))
        } else if first == '\'' {
            // A lifetime.
            (1, None)
        } else if word > 0 {
            let called = rest[word..].starts_with("!(") || rest[word..].starts_with("![");
            let length = word + usize::from(called);
            (length, Some(&rest[..length]))
        } else if rest.starts_with("::") {
            (2, Some("::"))
        } else {
            let length = first.len_utf8();
            (length, (!first.is_whitespace()).then(|| &rest[..length]))
        };
        tokens.extend(kept.map(|text| Token { line, text }));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// Octets of the comment at the front; such comments nest.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let (step, change) = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth += change;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Octets of the literal of text at the front, if there is one.
fn literal_length(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - body.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let content = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = content.find(&end).map_or(content.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + length);
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut characters = body.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            // 'a is a lifetime, 'a' a character.
            _ if quote == '\''
                && at == 1
                && !body[at + character.len_utf8()..].starts_with('\'') =>
            {
                return None;
            }
            _ if character == quote => return Some(prefix + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}
