//! Bar charts of table rows, one bar a candidate, as SVG.

use std::fmt::Write;

use crate::candidate::DIRECT;
use crate::other_proxies;
use crate::results::{Measured, Results};

/// Draws the rows with these titles below each other. Leaves out rows that were not measured.
pub(crate) fn bars(results: &Results, titles: &[&str]) -> String {
    let measured_rows = results
        .rows()
        .iter()
        .filter(|measured| titles.contains(&measured.row.title));
    let names = results.names();
    let mut body = String::new();
    let mut top = 0.0;
    for measured in measured_rows {
        top += TITLE_HEIGHT;
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

/// Draws a bar for every candidate with a value and returns the y coordinate below the last bar.
fn row(body: &mut String, measured: &Measured, names: &[&str], mut top: f64) -> f64 {
    let values = names.iter().filter_map(|name| Some((*name, measured.median(name)?)));
    let values: Vec<(&str, f64)> = values.collect();
    let maximum = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    for (name, value) in values {
        let length = if maximum > 0.0 {
            LONGEST_BAR * value / maximum
        } else {
            0.0
        };
        let text = measured.row.unit.format(value);
        let (middle, end) = (top + 15.0, LABEL_WIDTH + length + 6.0);
        writeln!(
            body,
            r#"<text x="{}" y="{middle}" text-anchor="end">{name}</text>"#,
            LABEL_WIDTH - 8.0
        )
        .unwrap();
        let colour = colour(name);
        writeln!(
            body,
            r#"<rect x="{LABEL_WIDTH}" y="{top}" width="{length:.1}" height="{BAR_HEIGHT}" fill="{colour}"/>"#
        )
        .unwrap();
        writeln!(body, r#"<text x="{end:.1}" y="{middle}">{text}</text>"#).unwrap();
        top += BAR_HEIGHT + 4.0;
    }
    top
}

fn colour(name: &str) -> &'static str {
    match name {
        DIRECT => "#9aa5b1",
        name if other_proxies::NAMES.contains(&name) => "#d9a441",
        _ => "#2b6cb0",
    }
}

const WIDTH: f64 = 720.0;
const LABEL_WIDTH: f64 = 110.0;
const LONGEST_BAR: f64 = 500.0;
const BAR_HEIGHT: f64 = 20.0;
const TITLE_HEIGHT: f64 = 26.0;
const GAP: f64 = 10.0;
