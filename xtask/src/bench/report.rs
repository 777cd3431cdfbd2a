//! What a bench has found, for a terminal, for Markdown, and for other programs.

use serde_json::Value;

use crate::demo::words::{self, Paint, column, paint};

/// The result of one bench.
#[derive(Debug)]
pub struct Report {
    /// Of files: `failover`.
    pub name: &'static str,
    /// On what it was measured, in a line.
    pub setting: String,
    /// What it has found.
    pub tables: Vec<Table>,
    /// Everything that was measured.
    pub data: Value,
    /// An SVG document.
    pub picture: Option<String>,
}

/// A table of words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// In a few words.
    pub title: String,
    /// Above the columns.
    pub head: Vec<&'static str>,
    /// As long as the head.
    pub rows: Vec<Vec<String>>,
}

impl Report {
    /// Prints it, with the ticks that the host has taken from this machine meanwhile.
    pub fn print(&self, stolen_ticks: u64) {
        for table in &self.tables {
            table.print();
        }
        println!("{}", paint(Paint::Dim, &self.setting));
        println!("{}", paint(Paint::Dim, &format!("steal ticks (10 ms each) meanwhile: {stolen_ticks}")));
    }

    /// All tables as Markdown.
    pub fn to_markdown(&self) -> String {
        let tables: Vec<_> = self.tables.iter().map(Table::to_markdown).collect();
        format!("{}\n{}\n", tables.join("\n"), self.setting)
    }
}

impl Table {
    fn print(&self) {
        words::heading(&self.title);
        println!("{}", paint(Paint::Dim, &self.line(self.head.iter().copied())));
        for row in &self.rows {
            println!("{}", self.line(row.iter().map(String::as_str)));
        }
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>) -> String {
        let cells = cells.enumerate().map(|(i, cell)| column(cell, self.width(i)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(self.head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    }

    fn to_markdown(&self) -> String {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("**{}**\n\n{}", self.title, line(self.head.clone()));
        text += &line(vec!["---"; self.head.len()]);
        for row in &self.rows {
            text += &line(row.iter().map(String::as_str).collect());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_has_a_rule_of_as_many_columns() {
        let rows = vec![vec!["x".to_owned(), "1".to_owned()]];
        let table = Table { title: "T".into(), head: vec!["who", "how much"], rows };
        assert_eq!(table.to_markdown(), "**T**\n\n| who | how much |\n| --- | --- |\n| x | 1 |\n");
    }
}
