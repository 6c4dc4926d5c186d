//! Which certificate a server name gets: an index over the names that certificates are served for,
//! made once, so that a handshake costs two look-ups however many certificates there are.

use std::collections::HashMap;

use super::ServerCertificate;

/// The names of a list of certificates, the first of which is the default one.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, Holders>,
    /// By what follows `*.`.
    wildcards: HashMap<String, Holders>,
}

/// Numbers of the certificates with one name, the default one last.
type Holders = Vec<usize>;

impl Names {
    pub(super) fn of(certificates: &[ServerCertificate]) -> Self {
        let mut names = Self::default();
        let all = || certificates.iter().enumerate();
        // The default one last: another that has a name of it is there for that.
        for (index, certificate) in all().skip(1).chain(all().take(1)) {
            for name in certificate.served_names() {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcards, parent),
                    None => (&mut names.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(index);
            }
        }
        names
    }

    /// The certificates for `name` (lower case, without the root's dot), the best one first: those
    /// of the name itself, then those of a wildcard in the place of its first label.
    pub(super) fn find(&self, name: &str) -> impl Iterator<Item = usize> + Clone {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let wild = parent.and_then(|parent| self.wildcards.get(parent));
        let found = [self.exact.get(name), wild];
        found.into_iter().flatten().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_before_wildcard_and_entries_before_the_default() {
        let pair = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            ServerCertificate::ephemeral().unwrap().served_for(&names)
        };
        let names = Names::of(&[
            pair(&["ftp.example.org", "own.wild.example"]),
            pair(&["A.example", "ftp.example.org"]),
            pair(&["*.wild.example", "*.example.org"]),
            pair(&["b.wild.example", "wild.example"]),
        ]);
        let check = |name: &str, expected: &[usize]| {
            assert_eq!(names.find(name).collect::<Vec<_>>(), expected, "{name}");
        };
        check("a.example", &[1]);
        check("b.example", &[]);
        check("example", &[]);
        check("", &[]);
        check("ftp.example.org", &[1, 0, 2]);
        check("c.example.org", &[2]);
        check("example.org", &[]);
        check("b.wild.example", &[3, 2]);
        check("own.wild.example", &[0, 2]);
        check("c.b.wild.example", &[]);
        check("wild.example", &[3]);
        check("*.wild.example", &[2]);
    }
}
