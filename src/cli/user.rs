//! `ringftpd user`: edits the users of a TOML file. Comments and order stay, the file is replaced
//! at once, and two editors at a time take turns. What a good user is, `config` says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::args::{
    AddArguments, PASSWORD_VARIABLE, UserCommand, UserTarget, password_of_environment,
};
use super::finding::{Finding, failure};
use super::private_file::PrivateFile;
use super::{complain, fail, print};
use crate::auth::{Password, PasswordHash, is_anonymous_name};
use crate::config::{ConfigError, Problem, permission_words, users_file_of};
use crate::protocol::account::Permissions;

pub(super) fn run(command: &UserCommand) -> ExitCode {
    let result = match command {
        UserCommand::Add(arguments) => add(arguments),
        UserCommand::Passwd { target, name, generate } => passwd(target, name, *generate),
        UserCommand::Remove { target, name } => remove(target, name),
        UserCommand::List { target, json: false } => list(target),
        UserCommand::List { target, json: true } => return print_as_json(target),
    };
    match result {
        Ok(text) => {
            print(text);
            ExitCode::SUCCESS
        }
        Err(message) => fail(message),
    }
}

fn add(arguments: &AddArguments) -> Result<String, String> {
    let AddArguments { target, name, home, certificate_sha256, certificate_subject, .. } =
        arguments;
    let no_password = arguments.no_password;
    if no_password && certificate_sha256.is_none() && certificate_subject.is_none() {
        return Err("--no-password needs --certificate-sha256 or --certificate-subject".to_owned());
    }
    if let (Some(_), Some(config)) = (certificate_subject, &target.config) {
        needs_client_ca(config)?;
    }
    let home = std::path::absolute(home).map_err(|error| format!("--home: {error}"))?;
    if !home.is_dir() {
        return Err(format!("--home: {} is not a directory; make it first", home.display()));
    }
    let home = home.to_str().ok_or("--home: the name is not UTF-8, which TOML needs")?;
    let path = users_path(target)?;
    // Users alone may be in a file of their own; a configuration is not made of them.
    let may_create = target.config.as_deref() != Some(path.as_path());
    not_beside_anonymous(name, target.config.as_deref().unwrap_or(&path))?;
    let is_new = |users: &ArrayOfTables| match position(users, name) {
        Some(_) => Err(format!("{}: there is a user {name:?} already", path.display())),
        None => Ok(()),
    };
    // Before anybody is asked for a password.
    is_new(&users_of(&read(&path, may_create)?, &path)?)?;
    let password = match no_password {
        true => None,
        false => Some(obtain_password(name, arguments.generate)?),
    };

    let mut user = Table::new();
    user["name"] = value(name);
    user["home"] = value(home);
    user["permissions"] = value(permission_array(arguments.permissions));
    if let Some(password) = &password {
        user["password"] = value(hash(&password.password)?);
    }
    if arguments.lax_upload_eof {
        user["lax_upload_eof"] = value(true);
    }
    if let Some(fingerprint) = certificate_sha256 {
        user["certificate_sha256"] = value(fingerprint);
    }
    if let Some(subject) = certificate_subject {
        user["certificate_subject"] = value(subject);
    }
    edit(&path, may_create, |_, users| {
        is_new(users)?;
        if !users.is_empty() {
            user.decor_mut().set_prefix("\n");
        }
        users.push(user);
        Ok(())
    })?;
    if target.config.is_none() && is_anonymous_name(name.as_bytes()) {
        complain(format_args!(
            "ringftpd: warning: {}: a configuration with [anonymous] does not load with this file, \
             for {name:?} is a name of it; `user add --config` checks that",
            path.display()
        ));
    }
    Ok(report(&format!("{name} added to {}", path.display()), password.as_ref()))
}

fn passwd(target: &UserTarget, name: &str, generate: bool) -> Result<String, String> {
    let path = users_path(target)?;
    find(&users_of(&read(&path, false)?, &path)?, name, &path)?;
    let password = obtain_password(name, generate)?;
    let hash = hash(&password.password)?;
    edit(&path, false, |_, users| {
        let index = find(users, name, &path)?;
        let user = users.get_mut(index).ok_or("no such user")?;
        match user.get_mut("password").and_then(Item::as_value_mut) {
            Some(old) => {
                let decor = old.decor().clone();
                *old = Value::from(hash);
                *old.decor_mut() = decor;
            }
            None => user["password"] = value(hash),
        }
        Ok(())
    })?;
    Ok(report(&format!("password of {name} changed in {}", path.display()), Some(&password)))
}

fn remove(target: &UserTarget, name: &str) -> Result<String, String> {
    let path = users_path(target)?;
    edit(&path, false, |trailing, users| {
        let index = find(users, name, &path)?;
        let removed = users.get(index).map_or("", |user| {
            user.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or("")
        });
        // The comment right above a user goes with it; what an empty line separates stays.
        let kept = removed.rfind("\n\n").map_or("", |end| &removed[..=end]).to_owned();
        users.remove(index);
        if kept.trim().is_empty() {
            return Ok(());
        }
        match users.get_mut(index) {
            Some(next) => {
                let prefix = next.decor().prefix().and_then(|prefix| prefix.as_str());
                let prefix = format!("{kept}{}", prefix.unwrap_or(""));
                next.decor_mut().set_prefix(prefix);
            }
            None => trailing.insert_str(0, &kept),
        }
        Ok(())
    })?;
    Ok(format!("{name} removed from {}", path.display()))
}

/// A user as it stands in the file.
struct Listed {
    name: String,
    home: String,
    permissions: Vec<String>,
    log_in: Vec<&'static str>,
}

fn listed(target: &UserTarget) -> Result<Vec<Listed>, ConfigError> {
    let path = users_path(target)?;
    let users = users_of(&read(&path, false)?, &path)?;
    let one = |user: &Table| {
        let text = |key: &str| user.get(key).and_then(Item::as_str).unwrap_or("?").to_owned();
        let permissions = match user.get("permissions").and_then(Item::as_array) {
            Some(words) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => {
                let words = permission_words(Permissions::READ_ONLY);
                words.into_iter().map(str::to_owned).collect()
            }
        };
        let proofs = [("password", "password"), ("certificate_sha256", "certificate")];
        let subject = ("certificate_subject", "certificate subject");
        let proofs = proofs.into_iter().chain([subject]).filter(|(key, _)| user.contains_key(key));
        let log_in = proofs.map(|(_, word)| word).collect();
        Listed { name: text("name"), home: text("home"), permissions, log_in }
    };
    Ok(users.iter().map(one).collect())
}

fn list(target: &UserTarget) -> Result<String, String> {
    let head = ["NAME", "HOME", "PERMISSIONS", "LOG-IN"].map(str::to_owned);
    let row = |Listed { name, home, permissions, log_in }| {
        [name, home, permissions.join(","), log_in.join(", ")]
    };
    let rows: Vec<_> = [head].into_iter().chain(listed(target)?.into_iter().map(row)).collect();
    Ok(columns(&rows))
}

fn list_as_json(target: &UserTarget) -> Result<String, ConfigError> {
    let object = |Listed { name, home, permissions, log_in }| {
        json!({
            "name": name, "home": home, "permissions": permissions, "log_in": log_in,
        })
    };
    Ok(json!(listed(target)?.into_iter().map(object).collect::<Vec<_>>()).to_string())
}

fn print_as_json(target: &UserTarget) -> ExitCode {
    match list_as_json(target) {
        Ok(text) => {
            print(text);
            ExitCode::SUCCESS
        }
        Err(ConfigError(problems)) => {
            let problems: Vec<_> = problems.into_iter().map(Finding::from).collect();
            print(failure(&problems));
            ExitCode::FAILURE
        }
    }
}

/// A password and whether the person has yet to learn it.
struct Obtained {
    password: Password,
    generated: bool,
}

fn obtain_password(name: &str, generate: bool) -> Result<Obtained, String> {
    if generate {
        let password = Password::generate().map_err(|error| error.to_string())?;
        return Ok(Obtained { password, generated: true });
    }
    let password = match password_of_environment()? {
        Some(password) => password,
        None => ask_password(name)?,
    };
    Ok(Obtained { password, generated: false })
}

fn ask_password(name: &str) -> Result<Password, String> {
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map_err(|error| {
            format!(
                "cannot ask for the password ({error}); set {PASSWORD_VARIABLE} or give --generate"
            )
        })
    };
    let first = ask(format!("Password for {name}: "))?;
    let password = Password::new(first)?;
    if ask("Again: ".to_owned())? != password.reveal() {
        return Err("the two passwords differ; nothing was changed".to_owned());
    }
    Ok(password)
}

fn hash(password: &Password) -> Result<String, String> {
    let hash = PasswordHash::new(password).map_err(|error| error.to_string())?;
    Ok(hash.as_str().to_owned())
}

fn report(done: &str, password: Option<&Obtained>) -> String {
    let hint = "a running server sees it after `ringftpd ctl reload`";
    match password.filter(|password| password.generated) {
        Some(password) => format!("{done}; {hint}\npassword: {}", password.password.reveal()),
        None => format!("{done}; {hint}"),
    }
}

/// The file that holds the users.
fn users_path(target: &UserTarget) -> Result<PathBuf, ConfigError> {
    match (&target.file, &target.config) {
        (Some(file), _) => Ok(file.clone()),
        (None, Some(config)) => Ok(users_file_of(config)?.unwrap_or_else(|| config.clone())),
        (None, None) => {
            let message = "names no file; give --config or --file".to_owned();
            Err(Problem { file: None, line: 0, key: String::new(), message }.into())
        }
    }
}

/// Changes the users of `path` under a lock. `change` gets the text after the last table, and the
/// users.
fn edit(
    path: &Path,
    may_create: bool,
    change: impl FnOnce(&mut String, &mut ArrayOfTables) -> Result<(), String>,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let file = PrivateFile::lock(path).map_err(failed)?;
    let path = &file.path;
    let mut document = read(path, may_create)?;
    let mut users = users_of(&document, path)?;
    let mut trailing = document.trailing().as_str().unwrap_or("").to_owned();
    change(&mut trailing, &mut users)?;
    document.set_trailing(trailing);
    if users.is_empty() {
        document.remove("users");
    } else {
        document["users"] = Item::ArrayOfTables(users);
    }
    file.replace(&document.to_string()).map_err(failed)
}

fn read(path: &Path, may_create: bool) -> Result<DocumentMut, ConfigError> {
    let problem = |line, message| {
        let (file, key) = (Some(path.to_owned()), String::new());
        ConfigError::from(Problem { file, line, key, message })
    };
    let text = match fs::read_to_string(path) {
        Err(error) if may_create && error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|error| problem(0, format!("cannot read: {error}")))?,
    };
    text.parse().map_err(|error: toml_edit::TomlError| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        problem(line, format!("not valid TOML: {}", error.message()))
    })
}

/// The configuration would not load with the subject of a certificate, and without an authority.
fn needs_client_ca(config: &Path) -> Result<(), String> {
    let document = read(config, false)?;
    if document.get("tls").and_then(|tls| tls.get("client_ca")).is_some() {
        return Ok(());
    }
    Err(format!(
        "--certificate-subject needs tls.client_ca in {}: without an authority anybody can write \
         this subject; or give --certificate-sha256",
        config.display()
    ))
}

/// The configuration would not load with a user of a name that `[anonymous]` has. A users file
/// alone does not tell whether there will be one, and is only warned of.
fn not_beside_anonymous(name: &str, config: &Path) -> Result<(), String> {
    if !is_anonymous_name(name.as_bytes()) || !config.exists() {
        return Ok(());
    }
    if read(config, false)?.get("anonymous").is_none() {
        return Ok(());
    }
    Err(format!(
        "\"{name}\" is a name of [anonymous], which {} has: who gives it is asked for no password; \
         choose another name, or take out [anonymous]",
        config.display()
    ))
}

fn users_of(document: &DocumentMut, path: &Path) -> Result<ArrayOfTables, ConfigError> {
    match document.get("users") {
        None => Ok(ArrayOfTables::new()),
        Some(Item::ArrayOfTables(users)) => Ok(users.clone()),
        Some(_) => {
            let (file, key) = (Some(path.to_owned()), "users".to_owned());
            let message = "is no list of tables; write each user as a [[users]] table".to_owned();
            Err(Problem { file, line: 0, key, message }.into())
        }
    }
}

fn position(users: &ArrayOfTables, name: &str) -> Option<usize> {
    users.iter().position(|user| user.get("name").and_then(Item::as_str) == Some(name))
}

fn find(users: &ArrayOfTables, name: &str, path: &Path) -> Result<usize, String> {
    position(users, name).ok_or_else(|| format!("{}: there is no user {name:?}", path.display()))
}

fn permission_array(permissions: Permissions) -> Array {
    permission_words(permissions).into_iter().collect()
}

/// Rows as a table; control characters are shown, not sent to the terminal.
fn columns(rows: &[[String; 4]]) -> String {
    let shown = |cell: &String| cell.escape_debug().to_string().replace("\\'", "'");
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(shown)).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    let lines = rows.iter().map(|[name, home, permissions, proofs]| {
        let [a, b, c] = widths;
        format!("{name:a$}  {home:b$}  {permissions:c$}  {proofs}").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Config, Overrides};
    use std::os::unix::fs::MetadataExt;

    const TEXT: &str = "\
# Users of the house.

# The boss.
[[users]]
name = \"alice\" # first
home = \"/\"
password = \"old\" # changed yearly

[[users]]
name = \"bob\"
home = \"/\"

# The end.
";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("users.toml")
        }

        fn with(text: &str) -> Self {
            let folder = Self::new();
            fs::write(folder.path(), text).unwrap();
            folder
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        fn target(&self) -> UserTarget {
            UserTarget { config: None, file: Some(self.path()) }
        }

        fn add(&self, name: &str) -> AddArguments {
            AddArguments {
                target: self.target(),
                name: name.to_owned(),
                home: self.0.path().to_owned(),
                permissions: Permissions::READ_ONLY,
                lax_upload_eof: false,
                certificate_sha256: None,
                certificate_subject: None,
                generate: true,
                no_password: false,
            }
        }
    }

    fn generated(report: &str) -> &str {
        report.rsplit_once("password: ").unwrap().1
    }

    #[test]
    fn a_new_file_is_private_and_its_user_can_log_in() {
        let folder = Folder::new();
        let first = add(&folder.add("alice")).unwrap();
        let mut bob = folder.add("bob \"the\" \u{e9}");
        bob.lax_upload_eof = true;
        let second = add(&bob).unwrap();
        let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let overrides =
            Overrides { state_dir: Some(folder.0.path().to_owned()), ..Overrides::default() };
        let config = Config::load(&folder.path(), &overrides).unwrap();
        for (name, report) in [("alice", &first), ("bob \"the\" \u{e9}", &second)] {
            let password = generated(report).as_bytes();
            let account = config.accounts.users.verify(name.as_bytes(), password).unwrap();
            assert_eq!(account.permissions, Permissions::READ_ONLY);
            assert_eq!(account.lax_upload_eof, (name != "alice").then_some(true));
        }
        assert!(!folder.text().contains(generated(&first)));
        let again = add(&folder.add("alice")).unwrap_err();
        assert!(again.ends_with("users.toml: there is a user \"alice\" already"), "{again}");
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1, "a file was left behind");
    }

    #[test]
    fn comments_stay() {
        let folder = Folder::with(TEXT);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o644)).unwrap();
        passwd(&folder.target(), "alice", true).unwrap();
        let text = folder.text();
        let hash = text.split('"').find(|part| part.starts_with("$argon2id$")).unwrap();
        assert_eq!(text.replace(hash, "old"), TEXT);
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o600);

        add(&folder.add("carol")).unwrap();
        let text = folder.text();
        for comment in ["# Users of the house.", "# The boss.", "# first", "# The end."] {
            assert!(text.contains(comment), "{comment} lost in {text}");
        }
    }

    #[track_caller]
    fn check_remove(name: &str, expected: &str) {
        let folder = Folder::with(TEXT);
        remove(&folder.target(), name).unwrap();
        assert_eq!(folder.text(), expected);
    }

    #[test]
    fn removes_a_user_with_its_own_comment() {
        check_remove(
            "alice",
            "# Users of the house.\n\n[[users]]\nname = \"bob\"\nhome = \"/\"\n\n# The end.\n",
        );
        check_remove(
            "bob",
            "# Users of the house.\n\n# The boss.\n[[users]]\nname = \"alice\" # first\n\
             home = \"/\"\npassword = \"old\" # changed yearly\n\n# The end.\n",
        );
        let folder = Folder::with(TEXT);
        remove(&folder.target(), "alice").unwrap();
        remove(&folder.target(), "bob").unwrap();
        assert_eq!(folder.text(), "# Users of the house.\n\n# The end.\n");
    }

    #[test]
    fn lists() {
        let folder = Folder::with(TEXT);
        assert_eq!(
            list(&folder.target()).unwrap(),
            "NAME   HOME  PERMISSIONS  LOG-IN\n\
             alice  /     read,list    password\n\
             bob    /     read,list"
        );
        let json: serde_json::Value =
            serde_json::from_str(&list_as_json(&folder.target()).unwrap()).unwrap();
        let expected = json!([
            { "name": "alice", "home": "/", "permissions": ["read", "list"],
              "log_in": ["password"] },
            { "name": "bob", "home": "/", "permissions": ["read", "list"], "log_in": [] },
        ]);
        assert_eq!(json, expected);
    }

    #[test]
    fn the_configuration_leads_to_its_users_file() {
        let folder = Folder::with(TEXT);
        let config = folder.0.path().join("ringftpd.toml");
        fs::write(&config, "process.users_file = \"users.toml\"\n").unwrap();
        let target = UserTarget { config: Some(config.clone()), file: None };
        remove(&target, "alice").unwrap();
        assert!(!folder.text().contains("alice"));
        fs::write(&config, TEXT).unwrap();
        remove(&target, "alice").unwrap();
        assert!(!fs::read_to_string(&config).unwrap().contains("alice"));
    }

    /// The first user of a fresh configuration.
    #[test]
    fn a_users_file_that_is_named_and_not_there_is_made() {
        let folder = Folder::with(TEXT);
        let config = folder.0.path().join("ringftpd.toml");
        fs::write(&config, "process.users_file = \"users.toml\"\n").unwrap();
        fs::remove_file(folder.path()).unwrap();
        let target = UserTarget { config: Some(config.clone()), file: None };
        add(&AddArguments { target: target.clone(), ..folder.add("carol") }).unwrap();
        assert!(folder.text().starts_with("[[users]]\nname = \"carol\""), "{}", folder.text());
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o600);
        fs::remove_file(&config).unwrap();
        let message = add(&AddArguments { target, ..folder.add("dave") }).unwrap_err();
        assert!(message.contains("ringftpd.toml") && !config.exists(), "{message}");
    }

    #[track_caller]
    fn refuse(result: Result<String, String>, expected: &str) {
        let message = result.unwrap_err();
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn refusals_change_nothing() {
        let folder = Folder::with(TEXT);
        let target = folder.target();
        refuse(remove(&target, "carol"), "users.toml: there is no user \"carol\"");
        refuse(passwd(&target, "carol", true), "users.toml: there is no user \"carol\"");
        let homeless = AddArguments { home: PathBuf::from("/nonexistent"), ..folder.add("carol") };
        refuse(add(&homeless), "--home: /nonexistent is not a directory; make it first");
        let proofless = AddArguments { no_password: true, ..folder.add("carol") };
        refuse(
            add(&proofless),
            "--no-password needs --certificate-sha256 or --certificate-subject",
        );
        let config = folder.0.path().join("ringftpd.toml");
        fs::write(&config, "process.users_file = \"users.toml\"\n").unwrap();
        let subject = || AddArguments {
            target: UserTarget { config: Some(config.clone()), file: None },
            certificate_subject: Some("CN=carol".to_owned()),
            ..folder.add("carol")
        };
        refuse(add(&subject()), "or give --certificate-sha256");
        assert_eq!(folder.text(), TEXT);
        fs::write(&config, "process.users_file = \"users.toml\"\ntls.client_ca = \"ca\"\n")
            .unwrap();
        add(&subject()).unwrap();
        fs::write(folder.path(), TEXT).unwrap();
        let gone = UserTarget { config: None, file: Some(folder.0.path().join("gone.toml")) };
        refuse(list(&gone), "gone.toml: cannot read: No such file or directory (os error 2)");
        let inline = Folder::with("users = [{ name = \"a\" }]\n");
        refuse(
            remove(&inline.target(), "a"),
            "users.toml: users: is no list of tables; write each user as a [[users]] table",
        );
        let broken = Folder::with("\n\nname = = 1\n");
        let message = list(&broken.target()).unwrap_err();
        assert!(message.contains("users.toml:3: not valid TOML: "), "{message}");
    }

    /// Editors at the same time take turns: no user is lost.
    #[test]
    fn concurrent_edits_are_all_kept() {
        let folder = Folder::new();
        std::thread::scope(|scope| {
            for number in 0..6 {
                let command = folder.add(&format!("user{number}"));
                scope.spawn(move || add(&command).unwrap());
            }
        });
        assert_eq!(list(&folder.target()).unwrap().lines().count(), 1 + 6);
    }
}
