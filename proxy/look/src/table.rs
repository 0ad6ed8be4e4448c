//! Tables that fit a terminal.

use std::io::{self, Write};

use crate::style::Style;
use crate::words::{WIDTH, cut, plain};

const INDENT: &str = "  ";
const GAP: usize = 2;

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Something is wrong.
    Bad,
    /// Said beside.
    Faint,
    /// A heading.
    Strong,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in some tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Cell { text: plain(&text.into()), tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::new(text, Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::new(text, Tone::Plain)
    }
}

/// Columns with a title each, and rows.
#[derive(Clone, Debug)]
pub struct Table<const N: usize> {
    titles: [&'static str; N],
    rows: Vec<[Cell; N]>,
    hidden: [bool; N],
}

impl<const N: usize> Table<N> {
    /// Without rows. A title that begins with `>` belongs to a column of numbers, which stand on its right.
    pub fn new(titles: [&'static str; N]) -> Self {
        Table { titles, rows: Vec::new(), hidden: [false; N] }
    }

    /// One row more.
    pub fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// How wide it is when no column takes more than this.
    pub fn width(&self, most: usize) -> usize {
        let widths = self.widths(None);
        let shown = (0..N).filter(|column| !self.hidden[*column]);
        shown.fold(INDENT.len(), |sum, column| sum + widths[column].min(most) + GAP).saturating_sub(GAP)
    }

    /// Leaves out this column, counted from 0.
    pub fn hide(&mut self, column: usize) {
        if let Some(hidden) = self.hidden.get_mut(column) {
            *hidden = true;
        }
    }

    /// Writes it, no wider than [`WIDTH`]: what does not fit is cut, in the widest columns first.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, style: Style, out: &mut impl Write) -> io::Result<()> {
        self.lines(style, Some(WIDTH)).iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    /// Its lines, the titles first, no wider than this; `None`: as wide as they are.
    pub fn lines(&self, style: Style, width: Option<usize>) -> Vec<String> {
        let titles = self.titles.map(|title| title.trim_start_matches('>'));
        let right = self.titles.map(|title| title.starts_with('>'));
        let widths = self.widths(width);
        let line = |texts: [&str; N], paint: &dyn Fn(usize, &str) -> String| {
            let mut line = INDENT.to_owned();
            for (column, text) in texts.into_iter().enumerate().filter(|(column, _)| !self.hidden[*column]) {
                let text = cut(text, widths[column]);
                let space = " ".repeat(widths[column] - text.chars().count());
                let painted = if text.is_empty() { String::new() } else { paint(column, &text) };
                let last = column + 1 == N;
                match right[column] {
                    true => line.push_str(&format!("{space}{painted}")),
                    false if last => line.push_str(&painted),
                    false => line.push_str(&format!("{painted}{space}")),
                }
                if !last {
                    line.push_str(&" ".repeat(GAP));
                }
            }
            line.trim_end().to_owned()
        };
        let mut lines = vec![line(titles, &|_, text| style.faint(text))];
        for row in &self.rows {
            let texts = std::array::from_fn(|column| row[column].text.as_str());
            let paint = |column: usize, text: &str| match row[column].tone {
                Tone::Plain => text.to_owned(),
                Tone::Bad => style.bad(text),
                Tone::Faint => style.faint(text),
                Tone::Strong => style.strong(text),
            };
            lines.push(line(texts, &paint));
        }
        lines
    }

    fn widths(&self, width: Option<usize>) -> [usize; N] {
        let mut widths: [usize; N] = std::array::from_fn(|column| {
            if self.hidden[column] {
                return 0;
            }
            let cells = self.rows.iter().map(|row| row[column].text.chars().count());
            cells.chain([self.titles[column].trim_start_matches('>').len()]).max().unwrap_or(0)
        });
        let Some(width) = width else { return widths };
        let room = width.saturating_sub(
            INDENT.len() + GAP * self.hidden.iter().filter(|hidden| !**hidden).count().saturating_sub(1),
        );
        while widths.iter().sum::<usize>() > room {
            // Where not even a letter a column fits, lines are longer than they should be.
            let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > 1) else { break };
            *widest -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<const N: usize>(table: &Table<N>) -> String {
        let mut out = Vec::new();
        table.write(Style::plain(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(["NAME", ">COUNT", "STATE"]);
        table.row(["server".into(), "3".into(), "ok".into()]);
        table.row(["a".into(), "1200".into(), Cell::new("held", Tone::Bad)]);
        let lines = ["  NAME    COUNT  STATE", "  server      3  ok", "  a        1200  held"];
        assert_eq!(written(&table), lines.join("\n") + "\n");
    }

    #[test]
    fn a_hidden_column_takes_no_room() {
        let mut table = Table::new(["NAME", ">COUNT", "STATE"]);
        table.row(["server".into(), "3".into(), "ok".into()]);
        table.hide(1);
        assert_eq!(table.lines(Style::plain(), None), ["  NAME    STATE", "  server  ok"]);
        assert_eq!((table.width(100), table.width(2)), (15, 8));
        let widest = table.lines(Style::plain(), Some(10)).iter().map(|line| line.chars().count()).max();
        assert_eq!(widest, Some(10));
        table.hide(2);
        assert_eq!(table.lines(Style::plain(), None), ["  NAME", "  server"]);
    }

    #[test]
    fn nothing_is_wider_than_the_page() {
        let mut table = Table::new(["A", "B", ">C"]);
        table.row(["x".repeat(300).into(), "y".repeat(80).into(), "12345".into()]);
        let page = written(&table);
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        assert!(page.contains("12345") && page.contains('…'), "{page}");
    }
}
