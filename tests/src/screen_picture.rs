//! Picture of a terminal's screen: an SVG made from the escape sequences that tmux captured.

use std::fmt::Write;

/// Draws a screen as SVG. Text is drawn in runs of one style, each stretched to its columns.
pub fn svg(screen: &str, columns: usize) -> String {
    let lines: Vec<&str> = screen.lines().collect();
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, lines.len() * CELL.1 + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    let mut style = Style::default();
    for (row, line) in lines.iter().enumerate() {
        draw_line(&mut svg, &mut style, row, line);
    }
    svg + "</svg>\n"
}

/// Text of a picture, a line for each row, without colours and with runs one blank apart.
pub fn text(svg: &str) -> Vec<String> {
    let runs = svg.split("<text ").skip(1).filter_map(|run| {
        let row = run.split("y=\"").nth(1)?.split('"').next()?;
        let text = run.split('>').nth(1)?.split("</text").next()?;
        Some((row.to_owned(), unescape(text).trim().to_owned()))
    });
    let mut lines: Vec<(String, String)> = Vec::new();
    for (row, text) in runs {
        match lines.last_mut() {
            Some((last, line)) if *last == row => *line = format!("{line} {text}"),
            _ => lines.push((row, text)),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

#[derive(Clone, Copy, Debug, Default)]
struct Style {
    colour: Option<usize>,
    is_bold: bool,
    is_faint: bool,
    is_reversed: bool,
}

impl Style {
    /// Applies the parameters of an SGR sequence (ECMA-48, section 8.3.117), as far as tmux writes them for this program.
    fn apply(&mut self, parameters: &str) {
        let numbers: Vec<usize> = parameters
            .split(';')
            .map(|number| number.parse().unwrap_or(0))
            .collect();
        if let [38, 5, colour] = numbers[..] {
            self.colour = Some(colour);
            return;
        }
        for number in numbers {
            match number {
                0 => *self = Self::default(),
                1 => self.is_bold = true,
                2 => self.is_faint = true,
                7 => self.is_reversed = true,
                22 => (self.is_bold, self.is_faint) = (false, false),
                27 => self.is_reversed = false,
                30..=37 => self.colour = Some(number - 30),
                39 => self.colour = None,
                _ => {}
            }
        }
    }
}

fn draw_line(svg: &mut String, style: &mut Style, row: usize, line: &str) {
    let mut column = 0;
    for (index, part) in line.split("\u{1b}[").enumerate() {
        let text = match part.split_once('m') {
            Some((parameters, text)) if index > 0 => {
                style.apply(parameters);
                text
            }
            _ => part,
        };
        draw_run(svg, *style, (column, row), text);
        column += text.chars().count();
    }
}

fn draw_run(svg: &mut String, style: Style, (column, row): (usize, usize), text: &str) {
    let length = text.chars().count();
    let (x, y) = (MARGIN + column * CELL.0, MARGIN + row * CELL.1);
    let colour = style
        .colour
        .map_or(FOREGROUND, |colour| COLOURS[colour % COLOURS.len()]);
    if style.is_reversed && length > 0 {
        let (width, height) = (length * CELL.0, CELL.1);
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"/>"
        )
        .unwrap();
    }
    let leading = length - text.trim_start().chars().count();
    let text = text.trim();
    if text.is_empty() {
        return;
    }
    let (x, y) = (x + leading * CELL.0, y + CELL.1 - 5);
    let width = text.chars().count() * CELL.0;
    let colour = if style.is_reversed { BACKGROUND } else { colour };
    let weight = if style.is_bold { " font-weight=\"bold\"" } else { "" };
    let opacity = if style.is_faint { " opacity=\"0.65\"" } else { "" };
    writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{colour}\"{weight}{opacity} \
         xml:space=\"preserve\">{}</text>",
        escape(text)
    )
    .unwrap();
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
}

/// Width and height of a cell, in pixels.
const CELL: (usize, usize) = (8, 18);
const MARGIN: usize = 12;
const BACKGROUND: &str = "#1c2128";
const FOREGROUND: &str = "#d1d7e0";
/// Black, red, green, yellow, blue, magenta, cyan, white.
const COLOURS: [&str; 8] = [
    "#545d68", "#f47067", "#57ab5a", "#c69026", "#539bf5", "#b083f0", "#39c5cf", "#adbac7",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_text_at_its_place_and_in_its_colour() {
        let svg = svg("\u{1b}[1m\u{1b}[38;5;6mcorp\u{1b}[0m  <9>\n\u{1b}[7mrow\u{1b}[0m", 12);
        let first = format!("x=\"{MARGIN}\" y=\"{}\"", MARGIN + CELL.1 - 5);
        assert!(
            svg.contains(&first) && svg.contains("#39c5cf\" font-weight=\"bold\""),
            "{svg}"
        );
        assert!(
            svg.contains("&lt;9&gt;") && svg.contains(&format!("x=\"{}\"", MARGIN + 6 * CELL.0)),
            "{svg}"
        );
        assert_eq!(text(&svg), ["corp <9>", "row"]);
    }
}
