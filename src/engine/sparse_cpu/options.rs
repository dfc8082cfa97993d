//! The engine's options in TOML, and the engines built from them.

use super::SparseCpu;
use crate::engine::{Engine, EngineError, EngineSettings};
use crate::kernels::memory::HugePages;
use crate::selection::{All, HashedSettings, Lsh, Neurons, Random, Sampler, Selection, TopK};
use serde::Deserialize;

/// `[engine.options]` of the sparse engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Which output neurons compute; fixed by the engine's name.
    #[serde(skip)]
    pub output: Output,
    /// Neurons chosen a sample by `uniform`, `frequency` and `top-k`, beside the true labels.
    pub count: usize,
    /// Hash tables, for `lsh-cpu`.
    pub hashed: HashedSettings,
    /// Whether weights and optimiser state ask for huge pages.
    pub huge_pages: HugePages,
}

/// The output layer's selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    #[default]
    All,
    Lsh,
    Uniform,
    Frequency,
    TopK,
}

impl Default for Options {
    fn default() -> Self {
        Self { output: Output::default(), count: 1000, hashed: HashedSettings::default(), huge_pages: HugePages::Ask }
    }
}

impl Options {
    fn read(settings: &EngineSettings, output: Output) -> Result<Self, EngineError> {
        let options: Self =
            settings.options.clone().try_into().map_err(|e| EngineError::Settings(format!("[engine.options]: {e}")))?;
        Ok(Self { output, ..options })
    }

    /// The selection of a layer: hidden layers compute every neuron.
    pub fn selection(
        &self,
        settings: &EngineSettings,
        output: bool,
        neurons: Neurons<'_>,
    ) -> Result<Box<dyn Selection>, EngineError> {
        let count = neurons.bias.len();
        let random = |sampler| Box::new(Random::new(sampler, self.count, settings.seed));
        Ok(match self.output {
            _ if !output => Box::new(All),
            Output::All => Box::new(All),
            Output::Lsh => Box::new(
                Lsh::new(&self.hashed, neurons.width, count, settings.seed)
                    .map_err(|e| EngineError::Settings(e.to_string()))?,
            ),
            Output::Uniform => random(Sampler::uniform(count)),
            Output::Frequency if settings.label_counts.len() == count => {
                random(Sampler::frequency(&settings.label_counts))
            }
            Output::Frequency => {
                return Err(EngineError::Settings(
                    "selection by frequency needs the training rows of each label".into(),
                ));
            }
            Output::TopK => Box::new(TopK { count: self.count }),
        })
    }
}

fn build(name: &'static str, output: Output, settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(SparseCpu::new(name, settings, Options::read(settings, output)?)?))
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

/// `sparse-cpu:top-k`: the true top neurons, at the cost of a dense forward pass.
pub fn build_top_k(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    build("sparse-cpu:top-k", Output::TopK, settings)
}
