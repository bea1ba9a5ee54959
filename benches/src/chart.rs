//! A picture of a run: what a call costs each proxy, and how many it makes.

use std::{fmt::Write, ops::Range};

use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Circle, DrawingArea, EmptyElement, IntoDrawingArea, IntoLogRange,
        PathElement, RGBColor, SVGBackend, Text,
    },
    style::{
        Color, IntoFont, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{
    message::Payload,
    report::{self, Run, Sample, median},
    subjects::{BARE, DIRECT, HTTP_LEGACY, HTTP_MODERN, HTTP_STDIO, MULTIPLEXER, STDIO_STDIO},
    web::Error,
};

const WIDTH: u32 = 880;
/// Where the names of the rows end.
const NAMES: u32 = 190;
const ROW: u32 = 24;
const HEAD: u32 = 40;
/// Above and below the rows of a panel.
const TITLE: u32 = 30;
const SCALE: u32 = 30;

const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x1c, 0x24, 0x30);
const FAINT: RGBColor = RGBColor(0x5b, 0x66, 0x78);
const GRID: RGBColor = RGBColor(0xe2, 0xe6, 0xec);
const OURS: RGBColor = RGBColor(0x2f, 0x6f, 0xd0);
const YARDSTICK: RGBColor = RGBColor(0x7a, 0x86, 0x99);
const PEER: RGBColor = RGBColor(0xd9, 0x73, 0x1a);

/// The same colours where it is dark.
const DARK: [(RGBColor, &str); 7] = [
    (PAPER, "#161b22"),
    (INK, "#e8ecf2"),
    (FAINT, "#a3aec0"),
    (GRID, "#2c333e"),
    (OURS, "#6ea2e8"),
    (YARDSTICK, "#8a95a8"),
    (PEER, "#f0a35e"),
];

/// One line of the picture.
enum Row<'a> {
    Way(&'a str),
    Subject {
        who: &'a str,
        cpu: Option<f64>,
        rate: f64,
    },
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The picture as SVG, of the smallest results with so many calls at once.
pub fn of(run: &Run, concurrency: usize) -> Result<String, Error> {
    let payload = run.samples.iter().map(|it| it.payload).min();
    let payload = payload.ok_or("nothing was measured")?;
    let rows = rows(&run.samples, payload, concurrency);
    let height = HEAD + TITLE + SCALE + ROW * u32::try_from(rows.len())?;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&PAPER)?;
        let heading = format!(
            "Results of {}, {concurrency} calls at once",
            payload.title()
        );
        root.draw(&Text::new(heading, (18, 14), style(INK, 17)))?;
        let (_, below) = root.split_vertically(HEAD);
        let (left, charts) = below.split_horizontally(NAMES);
        names(&left, &rows)?;
        let (costs, rates) = charts.split_horizontally((WIDTH - NAMES) / 2);
        panel(
            &costs,
            "the proxy's CPU a call, µs (less is better)",
            &rows,
            cost,
        )?;
        panel(&rates, "calls a second (more is better)", &rows, rate)?;
        root.present()?;
    }
    Ok(for_both_themes(&svg))
}

/// Everybody who was asked this, by the ways.
fn rows(samples: &[Sample], payload: Payload, concurrency: usize) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for way in [HTTP_LEGACY, HTTP_MODERN, HTTP_STDIO, STDIO_STDIO] {
        let names = report::names(samples, way);
        let subjects = names.into_iter().filter_map(|who| {
            let its = report::of(samples, way, who, payload, concurrency);
            let cpu: Vec<_> = its.iter().filter_map(|it| it.cpu).collect();
            let rates: Vec<_> = its.iter().map(|it| it.measured.rate()).collect();
            Some(Row::Subject {
                who,
                cpu: median(&cpu),
                rate: median(&rates)?,
            })
        });
        let subjects: Vec<_> = subjects.collect();
        if !subjects.is_empty() {
            rows.push(Row::Way(way));
            rows.extend(subjects);
        }
    }
    rows
}

fn cost(row: &Row) -> Option<f64> {
    match row {
        Row::Subject { cpu, .. } => *cpu,
        Row::Way(_) => None,
    }
}

fn rate(row: &Row) -> Option<f64> {
    match row {
        Row::Subject { rate, .. } => Some(*rate),
        Row::Way(_) => None,
    }
}

fn names(area: &Area, rows: &[Row]) -> Result<(), Error> {
    for (number, row) in (0..).zip(rows) {
        let (name, style, x) = match row {
            Row::Way(way) => (*way, style(INK, 14), 18),
            Row::Subject { who, .. } => (*who, style(color(who), 14), 30),
        };
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        let middle = i32::try_from(TITLE + ROW * number + ROW / 2)?;
        area.draw(&Text::new(name, (x, middle), style))?;
    }
    Ok(())
}

/// A dot for each row, on a logarithmic scale.
fn panel(
    area: &Area,
    title: &str,
    rows: &[Row],
    value: fn(&Row) -> Option<f64>,
) -> Result<(), Error> {
    let Some(range) = decades(rows.iter().filter_map(value)) else {
        return Ok(());
    };
    let least = range.start;
    let title_style = style(FAINT, 13);
    area.draw(&Text::new(title, (10, 8), title_style))?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(TITLE)
        .margin_left(10)
        .margin_right(46)
        .x_label_area_size(SCALE)
        .build_cartesian_2d(range.log_scale(), rows.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(PAPER)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(6)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .x_label_style(style(FAINT, 12))
        .draw()?;
    for (number, row) in rows.iter().enumerate() {
        let (Row::Subject { who, .. }, Some(value)) = (row, value(row)) else {
            continue;
        };
        let at = (value, number as f64 + 0.5);
        let color = color(who);
        let line = PathElement::new(vec![(least, at.1), at], color.stroke_width(2));
        chart.draw_series([line])?;
        let label = style(INK, 12).pos(Pos::new(HPos::Left, VPos::Center));
        let dot = EmptyElement::at(at)
            + Circle::new((0, 0), 5, color.filled())
            + Text::new(format!("{value:.0}"), (10, 0), label);
        chart.draw_series([dot])?;
    }
    Ok(())
}

/// The powers of ten around all values.
fn decades(values: impl Iterator<Item = f64> + Clone) -> Option<Range<f64>> {
    let least = values.clone().reduce(f64::min)?;
    let greatest = values.reduce(f64::max)?;
    Some(10f64.powf(least.log10().floor())..10f64.powf(greatest.log10().ceil()))
}

fn color(who: &str) -> RGBColor {
    match who {
        MULTIPLEXER => OURS,
        DIRECT | BARE => YARDSTICK,
        _ => PEER,
    }
}

fn style(color: RGBColor, size: u32) -> TextStyle<'static> {
    ("system-ui, sans-serif", size).into_font().color(&color)
}

/// The picture with its colours for a dark page beside those for a light one.
fn for_both_themes(svg: &str) -> String {
    let mut style = String::from("<style>@media (prefers-color-scheme: dark) {");
    for (RGBColor(red, green, blue), dark) in DARK {
        let light = format!("#{red:02X}{green:02X}{blue:02X}");
        let _ = write!(
            style,
            " [fill=\"{light}\"] {{ fill: {dark}; }} [stroke=\"{light}\"] {{ stroke: {dark}; }}"
        );
    }
    style.push_str(" }</style>");
    // After the opening tag.
    match svg.split_once('>') {
        Some((tag, rest)) => format!("{tag}>\n{style}{rest}"),
        None => svg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Measured;

    #[test]
    fn every_colour_has_one_for_the_dark() {
        let sample = |who: &str, cpu| Sample {
            who: who.to_owned(),
            way: HTTP_LEGACY.to_owned(),
            payload: Payload::Text(64),
            concurrency: 16,
            round: 0,
            cpu,
            memory: None,
            measured: Measured {
                calls: 100,
                seconds: 0.5,
                ..Measured::default()
            },
        };
        let run = Run {
            machine: String::new(),
            peers: Vec::new(),
            samples: vec![
                sample(DIRECT, None),
                sample(MULTIPLEXER, Some(42.0)),
                sample("another", Some(4200.0)),
            ],
        };
        let svg = of(&run, 16).unwrap();
        assert!(
            svg.contains(">\n42\n<") && svg.contains(">\n4200\n<"),
            "{svg}"
        );
        for used in svg.split("=\"#").skip(1).map(|rest| &rest[..6]) {
            let dark = format!("[fill=\"#{used}\"]");
            assert!(svg.contains(&dark), "{used} in {svg}");
        }
    }
}
