//! Who logs in: one user, or those of a file, whom clients take in turn by their number.

use std::{fmt, fs, path::Path, sync::Arc};

/// Most users of a file.
const USERS_MAX: usize = 1_000_000;

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The argument of USER.
    pub name: String,
    /// The argument of PASS.
    pub password: String,
}

/// A password is told to nobody but the server.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// At least one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users(Arc<[User]>);

impl Users {
    /// One for all clients.
    #[must_use]
    pub fn one(name: &str, password: &str) -> Self {
        Self(Arc::new([User { name: name.to_owned(), password: password.to_owned() }]))
    }

    /// These; nobody is `anonymous`.
    #[must_use]
    pub fn of_list(users: Vec<User>) -> Self {
        if users.is_empty() { Self::one("anonymous", "ringload@") } else { Self(users.into()) }
    }

    /// Reads a file of lines NAME:PASSWORD. A name alone has the password `usual`. Empty lines and
    /// those that begin with `#` say nothing.
    ///
    /// # Errors
    ///
    /// A sentence with the file's name and, where one is wrong, the line's number.
    pub fn read(path: &Path, usual: &str) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let mut users = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, password) = line.split_once(':').unwrap_or((line, usual));
            if name.is_empty() {
                return Err(format!("{shown}: line {number}: a line is NAME:PASSWORD"));
            }
            users.push(User { name: name.to_owned(), password: password.to_owned() });
        }
        match users.len() {
            0 => Err(format!("{shown}: there is no user in it; a line is NAME:PASSWORD")),
            1..=USERS_MAX => Ok(Self(users.into())),
            many => Err(format!("{shown}: {many} users; at most {USERS_MAX} can be")),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The user of client `number`.
    #[must_use]
    pub fn of(&self, number: u64) -> &User {
        let index = usize::try_from(number % self.count()).unwrap_or_default();
        &self.0[index]
    }

    /// The password of the user with this name, if there is one.
    #[must_use]
    pub fn password_of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|user| user.name == name).map(|user| user.password.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Users;

    fn read(text: &str) -> Result<Users, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Users::read(file.path(), "usual")
    }

    #[test]
    fn clients_take_users_in_turn() {
        let users = read("# people\na:1\n\nb:x:y\r\nc\n").unwrap();
        let seen: Vec<_> =
            (0..4).map(|n| (users.of(n).name.as_str(), users.of(n).password.as_str())).collect();
        assert_eq!(seen, [("a", "1"), ("b", "x:y"), ("c", "usual"), ("a", "1")]);
        assert_eq!(users.password_of("b"), Some("x:y"));
        assert_eq!(users.password_of("z"), None);
        assert!(!format!("{users:?}").contains("x:y"));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        assert!(read("# nobody\n").unwrap_err().contains("no user in it"));
        assert!(read("a:1\n:secret\n").unwrap_err().contains("line 2: a line is NAME:PASSWORD"));
    }
}
