//! The engine's options in TOML, and the engines built from them.

use super::SparseCpu;
use super::shared::Products;
use super::state::Precision;
use crate::engine::{Engine, EngineError, EngineSettings};
use crate::kernels::memory::HugePages;
use crate::selection::{
    All, HashedSettings, Lsh, Negatives, Neurons, Random, Sampler, Selection, SharedSelection, TopK,
};
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
    /// One active set for the whole batch (its labels and `count` further neurons) instead of one a sample.
    pub shared: bool,
    /// The samples of a batch share their random neurons, each beside its own labels.
    pub shared_negatives: bool,
    /// Correct the logits of sampled neurons for their probability of being in the set, so that the sum
    /// over the set estimates the sum over all neurons.
    pub correct: bool,
    /// Hash tables, for `lsh-cpu`.
    pub hashed: HashedSettings,
    /// With `shared`: what matrix products are computed in.
    pub products: Products,
    /// How Adam's moments are stored.
    pub precision: Precision,
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
        Self {
            output: Output::default(),
            count: 1000,
            shared: false,
            shared_negatives: false,
            correct: false,
            hashed: HashedSettings::default(),
            products: Products::F32,
            precision: Precision::F32,
            huge_pages: HugePages::Ask,
        }
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
        Ok(match self.output {
            _ if !output || self.shared => Box::new(All),
            Output::All => Box::new(All),
            Output::Lsh => Box::new(self.lsh(settings, neurons)?),
            Output::Uniform | Output::Frequency => {
                let sampler = self.sampler(settings, count)?;
                let random = Random::new(sampler, self.count, self.shared_negatives, settings.seed);
                Box::new(if self.correct { random.corrected(count) } else { random })
            }
            Output::TopK => Box::new(TopK { count: self.count }),
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
            Output::Lsh => Negatives::Hashed(Box::new(self.lsh(settings, neurons)?)),
            Output::Uniform | Output::Frequency => Negatives::Random(self.sampler(settings, count)?),
            Output::All | Output::TopK => {
                return Err(EngineError::Settings("`shared` goes with lsh, uniform and frequency only".into()));
            }
        };
        let shares = &settings.label_shares;
        Ok(Some(SharedSelection::new(negatives, self.count, count, self.correct, shares, settings.seed)))
    }

    fn lsh(&self, settings: &EngineSettings, neurons: Neurons<'_>) -> Result<Lsh, EngineError> {
        Lsh::new(&self.hashed, neurons.width, neurons.bias.len(), settings.seed)
            .map_err(|e| EngineError::Settings(e.to_string()))
    }

    fn sampler(&self, settings: &EngineSettings, neurons: usize) -> Result<Sampler, EngineError> {
        match self.output {
            Output::Frequency if settings.label_shares.len() == neurons => {
                Ok(Sampler::frequency(&settings.label_shares))
            }
            Output::Frequency => {
                Err(EngineError::Settings("selection by frequency needs the label shares of the training rows".into()))
            }
            _ => Ok(Sampler::uniform(neurons)),
        }
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
