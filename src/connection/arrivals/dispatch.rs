//! For which session a connection at a passive port is, when several wait there. Values in, values
//! out: the port itself is in `gate`.
//!
//! - Where one session of the connection's address waits, and none has left without a connection
//!   that may still come, it is that session's.
//! - Where it may be of several, the tickets in its ClientHello say whose it is, or nobody gets it.
//! - So sessions of one address wait at one port only if tickets tell each of them from each
//!   other: none of them has data connections in the clear, a client that does not resume, or a
//!   client that resumes its other sessions. And no two are of one user, for programs with several
//!   sessions may keep all their tickets in one store, and show with one session's connection what
//!   they were given in another.

/// What is known of a session that waits at a port, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known<'a> {
    /// Who is logged in.
    pub(super) user: Option<&'a str>,
    /// Its data connections can be told by their tickets.
    pub(super) tells: bool,
}

/// How a session fits to those of its address that wait at a port, or have left it without a
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// There are none: its address tells its connections.
    Alone,
    /// There are, and tickets tell them apart.
    ByTickets,
    /// They could be taken for each other.
    Not,
}

/// Whether `new` may wait where `others`, of the same address, do.
pub(super) fn fit<'a>(new: Known<'_>, others: impl IntoIterator<Item = Known<'a>>) -> Fit {
    let told_apart = |other: Known<'_>| {
        new.tells
            && other.tells
            && new.user.is_some()
            && other.user.is_some_and(|user| new.user != Some(user))
    };
    let mut fit = Fit::Alone;
    for other in others {
        if !told_apart(other) {
            return Fit::Not;
        }
        fit = Fit::ByTickets;
    }
    fit
}

/// For whom a connection may be, by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByAddress<T> {
    /// Nobody of this address waits.
    Stranger,
    /// Only for this session.
    For(T),
    /// For one of several: its ClientHello is to be read.
    Unclear,
}

/// `waiting` are the sessions of its address that wait; `missed` says whether there was one more,
/// which left without a connection.
pub(super) fn by_address<T>(waiting: &[T], missed: bool) -> ByAddress<&T> {
    match waiting {
        [] => ByAddress::Stranger,
        [only] if !missed => ByAddress::For(only),
        _ => ByAddress::Unclear,
    }
}

/// For whom a connection is by its ClientHello, which names `named` of those that wait, each once;
/// `None` if it is for nobody: it names none, or several.
pub(super) fn by_claim<T>(named: impl IntoIterator<Item = T>) -> Option<T> {
    let mut named = named.into_iter();
    let first = named.next()?;
    named.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn known(user: &str, tells: bool) -> Known<'_> {
        Known { user: Some(user), tells }
    }

    #[test]
    fn who_may_wait_beside_whom() {
        let (ann, bob, cal) = (known("ann", true), known("bob", true), known("cal", true));
        let nobody = Known { user: None, tells: true };
        for new in [ann, known("ann", false), nobody] {
            assert_eq!(fit(new, []), Fit::Alone);
        }
        assert_eq!(fit(ann, [bob]), Fit::ByTickets);
        assert_eq!(fit(ann, [bob, cal]), Fit::ByTickets);
        // In the clear, or without tickets, on either side.
        assert_eq!(fit(known("ann", false), [bob]), Fit::Not);
        assert_eq!(fit(ann, [known("bob", false)]), Fit::Not);
        assert_eq!(fit(ann, [bob, known("cal", false)]), Fit::Not);
        assert_eq!(fit(known("ann", false), [known("bob", false)]), Fit::Not);
        // One user, or none.
        assert_eq!(fit(ann, [bob, ann]), Fit::Not);
        for (new, other) in [(ann, nobody), (nobody, ann), (nobody, nobody)] {
            assert_eq!(fit(new, [other]), Fit::Not);
        }
    }

    #[test]
    fn whose_a_connection_is() {
        assert_eq!(by_address::<u8>(&[], false), ByAddress::Stranger);
        assert_eq!(by_address::<u8>(&[], true), ByAddress::Stranger);
        assert_eq!(by_address(&[1], false), ByAddress::For(&1));
        assert_eq!(by_address(&[1], true), ByAddress::Unclear);
        assert_eq!(by_address(&[1, 2], false), ByAddress::Unclear);
        assert_eq!(by_address(&[1, 2, 3], true), ByAddress::Unclear);
        assert_eq!(by_claim::<u8>([]), None);
        assert_eq!(by_claim([2]), Some(2));
        assert_eq!(by_claim([2, 3]), None);
    }
}
