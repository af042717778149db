//! The screen: a headline, three charts, the chosen panel or all of them, and what the keys do.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Paragraph, RenderDirection, Row, Sparkline, Table};

use crate::admin::status::{State, Status};
use crate::clock::Tick;

use super::super::columns::{Align, span};
use super::grid::{Grid, Tone, grid};
use super::history::{History, Sample};
use super::numbers::{bytes, rate};
use super::view::{Link, Panel, View};

/// From here on all panels have room at once.
const WIDE: (u16, u16) = (150, 34);

/// Colors, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette {
    pub(super) colors: bool,
}

impl Palette {
    fn of(self, tone: Tone) -> Style {
        let colored = |color: Color| if self.colors { Style::new().fg(color) } else { Style::new() };
        match tone {
            Tone::Head => colored(Color::DarkGray).add_modifier(Modifier::UNDERLINED),
            Tone::Plain => Style::new(),
            Tone::Quiet => colored(Color::DarkGray),
            Tone::Warn => colored(Color::Yellow),
            Tone::Bad => colored(Color::Red),
        }
    }

    fn chart(self, color: Color) -> Style {
        if self.colors { Style::new().fg(color) } else { Style::new() }
    }
}

/// Who this is, and how it is.
pub(super) fn headline(status: &Status) -> String {
    let state = match status.state {
        State::Serving => "serving",
        State::Draining => "draining",
    };
    let ready = if status.ready { "ready" } else { "not ready" };
    let up = span(status.now_ms.saturating_sub(status.started_ms) / 1_000);
    let plural = if status.workers == 1 { "" } else { "s" };
    format!("tollgate {}, {state}, {ready}, up {up}, {} worker{plural}", status.version, status.workers)
}

/// What is counted over all routes, in two lines.
pub(super) fn counts(status: &Status, history: &History) -> [String; 2] {
    let traffic = &status.traffic;
    let per_second = |count: fn(&Sample) -> u64| history.per_second(|sample| count(sample) as f64);
    let flow = |count: fn(&Sample) -> u64| per_second(count).map_or_else(|| "-".to_owned(), bytes);
    [
        format!(
            "requests {} ({}/s), 5xx {} ({}/s), refused {} ({}/s)",
            traffic.requests,
            rate(per_second(|sample| sample.traffic.requests)),
            traffic.errors,
            rate(per_second(|sample| sample.traffic.errors)),
            traffic.throttled,
            rate(per_second(|sample| sample.traffic.throttled)),
        ),
        format!(
            "in flight {}, connections {}/{}, tunnels {}, in {}/s, out {}/s",
            traffic.in_flight,
            traffic.connections,
            traffic.max_connections,
            traffic.tunnels,
            flow(|sample| sample.traffic.bytes_in),
            flow(|sample| sample.traffic.bytes_out),
        ),
    ]
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, palette: Palette, now: Tick) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    let keys = "q quit  tab panel  up/down scroll  o order of talkers  p pause";
    frame.render_widget(Paragraph::new(keys).style(palette.of(Tone::Quiet)), bottom);
    let Some(status) = &view.status else {
        frame.render_widget(Paragraph::new("connecting"), top);
        return;
    };
    draw_headline(frame, top, status, view, palette, now);
    let [charts, figures, tabs, panels] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(middle);
    draw_charts(frame, charts, status, view, palette);
    let [_, figures_text] = counts(status, &view.history);
    frame.render_widget(Paragraph::new(figures_text), figures);
    if panels.width >= WIDE.0 && panels.height >= WIDE.1 {
        draw_all(frame, tabs.union(panels), status, view, palette);
    } else {
        draw_tabs(frame, tabs, view);
        draw_panel(frame, panels, view.panel, status, view, palette);
    }
}

fn draw_headline(
    frame: &mut Frame<'_>,
    area: Rect,
    status: &Status,
    view: &View,
    palette: Palette,
    now: Tick,
) {
    let age = view.age_seconds(now);
    let (tone, link) = match &view.link {
        _ if view.paused => (Tone::Warn, format!("paused, {} old", span(age))),
        Link::Connecting => (Tone::Quiet, "connecting".to_owned()),
        Link::Live if age >= 3 => (Tone::Warn, format!("live, {} old", span(age))),
        Link::Live => (Tone::Plain, "live".to_owned()),
        Link::Lost(why) => (Tone::Bad, format!("disconnected, {} old: {why}", span(age))),
    };
    let is_well = status.ready && status.state == State::Serving;
    let left = Span::styled(headline(status), palette.of(if is_well { Tone::Plain } else { Tone::Bad }));
    frame.render_widget(Paragraph::new(Line::from(left)), area);
    // What is wrong goes before what is known.
    let width = u16::try_from(link.chars().count()).unwrap_or(area.width).saturating_add(2).min(area.width);
    let right = Rect { x: area.right() - width, width, ..area };
    let bold = palette.of(tone).add_modifier(Modifier::BOLD);
    frame.render_widget(ratatui::widgets::Clear, right);
    frame.render_widget(Paragraph::new(link).style(bold).alignment(Alignment::Right), right);
}

fn draw_charts(frame: &mut Frame<'_>, area: Rect, status: &Status, view: &View, palette: Palette) {
    type Count = fn(&Sample) -> u64;
    let charts: [(&str, Color, u64, Count); 3] = [
        ("requests", Color::Cyan, status.traffic.requests, |sample| sample.traffic.requests),
        ("5xx", Color::Red, status.traffic.errors, |sample| sample.traffic.errors),
        ("refused", Color::Yellow, status.traffic.throttled, |sample| sample.traffic.throttled),
    ];
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).spacing(2).areas(area);
    for ((title, color, total, count), area) in charts.into_iter().zip(areas) {
        let [head, chart] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let per_second = rate(view.history.per_second(|sample| count(sample) as f64));
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let line = Line::from(vec![
            Span::styled(format!("{title} {per_second}/s"), bold),
            Span::styled(format!("  {total}"), palette.of(Tone::Quiet)),
        ]);
        frame.render_widget(Paragraph::new(line), head);
        let seconds = view.history.by_second(count);
        let most = seconds.iter().flatten().max().copied().unwrap_or(0).max(1);
        let sparkline = Sparkline::default()
            .data(seconds)
            .max(most)
            .direction(RenderDirection::RightToLeft)
            .style(palette.chart(color));
        frame.render_widget(sparkline, chart);
    }
}

fn draw_tabs(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let mut spans = Vec::new();
    for panel in Panel::ALL {
        let style = match panel == view.panel {
            true => Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD),
            false => Style::new(),
        };
        spans.push(Span::styled(format!(" {} ", panel.title()), style));
        spans.push(Span::raw(" "));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

fn draw_all(frame: &mut Frame<'_>, area: Rect, status: &Status, view: &View, palette: Palette) {
    let [left, right] = Layout::horizontal([Constraint::Fill(5), Constraint::Fill(4)]).spacing(1).areas(area);
    let [routes, limits] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(left);
    let [talkers, refusals, upstream] =
        Layout::vertical([Constraint::Fill(1), Constraint::Fill(1), Constraint::Length(17)]).areas(right);
    for (panel, area) in Panel::ALL.into_iter().zip([routes, limits, talkers, refusals, upstream]) {
        let style = match panel == view.panel {
            true => Style::new().add_modifier(Modifier::BOLD),
            false => palette.of(Tone::Quiet),
        };
        let block = Block::bordered().border_style(style).title(Span::styled(panel.title(), style));
        let inside = block.inner(area);
        frame.render_widget(block, area);
        draw_panel(frame, inside, panel, status, view, palette);
    }
}

fn draw_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    panel: Panel,
    status: &Status,
    view: &View,
    palette: Palette,
) {
    let Grid { columns, mut rows, empty } = grid(panel, status, view);
    let head = match rows.first() {
        Some((Tone::Head, _)) => Some(rows.remove(0)),
        _ => None,
    };
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty).style(palette.of(Tone::Quiet)), area);
        return;
    }
    let all = || head.iter().chain(&rows).map(|(_, cells)| cells);
    let width = |column: usize| {
        let widths = all().filter_map(|cells| cells.get(column)).map(|cell| Line::raw(cell).width());
        u16::try_from(widths.max().unwrap_or(0)).unwrap_or(u16::MAX)
    };
    let gives_way = if head.is_some() { 0 } else { columns.len() - 1 };
    let constraints = (0..columns.len()).map(|column| match column == gives_way {
        true => Constraint::Max(width(column)),
        false => Constraint::Length(width(column)),
    });
    let row = |(tone, cells): &(Tone, Vec<String>)| {
        let cells = cells.iter().zip(columns).map(|(cell, align)| {
            let text = Text::raw(cell.clone());
            Cell::from(if *align == Align::Right { text.right_aligned() } else { text })
        });
        Row::new(cells.collect::<Vec<_>>()).style(palette.of(*tone))
    };
    let room = usize::from(area.height).saturating_sub(usize::from(head.is_some()));
    let skipped = view.scrolled[panel as usize].min(rows.len().saturating_sub(room));
    let mut table = Table::new(rows[skipped..].iter().map(row), constraints).column_spacing(2);
    if let Some(head) = &head {
        table = table.header(row(head));
    }
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests;
