//! Neurons from hash tables: SLIDE's selection.

use super::random::{Sampler, stream};
use super::votes::{Counter, Votes};
use super::{ActiveSets, Counts, Marks, Neurons, Queries, Selection};
use crate::lsh::schedule::Policy;
use crate::lsh::{Hasher, IncrementalSimHash, LshError, LshSettings, Monitor, Rebuild, RebuildSchedule, Tables};
use crate::threads;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::hint::black_box;

/// Ids a cache line.
const LINE: usize = 64 / size_of::<u32>();
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
    /// Only samples with fewer active neurons than this are filled; none: all below the floor.
    pub fill_below: Option<usize>,
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
            fill_below: None,
            fill_period: 5,
        }
    }
}

impl HashedSettings {
    /// Whether they can elect one set for a batch: what is taken of a bucket and fills up is said by sample.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn elects(&self) -> Result<(), String> {
        if self.retrieve == Retrieve::Union && self.fill == Fill::Off {
            return Ok(());
        }
        Err("one set for a batch is elected by collisions: `hashed.retrieve` and `hashed.fill` are for sets by sample; \
             leave them out, or write \"union\" and \"off\""
            .into())
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
        threads::for_each(self.codes.par_iter_mut().enumerate(), |(block, codes)| {
            let rows = block * BLOCK..((block + 1) * BLOCK).min(samples);
            codes.resize(hasher.tables() * hasher.probes() * rows.len(), 0);
            hasher.hash_queries(queries.x, queries.stride, rows, codes);
        });
    }

    /// Elects the `most` neurons that collide with the batch's queries most often; see [`Votes`].
    pub fn elect(
        &mut self,
        queries: Queries<'_>,
        samples: usize,
        most: usize,
        votes: &mut Votes,
        elected: &mut Vec<u32>,
    ) {
        self.hash(queries, samples);
        let (this, probes) = (&*self, self.hasher.probes());
        votes.count(this.hasher.tables(), |table, Counter { votes, asked }| {
            asked.clear();
            for (block, codes) in this.codes.iter().enumerate() {
                let length = BLOCK.min(samples - block * BLOCK);
                asked.extend_from_slice(&codes[table * probes * length..][..probes * length]);
            }
            // Samples that ask one bucket are one visit of it.
            asked.sort_unstable();
            // All buckets are asked of memory before any is read: one after the other each would have to be waited for.
            let lines =
                asked.chunk_by(|a, b| a == b).flat_map(|same| this.tables.bucket(table, same[0]).iter().step_by(LINE));
            black_box(lines.fold(0, |sum, neuron| sum ^ neuron));
            for same in asked.chunk_by(|a, b| a == b) {
                let samples = u16::try_from(same.len()).unwrap_or(u16::MAX);
                for &neuron in this.tables.bucket(table, same[0]) {
                    let votes = &mut votes[neuron as usize];
                    *votes = votes.saturating_add(samples);
                }
            }
        });
        votes.elect(most, elected);
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
        if self.settings.fill_below.is_some_and(|below| counts.active() as usize >= below) {
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Neurons elected for a batch against collisions counted bucket by bucket, sample by sample; with buckets that
    /// overflow, several probes, and a last block of queries that is not full.
    #[test]
    fn the_neurons_that_collide_most_are_elected() {
        let (neurons, width, samples) = (300, 16, 2 * BLOCK + 5);
        let value = |i: usize| (i as u32).wrapping_mul(0x9E37_79B9) as f32 / 2f32.powi(32) - 0.5;
        let weights: Vec<f32> = (0..neurons * width).map(value).collect();
        let x: Vec<f32> = (0..samples * width).map(|i| value(7 * i + 3)).collect();
        let bias = vec![0.0; neurons];
        let lsh = LshSettings { family: crate::lsh::Family::Simhash, bits: 4, tables: 7, ..LshSettings::default() };
        for lsh in [LshSettings { capacity: 12, ..lsh.clone() }, LshSettings { probes: 3, ..lsh }] {
            let settings = HashedSettings { lsh, ..HashedSettings::default() };
            let mut lsh = Lsh::new(&settings, width, neurons, 5).unwrap();
            lsh.prepare(0, Neurons { weights: (&weights).into(), bias: &bias, width, stride: width });
            let (mut votes, mut elected) = (Votes::new(neurons), Vec::new());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            pool.install(|| {
                votes.clear();
                lsh.elect(Queries { x: &x, width, stride: width }, samples, 50, &mut votes, &mut elected);
            });
            let mut collisions = vec![0; neurons];
            for sample in 0..samples {
                for table in 0..7 {
                    lsh.buckets(table, sample, samples).flatten().for_each(|&neuron| collisions[neuron as usize] += 1);
                }
            }
            let mut expected: Vec<u32> =
                (0..neurons as u32).filter(|&neuron| collisions[neuron as usize] > 0).collect();
            expected.sort_by_key(|&neuron| std::cmp::Reverse(collisions[neuron as usize]));
            expected.truncate(50);
            expected.sort_unstable();
            assert_eq!(elected, expected);
        }
    }
}
