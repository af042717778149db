//! The table against patterns by hand, and against a model that compares every pattern.

use proptest::prelude::*;

use super::*;

fn route(name: &str) -> Arc<Route> {
    Arc::new(Route { name: name.into(), timeout: None, max_body: 1, handling: Handling::default() })
}

/// One route a pattern, named after it.
fn table(patterns: &[&str]) -> RouteTable {
    let routes = patterns.iter().map(|text| route(text)).collect();
    let parsed = patterns.iter().enumerate();
    let parsed = parsed.map(|(index, text)| (Pattern::parse(text).unwrap(), index));
    RouteTable::build(routes, parsed.collect()).unwrap()
}

fn found(table: &RouteTable, method: Method, path: &str) -> Option<String> {
    let route = table.find(&method, path.as_bytes())?;
    Some(route.name.to_string())
}

#[track_caller]
fn expect(table: &RouteTable, method: Method, path: &str, pattern: &str) {
    assert_eq!(found(table, method, path).as_deref(), Some(pattern));
}

#[test]
fn a_single_route_takes_everything() {
    let all = RouteTable::single(Route::clone(&route("all")));
    for path in ["/", "/a/b", "*", ""] {
        assert_eq!(found(&all, Method::OPTIONS, path).as_deref(), Some("all"));
    }
}

#[test]
fn an_empty_table_finds_nothing() {
    assert_eq!(found(&RouteTable::default(), Method::GET, "/"), None);
}

#[test]
fn literals_go_before_parameters_and_parameters_before_the_tail() {
    let table = table(&["/*", "/a/*", "/a/{x}", "/a/b", "/{y}/b"]);
    expect(&table, Method::GET, "/a/b", "/a/b");
    expect(&table, Method::GET, "/a/c", "/a/{x}");
    expect(&table, Method::GET, "/a/c/d", "/a/*");
    expect(&table, Method::GET, "/a/", "/a/*");
    expect(&table, Method::GET, "/a", "/*");
    expect(&table, Method::GET, "/c/b", "/{y}/b");
    expect(&table, Method::GET, "/", "/*");
    expect(&table, Method::OPTIONS, "*", "/*");
}

#[test]
fn a_more_specific_path_of_another_method_does_not_hide_the_match() {
    let table = table(&["POST /a/b", "GET /{x}/b", "/a/*"]);
    expect(&table, Method::POST, "/a/b", "POST /a/b");
    expect(&table, Method::GET, "/a/b", "/a/*");
    expect(&table, Method::GET, "/c/b", "GET /{x}/b");
    assert_eq!(found(&table, Method::POST, "/c/b"), None);
}

#[test]
fn one_of_many_segments_is_found() {
    let texts: Vec<String> = (0..500).map(|number| format!("/api/thing{number}/{{id}}")).collect();
    let table = table(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    for (number, text) in texts.iter().enumerate() {
        expect(&table, Method::GET, &format!("/api/thing{number}/7"), text);
    }
    assert_eq!(found(&table, Method::GET, "/api/thing500/7"), None);
    assert_eq!(found(&table, Method::GET, "/api/thing1\0/7"), None);
}

#[test]
fn a_named_method_goes_before_every_method() {
    let table = table(&["/a", "GET /a"]);
    expect(&table, Method::GET, "/a", "GET /a");
    expect(&table, Method::POST, "/a", "/a");
}

#[test]
fn head_takes_the_get_pattern_unless_head_has_its_own() {
    let table = table(&["GET /a", "/a", "GET /b", "HEAD /b"]);
    expect(&table, Method::HEAD, "/a", "GET /a");
    expect(&table, Method::HEAD, "/b", "HEAD /b");
}

#[test]
fn a_parameter_takes_exactly_one_segment_with_something_in_it() {
    let table = table(&["/a/{x}/c"]);
    expect(&table, Method::GET, "/a/b/c", "/a/{x}/c");
    for path in ["/a//c", "/a/b", "/a/b/c/", "/a/b/b/c", "/a/b/d"] {
        assert_eq!(found(&table, Method::GET, path), None, "{path}");
    }
}

#[test]
fn a_final_slash_is_part_of_the_pattern() {
    let table = table(&["/a/", "/b"]);
    expect(&table, Method::GET, "/a/", "/a/");
    assert_eq!(found(&table, Method::GET, "/a"), None);
    assert_eq!(found(&table, Method::GET, "/b/"), None);
}

#[test]
fn several_methods_share_a_pattern() {
    let table = table(&["GET,POST /a"]);
    expect(&table, Method::POST, "/a", "GET,POST /a");
    assert_eq!(found(&table, Method::PUT, "/a"), None);
}

#[test]
fn the_same_pattern_with_other_parameter_names_is_a_duplicate() {
    let texts = ["GET,POST /a/{x}", "/a/{x}", "POST /a/{y}"];
    let patterns = texts.map(|text| (Pattern::parse(text).unwrap(), 0)).to_vec();
    let duplicates = RouteTable::build(vec![route("a")], patterns).unwrap_err();
    let method = Some(Method::POST);
    assert_eq!(duplicates, [Duplicate { first: 0, second: 2, method }]);
}

#[test]
fn patterns_that_can_never_match_are_refused() {
    let wrong = [
        "",
        "GET",
        "GET ",
        "a",
        "GET a",
        "get /a",
        "G3T /a",
        ",GET /a",
        "GET,GET /a",
        "TRACE /a",
        "//",
        "/a//b",
        "/a//",
        "/.",
        "/a/../b",
        "/a%20b",
        "/a?b",
        "/a#b",
        "/a*",
        "/*/a",
        "/a/*b",
        "/{}",
        "/{a",
        "/a}",
        "/x{a}",
        "/{1a}",
        "/{a-b}",
        "/{a}/{a}",
        "/a b",
        "GET /a POST /b",
        "/a\\b",
        "/a\n",
    ];
    for text in wrong {
        let error = Pattern::parse(text).expect_err(text);
        assert!(text.get(error.at.clone()).is_some(), "{text}: {error:?}");
        assert!(!error.message.is_empty() && !error.help.is_empty(), "{text}");
    }
    let deep = "/a".repeat(65);
    assert!(Pattern::parse(&deep).is_err());
}

#[test]
fn a_pattern_prints_as_it_was_written() {
    for text in ["/", "/*", "/a/", "GET,HEAD /a/{b}/*", "PROPFIND /é/{b_1}"] {
        assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
    }
}

/// How specific a pattern is for this path: a rank a segment, then one for the method.
fn naive_rank(pattern: &Pattern, method: &Method, path: &str) -> Option<Vec<u8>> {
    let mut rank = Vec::new();
    let segments: Vec<&str> = path[1..].split('/').collect();
    let shape = pattern.segments();
    let fits = match pattern.has_tail() {
        true => segments.len() > shape.len(),
        false => segments.len() == shape.len(),
    };
    if !fits {
        return None;
    }
    for (have, want) in segments.iter().zip(shape) {
        match want {
            Segment::Literal(text) if &**text == *have => rank.push(2),
            Segment::Parameter(_) if !have.is_empty() => rank.push(1),
            _ => return None,
        }
    }
    rank.push(0);
    let methods = pattern.methods();
    rank.push(match () {
        () if methods.contains(method) => 2,
        () if *method == Method::HEAD && methods.contains(&Method::GET) => 1,
        () if methods.is_empty() => 0,
        () => return None,
    });
    Some(rank)
}

fn any_pattern() -> impl Strategy<Value = String> {
    let method = prop::sample::select(vec!["", "", "GET ", "HEAD ", "POST ", "GET,POST "]);
    let segment = prop::sample::select(vec!["a", "b", "ab", "c", "abcdefgh", "abcdefghi", "{}"]);
    let end = prop::sample::select(vec!["", "/", "/*"]);
    (method, prop::collection::vec(segment, 0..4), end).prop_map(|(method, segments, end)| {
        let mut text = method.to_owned();
        for (index, segment) in segments.iter().enumerate() {
            let name = format!("{{p{index}}}");
            text.push('/');
            text.push_str(if *segment == "{}" { &name } else { segment });
        }
        text.push_str(if segments.is_empty() && end.is_empty() { "/" } else { end });
        text
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "c", "d", "abcdefgh", "abcdefghi", ""]);
    prop::collection::vec(segment, 1..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #[test]
    fn the_tree_finds_what_comparing_every_pattern_finds(
        texts in prop::collection::vec(any_pattern(), 1..12),
        requests in prop::collection::vec(
            (prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::PUT]), any_path()),
            1..20,
        ),
    ) {
        let mut kept: Vec<(Pattern, usize)> = Vec::new();
        for text in texts {
            let mut with = kept.clone();
            with.push((Pattern::parse(&text).unwrap(), kept.len()));
            let routes = with.iter().map(|(pattern, _)| route(&pattern.to_string())).collect();
            if RouteTable::build(routes, with.clone()).is_ok() {
                kept = with;
            }
        }
        let routes: Vec<_> = kept.iter().map(|(pattern, _)| route(&pattern.to_string())).collect();
        let table = RouteTable::build(routes, kept.clone()).unwrap();
        for (method, path) in requests {
            let best = kept
                .iter()
                .filter_map(|(pattern, _)| Some((naive_rank(pattern, &method, &path)?, pattern)))
                .max_by(|(a, _), (b, _)| a.cmp(b))
                .map(|(_, pattern)| pattern.to_string());
            prop_assert_eq!(found(&table, method, &path), best);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,30}|[A-Z]{0,4} ?[/a.{}*%]{0,12}") {
        match Pattern::parse(&text) {
            Ok(pattern) => {
                prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern));
            }
            Err(error) => prop_assert!(text.get(error.at).is_some()),
        }
    }
}
