//! For which session a connection at a passive port is, when several wait there. Values in, values
//! out: the port itself is in `gate`.
//!
//! - Where one session of the connection's address waits, and none has left without a connection
//!   that may still come, it is that session's.
//! - Where sessions wait whose tickets count from any address, it may be of each of these, too.
//! - Where it may be of several, the tickets in its ClientHello say whose it is, or nobody gets it.
//! - So sessions of which one's connections may come from the other's address, above all two of one
//!   address, wait at one port only if tickets tell each of them from each
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
    /// They may come from any address.
    pub(super) elsewhere: bool,
}

/// How a session fits to those that wait at a port, or have left it without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// There are none that it could be taken for: its address tells its connections.
    Alone,
    /// There are, and tickets tell them apart.
    ByTickets,
    /// They could be taken for each other.
    Not,
}

/// Whether `new` may wait where `others` do, of which each is of the same address or not.
pub(super) fn fit<'a>(new: Known<'_>, others: impl IntoIterator<Item = (bool, Known<'a>)>) -> Fit {
    let told_apart = |other: Known<'_>| {
        new.tells
            && other.tells
            && new.user.is_some()
            && other.user.is_some_and(|user| new.user != Some(user))
    };
    let mut fit = Fit::Alone;
    for (same_address, other) in others {
        if !same_address && !new.elsewhere && !other.elsewhere {
            continue;
        }
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
    /// Nobody waits whose it could be.
    Stranger,
    /// Only for this session.
    For(T),
    /// For one of several: its ClientHello is to be read.
    Unclear,
}

/// `waiting` are the sessions of its address that wait; `missed` says whether there was one more,
/// which left without a connection, and `elsewhere` whether others wait whose connections may come
/// from any address.
pub(super) fn by_address<T>(waiting: &[T], missed: bool, elsewhere: bool) -> ByAddress<&T> {
    match waiting {
        [] if !elsewhere => ByAddress::Stranger,
        [only] if !missed && !elsewhere => ByAddress::For(only),
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
        Known { user: Some(user), tells, elsewhere: false }
    }

    /// Beside others of its address.
    fn beside(new: Known<'_>, others: &[Known<'_>]) -> Fit {
        fit(new, others.iter().map(|other| (true, *other)))
    }

    #[test]
    fn who_may_wait_beside_whom() {
        let (ann, bob, cal) = (known("ann", true), known("bob", true), known("cal", true));
        let nobody = Known { user: None, ..ann };
        for new in [ann, known("ann", false), nobody] {
            assert_eq!(fit(new, []), Fit::Alone);
        }
        assert_eq!(beside(ann, &[bob]), Fit::ByTickets);
        assert_eq!(beside(ann, &[bob, cal]), Fit::ByTickets);
        // In the clear, or without tickets, on either side.
        assert_eq!(beside(known("ann", false), &[bob]), Fit::Not);
        assert_eq!(beside(ann, &[known("bob", false)]), Fit::Not);
        assert_eq!(beside(ann, &[bob, known("cal", false)]), Fit::Not);
        assert_eq!(beside(known("ann", false), &[known("bob", false)]), Fit::Not);
        // One user, or none.
        assert_eq!(beside(ann, &[bob, ann]), Fit::Not);
        for (new, other) in [(ann, nobody), (nobody, ann), (nobody, nobody)] {
            assert_eq!(beside(new, &[other]), Fit::Not);
        }
    }

    /// Those whose connections may come from the other's address are as those of one address.
    #[test]
    fn who_may_wait_beside_whom_of_another_address() {
        let (ann, bob, clear) = (known("ann", true), known("bob", true), known("cal", false));
        let wide = |known: Known<'static>| Known { elsewhere: true, ..known };
        for (new, other, expected) in [
            (ann, ann, Fit::Alone),
            (ann, clear, Fit::Alone),
            (wide(ann), bob, Fit::ByTickets),
            (ann, wide(bob), Fit::ByTickets),
            (wide(ann), clear, Fit::Not),
            (clear, wide(ann), Fit::Not),
            (wide(ann), ann, Fit::Not),
        ] {
            assert_eq!(fit(new, [(false, other)]), expected, "{new:?} {other:?}");
        }
        assert_eq!(fit(ann, [(false, clear), (true, bob)]), Fit::ByTickets);
    }

    #[test]
    fn whose_a_connection_is() {
        for missed in [false, true] {
            assert_eq!(by_address::<u8>(&[], missed, false), ByAddress::Stranger);
            assert_eq!(by_address::<u8>(&[], missed, true), ByAddress::Unclear);
        }
        assert_eq!(by_address(&[1], false, false), ByAddress::For(&1));
        assert_eq!(by_address(&[1], true, false), ByAddress::Unclear);
        assert_eq!(by_address(&[1], false, true), ByAddress::Unclear);
        assert_eq!(by_address(&[1, 2], false, false), ByAddress::Unclear);
        assert_eq!(by_address(&[1, 2, 3], true, false), ByAddress::Unclear);
        assert_eq!(by_claim::<u8>([]), None);
        assert_eq!(by_claim([2]), Some(2));
        assert_eq!(by_claim([2, 3]), None);
    }
}
