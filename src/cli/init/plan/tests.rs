use super::super::files;
use super::*;
use crate::config::{Overrides, load};
use crate::gunicorn::{Source, arguments};

fn master(line: &str, listeners: &[Listener]) -> Master {
    let mut settings = Settings::default();
    settings.put(&arguments::read(&arguments::words(line)), Source::CommandLine);
    Master { pid: 7, settings, listeners: listeners.to_vec(), workers: 1, unit: None, unread: Vec::new() }
}

fn tcp(address: &str) -> Listener {
    Listener::Tcp(address.parse().unwrap())
}

fn written(master: Option<&Master>, access: Option<&Access>) -> Vec<(&'static str, String)> {
    files::all(&Plan::of(master, |_| access.cloned()))
}

/// The model of what is written, which must be without problems and warnings.
fn model(line: &str, listeners: &[Listener]) -> crate::config::model::Model {
    let files = written(Some(&master(line, listeners)), None);
    let text = &files[0].1;
    let loaded = load(text, "tollgate.toml", &|_| None, &Overrides::default());
    let loaded = loaded.unwrap_or_else(|report| panic!("{text}\n{}", report.render(false)));
    assert!(loaded.warnings.is_empty(), "{text}\n{}", loaded.warnings.render(false));
    loaded.model
}

#[test]
fn every_kind_of_gunicorn_gets_a_configuration_without_warnings() {
    let socket = Listener::Unix("/run/my app/$app\".sock".to_owned());
    for line in [
        "",
        "-w 4",
        "-w 4 --threads 8 --keep-alive 5",
        "-k gevent --keep-alive 75 --timeout 0",
        "--keep-alive 0 --threads 2",
        "--keep-alive 1 --threads 2 --timeout 1",
        "--timeout 1",
        "--limit-request-line 0 --limit-request-fields 0 --limit-request-field_size 0",
        "--limit-request-line 100 --limit-request-fields 1 --limit-request-field_size 10",
        "--limit-request-line 8190 --limit-request-fields 32768 --limit-request-field_size 65536",
        "-k my.Own -w many --threads x --timeout y --keep-alive z",
    ] {
        for listeners in [&[][..], &[tcp("0.0.0.0:8080")], &[tcp("[::]:8000"), socket.clone()]] {
            model(line, listeners);
        }
    }
    let starter = &written(None, None)[0].1;
    assert!(load(starter, "f", &|_| None, &Overrides::default()).unwrap().warnings.is_empty(), "{starter}");
}

#[test]
fn numbers_follow_gunicorns() {
    let upstream = |line: &str| model(line, &[]).upstream;
    let cap = |line: &str| upstream(line).max_in_flight.map(|cap| format!("{cap:?}"));
    assert!(cap("-w 4 --threads 8").unwrap().contains("32"));
    assert!(cap("-w 4").unwrap().contains('4'));
    assert_eq!(cap("-w 4 -k gevent"), None);
    let idle = |line: &str| upstream(line).idle_timeout.as_millis();
    assert_eq!(
        (idle("--threads 2"), idle("--threads 2 --keep-alive 1"), idle("--threads 2 --keep-alive 9")),
        (1500, 500, 1500)
    );
    let patience = |line: &str| upstream(line).response_timeout.as_secs();
    assert_eq!((patience(""), patience("--threads 2 -t 90"), patience("-t 0")), (29, 90, 60));
    let listen =
        model("--limit-request-line 1000 --limit-request-fields 50 --limit-request-field_size 1000", &[])
            .listen;
    assert_eq!((listen.max_uri, listen.max_headers, listen.max_header_line), (906, 40, 810));
}

#[test]
fn the_address_is_one_that_this_host_reaches_and_not_tollgates_own() {
    let plan = |listeners: &[Listener]| Plan::of(Some(&master("-b 127.0.0.1:9", listeners)), |_| None);
    assert_eq!(plan(&[]).upstream, "127.0.0.1:9", "what the kernel does not say, the settings do");
    assert_eq!(plan(&[tcp("0.0.0.0:8000")]).upstream, "127.0.0.1:8000");
    assert_eq!(plan(&[tcp("[::]:8000")]).upstream, "[::1]:8000");
    assert_eq!(plan(&[tcp("0.0.0.0:8000"), Listener::Unix("/a".to_owned())]).upstream, "unix:/a");
    assert_eq!(plan(&[tcp("127.0.0.1:8080")]).listen.port(), 8081);
}

#[test]
fn the_unit_has_the_group_of_the_socket_where_it_is_a_way_in() {
    let access = |group: &str, is_root, by_group, by_all| Access {
        group: group.to_owned(),
        is_root,
        by_group,
        by_all,
    };
    let unix = master("", &[Listener::Unix("/a".to_owned())]);
    let unit = |access: Option<&Access>| written(Some(&unix), access)[2].1.clone();
    assert!(unit(Some(&access("www-data", false, true, false))).contains("\nSupplementaryGroups=www-data\n"));
    for closed in [access("www-data", false, false, false), access("root", true, true, false)] {
        let text = unit(Some(&closed));
        assert!(text.contains("# SupplementaryGroups=") && text.contains("`umask = 0o007`"), "{text}");
    }
    assert!(!unit(Some(&access("root", true, true, true))).contains("SupplementaryGroups"));
    let over_tcp = &written(Some(&master("", &[tcp("127.0.0.1:8000")])), None)[2].1;
    assert!(over_tcp.contains("After=gunicorn.service") && !over_tcp.contains("[Service]"), "{over_tcp}");
}
