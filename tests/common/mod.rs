//! Small random problems for tests through the public API.

use rand::seq::index::sample;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use slidebench::data::{Batch, Inputs, LabelLists};
use slidebench::engine::{Engine, EngineError, EngineSettings, find};
use slidebench::network::{Rows, Shape, Training};

/// A network's shape and how it is fed.
#[derive(Clone, Debug)]
pub struct Problem {
    pub shape: Shape,
    /// Samples a batch.
    pub batch: usize,
    pub dense_input: bool,
    pub input_rows: Rows,
    pub seed: u64,
}

impl Problem {
    pub fn training(&self) -> Training {
        Training { batch: self.batch, input_rows: self.input_rows, learning_rate: 3e-3, ..Training::default() }
    }

    /// `count` batches of random samples with 0 to 4 labels each. Every third batch is shorter than the rest; some rows
    /// have no labels, and some rows of sparse batches no features.
    pub fn batches(&self, count: usize) -> Vec<Batch> {
        let mut rng = Pcg64Mcg::seed_from_u64(self.seed);
        (0..count)
            .map(|index| {
                let rows = if index % 3 == 1 { self.batch.div_ceil(2) } else { self.batch };
                let mut batch = Batch::default();
                if self.dense_input {
                    batch.inputs = Inputs::Dense { width: self.shape.inputs, values: vec![] };
                }
                for _ in 0..rows {
                    let labels = distinct(&mut rng, self.shape.labels, 4);
                    if self.dense_input {
                        let row: Vec<f32> = (0..self.shape.inputs).map(|_| rng.random_range(-1.0..1.0)).collect();
                        batch.push_dense(&row, &labels);
                    } else {
                        let indices = distinct(&mut rng, self.shape.inputs, 12);
                        let values: Vec<f32> = indices.iter().map(|_| rng.random_range(-1.0..2.0)).collect();
                        batch.push_sparse(&indices, &values, &labels);
                    }
                }
                batch
            })
            .collect()
    }

    /// Labels of a hundred training rows, each label in one.
    fn label_rows(&self) -> LabelLists {
        label_lists((0..100).map(|row| (row..self.shape.labels as u32).step_by(100)))
    }

    /// Builds a registered engine for this problem.
    ///
    /// # Panics
    /// If there is no such engine or it refuses.
    pub fn engine(&self, name: &str, options: &str, threads: usize) -> Box<dyn Engine> {
        self.build(name, options, threads).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The same, or why it refuses.
    ///
    /// # Errors
    /// The engine's.
    pub fn build(&self, name: &str, options: &str, threads: usize) -> Result<Box<dyn Engine>, EngineError> {
        let settings = EngineSettings {
            shape: self.shape.clone(),
            training: self.training(),
            options: options.parse().expect("options are TOML"),
            threads,
            allow_software: true,
            seed: 1,
            label_rows: self.label_rows().into(),
        };
        let entry = find(name).unwrap_or_else(|| panic!("no engine {name}"));
        (entry.build)(&settings)
    }
}

/// The labels of some rows.
pub fn label_lists(rows: impl Iterator<Item = impl Iterator<Item = u32>>) -> LabelLists {
    let (mut offsets, mut labels) = (vec![0], vec![]);
    for row in rows {
        labels.extend(row);
        offsets.push(labels.len() as u64);
    }
    LabelLists::new(offsets, labels)
}

/// 0 to `most` distinct numbers below `below`, ascending.
fn distinct(rng: &mut impl Rng, below: usize, most: usize) -> Vec<u32> {
    let count = rng.random_range(0..=most.min(below));
    let mut chosen: Vec<u32> = sample(rng, below, count).into_iter().map(|i| i as u32).collect();
    chosen.sort_unstable();
    chosen
}
