//! The addresses that replies to PASV show, by who asks.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;
use toml::de::DeValue;

use super::document::Section;
use super::kind::{Scalar, Value, quoted};
use super::value::string;
use crate::protocol::policy::VirtualHost;

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownAddress {
    /// The address that the client has connected to.
    Control,
    /// This one.
    Host(Ipv4Addr),
    /// That of a name, looked up while the server runs.
    Name(String),
}

/// To whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Clients of this network, or all.
    clients: Option<IpNet>,
    shown: ShownAddress,
}

/// Rules in their order; the first that fits a client counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassiveAddresses(Vec<Rule>);

impl PassiveAddresses {
    /// What this client is shown; without a rule for it, [`ShownAddress::Control`].
    #[must_use]
    pub fn shown_to(&self, client: IpAddr) -> &ShownAddress {
        let client = client.to_canonical();
        let fits = |rule: &&Rule| rule.clients.is_none_or(|network| network.contains(&client));
        self.0.iter().find(fits).map_or(&ShownAddress::Control, |rule| &rule.shown)
    }

    /// The names that have to be looked up.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|rule| match &rule.shown {
            ShownAddress::Name(name) => Some(name.as_str()),
            ShownAddress::Control | ShownAddress::Host(_) => None,
        })
    }

    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        let rules = match value.as_array() {
            None => vec![string(value)?.parse()?],
            Some(rules) => {
                let rule = |item: &DeValue<'_>| string(item)?.parse();
                rules.iter().map(|item| rule(item.get_ref())).collect::<Result<Vec<Rule>, _>>()?
            }
        };
        let for_all = rules.iter().position(|rule| rule.clients.is_none());
        match for_all {
            Some(place) if place + 1 < rules.len() => Err(format!(
                "\"{}\" is for all clients, and \"{}\" behind it for none; put it last",
                rules[place],
                rules[place + 1]
            )),
            _ => Ok(Self(rules)),
        }
    }
}

impl Value for PassiveAddresses {
    type Bounds = ();

    fn kind() -> String {
        "[NETWORK ]ADDRESS, [NETWORK ]control or [NETWORK ]NAME, or a list of them".to_owned()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, (): &()) -> Option<Self> {
        section.get(key, Self::parse)
    }

    fn toml(&self) -> Option<String> {
        let rules: Vec<_> = self.0.iter().map(|rule| quoted(&rule.to_string())).collect();
        match rules.as_slice() {
            [] => None,
            [rule] => Some(rule.clone()),
            rules => Some(format!("[{}]", rules.join(", "))),
        }
    }

    fn show(&self) -> String {
        self.0.iter().map(Rule::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (clients, shown) = match text.trim().split_once(' ') {
            Some((network, shown)) => {
                let network = DeValue::String(network.into());
                (Some(IpNet::parse(&network, &())?), shown.trim_start())
            }
            None => (None, text.trim()),
        };
        Ok(Self { clients, shown: shown.parse()? })
    }
}

impl FromStr for ShownAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "control" {
            return Ok(Self::Control);
        }
        let is_host = |address: &Ipv4Addr| {
            !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
        };
        if let Some(address) = text.parse().ok().filter(is_host) {
            return Ok(Self::Host(address));
        }
        // A number is an address that is wrong, and no name (RFC 1123 §2.1).
        let has_letter = text
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().any(|octet| octet.is_ascii_alphabetic()));
        if has_letter && text.parse::<VirtualHost>().is_ok() {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(format!(
            "\"{text}\" is neither the IPv4 address of a host nor a name; write it as \
             \"203.0.113.7\", \"ftp.example.org\" or \"control\""
        ))
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = &self.clients {
            write!(f, "{} ", network.text())?;
        }
        match &self.shown {
            ShownAddress::Control => f.write_str("control"),
            ShownAddress::Host(address) => write!(f, "{address}"),
            ShownAddress::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: toml::Value) -> Result<PassiveAddresses, String> {
        let text = format!("a = {value}");
        let table = toml::de::DeTable::parse(&text).unwrap();
        PassiveAddresses::parse(table.get_ref().get("a").unwrap().get_ref())
    }

    fn list(rules: &[&str]) -> toml::Value {
        rules.iter().map(|rule| toml::Value::from(*rule)).collect::<Vec<_>>().into()
    }

    #[test]
    fn the_first_rule_that_fits() {
        let rules =
            ["10.0.0.0/8 control", "192.0.2.5 198.51.100.1", "2001:db8::/32 v6.example.org"];
        let addresses = parse(list(&[&rules[..], &["ftp.example.org"]].concat())).unwrap();
        let host = |text: &str| ShownAddress::Host(text.parse().unwrap());
        let name = |text: &str| ShownAddress::Name(text.to_owned());
        for (client, expected) in [
            ("10.1.2.3", ShownAddress::Control),
            ("::ffff:10.1.2.3", ShownAddress::Control),
            ("192.0.2.5", host("198.51.100.1")),
            ("192.0.2.6", name("ftp.example.org")),
            ("2001:db8::1", name("v6.example.org")),
            ("::1", name("ftp.example.org")),
        ] {
            assert_eq!(*addresses.shown_to(client.parse().unwrap()), expected, "{client}");
        }
        assert_eq!(addresses.names().collect::<Vec<_>>(), ["v6.example.org", "ftp.example.org"]);
        let again = addresses.toml().unwrap();
        assert_eq!(
            parse(format!("a = {again}").parse::<toml::Table>().unwrap()["a"].clone()),
            Ok(addresses)
        );
        let inside = parse(list(&rules[..1])).unwrap();
        assert_eq!(*inside.shown_to("192.0.2.1".parse().unwrap()), ShownAddress::Control);
        assert_eq!(parse("203.0.113.7".into()).unwrap().show(), "203.0.113.7");
        assert_eq!(PassiveAddresses::default().toml(), None);
    }

    #[test]
    fn what_is_no_rule() {
        for (value, expected) in [
            ("::1".into(), "\"::1\" is neither the IPv4 address of a host nor a name; write it as"),
            ("0.0.0.0".into(), "\"0.0.0.0\" is neither"),
            ("203.0.113".into(), "\"203.0.113\" is neither"),
            ("10.0.0.1/8 control".into(), "has bits behind its 8"),
            ("inside control".into(), "\"inside\" is no network"),
            (list(&["a.example", "10.0.0.0/8 control"]), "\"a.example\" is for all clients, and"),
            (7.into(), "expected text, found 7"),
        ] {
            let error = parse(value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
