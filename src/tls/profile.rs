//! TLS profiles: what to optimise for.
//!
//! rustls takes TLS 1.3 whenever both ends have it, and of the groups it knows the one the client
//! prefers. A profile that wants something else reads the ClientHello first, and gives rustls a
//! configuration without other choices.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs;
use rustls::{NamedGroup, SupportedCipherSuite};

use super::client_hello::Offer;

/// What the server prefers where a client leaves it the choice. The reference configuration says
/// what each gives up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsProfile {
    /// TLS 1.3, and the key exchange the client prefers.
    #[default]
    Balanced,
    /// TLS 1.2, whose resumed handshakes need no key exchange. To a client that offers both
    /// versions the server is one of TLS 1.2 alone: the mark that RFC 8446 §4.1.3 asks of a server
    /// that could do better would make the client refuse.
    Throughput,
    /// X25519MLKEM768, at the price of a HelloRetryRequest where the client has it but did not
    /// guess it.
    PostQuantum,
}

/// Names of all key exchange groups, as in the IANA registry.
pub const GROUPS: [&str; 4] = ["X25519", "secp256r1", "secp384r1", POST_QUANTUM];

/// The group that resists a quantum computer.
pub const POST_QUANTUM: &str = "X25519MLKEM768";

impl TlsProfile {
    /// Whether the client's `offer` and the operator's settings allow what the profile prefers.
    pub(super) fn applies(
        self,
        offer: &Offer<'_>,
        suites: &[SupportedCipherSuite],
        groups: &[&'static dyn SupportedKxGroup],
    ) -> bool {
        let is_tls12 = |suite: &&SupportedCipherSuite| suite.tls13().is_none();
        let suite_offered = |suite: &SupportedCipherSuite| offer.has_suite(suite.suite().into());
        let group_offered = |group: &&'static dyn SupportedKxGroup| {
            group.name() != NamedGroup::X25519MLKEM768 && offer.has_group(group.name().into())
        };
        match self {
            Self::Balanced => false,
            // A session without the extended master secret is not worth resuming (RFC 7627 §1).
            Self::Throughput => {
                offer.tls12
                    && offer.extended_master_secret
                    && suites.iter().filter(is_tls12).any(suite_offered)
                    && groups.iter().any(group_offered)
            }
            Self::PostQuantum => offer.tls13 && offer.has_group(NamedGroup::X25519MLKEM768.into()),
        }
    }
}

/// The group of this name, one of [`GROUPS`].
pub(super) fn group_by_name(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    all_groups().into_iter().find(|group| group.name().as_str() == Some(name))
}

/// The groups rustls accepts, in its order.
pub(super) fn all_groups() -> Vec<&'static dyn SupportedKxGroup> {
    aws_lc_rs::default_provider().kx_groups
}
