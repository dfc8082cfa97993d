//! `slidebench list`: what there is to run.

use super::End;
use crate::engine::REGISTRY;
use crate::experiment::{CATALOGUE, Scale, parse};
use anyhow::Context;
use std::io::Write;

pub(super) fn run() -> anyhow::Result<End> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Experiments (slidebench run NAME):")?;
    for (file, text) in CATALOGUE {
        let experiment = parse(text, file, Scale::Quick).context("a shipped experiment is damaged")?;
        let engines: Vec<&str> = experiment.engines.iter().map(|engine| engine.label()).collect();
        let data: Vec<&str> = experiment.data.iter().map(|data| data.source.as_str()).collect();
        writeln!(out, "\n  {}", experiment.name)?;
        for line in wrap(&experiment.question, 92) {
            writeln!(out, "      {line}")?;
        }
        match &experiment.measure {
            Some(measure) => writeln!(out, "      measures {}", measure.what)?,
            None => writeln!(out, "      {} on {}", engines.join(", "), data.join(", "))?,
        }
    }
    writeln!(out, "\nEngines (--engines NAME,NAME):\n")?;
    let width = REGISTRY.iter().map(|engine| engine.name.len()).max().unwrap_or(0);
    for engine in REGISTRY {
        writeln!(out, "  {:width$}  {}", engine.name, engine.summary)?;
    }
    Ok(End::Done)
}

/// Breaks a text into lines of at most `width` characters at its spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn wraps_at_spaces() {
        assert_eq!(wrap("one two  three\nfour", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("incomprehensible", 4), ["incomprehensible"]);
    }
}
