//! A table that reads well both as Markdown and as it is.

use std::fmt::Write as _;

/// The first column is text; the others are figures, to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let cells = cells.map(|cell| cell.chars().count());
        let head = head.get(column).map_or(0, |cell| cell.chars().count());
        cells.chain([head, 3]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    line(&mut text, &head, &widths);
    for (column, width) in widths.iter().enumerate() {
        let rule = "-".repeat(width - 1);
        let end = if column == 0 { '-' } else { ':' };
        let _infallible = write!(text, "| {rule}{end} ");
    }
    text.push_str("|\n");
    for row in rows {
        line(&mut text, row, &widths);
    }
    text
}

fn line(text: &mut String, cells: &[String], widths: &[usize]) {
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let _infallible = if column == 0 {
            write!(text, "| {cell:<width$} ")
        } else {
            write!(text, "| {cell:>width$} ")
        };
    }
    text.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_may_be_the_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()]];
        assert_eq!(
            table(&["tool", "max ms"], &rows),
            "| tool | max ms |\n\
             | ---- | -----: |\n\
             | a    |      1 |\n"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["agent".to_owned(), "3.0×".to_owned()],
            vec!["x".to_owned(), "12.0× (missed)".to_owned()],
        ];
        assert_eq!(
            table(&["tool", "p50"], &rows),
            "| tool  |            p50 |\n\
             | ----- | -------------: |\n\
             | agent |           3.0× |\n\
             | x     | 12.0× (missed) |\n"
        );
    }
}
