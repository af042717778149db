use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::super::fixture::status;
use super::*;

fn drawn(view: &View, width: u16, height: u16, colors: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, Palette { colors }, Tick(9_000_000_000))).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect()
}

fn view() -> View {
    let mut view = View::new(Tick(0));
    for second in 0..10u64 {
        let mut status = status();
        status.now_ms += second * 1_000;
        status.traffic.requests += second * 40;
        status.routes[0].requests += second * 25;
        view.take(Box::new(status), Tick(second * 1_000_000_000));
    }
    view
}

#[test]
fn everything_has_its_place_on_80_by_24() {
    let mut view = view();
    let of = |view: &View| lines(&drawn(view, 80, 24, true));
    let routes = of(&view);
    assert!(routes[0].starts_with("tollgate 0.1.0, serving, ready, up 3 h 17 min, 4 workers"), "{routes:#?}");
    assert!(routes[0].ends_with("live"), "{routes:#?}");
    assert!(routes[1].starts_with("requests 40.0/s") && routes[1].contains("5xx 0/s"), "{routes:#?}");
    assert!(routes[5].contains("in flight 13, connections 212/20000"), "{routes:#?}");
    assert!(routes[8].starts_with("query") && routes[8].contains("25.0"), "{routes:#?}");
    assert!(routes[8].contains("89.0  276  685"), "{routes:#?}");
    assert!(routes[7].ends_with("wait p99") && routes[8].ends_with("124"), "{routes:#?}");
    assert!(routes[23].starts_with("q quit"), "{routes:#?}");
    view.panel = Panel::Limits;
    let limits = of(&view);
    assert!(limits[9].contains("alice at query") && limits[9].contains("0 of 30 left"), "{limits:#?}");
    view.panel = Panel::Talkers;
    let talkers = of(&view);
    assert!(talkers[8].contains("\\u{1b}[31mmallory") && talkers[8].contains("60321"), "{talkers:#?}");
    view.panel = Panel::Refusals;
    assert!(of(&view)[8].starts_with("alice"), "{:#?}", of(&view));
    view.panel = Panel::Upstream;
    let upstream = of(&view).join("\n");
    for told in [
        "gunicorn.sock, up",
        "up, 4 of 4 in flight, 9 of 64 waiting",
        "down, 0 of 12 (auto) in flight",
        "21900 waited, refused: 3 full, 14 timed out, 2 shed",
        "breaker       query, half open",
        "must be at least 1",
        "emf, 12 lines",
        "blocked  address `203.0.113.77`",
    ] {
        assert!(upstream.contains(told), "{told} in\n{upstream}");
    }
}

#[test]
fn a_large_terminal_shows_all_panels_at_once_and_a_tiny_one_does_not_fall_over() {
    let text = lines(&drawn(&view(), 180, 50, true)).join("\n");
    for panel in Panel::ALL {
        assert!(text.contains(panel.title()), "{text}");
    }
    for told in ["query", "alice at query", "mallory", "gunicorn.sock"] {
        assert!(text.contains(told), "{told} in\n{text}");
    }
    for (width, height) in [(1, 1), (2, 5), (20, 3), (10, 40), (200, 2)] {
        drawn(&view(), width, height, true);
    }
}

#[test]
fn without_color_there_is_none() {
    let mut view = view();
    view.link = Link::Lost("gone".to_owned());
    for panel in Panel::ALL {
        view.panel = panel;
        let colored = |colors| {
            let buffer = drawn(&view, 80, 24, colors);
            buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
        };
        assert!(!colored(false), "{panel:?}");
        assert!(colored(true), "{panel:?}");
    }
}

#[test]
fn a_lost_connection_is_told_with_the_age_of_what_is_shown() {
    let mut view = view();
    view.came = Tick(2_000_000_000);
    view.link = Link::Lost("nothing listens at `127.0.0.1:9180`".to_owned());
    let line = lines(&drawn(&view, 80, 24, true)).remove(0);
    assert!(line.ends_with("disconnected, 7 s old: nothing listens at `127.0.0.1:9180`"), "{line}");
    view.paused = true;
    assert!(lines(&drawn(&view, 80, 24, true))[0].ends_with("paused, 7 s old"));
}

#[test]
fn a_panel_scrolls_to_its_last_row_and_not_beyond() {
    let mut view = view();
    if let Some(status) = &mut view.status {
        let route = status.routes[0].clone();
        status.routes = (0..50).map(|n| RouteOf(&route, n).into()).collect();
    }
    view.scrolled = [1_000; 5];
    let shown = lines(&drawn(&view, 80, 24, true));
    assert!(shown[22].starts_with("route-49"), "{shown:#?}");
}

struct RouteOf<'a>(&'a crate::admin::status::RouteStatus, usize);

impl From<RouteOf<'_>> for crate::admin::status::RouteStatus {
    fn from(RouteOf(route, number): RouteOf<'_>) -> Self {
        Self { name: format!("route-{number}"), ..route.clone() }
    }
}
