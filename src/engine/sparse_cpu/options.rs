//! The engine's options in TOML, and the engines built from them.

use super::SparseCpu;
use super::preset::Preset;
use super::shared::Products;
use crate::engine::cpu::input::Storage;
use crate::engine::cpu::{Optimiser, Precision, State, Sums};
use crate::engine::{Engine, EngineError, EngineSettings};
use crate::kernels::memory::HugePages;
use crate::network::Rows;
use crate::selection::{
    All, HashedSettings, Lsh, Negatives, Neurons, Random, Sampler, Selection, SharedSelection, TopK,
};
use serde::Deserialize;

/// `[engine.options]` of the sparse engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Where the options that are not given come from.
    pub preset: Option<Preset>,
    /// Which output neurons compute; fixed by the engine's name.
    #[serde(skip)]
    pub output: Output,
    /// Neurons chosen a sample by `uniform`, `frequency` and `top-k`, beside the true labels.
    pub count: usize,
    /// One active set for the whole batch (its labels and `count` further neurons; from hash tables, those that collide
    /// with its samples most often) instead of one a sample.
    pub shared: bool,
    /// With `shared` and hash tables: so many random neurons beside those that collide most often.
    pub random: usize,
    /// With `shared` and random neurons: more than `count` of them where the set would hold fewer neurons than this, the
    /// labels that a batch is expected to bring included.
    pub floor: usize,
    /// With `shared` and random neurons: no more of them than this many for each distinct label that the samples of a batch
    /// are expected to have, drawn or not.
    pub count_per_label: f32,
    /// With `shared`: true labels that a sample draws for a step, of those it has; 0: all. Labels not drawn count where
    /// they are in the set all the same, and each by the inverse of its probability of being there.
    pub labels: usize,
    /// With `shared`: neurons a sample that the backward pass visits, about; 0: all of the set. Gradients of logits below a
    /// threshold, which follows from this number, are rounded at random to the threshold or, more often, to 0, so that
    /// their mean stays what it is.
    pub backward: usize,
    /// The samples of a batch share their random neurons, each beside its own labels.
    pub shared_negatives: bool,
    /// Correct the logits of sampled neurons for their probability of being in the set, so that the sum
    /// over the set estimates the sum over all neurons.
    pub correct: bool,
    /// Hash tables, for `lsh-cpu`.
    pub hashed: HashedSettings,
    /// Hidden layers above the first, which compute every neuron where this is not given.
    pub hidden: Option<Hidden>,
    /// With `shared`: what matrix products are computed in.
    pub products: Products,
    /// How gradients move weights.
    pub optimiser: Optimiser,
    /// μ of `adagrad`.
    pub momentum: f32,
    /// Whether neurons without gradient, outside the active set, keep their weights and moments (lazy: the paper's
    /// text) or decay and move with the others (dense: the authors' code).
    pub output_rows: Rows,
    /// How the samples' gradients of a weight are summed.
    pub sums: Sums,
    /// How weights and Adam's moments are stored, in all layers; biases stay in f32.
    pub precision: Precision,
    /// What the optimiser remembers of the first layer; `row-wise` goes with `adam`.
    pub input_state: State,
    /// Steps between snapshots of the weights, whose average is evaluated in place of the last ones ([`crate::engine::cpu::Average`]); 0: none.
    /// Hashed inference, which has tables of the last ones alone, is not measured then.
    pub average: u64,
    /// Steps between two looks at the recall of the active sets, outside the device clock; 0: none.
    pub recall_every: u64,
    /// Top neurons a sample that recall looks for.
    pub recall_at: usize,
    /// Whether weights and optimiser state ask for huge pages.
    pub huge_pages: HugePages,
    /// Kernel set: `avx512`, `avx2` or `portable`; the best this CPU runs where not given.
    pub simd: Option<String>,
}

/// Selection of the hidden layers above the first: each has its own of the same settings. (The first is stored by
/// input feature, so that it cannot skip neurons and costs its input's non-zeros instead.)
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hidden {
    pub selection: Output,
    /// Neurons chosen a sample by `uniform` and `top-k`.
    pub count: usize,
    pub hashed: HashedSettings,
}

impl Default for Hidden {
    fn default() -> Self {
        Self { selection: Output::All, count: 100, hashed: HashedSettings::default() }
    }
}

/// How neurons are selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    #[default]
    All,
    Lsh,
    Uniform,
    Frequency,
    LogUniform,
    TopK,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            preset: None,
            output: Output::default(),
            count: 1000,
            shared: false,
            random: 0,
            floor: 0,
            count_per_label: f32::INFINITY,
            labels: 0,
            backward: 0,
            shared_negatives: false,
            correct: false,
            hashed: HashedSettings::default(),
            hidden: None,
            products: Products::F32,
            optimiser: Optimiser::Adam,
            momentum: 0.5,
            output_rows: Rows::Lazy,
            sums: Sums::Deterministic,
            precision: Precision::F32,
            input_state: State::EachWeight,
            average: 0,
            recall_every: 0,
            recall_at: 10,
            huge_pages: HugePages::Ask,
            simd: None,
        }
    }
}

impl Options {
    fn read(settings: &EngineSettings, output: Output, preset: Option<Preset>) -> Result<Self, EngineError> {
        let refuse = |problem: String| EngineError::Settings(format!("[engine.options]: {problem}"));
        let preset = match settings.options.get("preset") {
            None => preset,
            Some(name) => Some(name.clone().try_into().map_err(|e: toml::de::Error| refuse(e.to_string()))?),
        };
        let table = match preset {
            None => settings.options.clone(),
            Some(preset) => preset.under(&settings.options, settings.training.batch),
        };
        let options: Self = table.try_into().map_err(|e: toml::de::Error| refuse(e.to_string()))?;
        if let Some(preset) = preset
            && preset.output() != output
        {
            return Err(refuse(format!("preset {preset:?} is for the engine {}", preset.engine())));
        }
        if options.precision != Precision::F32 && options.optimiser != Optimiser::Adam {
            return Err(refuse(
                "`precision` packed-moments, bf16-weights and packed are for Adam's state; use `optimiser = \"adam\"`"
                    .into(),
            ));
        }
        if options.input_state == State::RowWise && options.optimiser != Optimiser::Adam {
            return Err(refuse("`input-state = \"row-wise\"` goes with `optimiser = \"adam\"`".into()));
        }
        if options.shared && options.sums != Sums::Deterministic {
            return Err(refuse("`sums` is for sets by sample; with `shared` matrix products sum the gradients".into()));
        }
        if options.count_per_label.is_nan() || options.count_per_label < 0.0 {
            let given = options.count_per_label;
            return Err(refuse(format!("count-per-label = {given}: expected a number from 0")));
        }
        if !options.shared && options.labels > 0 {
            return Err(refuse("`labels` goes with `shared`; a sample's own set holds all its labels".into()));
        }
        if options.random > 0 && !(options.shared && output == Output::Lsh) {
            return Err(refuse(
                "`random` goes with `shared` and hash tables; of random neurons there are `count`".into(),
            ));
        }
        if options.backward > 0 && (!options.shared || options.output_rows == Rows::Dense) {
            return Err(refuse("`backward` goes with `shared` and with `output-rows = \"lazy\"`".into()));
        }
        if options.shared && output == Output::TopK {
            return Err(refuse("`shared` does not go with top-k, which finds the neurons of each sample".into()));
        }
        if options.shared && output == Output::Lsh {
            options.hashed.elects().map_err(refuse)?;
        }
        let by_frequency = [Output::Frequency, Output::LogUniform];
        if options.hidden.as_ref().is_some_and(|hidden| by_frequency.contains(&hidden.selection)) {
            return Err(refuse("hidden.selection by frequency: hidden neurons have no label frequency".into()));
        }
        if !(0.0..1.0).contains(&options.momentum) {
            return Err(refuse(format!("momentum = {}: expected a number from 0 to below 1", options.momentum)));
        }
        Ok(Self { output, preset, ..options })
    }

    /// How the first layer keeps and moves its weights.
    pub fn storage(&self) -> Storage {
        let Self { huge_pages, precision, input_state: state, sums, optimiser, .. } = *self;
        Storage { huge_pages, precision, state, sums, optimiser }
    }

    /// Whether hidden layers above the first skip neurons.
    pub fn skips_hidden(&self) -> bool {
        self.hidden.as_ref().is_some_and(|hidden| hidden.selection != Output::All)
    }

    /// The selection of the neuron-major layer that lies `below` layers below the output.
    pub fn selection(
        &self,
        settings: &EngineSettings,
        below: usize,
        neurons: Neurons<'_>,
    ) -> Result<Box<dyn Selection>, EngineError> {
        let (output, set, hashed) = match (&self.hidden, below) {
            (_, 0) if self.shared => (Output::All, 0, &self.hashed),
            (_, 0) => (self.output, self.count, &self.hashed),
            (None, _) => (Output::All, 0, &self.hashed),
            (Some(hidden), _) => (hidden.selection, hidden.count, &hidden.hashed),
        };
        let (count, seed) = (neurons.bias.len(), settings.seed.wrapping_add(below as u64));
        Ok(match output {
            Output::All => Box::new(All),
            Output::Lsh => Box::new(lsh(hashed, neurons, seed)?),
            Output::Uniform | Output::Frequency | Output::LogUniform => {
                let sampler = sampler(output, settings, count)?;
                let random = Random::new(sampler, set, self.shared_negatives, seed);
                Box::new(if self.correct && below == 0 { random.corrected(count) } else { random })
            }
            Output::TopK => Box::new(TopK::new(set)),
        })
    }

    /// The selection of a shared set for the output layer, if one is asked for.
    pub fn shared(
        &self,
        settings: &EngineSettings,
        neurons: Neurons<'_>,
    ) -> Result<Option<SharedSelection>, EngineError> {
        if !self.shared {
            return Ok(None);
        }
        let count = neurons.bias.len();
        let negatives = match self.output {
            Output::Lsh => Negatives::Hashed(Box::new(lsh(&self.hashed, neurons, settings.seed)?)),
            Output::Uniform | Output::Frequency | Output::LogUniform => {
                Negatives::Random(sampler(self.output, settings, count)?)
            }
            Output::All => Negatives::All,
            Output::TopK => unreachable!("refused when options are read"),
        };
        let draw = if self.labels == 0 { usize::MAX } else { self.labels };
        let mut selection = SharedSelection::new(negatives, self.count, count, self.correct, settings.seed)
            .drawing(draw, &settings.label_rows);
        selection.random = self.random;
        selection.floor = self.floor;
        selection.per_label = self.count_per_label;
        Ok(Some(selection))
    }
}

fn lsh(hashed: &HashedSettings, neurons: Neurons<'_>, seed: u64) -> Result<Lsh, EngineError> {
    Lsh::new(hashed, neurons.width, neurons.bias.len(), seed).map_err(|e| EngineError::Settings(e.to_string()))
}

fn sampler(output: Output, settings: &EngineSettings, neurons: usize) -> Result<Sampler, EngineError> {
    let of: fn(&[f32]) -> Sampler = match output {
        Output::Frequency => Sampler::frequency,
        Output::LogUniform => Sampler::log_uniform,
        _ => return Ok(Sampler::uniform(neurons)),
    };
    if settings.label_rows.rows() == 0 {
        return Err(EngineError::Settings("selection by frequency needs the labels of the training rows".into()));
    }
    Ok(of(&settings.label_rows.shares(neurons)))
}

fn build(name: &'static str, output: Output, settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(SparseCpu::new(name, settings, Options::read(settings, output, None)?)?))
}

/// `sparse-cpu:best`: the preset [`Preset::Best`].
pub fn build_best(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    let preset = Preset::Best;
    Ok(Box::new(SparseCpu::new(preset.engine(), settings, Options::read(settings, preset.output(), Some(preset))?)?))
}

/// `lsh-cpu`: active neurons from hash tables.
pub fn build_lsh(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    build("lsh-cpu", Output::Lsh, settings)
}

/// `sparse-cpu:all`: every neuron active, which makes the sparse engine a dense one.
pub fn build_all(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    build("sparse-cpu:all", Output::All, settings)
}

/// `sparse-cpu:uniform`: random neurons.
pub fn build_uniform(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    build("sparse-cpu:uniform", Output::Uniform, settings)
}

/// `sparse-cpu:frequency`: random neurons in proportion to label frequency.
pub fn build_frequency(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    build("sparse-cpu:frequency", Output::Frequency, settings)
}

/// `sparse-cpu:log-uniform`: random neurons, log-uniformly by rank of label frequency.
pub fn build_log_uniform(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    build("sparse-cpu:log-uniform", Output::LogUniform, settings)
}

/// `sparse-cpu:top-k`: the true top neurons, at the cost of a dense forward pass.
pub fn build_top_k(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    build("sparse-cpu:top-k", Output::TopK, settings)
}
