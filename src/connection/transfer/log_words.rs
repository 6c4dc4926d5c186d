//! How a transfer ended, in the words of the log: closed lists, the same in `events::words`, for
//! filters and alarms to rely on.

use crate::protocol::file::FileError;
use crate::protocol::session::TransferError;

/// The field `end` of a transfer that ran.
pub(crate) const fn end(result: &Result<(), TransferError>) -> &'static str {
    match result {
        Ok(()) => "complete",
        Err(TransferError::NotOpened) => "not_opened",
        Err(TransferError::HandshakeFailed) => "handshake_failed",
        Err(TransferError::NotResumed(_)) => "not_resumed",
        Err(TransferError::ConnectionLost) => "connection_lost",
        Err(TransferError::Truncated) => "truncated",
        Err(TransferError::Protection) => "protection",
        Err(TransferError::Stalled) => "stalled",
        Err(TransferError::Aborted) => "aborted",
        Err(TransferError::Draining) => "draining",
        Err(TransferError::Storage(error)) => refusal(*error),
    }
}

/// The field `refused` of a transfer that did not begin, and `end` where storage was the reason.
pub(crate) const fn refusal(error: FileError) -> &'static str {
    match error {
        FileError::NotFound => "not_found",
        FileError::PermissionDenied => "permission_denied",
        FileError::OutsideRoot => "outside_root",
        FileError::NotADirectory => "not_a_directory",
        FileError::IsALink => "is_a_link",
        FileError::IsADirectory => "is_a_directory",
        FileError::NotAFile => "not_a_file",
        FileError::AlreadyExists => "already_exists",
        FileError::NotEmpty => "not_empty",
        FileError::NameTooLong => "name_too_long",
        FileError::Loop => "loop",
        FileError::NoSpace => "no_space",
        FileError::Quota => "quota",
        FileError::TooBig => "too_big",
        FileError::ReadOnly => "read_only",
        FileError::Busy => "busy",
        FileError::BeyondEnd => "beyond_end",
        FileError::Shrunk => "shrunk",
        FileError::MountPoint => "mount_point",
        FileError::OtherFilesystem => "other_filesystem",
        FileError::Unsupported => "unsupported",
        FileError::Overloaded => "overloaded",
        FileError::Aborted => "aborted",
        FileError::Io(_) => "io_error",
    }
}

/// The field `errno`: the number behind the word `io_error`.
pub(crate) const fn errno(error: FileError) -> Option<i32> {
    match error {
        FileError::Io(errno) => Some(errno),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;

    #[test]
    fn words() {
        assert_eq!(end(&Ok(())), "complete");
        assert_eq!(end(&Err(TransferError::NotResumed("why".to_owned()))), "not_resumed");
        let failed = FileError::Io(5);
        assert_eq!(end(&Err(TransferError::Storage(failed))), "io_error");
        assert_eq!((errno(failed), errno(FileError::NoSpace)), (Some(5), None));
        assert_eq!(refusal(FileError::NotFound), "not_found");
    }

    /// The texts that the arms of `match` in `source` have, up to its tests.
    fn words_of(source: &str) -> Vec<&str> {
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        let arms = source.split("=> ").skip(1);
        arms.filter_map(|arm| {
            let arm = arm.trim_start_matches('{').trim_start();
            arm.strip_prefix('"')?.split('"').next()
        })
        .collect()
    }

    /// The lists of the events have all words there are, and no others.
    #[test]
    fn every_word_is_listed() {
        let sorted = |mut words: Vec<&'static str>| {
            words.sort_unstable();
            // Given up is given up, a transfer or a request.
            words.dedup();
            words
        };
        let listed = |lists: &[&[events::Word]]| {
            sorted(lists.concat().into_iter().map(|(word, _)| word).collect())
        };
        let own = sorted(words_of(include_str!("log_words.rs")));
        assert!(own.len() > 30, "{own:?}");
        assert_eq!(listed(&[events::TRANSFER, events::STORAGE]), own);
        let ways = words_of(include_str!("path.rs"));
        assert_eq!(listed(&[events::DATA_PATH]), sorted([ways, vec!["none"]].concat()));
        assert_eq!(listed(&[events::WRITE_PATH]), sorted(words_of(include_str!("report.rs"))));
        let resumption = words_of(include_str!("../../tls/probe.rs"));
        assert!(resumption.len() == 9, "{resumption:?}");
        assert_eq!(listed(&[events::RESUMPTION]), sorted([resumption, vec!["none"]].concat()));
    }
}
