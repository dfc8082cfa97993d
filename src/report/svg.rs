//! Writing SVG by hand: a drawing is a string of elements whose look comes from classes, so that the same drawing
//! follows the page's theme inside the report and brings its own style sheet as a file.

use super::style::{COLOURS, PHASES};
use std::fmt::Write as _;

/// Elements with the size they take up, in user units (12 units: one line of small text).
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    pub width: f64,
    pub height: f64,
    pub body: String,
}

/// Where a text is anchored.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Drawing {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.polyline(class, &[from, to]);
    }

    /// A line through points. Ticks and grid lines, of which there are many in a row, share one element.
    pub fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        const END: &str = "\"/>";
        let start = format!(r#"<path class="{class}" d=""#);
        let last = self.body.rfind('<').map_or("", |at| &self.body[at..]);
        if matches!(class, "axis" | "grid") && last.starts_with(&start) && last.ends_with(END) {
            self.body.truncate(self.body.len() - END.len());
        } else {
            self.body += &start;
        }
        self.body += &path(points);
        self.body += END;
    }

    /// A closed area.
    pub fn area(&mut self, class: &str, points: &[(f64, f64)]) {
        let _ = write!(self.body, r#"<path class="{class}" d="{}Z"/>"#, path(points));
    }

    /// A rectangle; `tip` shows when pointed at.
    pub fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, tip: &str) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}""#,
            width.max(0.0),
            height.max(0.0)
        );
        if tip.is_empty() {
            self.body.push_str("/>");
        } else {
            let _ = write!(self.body, "><title>{}</title></rect>", escape(tip));
        }
    }

    /// A dot; `tip` shows when pointed at.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), tip: &str) {
        let _ = write!(self.body, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3""#);
        let _ = match tip {
            "" => write!(self.body, "/>"),
            tip => write!(self.body, "><title>{}</title></circle>", escape(tip)),
        };
    }

    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let text = escape(text);
        let _ = write!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}"{anchor}>{text}</text>"#);
    }

    /// The title of a panel, centred above its chart as far as it fits.
    pub fn title(&mut self, text: &str, middle: f64) {
        // 13-unit semibold, in the widest of the fonts that the style sheet may fall back to.
        const WIDER: f64 = 1.45;
        let text = shorten(text, (self.width - 16.0) / WIDER);
        let half = text_width(&text) * WIDER / 2.0 + 4.0;
        let at = middle.min(self.width - half).max(half);
        self.text("title", (at, 17.0), Anchor::Middle, &text);
    }

    /// A text that reads upwards, centred on the point.
    pub fn text_upwards(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escape(text);
        let _ = write!(
            self.body,
            r#"<text class="{class}" transform="translate({x:.1} {y:.1}) rotate(-90)" text-anchor="middle">{text}</text>"#
        );
    }

    /// Puts another drawing at a place.
    pub fn place(&mut self, (x, y): (f64, f64), other: &Drawing) {
        let _ = write!(self.body, r#"<g transform="translate({x:.1} {y:.1})">{}</g>"#, other.body);
    }

    /// An `svg` element for the page; the element of the id `words` is read to those who cannot see it.
    pub fn inline(&self, class: &str, words: &str) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            "<svg class=\"plot {class}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
             aria-labelledby=\"{}\">{}</svg>",
            escape(words),
            self.body
        )
    }

    /// A file of its own, light or dark with its reader.
    pub fn file(&self, title: &str, description: &str) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-labelledby=\"title description\">\n\
             <title id=\"title\">{}</title>\n<desc id=\"description\">{}</desc>\n<style>\n{}{}\
             @media (prefers-color-scheme: dark) {{\n{}}}\n</style>\n\
             <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{}\n</svg>\n",
            escape(title),
            escape(description),
            shapes(),
            colours(|light, _, _| light.into()),
            colours(|_, dark, _| dark.into()),
            self.body.replace("><", ">\n<").replace(">\n</text>", "></text>"),
        )
    }
}

/// A path through points, in tenths of a unit, each point relative to the one before: half the characters.
fn path(points: &[(f64, f64)]) -> String {
    let tenths = |(x, y): (f64, f64)| ((x * 10.0).round() as i64, (y * 10.0).round() as i64);
    let text = |tenths: i64| {
        let text = if tenths % 10 == 0 { format!("{}", tenths / 10) } else { format!("{:.1}", tenths as f64 / 10.0) };
        text.replacen("0.", ".", usize::from(tenths.abs() < 10))
    };
    let mut d = String::new();
    let mut last = None;
    for at in simplify(points).into_iter().map(tenths) {
        let (x, y) = last.map_or(at, |(x, y)| (at.0 - x, at.1 - y));
        let y = text(y);
        let gap = if y.starts_with('-') { "" } else { " " };
        let letter = if last.is_none() { 'M' } else { 'l' };
        let _ = write!(d, "{letter}{}{gap}{y}", text(x));
        last = Some(at);
    }
    d
}

/// The points of a path without those that lie within a fifth of a unit of the line through the others (Ramer, 1972):
/// the drawing is the same, the file shorter.
fn simplify(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const NEAR: f64 = 0.2;
    let mut kept = vec![false; points.len()];
    let mut open = vec![(0, points.len().saturating_sub(1))];
    while let Some((from, to)) = open.pop() {
        let (Some(&a), Some(&b)) = (points.get(from), points.get(to)) else { continue };
        (kept[from], kept[to]) = (true, true);
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length = dx.hypot(dy);
        let off = |p: (f64, f64)| match length {
            0.0 => (p.0 - a.0).hypot(p.1 - a.1),
            _ => (dx * (p.1 - a.1) - dy * (p.0 - a.0)).abs() / length,
        };
        let inner = (from + 1..to).map(|i| (i, off(points[i])));
        if let Some((at, far)) = inner.max_by(|x, y| x.1.total_cmp(&y.1))
            && far > NEAR
        {
            open.extend([(from, at), (at, to)]);
        }
    }
    points.iter().zip(kept).filter(|(_, kept)| *kept).map(|(point, _)| *point).collect()
}

/// Text as XML and HTML want it. Control characters, which XML forbids, become spaces.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Width of a text in 12-unit type, estimated: there are no fonts here to ask.
pub fn text_width(text: &str) -> f64 {
    text.chars()
        .map(|c| match c {
            'i' | 'l' | 'j' | '.' | ',' | ':' | ';' | '|' | '\'' | '!' | ' ' | '(' | ')' | 'f' | 't' | 'r' | '-' => 4.2,
            'm' | 'w' | 'M' | 'W' | '@' => 10.0,
            c if c.is_ascii_uppercase() => 8.2,
            _ => 6.9,
        })
        .sum()
}

/// A text cut, with an ellipsis, to about a width.
pub fn shorten(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.into();
    }
    let mut short = String::new();
    for c in text.chars() {
        if text_width(&short) + 14.0 > width {
            break;
        }
        short.push(c);
    }
    short.trim_end().to_string() + "…"
}

/// Style rules that do not depend on the theme.
pub fn shapes() -> String {
    let mut rules = String::from(
        ".plot text { font: 12px system-ui, -apple-system, \"Segoe UI\", \"Helvetica Neue\", Arial, sans-serif; }\n\
         .plot .title { font-size: 13px; font-weight: 600; }\n\
         .plot .tick, .plot .small { font-size: 11px; }\n\
         .plot .heading { font-size: 15px; font-weight: 600; }\n\
         .plot .axis { fill: none; stroke-width: 1; }\n\
         .plot .grid { fill: none; stroke-width: 1; }\n\
         .plot .line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }\n\
         .plot .band { opacity: .16; }\n\
         .plot .published { stroke-width: 1.2; stroke-dasharray: 5 3; opacity: .8; }\n\
         .plot .range { fill: none; stroke-width: 1; }\n\
         .plot .whisker { fill: none; stroke-width: 1.2; }\n\
         .plot .veil { opacity: .82; }\n",
    );
    for (variant, dashes) in DASHES.iter().enumerate().skip(1) {
        let _ = writeln!(rules, ".plot .v{variant} {{ stroke-dasharray: {dashes}; }}");
    }
    rules
}

/// Dash patterns that tell contestants of one colour apart; the first is a full line.
pub const DASHES: [&str; 5] = ["none", "7 2", "2 2", "8 2 2 2", "1 3"];

/// Colour rules; `pick` is given the light colour, the dark one and the name of the variable that holds either.
pub fn colours(pick: impl Fn(&str, &str, &str) -> String) -> String {
    let mut rules = String::new();
    for (selector, property, light, dark, variable) in [
        (".ground", "fill", "#ffffff", "#16181b", "--ground"),
        (".veil", "fill", "#ffffff", "#16181b", "--ground"),
        ("text", "fill", "#1b1c1e", "#e6e6e3", "--ink"),
        (".tick", "fill", "#55585e", "#a9adb4", "--soft"),
        (".small", "fill", "#55585e", "#a9adb4", "--soft"),
        (".axis", "stroke", "#85888e", "#7d828a", "--rule"),
        (".whisker", "stroke", "#1b1c1e", "#e6e6e3", "--ink"),
        (".grid", "stroke", "#e9e9e6", "#2a2d32", "--grid"),
    ] {
        let _ = writeln!(rules, ".plot {selector} {{ {property}: {}; }}", pick(light, dark, variable));
    }
    for (class, light, dark) in COLOURS {
        let colour = pick(light, dark, &format!("--{class}"));
        let _ = writeln!(rules, ".plot .s-{class} {{ stroke: {colour}; }} .plot .f-{class} {{ fill: {colour}; }}");
    }
    for (class, light, dark) in PHASES {
        let _ = writeln!(rules, ".plot .p-{class} {{ fill: {}; }}", pick(light, dark, &format!("--phase-{class}")));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_short_and_keep_their_shape() {
        assert_eq!(path(&[(10.0, 20.0), (10.5, 19.96), (11.0, 19.9), (11.0, 30.25)]), "M10 20l1-.1l0 10.4");
        assert_eq!(simplify(&[(0.0, 0.0), (1.0, 0.1), (2.0, 0.0), (3.0, 5.0), (0.0, 0.0)]).len(), 4);
        assert_eq!((path(&[]), path(&[(1.0, -0.5)])), (String::new(), "M1-.5".into()));
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escape("a<b> & \"c\"\u{1b}"), "a&lt;b&gt; &amp; &quot;c&quot; ");
    }
}
