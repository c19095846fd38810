//! A table that reads well both as Markdown and as it is.

use std::fmt::{self, Display, Formatter};

/// The rows, and the columns made of them so far. The first column is text; the others are figures, to
/// the right.
#[derive(Debug)]
pub(super) struct Table<'a, T> {
    rows: &'a [T],
    /// Each with its head.
    columns: Vec<Vec<String>>,
}

// === impl Table ===

impl<'a, T> Table<'a, T> {
    pub(super) fn new(rows: &'a [T]) -> Self {
        Self {
            rows,
            columns: Vec::new(),
        }
    }

    /// Adds a column: its head, and its cell in a row.
    pub(super) fn column<D: Display>(mut self, head: &str, cell: impl Fn(&'a T) -> D) -> Self {
        let mut column = vec![head.to_owned()];
        column.extend(self.rows.iter().map(|row| cell(row).to_string()));
        self.columns.push(column);
        self
    }
}

impl<T> Display for Table<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let width = |column: &Vec<String>| {
            let cells = column.iter().map(|cell| cell.chars().count());
            cells.chain([3]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = self.columns.iter().map(width).collect();
        for row in 0..=self.rows.len() {
            for (n, (column, width)) in self.columns.iter().zip(&widths).enumerate() {
                let cell = column.get(row).map_or("", String::as_str);
                if n == 0 {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")?;
            if row == 0 {
                for (n, width) in widths.iter().enumerate() {
                    let end = if n == 0 { '-' } else { ':' };
                    write!(f, "| {}{end} ", "-".repeat(width - 1))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(heads: [&str; 2], rows: &[[&str; 2]]) -> String {
        let table = Table::new(rows).column(heads[0], |row| row[0]);
        table.column(heads[1], |row| row[1]).to_string()
    }

    #[test]
    fn a_head_may_be_the_widest_cell() {
        assert_eq!(
            table(["tool", "max ms"], &[["a", "1"]]),
            "| tool | max ms |\n\
             | ---- | -----: |\n\
             | a    |      1 |\n"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["agent", "3.0×"], ["x", "12.0× (missed)"]];
        assert_eq!(
            table(["tool", "p50"], &rows),
            "| tool  |            p50 |\n\
             | ----- | -------------: |\n\
             | agent |           3.0× |\n\
             | x     | 12.0× (missed) |\n"
        );
    }
}
