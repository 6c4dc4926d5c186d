//! Files that are on the server already: one, or those of a list, from which each download chooses.

use std::{fmt, fs, path::Path, sync::Arc};

use crate::{
    units::parse_size,
    verify::{Expected, Random, fingerprint},
};

/// Most lines of a list.
const PATHS_MAX: usize = 5_000_000;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its name for RETR.
    pub path: String,
    /// What it must be.
    pub expected: Expected,
}

/// At least one file, and how often each is chosen.
#[derive(Debug, Clone)]
pub struct Paths {
    files: Arc<[Existing]>,
    /// Sums of the weights up to each file.
    sums: Arc<[f64]>,
    /// What tells this list from others.
    name: String,
}

impl Paths {
    /// One file.
    #[must_use]
    pub fn one(path: String, expected: Expected) -> Self {
        let name = path.clone();
        Self { files: Arc::new([Existing { path, expected }]), sums: Arc::new([1.0]), name }
    }

    /// Reads a list: a path a line, behind it, parted by tabs, its size (compared with what comes)
    /// and its weight (1 where there is none).
    ///
    /// # Errors
    ///
    /// A sentence with the file's name and, where one is wrong, the line's number.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let (mut files, mut sums, mut sum) = (Vec::new(), Vec::new(), 0.0);
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            let (file, weight) =
                parse(line).map_err(|error| format!("{shown}: line {number}: {error}"))?;
            sum += weight;
            files.push(file);
            sums.push(sum);
        }
        match files.len() {
            0 => Err(format!("{shown}: there is no path in it")),
            1..=PATHS_MAX => {
                let digest = fingerprint(text.as_bytes());
                let name = format!("{} paths, SHA-256 {}", files.len(), &digest[..16]);
                Ok(Self { files: files.into(), sums: sums.into(), name })
            }
            many => Err(format!("{shown}: {many} paths; at most {PATHS_MAX} can be")),
        }
    }

    /// The file of download `number`.
    #[must_use]
    pub fn choose(&self, seed: u64, number: u64) -> &Existing {
        let sum = self.sums.last().copied().unwrap_or_default();
        let at = Random::new(seed, number).next_unit() * sum;
        let index = self.sums.partition_point(|sum| *sum < at);
        &self.files[index.min(self.files.len() - 1)]
    }

    /// Whether any of them is compared with something.
    #[must_use]
    pub fn are_verified(&self) -> bool {
        self.files.iter().any(|file| file.expected != Expected::Anything)
    }
}

/// What tells this list from others.
impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn parse(line: &str) -> Result<(Existing, f64), String> {
    let mut fields = line.split('\t');
    let path = fields.next().unwrap_or_default().to_owned();
    let expected = match fields.next().unwrap_or_default() {
        "" => Expected::Anything,
        size => Expected::Length(parse_size(size)?),
    };
    let weight = match fields.next().unwrap_or_default() {
        "" => 1.0,
        weight => weight
            .parse()
            .ok()
            .filter(|weight| *weight > 0.0 && *weight <= 1e12)
            .ok_or_else(|| format!("\"{weight}\" is no weight: a number above 0"))?,
    };
    if path.is_empty() || fields.next().is_some() {
        return Err("a line is PATH, and behind tabs SIZE and WEIGHT".to_owned());
    }
    Ok((Existing { path, expected }, weight))
}

#[cfg(test)]
mod tests {
    use super::{Expected, Paths};

    fn read(text: &str) -> Result<Paths, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Paths::read(file.path())
    }

    #[test]
    fn paths_are_chosen_by_their_weights() {
        let paths = read("/a b\t10\n\n/c\t\t8\n/d\t4KiB\t1\n").unwrap();
        let mut counts = [0; 3];
        for number in 0..10_000 {
            let file = paths.choose(1, number);
            let (index, expected) = match file.path.as_str() {
                "/a b" => (0, Expected::Length(10)),
                "/c" => (1, Expected::Anything),
                "/d" => (2, Expected::Length(4096)),
                other => panic!("{other}"),
            };
            assert_eq!(file.expected, expected);
            counts[index] += 1;
        }
        for (count, expected) in counts.into_iter().zip([1000_u32, 8000, 1000]) {
            assert!(expected.abs_diff(count) < 150, "{counts:?}");
        }
        let again = read("/a b\t10\n\n/c\t\t8\n/d\t4KiB\t1\n").unwrap();
        assert_eq!(paths.to_string(), again.to_string());
        assert_ne!(paths.to_string(), read("/a b\n/c\n/d\n").unwrap().to_string());
    }

    #[test]
    fn refuses() {
        for (text, part) in [
            ("", "no path in it"),
            ("/a\n/b\tx\n", "line 2: \"x\" is not a size"),
            ("/a\t1\t0\n", "line 1: \"0\" is no weight"),
            ("\t1\n", "line 1: a line is PATH"),
            ("/a\t1\t1\t1\n", "line 1: a line is PATH"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
