//! Columns for people, grep and awk: two blanks between them, nothing cut off.

use std::fmt::Write as _;

/// A table; the columns whose heading begins with `>` are numbers and stand to the right.
pub struct Table {
    to_the_right: Vec<bool>,
    /// The headings are the first.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&str]) -> Table {
        Table {
            to_the_right: headings.iter().map(|heading| heading.starts_with('>')).collect(),
            rows: vec![headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Without the headings.
    pub fn rows(&self) -> usize {
        self.rows.len() - 1
    }

    pub fn text(&self) -> String {
        let width_of = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.to_the_right.len()).map(width_of).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.to_the_right) {
                let width = *width;
                let _ = if *right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:width$}  ") };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_they_hold() {
        let mut table = Table::new(&["NAME", ">N"]);
        table.row(["a-long-one".to_owned(), "5".to_owned()]);
        table.row(["ü".to_owned(), "1000".to_owned()]);
        assert_eq!(table.text(), "NAME           N\na-long-one     5\nü           1000\n");
        assert_eq!(table.rows(), 2);
    }
}
