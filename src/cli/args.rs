//! The command line: every flag, its text in `--help`, and its translation into
//! [`Overrides`]. Parses and explains; decides nothing.

#![allow(rustdoc::broken_intra_doc_links, reason = "`--help` shows these comments as they are")]

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use etcetera::BaseStrategy;
use tracing::level_filters::LevelFilter;

use crate::auth::Password;
use crate::config::{self, CpuList, ListenAddress, LogFormat, Overrides, PortRange, Words};
use crate::protocol::account::Permissions;

/// Environment variable with the password of `--user` and of `ringftpd user`.
pub(super) const PASSWORD_VARIABLE: &str = "RINGFTPD_PASSWORD";

/// Environment variable with the state directory.
const STATE_DIR_VARIABLE: &str = "RINGFTPD_STATE_DIR";

/// An FTPS server: FTP over TLS, implicit and explicit.
///
/// Without a command, `ringftpd` is `ringftpd serve`: it shows the working directory read-only to
/// everybody who can connect, over TLS.
#[derive(Debug, Parser)]
#[command(version, about, long_about)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) serve: ServeArguments,
}

const EXAMPLES: &str = "\
Examples:
  Show the working directory to anybody, read-only:
      ringftpd
  Let alice read and write /srv/files; her password is printed:
      ringftpd serve /srv/files --user alice
  The same with a password of your own, on one address, any free port:
      RINGFTPD_PASSWORD=secret ringftpd serve /srv/files --user alice \\
          --implicit 192.0.2.1:0 --explicit none
  Run from a configuration, after checking it:
      ringftpd check-config --config /etc/ringftpd/ringftpd.toml
      ringftpd serve --config /etc/ringftpd/ringftpd.toml
  Begin a configuration with all keys, explained:
      ringftpd reference-config > ringftpd.toml
  Have the running server take a changed configuration, or say what is wrong with it:
      ringftpd ctl reload
  Watch the running server:
      ringftpd ctl top
  See who is on it, and end all sessions from a network:
      ringftpd ctl sessions
      ringftpd ctl kick --address 192.0.2.0/24
  Have a new version of the program take over from the running one:
      ringftpd ctl upgrade
  Make the ticket keys that several nodes have in common, and rotate them each day:
      ringftpd ticket-keys /etc/ringftpd/ticket-keys
  Add a user to the configuration; the password is asked for:
      ringftpd user add --config /etc/ringftpd/ringftpd.toml bob --home /srv/bob

Environment:
  RINGFTPD_PASSWORD   password of --user, and of `ringftpd user add` and `passwd`
  RINGFTPD_STATE_DIR  where the self-signed certificate is kept (see --state-dir)
  RINGFTPD_LOG        log filter such as `warn,ringftpd::login=info`; wins over --log-level

Exit status:
  0  ended as asked    1  bad configuration or failure    2  bad command line";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve files (the default command)
    Serve(ServeArguments),
    /// Check a configuration and print what would run
    ///
    /// Prints every effective value, or every mistake with its file, line and key. Takes the flags
    /// of `serve`, so that their effect shows. No address of it is bound and nothing is written.
    ///
    /// Exit status: 0 without mistakes, else 1. Ports in use and limits of the host show only when
    /// the server starts.
    CheckConfig(CheckArguments),
    /// Print the reference configuration: every key with its default and its meaning
    ReferenceConfig,
    /// Print the events of the log: each with its fields and their words
    ReferenceEvents,
    /// Ask a running server
    Ctl(CtlArguments),
    /// Add, change, remove and list users of a configuration
    #[command(subcommand)]
    User(UserCommand),
    /// Make the file of tls.ticket_keys, or rotate it
    ///
    /// A new file has two keys: one that seals, and the next. Each further run has the next one
    /// seal, makes another next one, and keeps what sealed before, so that its tickets are still
    /// opened.
    /// Run it on one node, say once a day, copy the file to the others and have all of them reload:
    /// none seals with a key that another does not have yet.
    TicketKeys(TicketKeysArguments),
}

/// Arguments of `ticket-keys`.
#[derive(Clone, Debug, Args)]
pub(super) struct TicketKeysArguments {
    /// The file; it is readable by its owner alone
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// How many keys stay: the one that seals, the next, and those before
    #[arg(long, value_name = "COUNT", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(3..=16))]
    pub(super) keep: u8,
}

/// What is asked of a running server, and where.
#[derive(Clone, Debug, Args)]
pub(super) struct CtlArguments {
    /// The server's `control.socket` [default: ctl.sock in $RUNTIME_DIRECTORY, else in
    /// /run/ringftpd (root) or $XDG_RUNTIME_DIR/ringftpd]
    #[arg(long, value_name = "PATH", global = true)]
    pub(super) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: CtlCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum CtlCommand {
    /// Have it read configuration, users and certificates again
    ///
    /// Prints what changed, or every mistake with its file, line and key; then nothing has changed.
    /// Run by root, it reads the files with root's rights and hands them over, for the server may
    /// have given those up.
    ///
    /// Exit status: 0 when it is in force, else 1.
    Reload {
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Have it open log.file and log.xferlog again, which logrotate has moved away
    ///
    /// Exit status: 0 when lines go to the new file, else 1: they go on to the old one.
    Reopen {
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the sessions, one a line: who, from where, since when, and what they do
    ///
    /// SESSION is what `kick` takes and what the log has in its field `session`. Of a transfer, the
    /// octets and the octets a second are those so far.
    Sessions {
        /// Print them as JSON, one a line, and a line behind them that counts them
        #[arg(long)]
        json: bool,
    },
    /// End sessions: with 421, and what they transfer with 426
    ///
    /// Waits until they have ended, for up to 4.5 seconds. Exit status: 0, or 1 when there is no
    /// such session.
    Kick(KickArguments),
    /// End the server as SIGTERM does: after limits.drain_delay no new connections, sessions end,
    /// transfers in progress may finish within limits.shutdown_timeout. Does not wait for that
    Drain {
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the certificates that are served: names, serial number, SHA-256, how long they are
    /// good, and whether their file has another by now
    Certificates {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Change what is logged, until the next reload or `log-level default`
    LogLevel {
        /// A level (off, error, warn, info, debug, trace), a filter such as
        /// warn,ringftpd::login=debug, or `default`: what the configuration says
        #[arg(value_name = "LEVEL|FILTER")]
        filter: String,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Have another process take its place: the program that is at its path now, started as it was
    ///
    /// The new process takes over what is listened on and is ready before the old one stops
    /// accepting: no connection is refused, and none is lost. The old one ends with its sessions,
    /// within limits.shutdown_timeout. If the new one does not become ready, nothing has changed.
    /// Run by root, it reads the files with root's rights and hands them over.
    ///
    /// Exit status: 0 when the new process serves, else 1: the old one does.
    Upgrade {
        /// How long the new process may take until it is ready
        #[arg(
            long,
            value_name = "SECONDS",
            default_value_t = 60,
            value_parser = clap::value_parser!(u32).range(1..=3600)
        )]
        timeout: u32,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what runs: version, whether it is ready, uptime, shards, sessions, transfers
    Status {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what goes on: shards, rates, latencies, sessions, transfers
    ///
    /// In a terminal, a picture that is drawn anew each interval. Keys: up, down, page up, page
    /// down, home and end choose a session; s is another order, p a pause, k ends the session that
    /// is chosen, once you say y; q is the end. Elsewhere the picture of one interval, as a table.
    ///
    /// Rates and latencies are those of the last interval. Exit status: 0, or 1 when the server
    /// does not answer.
    Top(TopArguments),
}

impl CtlCommand {
    /// Whether programs read what is printed.
    pub(super) const fn is_json(&self) -> bool {
        match self {
            Self::Reload { json }
            | Self::Reopen { json }
            | Self::Sessions { json }
            | Self::Kick(KickArguments { json, .. })
            | Self::Drain { json }
            | Self::Certificates { json }
            | Self::LogLevel { json, .. }
            | Self::Upgrade { json, .. }
            | Self::Top(TopArguments { json, .. })
            | Self::Status { json } => *json,
        }
    }
}

/// Arguments of `check-config`.
#[derive(Clone, Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) serve: ServeArguments,
    /// Print values and warnings, or the mistakes, as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Whose sessions to end.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true))]
pub(super) struct KickArguments {
    /// The session of this name, such as 0-17
    #[arg(group = "whom")]
    pub(super) session: Option<String>,
    /// All sessions of this user
    #[arg(long, value_name = "NAME", group = "whom")]
    pub(super) user: Option<String>,
    /// All sessions from this address or network, such as 192.0.2.1 or 2001:db8::/32
    #[arg(long, value_name = "ADDRESS[/BITS]", group = "whom")]
    pub(super) address: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// How `ctl top` shows what goes on.
#[derive(Clone, Debug, Args)]
pub(super) struct TopArguments {
    /// How often the server is asked: 0.1 to 3600 seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_interval)]
    pub(super) interval: Duration,
    /// Print a line of JSON each interval
    #[arg(long)]
    pub(super) json: bool,
    /// End after so many lines
    #[arg(
        long,
        value_name = "N",
        requires = "json",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(super) count: Option<u32>,
}

/// Flags of `serve`. Each wins over the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ServeArguments {
    /// Directory to serve [default: the working directory]
    ///
    /// Shown read-only to `anonymous`, or read-write to the user of --user. Not allowed together
    /// with a configuration that has users: each of them has a home of its own.
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,

    /// Configuration file (TOML)
    ///
    /// Without one: implicit TLS on port 990 and explicit on 21 where that is permitted and the
    /// ports are free, else on 9990 and 2121, on all addresses.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Where to take implicit TLS: ADDR:PORT, :PORT for all addresses, or `none`
    ///
    /// May be given several times. Port 0 picks a free port, which is printed. Examples:
    /// 192.0.2.1:990, [::1]:990, :990, none.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(super) implicit: Vec<Listen>,

    /// Where to take explicit TLS (AUTH TLS); written like --implicit
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(super) explicit: Vec<Listen>,

    /// CPUs that get a shard each, such as 0-3,8 [default: all]
    #[arg(long, value_name = "LIST")]
    pub(super) cpus: Option<CpuList>,

    /// Make one user who may read and write DIR
    ///
    /// It takes the place of `anonymous`, who then cannot log in. The password is that of the
    /// environment variable RINGFTPD_PASSWORD; without it one is made and printed.
    #[arg(long, value_name = "NAME", value_parser = config::user_name)]
    pub(super) user: Option<String>,

    /// Certificate chain (PEM), the server's own first [default: self-signed, made once]
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<PathBuf>,

    /// Private key (PEM) of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,

    /// Ports for passive data connections, such as 50000-50999 [default: any free port]
    #[arg(long, value_name = "LO-HI")]
    pub(super) passive_ports: Option<PortRange>,

    /// Where the self-signed certificate is kept
    ///
    /// Default: RINGFTPD_STATE_DIR, else $XDG_STATE_HOME/ringftpd, else ~/.local/state/ringftpd.
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,

    /// Take over from the running server whose control socket is at PATH (of the configuration's
    /// control.socket where no PATH is given): it accepts until this one is ready, and then ends
    /// with its sessions. `ringftpd ctl upgrade` is easier. `-` is standard input, for that command
    #[arg(long, value_name = "PATH", require_equals = true)]
    pub(super) take_over: Option<Option<PathBuf>>,

    /// Form of the log on standard error: text or json [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = parse_word::<LogFormat>)]
    pub(super) log_format: Option<LogFormat>,

    /// Log level: off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = parse_word::<LevelFilter>)]
    pub(super) log_level: Option<LevelFilter>,
}

/// One `--implicit` or `--explicit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    /// The listener is off.
    None,
    /// An address.
    At(ListenAddress),
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user
    ///
    /// The password is that of the environment variable RINGFTPD_PASSWORD, or is made and printed
    /// with --generate, or is asked for. It is stored as an argon2id hash. Comments and order of
    /// the file stay; the file is replaced at once and belongs to its owner alone (mode 600).
    Add(AddArguments),
    /// Change a user's password
    Passwd {
        #[command(flatten)]
        target: UserTarget,
        /// Name of the user
        name: String,
        /// Make a password and print it
        #[arg(long)]
        generate: bool,
    },
    /// Remove a user
    Remove {
        #[command(flatten)]
        target: UserTarget,
        /// Name of the user
        name: String,
    },
    /// List the users: name, home, permissions, how they log in
    List {
        #[command(flatten)]
        target: UserTarget,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `user add`.
#[derive(Clone, Debug, Args)]
pub(super) struct AddArguments {
    #[command(flatten)]
    pub(super) target: UserTarget,
    /// Name of the user
    #[arg(value_parser = config::user_name)]
    pub(super) name: String,
    /// Directory the user sees as /
    #[arg(long, value_name = "DIR")]
    pub(super) home: PathBuf,
    /// Permissions, separated by commas: read, list, write (or of its parts create, overwrite,
    /// chmod, mtime), append, delete, rename, mkdir
    #[arg(
        long,
        value_name = "LIST",
        default_value = "read,list",
        value_parser = parse_permissions
    )]
    pub(super) permissions: Permissions,
    /// Count uploads as complete that end without TLS close_notify; then cut ones pass for complete
    #[arg(long)]
    pub(super) lax_upload_eof: bool,
    /// SHA-256 fingerprint of the client certificate that logs this user in
    #[arg(long, value_name = "HEX", value_parser = parse_fingerprint)]
    pub(super) certificate_sha256: Option<String>,
    /// Subject of that certificate, such as CN=alice,O=Example (needs tls.client_ca)
    #[arg(long, value_name = "SUBJECT", value_parser = parse_subject)]
    pub(super) certificate_subject: Option<String>,
    /// Make a password and print it
    #[arg(long)]
    pub(super) generate: bool,
    /// No password: log-in by certificate only
    #[arg(long, conflicts_with = "generate")]
    pub(super) no_password: bool,
}

/// Which file holds the users.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct UserTarget {
    /// Configuration file with the users, or with the users file (process.users_file) that has
    /// them; `user add` makes that one if it is not there
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Users file; `user add` makes it if it is not there
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

impl ServeArguments {
    /// What the flags and the environment ask for.
    pub(super) fn overrides(&self) -> Result<Overrides, String> {
        let state_dir = self.state_dir.clone().or_else(|| {
            let named = env::var_os(STATE_DIR_VARIABLE).filter(|value| !value.is_empty());
            named.map(PathBuf::from).or_else(default_state_dir)
        });
        Ok(Overrides {
            directory: self.directory.clone(),
            user: self.user.clone(),
            password: if self.user.is_some() { password_of_environment()? } else { None },
            password_hash: None,
            implicit: listeners("--implicit", &self.implicit)?,
            explicit: listeners("--explicit", &self.explicit)?,
            cpus: self.cpus.clone(),
            certificate: self.cert.clone().zip(self.key.clone()),
            passive_ports: self.passive_ports,
            state_dir,
            log_format: self.log_format,
            log_level: self.log_level,
            is_root: rustix::process::geteuid().is_root(),
        })
    }
}

/// The password in `RINGFTPD_PASSWORD`, if it is set.
pub(super) fn password_of_environment() -> Result<Option<Password>, String> {
    match env::var(PASSWORD_VARIABLE) {
        Ok(password) => Password::new(password)
            .map(Some)
            .map_err(|error| format!("{PASSWORD_VARIABLE}: {error}")),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{PASSWORD_VARIABLE} is not UTF-8")),
    }
}

fn default_state_dir() -> Option<PathBuf> {
    let strategy = etcetera::base_strategy::Xdg::new().ok()?;
    Some(strategy.state_dir()?.join("ringftpd"))
}

fn listeners(flag: &str, given: &[Listen]) -> Result<Option<Vec<ListenAddress>>, String> {
    if given.len() > 1 && given.contains(&Listen::None) {
        return Err(format!("{flag} none contradicts the other {flag}"));
    }
    let addresses = given.iter().filter_map(|listen| match listen {
        Listen::None => None,
        Listen::At(address) => Some(address.clone()),
    });
    Ok((!given.is_empty()).then(|| addresses.collect()))
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    if text == "none" { Ok(Listen::None) } else { text.parse().map(Listen::At) }
}

fn parse_word<T: Words>(text: &str) -> Result<T, String> {
    T::of_word(text).ok_or_else(|| {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
        format!("not one of {}", words.join(", "))
    })
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("not between 0.1 and 3600 seconds".to_owned())
    }
}

fn parse_permissions(text: &str) -> Result<Permissions, String> {
    let mut permissions = Permissions::NONE;
    text.split(',').try_for_each(|word| config::permission_word(word.trim(), &mut permissions))?;
    Ok(permissions)
}

fn parse_fingerprint(text: &str) -> Result<String, String> {
    config::parse_fingerprint(text).map(|_| text.to_owned())
}

fn parse_subject(text: &str) -> Result<String, String> {
    config::certificate_subject(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("ringftpd").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_command() {
        for line in ["srv --user alice", "serve srv --user alice"] {
            let arguments = parse(line).unwrap();
            let serve = match arguments.command {
                Some(Command::Serve(serve)) => serve,
                None => arguments.serve,
                Some(other) => panic!("{other:?}"),
            };
            assert_eq!(serve.directory, Some(PathBuf::from("srv")));
            assert_eq!(serve.user.as_deref(), Some("alice"));
        }
    }

    #[track_caller]
    fn check_listeners(line: &str, implicit: Option<&[&str]>) {
        let serve = parse(line).unwrap().serve;
        let addresses = serve
            .overrides()
            .unwrap()
            .implicit
            .map(|addresses| addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected =
            implicit.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(addresses, expected);
    }

    #[test]
    fn listeners_and_none() {
        check_listeners("", None);
        check_listeners("--implicit none", Some(&[]));
        check_listeners("--implicit 990", Some(&[":990"]));
        check_listeners(
            "--implicit 127.0.0.1:0 --implicit [::1]:0",
            Some(&["127.0.0.1:0", "[::1]:0"]),
        );
        let both = parse("--implicit none --implicit :1").unwrap().serve.overrides().unwrap_err();
        assert_eq!(both, "--implicit none contradicts the other --implicit");
    }

    #[track_caller]
    fn refuse(line: &str, part: &str) {
        let message = parse(line).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn refuses() {
        refuse("--cert a.pem", "--key <FILE>");
        refuse("--implicit nowhere", "\"nowhere\" is not an address; write 192.0.2.1:990");
        refuse("--passive-ports 9-7", "\"9-7\" is reversed; write \"7-9\"");
        refuse("--cpus x", "\"x\" is not a list of CPUs");
        refuse("--log-level loud", "not one of off, error, warn, info, debug, trace");
        refuse("user list", "--config <FILE>|--file <FILE>");
        refuse("user list --file a --config b", "cannot be used with");
        refuse("ctl top --count 3", "--json");
        refuse("ctl top --interval 0", "not between 0.1 and 3600 seconds");
        refuse("ctl top --interval NaN", "not between 0.1 and 3600 seconds");
        refuse("user add --file a b --home c --permissions fly", "\"fly\" is not a permission");
        refuse("user add --file a b --home c --certificate-sha256 12", "not a SHA-256 fingerprint");
    }

    #[test]
    fn help_shows_examples_and_every_variable() {
        let help = Arguments::command().render_long_help().to_string();
        for part in ["Examples:", PASSWORD_VARIABLE, STATE_DIR_VARIABLE, "RINGFTPD_LOG"] {
            assert!(help.contains(part), "{part}");
        }
    }
}
