//! A row of the table as a drawing: one bar a contender, as SVG, which every browser and GitHub shows.

use std::fmt::Write;

use crate::contender::DIRECT;
use crate::peers;
use crate::results::{Measured, Results};

/// Draws these rows below each other; rows that were not measured are left out.
pub(crate) fn bars(results: &Results, titles: &[&str]) -> String {
    let drawn = results
        .rows()
        .iter()
        .filter(|measured| titles.contains(&measured.row.title));
    let names = results.names();
    let mut body = String::new();
    let mut top = 0.0;
    for measured in drawn {
        top += TITLE;
        let heading = measured.row.title;
        writeln!(
            body,
            r#"<text x="0" y="{}" font-weight="bold">{heading}</text>"#,
            top - 8.0
        )
        .unwrap();
        top = row(&mut body, measured, &names, top);
        top += GAP;
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="white"/>
{body}</svg>
"#
    )
}

/// Draws a bar for everybody who has a value, and says where the next may begin.
fn row(body: &mut String, measured: &Measured, names: &[&str], mut top: f64) -> f64 {
    let values = names.iter().filter_map(|name| Some((*name, measured.median(name)?)));
    let values: Vec<(&str, f64)> = values.collect();
    let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    for (name, value) in values {
        let length = if most > 0.0 { LONGEST * value / most } else { 0.0 };
        let shown = measured.row.unit.shown(value);
        let (middle, end) = (top + 15.0, LABEL + length + 6.0);
        writeln!(
            body,
            r#"<text x="{}" y="{middle}" text-anchor="end">{name}</text>"#,
            LABEL - 8.0
        )
        .unwrap();
        let colour = colour(name);
        writeln!(
            body,
            r#"<rect x="{LABEL}" y="{top}" width="{length:.1}" height="{BAR}" fill="{colour}"/>"#
        )
        .unwrap();
        writeln!(body, r#"<text x="{end:.1}" y="{middle}">{shown}</text>"#).unwrap();
        top += BAR + 4.0;
    }
    top
}

fn colour(name: &str) -> &'static str {
    match name {
        DIRECT => "#9aa5b1",
        name if peers::NAMES.contains(&name) => "#d9a441",
        _ => "#2b6cb0",
    }
}

const WIDTH: f64 = 720.0;
const LABEL: f64 = 110.0;
const LONGEST: f64 = 500.0;
const BAR: f64 = 20.0;
const TITLE: f64 = 26.0;
const GAP: f64 = 10.0;
