//! Addresses as people write them, right and wrong.

use proptest::prelude::*;

use super::*;

fn tcp(host: &str, port: u16) -> Result<UpstreamAddress, AddressError> {
    let host = host.to_owned();
    Ok(UpstreamAddress::Tcp { host, port, tls: false })
}

#[test]
fn addresses_to_listen_on_are_read() {
    let address = |text: &str| Ok(ListenAddress::Tcp(text.parse().unwrap()));
    assert_eq!(parse_listen("127.0.0.1:8080"), address("127.0.0.1:8080"));
    assert_eq!(parse_listen("[::]:0"), address("[::]:0"));
    assert_eq!(parse_listen("unix:/run/a.sock"), Ok(ListenAddress::Unix("/run/a.sock".into())));
    assert_eq!(parse_listen("systemd:http"), Ok(ListenAddress::Passed("http".to_owned())));
}

#[test]
fn addresses_of_the_app_are_read() {
    assert_eq!(parse_upstream("127.0.0.1:8000"), tcp("127.0.0.1", 8000));
    assert_eq!(parse_upstream("http://app_1.local:80/"), tcp("app_1.local", 80));
    let tls = UpstreamAddress::Tcp { host: "app".to_owned(), port: 8443, tls: true };
    assert_eq!(parse_upstream("https://app:8443/"), Ok(tls));
    assert_eq!(parse_upstream("[::1]:8000"), tcp("::1", 8000));
    assert_eq!(parse_upstream("unix:/run/a.sock"), Ok(UpstreamAddress::Unix("/run/a.sock".into())));
}

#[test]
fn a_wrong_address_to_listen_on_is_told_its_form() {
    for (text, help) in [
        (":8080", "`127.0.0.1:8080`"),
        ("*:80", "`0.0.0.0:80`"),
        ("8080", "`127.0.0.1:8080`"),
        ("localhost:8080", "`127.0.0.1:8080`"),
        ("127.0.0.1", "`127.0.0.1:8080`"),
        ("::1", "`[::1]:8080`"),
        ("::1:8080", "brackets"),
        ("fe80::1:2:3:8080", "brackets"),
        ("http://127.0.0.1:80/", "`127.0.0.1:80`"),
        ("https://a", "[listen.tls]"),
        ("1.2.3.4:99999", "65535"),
        ("example.com:80", "IP address"),
        ("unix:run/a", "`unix:/run/a`"),
        ("unix:///run/a", "`unix:/run/a`"),
        ("unix:", "unix:/"),
        ("", "unix:/"),
        ("systemd", "`systemd:http`"),
        ("systemd:", "`systemd:http`"),
        ("systemd:a:b", "`systemd:http`"),
    ] {
        let error = parse_listen(text).expect_err(text);
        assert!(error.help.contains(help), "{text}: {error:?}");
    }
}

#[test]
fn a_wrong_address_of_the_app_is_told_its_form() {
    for (text, help) in [
        ("8000", "`127.0.0.1:8000`"),
        (":8000", "`127.0.0.1:8000`"),
        ("app", "`app:8000`"),
        ("", "`127.0.0.1:8000`"),
        ("app:0", "port"),
        ("app:70000", "65535"),
        ("app:+80", "host:port"),
        ("256.1.1.1:80", "127.0.0.1:80"),
        ("http://app:80/v1", "`app:80`"),
        ("/run/a.sock", "`unix:/run/a.sock`"),
        ("https://app:443/path", "`https://app:443`"),
        ("https://app", "`https://app:8443`"),
        ("::1:80", "`[::1]:80`"),
        ("[::1:80", "brackets"),
        ("[app]:80", "`[::1]:80`"),
        ("a b:80", "host:port"),
        ("a..b:80", "host:port"),
    ] {
        let error = parse_upstream(text).expect_err(text);
        assert!(format!("{error:?}").contains(help), "{text}: {error:?}");
    }
}

#[test]
fn networks_are_read_without_stray_bits() {
    assert_eq!(parse_network("127.0.0.1"), Ok("127.0.0.1/32".parse().unwrap()));
    assert_eq!(parse_network("10.0.0.0/8"), Ok("10.0.0.0/8".parse().unwrap()));
    assert_eq!(parse_network("::ffff:10.0.0.1"), Ok("10.0.0.1/32".parse().unwrap()));
    assert!(parse_network("10.0.0.1/8").unwrap_err().help.contains("`10.0.0.0/8`"));
    for text in ["10.0.0.0/33", "x", "", "::ffff:10.0.0.0/104"] {
        assert!(parse_network(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC*|(unix:|http://)?[0-9a-f:.\\[\\]/]{0,20}") {
        let _ = parse_listen(&text);
        let _ = parse_upstream(&text);
        let _ = parse_network(&text);
    }
}
