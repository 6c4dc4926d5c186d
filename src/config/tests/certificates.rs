//! `[[tls.certificates]]`: what is read, and what is refused where.

use super::*;

#[test]
fn errors_of_certificates() {
    check_errors(
        "[tls]\n[[tls.certificates]]\ncertificate = \"a.pem\"\nnames = [\"a b\", \"*\", \"x.*.y\"]\n\
         [[tls.certificates]]\nkey = \"srv\"\nnames = []\nname = \"x\"",
        &[
            "ringftpd.toml:4: tls.certificates[a.pem].key: is missing",
            "ringftpd.toml:5: tls.certificates[a.pem].certificate: cannot read a.pem: No such file \
             or directory (os error 2)",
            "ringftpd.toml:6: tls.certificates[a.pem].names: \"*\" is not a DNS name such as \
             \"ftp.example.org\" or \"*.example.org\"",
            "ringftpd.toml:6: tls.certificates[a.pem].names: \"a b\" is not a DNS name such as \
             \"ftp.example.org\" or \"*.example.org\"",
            "ringftpd.toml:6: tls.certificates[a.pem].names: \"x.*.y\" is not a DNS name such as \
             \"ftp.example.org\" or \"*.example.org\"",
            "ringftpd.toml:7: tls.certificates[2].certificate: is missing",
            "ringftpd.toml:8: tls.certificates[2].key: srv is not a file",
            "ringftpd.toml:9: tls.certificates[2].names: is empty; leave it out for the names of \
             the certificate",
            "ringftpd.toml:10: tls.certificates[2].name: unknown key; known here: certificate, key, \
             names",
        ],
    );
    check_errors(
        "[[tls.certificates]]\ncertificate = \"ringftpd.toml\"\nkey = \"ringftpd.toml\"\n\
         names = [\"a.example\", \"*.b.example\"]\n\
         [[tls.certificates]]\ncertificate = \"srv/../ringftpd.toml\"\nkey = \"ringftpd.toml\"\n\
         names = [\"c.example\", \"A.Example\"]",
        &[
            "ringftpd.toml:10: tls.certificates[srv/../ringftpd.toml].names: a.example is a name of \
           tls.certificates[ringftpd.toml] already",
        ],
    );
}

#[test]
fn certificates_for_names_are_read() {
    let folder = Folder::new();
    folder.write("chain.pem", "");
    let key = folder.write("key.pem", "");
    fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let text = "anonymous.home = \"srv\"\n[[tls.certificates]]\ncertificate = \"chain.pem\"\n\
                key = \"key.pem\"\nnames = [\"FTP.example.org\", \"*.Example.org\"]\n\
                [[tls.certificates]]\ncertificate = \"chain.pem\"\nkey = \"chain.pem\"";
    let config = folder.load(text, &overrides()).unwrap();
    let [first, second] = &config.settings.certificates[..] else { panic!("{config:?}") };
    assert!(first.chain.ends_with("chain.pem") && first.key.ends_with("key.pem"));
    let names = ["ftp.example.org", "*.example.org"].map(str::to_owned);
    assert_eq!(first.names.as_deref(), Some(&names[..]));
    assert_eq!(second.names, None);
    assert_eq!(
        folder.warnings(&config),
        ["ringftpd.toml:4: tls.certificates[chain.pem].key: key.pem holds secrets and is open to \
          others; remedy: chmod 600 key.pem"]
    );
}
