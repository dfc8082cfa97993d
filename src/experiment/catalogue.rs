//! The experiments that ship with the suite.

use super::{Error, Experiment, Scale, nearest, parse};

/// File name and text of every shipped experiment, in the order `slidebench list` shows them.
pub const CATALOGUE: &[(&str, &str)] = &[
    ("default.toml", include_str!("../../benches/experiments/default.toml")),
    ("arxiv-authors.toml", include_str!("../../benches/experiments/arxiv-authors.toml")),
    ("amazon-step.toml", include_str!("../../benches/experiments/amazon-step.toml")),
    ("row-kernels.toml", include_str!("../../benches/experiments/row-kernels.toml")),
    ("drawn-labels.toml", include_str!("../../benches/experiments/drawn-labels.toml")),
    ("thinned-gradients.toml", include_str!("../../benches/experiments/thinned-gradients.toml")),
    ("hashed-and-random.toml", include_str!("../../benches/experiments/hashed-and-random.toml")),
    ("averaged-weights.toml", include_str!("../../benches/experiments/averaged-weights.toml")),
    ("slide20-table1-data.toml", include_str!("../../benches/experiments/slide20-table1-data.toml")),
    ("slide20-table3-insertion.toml", include_str!("../../benches/experiments/slide20-table3-insertion.toml")),
    ("slide20-table4-huge-pages.toml", include_str!("../../benches/experiments/slide20-table4-huge-pages.toml")),
    ("slide20-fig4-strategies.toml", include_str!("../../benches/experiments/slide20-fig4-strategies.toml")),
    ("slide20-fig5-time-accuracy.toml", include_str!("../../benches/experiments/slide20-fig5-time-accuracy.toml")),
    ("slide20-fig5-delicious.toml", include_str!("../../benches/experiments/slide20-fig5-delicious.toml")),
    ("slide20-fig7-sampled-softmax.toml", include_str!("../../benches/experiments/slide20-fig7-sampled-softmax.toml")),
    ("slide20-fig8-batch.toml", include_str!("../../benches/experiments/slide20-fig8-batch.toml")),
    ("slide20-fig9-threads.toml", include_str!("../../benches/experiments/slide20-fig9-threads.toml")),
    ("slide20-fig10-optimisations.toml", include_str!("../../benches/experiments/slide20-fig10-optimisations.toml")),
    ("slide20-fig11-selection.toml", include_str!("../../benches/experiments/slide20-fig11-selection.toml")),
    ("slide20-layers.toml", include_str!("../../benches/experiments/slide20-layers.toml")),
    ("slide20-incremental-hashing.toml", include_str!("../../benches/experiments/slide20-incremental-hashing.toml")),
    ("slide20-projections.toml", include_str!("../../benches/experiments/slide20-projections.toml")),
    ("slide20-dwta.toml", include_str!("../../benches/experiments/slide20-dwta.toml")),
    ("slide20-races.toml", include_str!("../../benches/experiments/slide20-races.toml")),
    ("slide20-rebuild.toml", include_str!("../../benches/experiments/slide20-rebuild.toml")),
    ("slide20-strategies.toml", include_str!("../../benches/experiments/slide20-strategies.toml")),
    ("slide20-insertion-training.toml", include_str!("../../benches/experiments/slide20-insertion-training.toml")),
    ("slide21-data.toml", include_str!("../../benches/experiments/slide21-data.toml")),
    ("slide21-tables.toml", include_str!("../../benches/experiments/slide21-tables.toml")),
    ("kdd17-fraction.toml", include_str!("../../benches/experiments/kdd17-fraction.toml")),
    ("c03-evaluation.toml", include_str!("../../benches/experiments/c03-evaluation.toml")),
    ("c04-linear-tree.toml", include_str!("../../benches/experiments/c04-linear-tree.toml")),
    ("c06-start.toml", include_str!("../../benches/experiments/c06-start.toml")),
    ("c07-optimiser.toml", include_str!("../../benches/experiments/c07-optimiser.toml")),
    ("c14-gpu-ways.toml", include_str!("../../benches/experiments/c14-gpu-ways.toml")),
    ("c08-packing.toml", include_str!("../../benches/experiments/c08-packing.toml")),
    ("c09-selection.toml", include_str!("../../benches/experiments/c09-selection.toml")),
    ("c10-fill.toml", include_str!("../../benches/experiments/c10-fill.toml")),
    ("c12-break-even.toml", include_str!("../../benches/experiments/c12-break-even.toml")),
    ("c12-hidden-width.toml", include_str!("../../benches/experiments/c12-hidden-width.toml")),
    ("c13-density.toml", include_str!("../../benches/experiments/c13-density.toml")),
];

/// Finds an experiment by the name of a shipped one, or reads the TOML file at a path.
///
/// # Errors
/// If there is no such experiment (naming those there are), if the file cannot be read, or if its content is wrong.
pub fn load(name_or_path: &str, scale: Scale) -> Result<Experiment, Error> {
    let shipped = CATALOGUE.iter().find(|(file, _)| file.strip_suffix(".toml") == Some(name_or_path));
    if let Some((file, text)) = shipped {
        return parse(text, file, scale);
    }
    let failed = |message| Error { file: name_or_path.into(), line: None, message };
    if !name_or_path.ends_with(".toml") {
        let known: Vec<&str> = CATALOGUE.iter().filter_map(|(file, _)| file.strip_suffix(".toml")).collect();
        let hint = match nearest(name_or_path, known.iter().copied()) {
            Some(name) => format!("did you mean {name}? "),
            None => String::new(),
        };
        return Err(failed(format!(
            "no experiment of this name. {hint}There are: {}. A file of your own is given by its path, ending in .toml.",
            known.join(", ")
        )));
    }
    let text = std::fs::read_to_string(name_or_path).map_err(|error| failed(error.to_string()))?;
    parse(&text, name_or_path, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_is_in_the_catalogue_and_parses_at_every_scale() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/experiments");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let mut listed: Vec<&str> = CATALOGUE.iter().map(|(file, _)| *file).collect();
        listed.sort();
        assert_eq!(files, listed);
        for (file, _) in CATALOGUE {
            for scale in [Scale::Smoke, Scale::Quick, Scale::Paper] {
                let name = file.strip_suffix(".toml").unwrap();
                let experiment = load(name, scale).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(experiment.name, name, "the file is named for the experiment");
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = load("defualt", Scale::Quick).unwrap_err().to_string();
        assert!(error.contains("did you mean default?"), "{error}");
        assert!(load("no/such.toml", Scale::Quick).is_err());
    }
}
