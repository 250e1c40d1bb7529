//! Fits a table into the width of a terminal: long cells continue in the lines below. Pure.

/// Breaks the cells of the widest columns until a row fits. A row becomes as many rows as its longest cell has lines.
pub(super) fn fit(rows: &[Vec<String>], width: usize) -> Vec<Vec<String>> {
    let widths = narrowed(rows, width);
    let broken = rows.iter().flat_map(|row| {
        let cells: Vec<Vec<String>> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| lines_of(cell, *width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or_default();
        let line = move |number: usize| {
            let cells = cells.iter().map(|lines| lines.get(number).cloned().unwrap_or_default());
            cells.collect::<Vec<_>>()
        };
        (0..height).map(line)
    });
    broken.collect()
}

/// Widths of the columns, the widest ones reduced.
fn narrowed(rows: &[Vec<String>], width: usize) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let natural = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let mut widths: Vec<usize> = (0..columns).map(natural).collect();
    let gaps = 2 * columns.saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// Lines of a cell: broken at blanks, and within a word only if the word alone is too wide.
fn lines_of(cell: &str, width: usize) -> Vec<String> {
    if cell.chars().count() <= width {
        return vec![cell.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in cell.split(' ') {
        let column = lines.last().map_or(0, |line| line.chars().count());
        let fits = column + usize::from(column > 0) + word.chars().count() <= width;
        match lines.last_mut() {
            Some(line) if fits && column > 0 => *line += &format!(" {word}"),
            Some(line) if column == 0 && fits => line.push_str(word),
            _ => lines.extend(chunks(word, width)),
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn chunks(word: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    characters
        .chunks(width.max(1))
        .map(|chunk| chunk.iter().collect())
        .collect()
}

/// Columns are not made narrower than this.
const NARROWEST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter()
            .map(|row| row.iter().map(ToString::to_string).collect())
            .collect()
    }

    #[test]
    fn a_table_that_fits_stays_as_it_is() {
        let table = rows(&[&["NAME", "HOSTS"], &["corp", "a.example, b.example"]]);
        assert_eq!(fit(&table, 80), table);
    }

    #[test]
    fn the_widest_column_continues_below() {
        let table = rows(&[
            &["NAME", "HOSTS", "STATE"],
            &["corp", "a.example, b.example, cc.example", "ready"],
        ]);
        let expected = rows(&[
            &["NAME", "HOSTS", "STATE"],
            &["corp", "a.example,", "ready"],
            &["", "b.example,", ""],
            &["", "cc.example", ""],
        ]);
        assert_eq!(fit(&table, 24), expected);
    }

    #[test]
    fn a_word_that_is_too_wide_is_cut_and_nothing_is_lost() {
        let table = rows(&[&["FILE"], &["/home/me/.cargo/credentials.toml"]]);
        let fitted = fit(&table, 12);
        assert!(fitted.iter().all(|row| row[0].chars().count() <= 12), "{fitted:?}");
        let whole: String = fitted.iter().skip(1).map(|row| row[0].as_str()).collect();
        assert_eq!(whole, table[1][0]);
    }
}
