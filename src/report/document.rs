//! What the report says, once: blocks that become a web page, a Markdown file or plain text.
//!
//! Texts are a small subset of Markdown: `` `code` ``, `**strong**`, `[text](target)`, and a backslash before a
//! character that is meant as itself. [`plain`] prepares texts that come from records.

use super::figures::Figure;
use super::svg::escape;
use std::fmt::Write as _;

/// A part of the report.
#[derive(Clone, Debug)]
pub enum Block {
    /// A section with the name it is linked by.
    Section {
        id: String,
        title: String,
    },
    /// A study within a section.
    Study {
        id: String,
        title: String,
    },
    /// A heading within a study, or within a section that holds none.
    Subsection(String),
    Text(String),
    List(Vec<String>),
    Table(Table),
    Figure(Figure),
}

/// A table, with numbers to the right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names it for [splicing](super::splice) and links.
    pub id: String,
    pub caption: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    pub title: String,
    pub numeric: bool,
}

/// A cell; `class` is the colour of the engine it names, or a badge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    pub class: Option<String>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), class: None }
    }
}

impl Cell {
    /// A name with the colour of its curve beside it.
    pub fn coloured(text: impl Into<String>, class: &str) -> Self {
        Self { text: text.into(), class: Some(class.into()) }
    }
}

impl Table {
    /// A table whose column titles start with `#` where the column holds numbers.
    pub fn new(id: impl Into<String>, caption: impl Into<String>, columns: &[&str]) -> Self {
        let column =
            |title: &&str| Column { title: title.trim_start_matches('#').into(), numeric: title.starts_with('#') };
        Self { id: id.into(), caption: caption.into(), columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// As a pipe table.
    pub fn markdown(&self) -> String {
        let mut text = String::from("|");
        for column in &self.columns {
            let _ = write!(text, " {} |", column.title);
        }
        text += "\n|";
        for column in &self.columns {
            text += if column.numeric { "--:|" } else { "---|" };
        }
        text.push('\n');
        for row in &self.rows {
            text.push('|');
            for cell in row {
                let _ = write!(text, " {} |", cell.text);
            }
            text.push('\n');
        }
        text
    }

    /// As columns of plain text.
    pub fn plain(&self) -> String {
        let texts = |row: &[Cell]| row.iter().map(|cell| strip(&cell.text)).collect::<Vec<_>>();
        let head: Vec<String> = self.columns.iter().map(|column| strip(&column.title)).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| texts(row)).collect();
        let width = |i: usize| rows.iter().chain([&head]).map(|row| row[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut text = String::new();
        for row in [&head].into_iter().chain(&rows) {
            let mut line = String::new();
            for ((cell, &width), column) in row.iter().zip(&widths).zip(&self.columns) {
                let _ =
                    if column.numeric { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A text from records, written so that nothing in it is taken for markup.
pub fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '<' | '>') {
            escaped.push('\\');
        }
        escaped.push(if c.is_control() { ' ' } else { c });
    }
    escaped
}

/// A text without its markup.
pub fn strip(text: &str) -> String {
    let mut stripped = String::new();
    walk(text, &mut |piece| match piece {
        Piece::Text(text) | Piece::Code(text) | Piece::Link(text, _) => stripped += &text,
        Piece::Strong => {}
    });
    stripped
}

/// A text as HTML.
pub fn html(text: &str) -> String {
    let mut html = String::new();
    let mut strong = false;
    walk(text, &mut |piece| match piece {
        Piece::Text(text) => html += &escape(&text),
        Piece::Code(text) => {
            let _ = write!(html, "<code>{}</code>", escape(&text));
        }
        Piece::Link(text, target) => {
            let _ = write!(html, "<a href=\"{}\">{}</a>", escape(&target), escape(&text));
        }
        Piece::Strong => {
            strong = !strong;
            html += if strong { "<strong>" } else { "</strong>" };
        }
    });
    html
}

enum Piece {
    Text(String),
    Code(String),
    Link(String, String),
    /// Opens or closes.
    Strong,
}

fn walk(text: &str, emit: &mut dyn FnMut(Piece)) {
    let mut pending = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let piece = match c {
            '\\' => {
                let escaped = after.chars().next().unwrap_or('\\');
                pending.push(escaped);
                rest = after.strip_prefix(escaped).unwrap_or(after);
                continue;
            }
            '`' => after.split_once('`').map(|(code, rest)| (Piece::Code(code.into()), rest)),
            '*' => after.strip_prefix('*').map(|rest| (Piece::Strong, rest)),
            '[' => after
                .split_once("](")
                .and_then(|(name, rest)| rest.split_once(')').map(|(to, rest)| (name, to, rest)))
                .map(|(name, to, rest)| (Piece::Link(strip(name), to.into()), rest)),
            _ => None,
        };
        match piece {
            Some((piece, following)) => {
                emit(Piece::Text(std::mem::take(&mut pending)));
                emit(piece);
                rest = following;
            }
            None => {
                pending.push(c);
                rest = after;
            }
        }
    }
    emit(Piece::Text(pending));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_html_and_records_stay_text() {
        assert_eq!(html("**a** `b<` [c](d.csv)"), "<strong>a</strong> <code>b&lt;</code> <a href=\"d.csv\">c</a>");
        let wild = "a|b *c* `d` [e](http://f) <script> \\";
        assert_eq!(strip(&plain(wild)), wild);
        assert_eq!(html(&plain(wild)), escape(wild));
    }

    #[test]
    fn tables_align_and_keep_their_columns() {
        let mut table = Table::new("t", "T", &["engine", "#P@1"]);
        table.row([plain("a|b").into(), "0.5".into()]);
        assert_eq!(table.markdown(), "| engine | P@1 |\n|---|--:|\n| a\\|b | 0.5 |\n");
        assert_eq!(table.plain(), "engine  P@1\na|b     0.5\n");
    }
}
