//! Neurons from hash tables: SLIDE's selection.

use super::random::{Sampler, stream};
use super::{ActiveSets, Counts, Marks, Neurons, Queries, Selection};
use crate::lsh::schedule::Policy;
use crate::lsh::{Hasher, IncrementalSimHash, LshError, LshSettings, Monitor, Rebuild, RebuildSchedule, Tables};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Queries hashed as one task.
const BLOCK: usize = 16;

/// What becomes of the ids in the T buckets a query falls into (SLIDE, section 4.1 and appendix B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retrieve {
    /// All of them, from all tables: what the authors' code does.
    #[default]
    Union,
    /// Tables in random order until `limit` neurons are active: the paper's vanilla sampling.
    Vanilla,
    /// The `limit` neurons found in most tables.
    TopK,
    /// The neurons found in at least `threshold` tables.
    Threshold,
}

/// Random neurons added where the tables yield few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// None.
    #[default]
    Off,
    /// Drawn anew for every sample.
    Independent,
    /// The same run of one shuffled list for all samples of `fill-period` steps. The authors' code seeds its fill from
    /// the clock in seconds, so that all samples of a second share it.
    Repeating,
}

/// Settings of the hashed selection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HashedSettings {
    pub lsh: LshSettings,
    pub retrieve: Retrieve,
    /// Active neurons a sample for `vanilla` and `top-k`, true labels not counted.
    pub limit: usize,
    /// Tables a neuron must be found in for `threshold`.
    pub threshold: u16,
    pub fill: Fill,
    /// The fill tops active neurons up to this number, true labels included.
    pub floor: usize,
    /// Steps that share a fill, for `repeating`.
    pub fill_period: u64,
}

impl Default for HashedSettings {
    fn default() -> Self {
        Self {
            lsh: LshSettings::default(),
            retrieve: Retrieve::Union,
            limit: 1000,
            threshold: 2,
            fill: Fill::Off,
            floor: 1000,
            fill_period: 5,
        }
    }
}

/// Marks the neurons in the buckets a query falls into.
#[derive(Debug)]
pub struct Lsh {
    settings: HashedSettings,
    hasher: Hasher,
    tables: Tables,
    /// Kept projections, where rebuilds are incremental.
    projections: Option<IncrementalSimHash>,
    schedule: RebuildSchedule,
    built: bool,
    redraws: u64,
    /// Hash codes of some neurons at the last build, for rebuilds on change.
    monitor: Monitor,
    seed: u64,
    sampler: Sampler,
    /// Every neuron once, in random order, for the repeating fill.
    shuffled: Vec<u32>,
    neurons: usize,
    /// Bucket indices of the batch: for each block of queries, a run of the block's length for each table and probe.
    codes: Vec<Vec<u32>>,
}

impl Lsh {
    /// # Errors
    /// Names the setting that cannot be.
    pub fn new(settings: &HashedSettings, width: usize, neurons: usize, seed: u64) -> Result<Self, LshError> {
        let hasher = Hasher::new(&settings.lsh, width, seed)?;
        let mut shuffled = Vec::new();
        if settings.fill == Fill::Repeating {
            shuffled.extend(0..neurons as u32);
            shuffled.shuffle(&mut stream(seed, 0, 0));
        }
        Ok(Self {
            tables: Tables::new(&hasher, neurons),
            projections: projections(&hasher, neurons)?,
            schedule: RebuildSchedule::new(settings.lsh.rebuild)?,
            settings: settings.clone(),
            hasher,
            built: false,
            redraws: 0,
            monitor: Monitor::default(),
            seed,
            sampler: Sampler::uniform(neurons),
            shuffled,
            neurons,
            codes: Vec::new(),
        })
    }

    /// Whether [`prepare`](Selection::prepare) looks at the weights at this step.
    pub fn wants_weights(&self, step: u64) -> bool {
        !self.built || self.schedule.near(step)
    }

    fn hash(&mut self, queries: Queries<'_>, samples: usize) {
        let hasher = &self.hasher;
        self.codes.resize_with(samples.div_ceil(BLOCK), Vec::new);
        self.codes.par_iter_mut().enumerate().for_each(|(block, codes)| {
            let rows = block * BLOCK..((block + 1) * BLOCK).min(samples);
            codes.resize(hasher.tables() * hasher.probes() * rows.len(), 0);
            hasher.hash_queries(queries.x, queries.stride, rows, codes);
        });
    }

    /// The buckets that sample `sample` of `samples` asks in `table`.
    fn buckets(&self, table: usize, sample: usize, samples: usize) -> impl Iterator<Item = &[u32]> {
        let block = sample / BLOCK;
        let length = BLOCK.min(samples - block * BLOCK);
        let probes = self.hasher.probes();
        (table * probes..(table + 1) * probes)
            .map(move |run| self.tables.bucket(table, self.codes[block][run * length + sample % BLOCK]))
    }

    fn fill(&self, step: u64, sample: usize, marks: &mut Marks<'_>, counts: &mut Counts) {
        let floor = self.settings.floor.min(self.neurons);
        let mut missing = (floor as u32).saturating_sub(counts.active());
        match self.settings.fill {
            Fill::Off => {}
            Fill::Independent => {
                let mut rng = stream(self.seed ^ 0xF111, step, sample);
                while missing > 0 {
                    marks.mark(self.sampler.draw(&mut rng));
                    let added = marks.take_added();
                    counts.fill += added;
                    missing -= added;
                }
            }
            Fill::Repeating => {
                let period = step / self.settings.fill_period.max(1);
                let start = self.sampler.draw(&mut stream(self.seed ^ 0xF111, period, 0)) as usize;
                for &neuron in self.shuffled[start..].iter().chain(&self.shuffled[..start]) {
                    if missing == 0 {
                        break;
                    }
                    marks.mark(neuron);
                    let added = marks.take_added();
                    counts.fill += added;
                    missing -= added;
                }
            }
        }
    }
}

fn projections(hasher: &Hasher, neurons: usize) -> Result<Option<IncrementalSimHash>, LshError> {
    hasher.settings().incremental.then(|| IncrementalSimHash::new(hasher, neurons)).transpose()
}

/// Collisions by neuron of one sample, and the neurons that have any.
#[derive(Debug, Default)]
struct Collisions {
    counts: Vec<u16>,
    touched: Vec<u32>,
}

impl Collisions {
    fn add(&mut self, bucket: &[u32]) {
        for &neuron in bucket {
            let count = &mut self.counts[neuron as usize];
            if *count == 0 {
                self.touched.push(neuron);
            }
            *count += 1;
        }
    }

    fn clear(&mut self) {
        for neuron in self.touched.drain(..) {
            self.counts[neuron as usize] = 0;
        }
    }
}

impl Selection for Lsh {
    fn prepare(&mut self, step: u64, neurons: Neurons<'_>) -> bool {
        let rebuild = match self.built {
            false => Some(Rebuild::Keep),
            true if step == 0 => None,
            true => {
                let (hasher, monitor) = (&self.hasher, &self.monitor);
                self.schedule.due(step, || monitor.flipped(hasher, neurons.weights, neurons.stride, neurons.bias.len()))
            }
        };
        let Some(rebuild) = rebuild else { return false };
        if rebuild == Rebuild::Redraw {
            self.redraws += 1;
            let seed = self.seed.wrapping_add(self.redraws);
            self.hasher = Hasher::new(&self.settings.lsh, neurons.width, seed).expect("settings were accepted before");
            self.projections = projections(&self.hasher, neurons.bias.len()).expect("settings were accepted before");
        }
        match &mut self.projections {
            None => self.tables.rehash(&self.hasher, neurons.weights, neurons.stride),
            Some(projections) => {
                projections.update(neurons.weights, neurons.stride);
                self.tables.rehash_from(projections);
            }
        }
        self.tables.insert(self.seed ^ step);
        if self.settings.lsh.rebuild.policy == Policy::OnChange {
            self.monitor = Monitor::new(&self.hasher, neurons.weights, neurons.stride, neurons.bias.len());
        }
        self.built = true;
        true
    }

    fn select(&mut self, step: u64, queries: Queries<'_>, neurons: Neurons<'_>, sets: &mut ActiveSets) {
        let samples = sets.samples();
        let total = neurons.bias.len();
        self.hash(queries, samples);
        let this = &*self;
        let tables = this.hasher.tables();
        let counting = matches!(this.settings.retrieve, Retrieve::TopK | Retrieve::Threshold);
        let space = || Collisions { counts: vec![0; if counting { total } else { 0 }], touched: Vec::new() };
        sets.for_each_with(space, |collisions, sample, marks, counts| {
            match this.settings.retrieve {
                Retrieve::Union => {
                    for table in 0..tables {
                        for bucket in this.buckets(table, sample, samples) {
                            counts.candidates += bucket.len() as u32;
                            marks.mark_all(bucket);
                        }
                    }
                    counts.selected += marks.take_added();
                }
                Retrieve::Vanilla => {
                    let mut order: Vec<usize> = (0..tables).collect();
                    order.shuffle(&mut stream(this.seed, step, sample));
                    for table in order {
                        if counts.selected as usize >= this.settings.limit {
                            break;
                        }
                        for bucket in this.buckets(table, sample, samples) {
                            counts.candidates += bucket.len() as u32;
                            marks.mark_all(bucket);
                        }
                        counts.selected += marks.take_added();
                    }
                }
                Retrieve::TopK | Retrieve::Threshold => {
                    for table in 0..tables {
                        for bucket in this.buckets(table, sample, samples) {
                            counts.candidates += bucket.len() as u32;
                            collisions.add(bucket);
                        }
                    }
                    let Collisions { counts: hits, touched } = &mut *collisions;
                    let mut chosen = touched.clone();
                    if this.settings.retrieve == Retrieve::Threshold {
                        chosen.retain(|&n| hits[n as usize] >= this.settings.threshold);
                    } else if chosen.len() > this.settings.limit {
                        let rank = |n: &u32| (std::cmp::Reverse(hits[*n as usize]), *n);
                        chosen.select_nth_unstable_by_key(this.settings.limit, rank);
                        chosen.truncate(this.settings.limit);
                    }
                    marks.mark_all(&chosen);
                    counts.selected += marks.take_added();
                    collisions.clear();
                }
            }
            this.fill(step, sample, marks, counts);
        });
    }

    fn bytes(&self) -> u64 {
        let projections = self.projections.as_ref().map_or(0, IncrementalSimHash::bytes);
        projections + self.tables.bytes() + 4 * self.codes.iter().map(|codes| codes.capacity() as u64).sum::<u64>()
    }

    fn notes(&self) -> Vec<(String, String)> {
        let lsh = &self.settings.lsh;
        let occupancy = self.tables.occupancy();
        vec![
            ("hash".into(), format!("{:?} K={} T={}", lsh.family, lsh.bits, lsh.tables)),
            ("tables".into(), format!("{} of {} buckets used", occupancy.used, lsh.tables * self.hasher.buckets())),
            ("rebuilds".into(), self.schedule.rebuilds().to_string()),
        ]
    }
}
