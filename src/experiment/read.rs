//! Reads an experiment file: every error names the file, the line and what to do.

use super::{Experiment, Scale};
use std::collections::HashSet;
use toml::{Table, Value};

/// What is wrong with an experiment file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// The file, as typed.
    pub file: String,
    /// From 1; none where the file as a whole is the matter.
    pub line: Option<usize>,
    pub message: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, line, message } = self;
        match line {
            Some(line) => write!(f, "{file}:{line}: {message}"),
            None => write!(f, "{file}: {message}"),
        }
    }
}

/// Reads the text of an experiment file and lays `scale` over it; `file` is its name in errors.
pub fn parse(text: &str, file: &str, scale: Scale) -> Result<Experiment, Error> {
    let toml_error = |error: toml::de::Error| {
        let line = error.span().map(|span| line_at(text, span.start));
        Error { file: file.into(), line, message: with_remedy(error.message()) }
    };
    // The whole file first, every scale of it, so that a mistake is found whatever scale is asked for.
    toml::from_str::<Experiment>(text).map_err(toml_error)?;
    let mut table: Table = toml::from_str(text).map_err(toml_error)?;
    if let Some(Value::Table(mut scales)) = table.remove("scales")
        && let Some(Value::Table(overlay)) = scales.remove(scale.name())
    {
        lay_over(&mut table, overlay);
    }
    let experiment: Experiment = table.try_into().map_err(toml_error)?;
    check(&experiment).map_err(|(near, message)| {
        let line = text.lines().position(|line| line.contains(&near)).map(|index| index + 1);
        Error { file: file.into(), line, message: format!("{message} (scale {})", scale.name()) }
    })?;
    Ok(experiment)
}

/// What concerns more than one value; the first half of the error is text to find the line by.
fn check(experiment: &Experiment) -> Result<(), (String, String)> {
    match (&experiment.measure, experiment.data.is_empty(), experiment.engines.is_empty()) {
        (Some(_), true, true) | (None, false, false) => {}
        (Some(_), ..) => return Err(("[measure]".into(), "a measurement takes no [[data]] and no [[engine]]".into())),
        (None, true, _) => return Err(("name".into(), "there is nothing to train on; add a [[data]] entry".into())),
        (None, _, true) => return Err(("name".into(), "there is nobody to train; add an [[engine]] entry".into())),
    }
    if experiment.name == "machine" {
        return Err(("name".into(), "`machine.toml` describes the machine beside records; choose another name".into()));
    }
    let mut sources = HashSet::new();
    for data in &experiment.data {
        let near = format!("{:?}", data.source);
        if !sources.insert(&data.source) {
            return Err((near, format!("the source {:?} stands twice; keep one entry", data.source)));
        }
        if data.epochs.is_none() && data.steps.is_none() && data.seconds.is_none() {
            let message = format!("nothing ends a run on {:?}; give epochs, steps or seconds", data.source);
            return Err((near, message));
        }
    }
    let mut labels = HashSet::new();
    for engine in &experiment.engines {
        if !labels.insert(engine.label()) {
            let message = format!("two engines are called {:?}; give one of them a label", engine.label());
            return Err((format!("{:?}", engine.label()), message));
        }
    }
    let given = experiment.data.iter().flat_map(|data| {
        data.learning_rates
            .keys()
            .map(|key| (key, "a learning rate"))
            .chain(data.epochs_of.keys().map(|key| (key, "epochs")))
    });
    if let Some((stray, what)) = given.into_iter().find(|(key, _)| !labels.contains(key.as_str())) {
        let labels: Vec<&str> = experiment.engines.iter().map(|engine| engine.label()).collect();
        let message = format!("{what} for {stray:?}, which is no engine here; here are {}", labels.join(", "));
        return Err((stray.clone(), message));
    }
    if experiment.training.batch == 0 {
        return Err(("batch".into(), "a batch of 0 samples trains nothing; give at least 1".into()));
    }
    if experiment.training.learning_rate <= 0.0 || experiment.training.learning_rate.is_nan() {
        return Err(("learning-rate".into(), "the learning rate must be positive".into()));
    }
    Ok(())
}

/// Tables merge key by key; lists replace, and their entries inherit from the entry of the same name they replace.
fn lay_over(base: &mut Table, overlay: Table) {
    for (key, value) in overlay {
        match (base.get_mut(&key), value) {
            // Maps of names are meant as a whole.
            (Some(Value::Table(base)), Value::Table(overlay)) if key != "options" && key != "evaluations" => {
                lay_over(base, overlay);
            }
            (Some(Value::Array(base)), Value::Array(overlay)) if key == "data" || key == "engine" => {
                let heirs = overlay.into_iter().map(|entry| inherit(base, entry)).collect();
                *base = heirs;
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn inherit(base: &[Value], entry: Value) -> Value {
    let name = |entry: &Value| {
        let text = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        text("source").or_else(|| text("label")).or_else(|| text("name"))
    };
    match (base.iter().find(|ancestor| name(ancestor) == name(&entry)), entry) {
        (Some(Value::Table(ancestor)), Value::Table(entry)) => {
            let mut heir = ancestor.clone();
            lay_over(&mut heir, entry);
            Value::Table(heir)
        }
        (_, entry) => entry,
    }
}

/// Adds the nearest known key to "unknown field" errors.
fn with_remedy(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((typed, known)) if message.starts_with("unknown") => match super::nearest(typed, known.iter().copied()) {
            Some(name) => format!("{message}; did you mean `{name}`?"),
            None => message.to_owned(),
        },
        _ => message.to_owned(),
    }
}

/// Line of a byte offset, from 1.
fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::super::Evaluations;
    use super::*;

    const GOOD: &str = r#"
name = "good"
question = "Does it parse?"

[training]
batch = 64
learning-rate = 3e-3

[run]
seeds = [1, 2, 3]
evaluations = { every-steps = 10 }

[[data]]
source = "moby"
epochs = 2
learning-rates = { fast = 1e-2 }
epochs-of = { fast = 3 }

[[data]]
source = "webster"
seconds = 5.5

[[engine]]
name = "dense-cpu"
learning-rate = 5e-3

[[engine]]
name = "lsh-cpu"
label = "fast"
options = { tables = 20 }

[[scales.smoke.data]]
source = "moby"
epochs = 0.1

[scales.smoke.run]
seeds = [7]
"#;

    fn error(text: &str) -> String {
        parse(text, "x.toml", Scale::Quick).unwrap_err().to_string()
    }

    #[test]
    fn reads_what_is_written_and_fills_in_the_rest() {
        let experiment = parse(GOOD, "x.toml", Scale::Quick).unwrap();
        assert_eq!(experiment.run.seeds, [1, 2, 3]);
        assert_eq!(experiment.run.evaluations, Evaluations::EverySteps(10));
        assert_eq!(experiment.network.hidden, [128]);
        assert_eq!(experiment.training.beta1, 0.9);
        assert_eq!(experiment.engines[1].label(), "fast");
        assert_eq!(experiment.engines[0].label(), "dense-cpu");
    }

    #[test]
    fn the_rate_of_the_pair_goes_before_the_engine_s_and_that_before_the_experiment_s() {
        let experiment = parse(GOOD, "x.toml", Scale::Quick).unwrap();
        let rate = |d: usize, e: usize| experiment.learning_rate(&experiment.data[d], &experiment.engines[e]);
        assert_eq!([rate(0, 0), rate(0, 1), rate(1, 0), rate(1, 1)], [5e-3, 1e-2, 5e-3, 3e-3]);
        let epochs = |e: usize| experiment.data[0].epochs_of(&experiment.engines[e]);
        assert_eq!([epochs(0), epochs(1)], [Some(2.0), Some(3.0)], "the entry's, and the engine's own");
    }

    #[test]
    fn a_scale_replaces_lists_inherits_entries_and_leaves_the_rest() {
        let smoke = parse(GOOD, "x.toml", Scale::Smoke).unwrap();
        assert_eq!(smoke.data.len(), 1);
        assert_eq!(smoke.data[0].epochs, Some(0.1));
        assert_eq!(smoke.data[0].learning_rates["fast"], 1e-2, "inherited");
        assert_eq!(smoke.run.seeds, [7]);
        assert_eq!(smoke.run.evaluations, Evaluations::EverySteps(10), "left alone");
        assert_eq!(smoke.training.batch, 64);
        assert_eq!(parse(GOOD, "x.toml", Scale::Paper).unwrap(), parse(GOOD, "x.toml", Scale::Quick).unwrap());
    }

    #[test]
    fn errors_name_file_line_and_remedy() {
        assert_eq!(
            error(&GOOD.replace("epochs = 2", "epoch = 2")).split(", expected").next().unwrap(),
            "x.toml:15: unknown field `epoch`"
        );
        assert!(error(&GOOD.replace("epochs = 2", "epoch = 2")).ends_with("did you mean `epochs`?"));
        assert_eq!(error(&GOOD.replace("batch = 64", "batch = 0")).split(':').nth(1), Some("6"));
        assert_eq!(error(&GOOD.replace("epochs = 2", "epochs = -2")), "x.toml:15: -2 is not a positive number");
        assert_eq!(error(&GOOD.replace("5.5", "nan")), "x.toml:21: NaN is not a positive number");
        assert!(error(&GOOD.replace("[1, 2, 3]", "[]")).starts_with("x.toml:10: the list is empty"));
        assert!(error(&GOOD.replace("seconds = 5.5", "")).starts_with("x.toml:20: nothing ends a run on \"webster\""));
        assert!(error(&GOOD.replace("\"good\"", "\"../good\"")).starts_with("x.toml:2: the name \"../good\""));
        assert!(error(&GOOD.replace("\"good\"", "\"machine\"")).starts_with("x.toml:2: `machine.toml`"));
        assert!(error(&GOOD.replace("label = \"fast\"", "label = \"dense-cpu\"")).contains("two engines are called"));
        assert!(error(&GOOD.replace("{ fast = ", "{ slow = ")).contains("which is no engine here; here are dense-cpu"));
        assert!(error(&GOOD.replace("\"webster\"", "\"moby\"")).contains("stands twice"));
        let stray = error(&GOOD.replace("{ fast = 3", "{ slow = 3"));
        assert!(stray.contains("epochs for \"slow\", which is no engine here"), "{stray}");
        assert!(error("name = \"x").starts_with("x.toml:1: "));
    }

    #[test]
    fn what_is_kept_beside_records_reads_as_what_was_run() {
        for (scale, name) in [(Scale::Quick, "good"), (Scale::Smoke, "good-smoke")] {
            let run = parse(GOOD, "x.toml", scale).unwrap().as_run(scale);
            let kept = toml::to_string(&run).unwrap();
            assert!(!kept.contains("0.00300"), "rates are written as they were read: {kept}");
            assert_eq!(parse(&kept, "kept.toml", Scale::Quick).unwrap(), run);
            assert_eq!(run.name, name);
        }
    }

    #[test]
    fn a_mistake_in_another_scale_is_found_too() {
        assert!(error(&GOOD.replace("epochs = 0.1", "epochs = 0")).starts_with("x.toml:34: 0 is not a positive"));
        assert!(error(&GOOD.replace("scales.smoke.run", "scales.tiny.run")).contains("tiny"));
    }
}
