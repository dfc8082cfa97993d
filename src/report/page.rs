//! The report as one web page that needs nothing else, and as Markdown.

use super::contents::Contents;
use super::document::{Block, Cell, Table, html as inline, strip};
use super::figures::Figure;
use super::style::{COLOURS, PHASES};
use super::svg::{colours, escape, shapes};
use std::fmt::Write as _;

const SHEET: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page: style, script and figures inside, no address outside.
pub fn html(contents: &Contents) -> String {
    let mut page = String::with_capacity(1 << 19);
    let question = escape(&contents.question);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>slidebench: {question}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{}{SHEET}{}{}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#lead\">Skip to the result</a>\n",
        themes(),
        shapes(),
        colours(|_, _, variable| format!("var({variable})")),
    );
    page += "<header class=\"mast\">\n<p class=\"name\">slidebench</p>\n<nav aria-label=\"Sections\">";
    for (id, title) in sections(contents) {
        let _ = write!(page, "<a href=\"#{}\">{}</a> ", escape(id), inline(title));
    }
    page += "</nav>\n<fieldset class=\"switch\"><legend>Theme</legend>";
    page += &radio("theme", &[("auto", "Auto"), ("light", "Light"), ("dark", "Dark")]);
    page += "</fieldset>\n</header>\n<main>\n";

    let _ = write!(
        page,
        "<section class=\"lead\" id=\"lead\">\n<h1>{question}</h1>\n<p class=\"verdict\">{}</p>\n\
         <p class=\"machine\">{}</p>\n<fieldset class=\"switch\"><legend>Time axis</legend>{}</fieldset>\n",
        inline(&contents.verdict),
        inline(&contents.machine),
        radio("axis", &[("log", "Logarithmic"), ("linear", "Linear")]),
    );
    if let Some(figure) = &contents.lead {
        page += &figure_html(figure);
    }
    page += "</section>\n";

    let (mut open, mut inside) = (false, false);
    for block in &contents.blocks {
        match block {
            Block::Section { id, title } => {
                if open {
                    page += "</section>\n";
                }
                (open, inside) = (true, false);
                let _ = write!(page, "<section id=\"{}\">\n<h2>{}</h2>\n", escape(id), inline(title));
            }
            Block::Study { id, title } => {
                inside = true;
                let _ = writeln!(page, "<h3 class=\"study\" id=\"{}\">{}</h3>", escape(id), inline(title));
            }
            Block::Subsection(title) => {
                let level = if inside { "h4" } else { "h3" };
                let _ = writeln!(page, "<{level}>{}</{level}>", inline(title));
            }
            Block::Text(text) => {
                let _ = writeln!(page, "<p>{}</p>", inline(text));
            }
            Block::List(items) => {
                page += "<ul>\n";
                for item in items {
                    let _ = writeln!(page, "<li>{}</li>", inline(item));
                }
                page += "</ul>\n";
            }
            Block::Table(table) => page += &table_html(table),
            Block::Figure(figure) => page += &figure_html(figure),
        }
    }
    if open {
        page += "</section>\n";
    }
    let _ = write!(page, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    page
}

fn sections(contents: &Contents) -> impl Iterator<Item = (&str, &str)> {
    contents.blocks.iter().filter_map(|block| match block {
        Block::Section { id, title } => Some((id.as_str(), title.as_str())),
        _ => None,
    })
}

/// Radio buttons; the first is chosen. They work without a script: the style sheet looks at which is checked.
fn radio(name: &str, choices: &[(&str, &str)]) -> String {
    let mut html = String::new();
    for (i, (value, label)) in choices.iter().enumerate() {
        let checked = if i == 0 { " checked" } else { "" };
        let _ = write!(
            html,
            "<label><input type=\"radio\" name=\"{name}\" id=\"{name}-{value}\" value=\"{value}\"{checked}>\
             <span>{label}</span></label>"
        );
    }
    html
}

fn figure_html(figure: &Figure) -> String {
    let name = escape(&figure.name);
    // Four stand in pairs, others three a row where there is room.
    let pairs = if figure.panels.len() == 4 { " pairs" } else { "" };
    let mut html = format!("<figure id=\"{name}\">\n<div class=\"panels{pairs}\">\n");
    for (i, panel) in figure.panels.iter().enumerate() {
        let words = format!("{}-words-{i}", figure.name);
        let class = if panel.linear.is_some() { "log" } else { "" };
        let _ = writeln!(html, "{}", panel.drawing.inline(class, &words));
        if let Some(linear) = &panel.linear {
            let _ = writeln!(html, "{}", linear.inline("linear", &words));
        }
    }
    let _ = write!(
        html,
        "</div>\n<figcaption><strong>{}.</strong> {} \
         <span class=\"files\"><a href=\"figures/{name}.svg\">SVG</a> <a href=\"figures/{name}.csv\">CSV</a></span>\
         </figcaption>\n<details><summary>In words</summary>",
        escape(&figure.title),
        escape(&figure.caption)
    );
    for (i, panel) in figure.panels.iter().enumerate() {
        let _ = write!(html, "<p id=\"{name}-words-{i}\">{}</p>", escape(&panel.words));
    }
    html + "</details>\n</figure>\n"
}

fn table_html(table: &Table) -> String {
    let caption = strip(&table.caption);
    let mut html = format!(
        "<div class=\"table\" role=\"region\" aria-label=\"{}\" tabindex=\"0\">\n<table id=\"{}\">\n<caption>{}</caption>\n\
         <thead><tr>",
        escape(&caption),
        escape(&table.id),
        escape(&caption)
    );
    for column in &table.columns {
        let class = if column.numeric { " class=\"n\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", inline(&column.title));
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        html += "<tr>";
        for (cell, column) in row.iter().zip(&table.columns) {
            let class = if column.numeric { " class=\"n\"" } else { "" };
            let _ = write!(html, "<td{class}>{}</td>", cell_html(cell));
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table>\n</div>\n"
}

fn cell_html(cell: &Cell) -> String {
    let text = inline(&cell.text);
    match &cell.class {
        Some(class) if class.starts_with("badge") => format!("<span class=\"{}\">{text}</span>", escape(class)),
        Some(class) => format!("<span class=\"key k-{}\"></span>{text}", escape(class)),
        None => text,
    }
}

/// The variables of both themes: light, dark by the reader's system, and either by the switch.
fn themes() -> String {
    let inks = [
        ("ground", "#ffffff", "#16181b"),
        ("raised", "#f6f6f3", "#1e2125"),
        ("ink", "#1b1c1e", "#e6e6e3"),
        ("soft", "#55585e", "#a9adb4"),
        ("rule", "#85888e", "#7d828a"),
        ("line", "#d9d9d4", "#35393f"),
        ("grid", "#e9e9e6", "#2a2d32"),
        ("link", "#0b4fb3", "#8ab4ff"),
        ("red", "#b3112b", "#ff8a90"),
        ("amber", "#8a5200", "#f0b35c"),
        ("green", "#19742f", "#6fd08a"),
    ];
    let phases = PHASES.map(|(name, light, dark)| (format!("phase-{name}"), light, dark));
    let all = || {
        let plain = inks.iter().chain(&COLOURS).map(|&(name, light, dark)| (name.to_string(), light, dark));
        plain.chain(phases.iter().cloned())
    };
    let set = |dark: bool| {
        let scheme = if dark { "dark" } else { "light" };
        all().fold(format!("color-scheme: {scheme};"), |text, (name, light, night)| {
            format!("{text} --{name}: {};", if dark { night } else { light })
        })
    };
    let mut rules = format!(
        ":root {{ {} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {} }} }}\n\
         :root:has(#theme-light:checked) {{ {} }}\n:root:has(#theme-dark:checked) {{ {} }}\n\
         @media print {{ :root:root {{ {} }} }}\n",
        set(false),
        set(true),
        set(false),
        set(true),
        set(false)
    );
    for (class, ..) in COLOURS {
        let _ = writeln!(rules, ".k-{class} {{ background: var(--{class}); }}");
    }
    rules
}

/// The same as Markdown, with the figures linked.
pub fn markdown(contents: &Contents) -> String {
    let mut text = format!(
        "<!-- Written by `slidebench report`; do not edit. -->\n\n# {}\n\n{}\n\n{}\n\n",
        contents.question, contents.verdict, contents.machine
    );
    text += "`index.html` beside this file is the same as a page, with a linear time axis and a dark theme.\n\n";
    if let Some(figure) = &contents.lead {
        text += &figure_markdown(figure);
    }
    for block in &contents.blocks {
        let _ = match block {
            Block::Section { title, .. } => write!(text, "## {title}\n\n"),
            Block::Study { id, title } => write!(text, "<a id=\"{}\"></a>\n\n### {title}\n\n", escape(id)),
            Block::Subsection(title) => write!(text, "#### {title}\n\n"),
            Block::Text(paragraph) => write!(text, "{paragraph}\n\n"),
            Block::List(items) => {
                items.iter().for_each(|item| text += &format!("- {item}\n"));
                writeln!(text)
            }
            Block::Table(table) => write!(text, "**{}**\n\n{}\n", table.caption, table.markdown()),
            Block::Figure(figure) => write!(text, "{}", figure_markdown(figure)),
        };
    }
    text.trim_end().to_string() + "\n"
}

fn figure_markdown(figure: &Figure) -> String {
    let words = figure.words().replace(['[', ']', '\n'], " ");
    format!(
        "![{words}](figures/{name}.svg)\n\n**{}.** {} [CSV](figures/{name}.csv)\n\n",
        figure.title,
        figure.caption,
        name = figure.name
    )
}
