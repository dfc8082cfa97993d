//! What this machine can do at most: the ceilings that engines and kernels are measured against.
//!
//! Five probes, with one thread and with all: sequential reads, reads of random rows, read-and-write of random rows,
//! f32 multiply-adds, bf16 dot products. A row is 512 bytes, the output layer's at the common width of 128 f32, and the
//! table is larger than caches are. The probes do nothing but move the bytes or issue the arithmetic; they share no code
//! with the kernels they are to judge.

use super::memory::{Buffer, HugePages};
use super::{Kernels, kernels};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// f32 a row: 512 bytes.
const WIDTH: usize = 128;
/// Rows of the table: 1 GiB, as much as the output layer of Amazon-670K with its moments.
const ROWS: usize = 1 << 21;
/// Rows visited between two looks at the clock.
const VISIT: usize = 8192;
/// Prefetch distances tried for random rows; the best counts.
pub const AHEAD: [usize; 4] = [0, 16, 32, 64];

/// Probes of one kernel set.
#[derive(Clone, Copy)]
pub struct Probes {
    /// Adds up `width` values of every row listed, prefetching the row `ahead` places on; none with 0.
    pub read_rows: fn(w: &[f32], width: usize, rows: &[u32], ahead: usize) -> f32,
    /// Reads the rows listed and writes them back as they were; values may be any bits that are no NaN.
    pub change_rows: fn(w: &mut [f32], width: usize, rows: &[u32], ahead: usize),
    /// `rounds` times a fixed number of independent multiply-adds on registers; returns how many operations.
    pub multiply_add: fn(rounds: usize) -> f64,
}

/// Ceilings for a number of threads. GB are 10⁹ bytes; a multiply-add is two operations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peaks {
    pub threads: usize,
    /// Sequential reads, GB/s.
    pub sequential_read: f64,
    /// Reads of random 512-byte rows, GB/s.
    pub random_read: f64,
    /// Read and write of random 512-byte rows, GB/s, both ways counted.
    pub random_update: f64,
    /// GFLOP/s.
    pub f32_multiply_add: f64,
    /// GFLOP/s; none where the CPU has no such instruction.
    pub bf16_dot: Option<f64>,
}

/// What [`measure`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Roofline {
    /// The kernel set that probed.
    pub simd: String,
    pub table_bytes: usize,
    /// Bytes of the table on huge pages, where the system tells.
    pub huge_bytes: Option<usize>,
    pub one: Peaks,
    pub all: Peaks,
}

/// Measures for about 3 seconds with one and with `threads` threads.
///
/// # Errors
/// When there is no memory for the table of 1 GiB.
pub fn measure(threads: usize) -> io::Result<Roofline> {
    let mut table = Table::new(ROWS)?;
    let one = table.peaks(1);
    let all = if threads > 1 { table.peaks(threads) } else { one.clone() };
    Ok(Roofline {
        simd: kernels().name.into(),
        table_bytes: table.values.bytes(),
        huge_bytes: table.values.huge_bytes(),
        one,
        all,
    })
}

fn bf16_dot() -> Option<fn(usize) -> f64> {
    #[cfg(target_arch = "x86_64")]
    return super::x86::bf16_dot();
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// A table of random rows; [`measure`] asks it everything, a benchmark may ask single questions.
pub struct Table {
    pub values: Buffer<f32>,
    /// Every row once, in random order.
    pub order: Vec<u32>,
    sequence: Vec<u32>,
}

impl Table {
    /// A table of `rows` rows of 128 f32, in memory.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(rows: usize) -> io::Result<Self> {
        let mut values = Buffer::zeroed(rows * WIDTH, HugePages::Ask)?;
        values.prefault();
        let sequence: Vec<u32> = (0..rows as u32).collect();
        let mut order = sequence.clone();
        order.shuffle(&mut Pcg64Mcg::seed_from_u64(1));
        Ok(Self { values, order, sequence })
    }

    fn peaks(&mut self, threads: usize) -> Peaks {
        let time = Duration::from_millis(240);
        Peaks {
            threads,
            sequential_read: self.read(kernels(), threads, &self.sequence, &[0], time),
            random_read: self.random_read(kernels(), threads, time),
            random_update: self.random_update(kernels(), threads, time),
            f32_multiply_add: rate(threads, time, |_| || (kernels().probes.multiply_add)(1 << 14)),
            bf16_dot: bf16_dot().map(|dot| rate(threads, time, |_| || dot(1 << 14))),
        }
    }

    /// GB/s of reading random rows with the probe of `set`.
    pub fn random_read(&self, set: &Kernels, threads: usize, time: Duration) -> f64 {
        self.read(set, threads, &self.order, &AHEAD, time)
    }

    fn read(&self, set: &Kernels, threads: usize, order: &[u32], distances: &[usize], time: Duration) -> f64 {
        let rates = distances.iter().map(|&ahead| {
            rate(threads, time / distances.len() as u32, |thread| {
                let mut visits = order.chunks(VISIT).cycle().skip(thread * order.len().div_ceil(VISIT) / threads);
                move || {
                    let rows = visits.next().expect("a table has rows");
                    std::hint::black_box((set.probes.read_rows)(&self.values, WIDTH, rows, ahead));
                    (rows.len() * WIDTH * size_of::<f32>()) as f64
                }
            })
        });
        rates.fold(0.0, f64::max)
    }

    /// GB/s of reading and writing random rows with the probe of `set`; every thread keeps to its part of the table.
    pub fn random_update(&mut self, set: &Kernels, threads: usize, time: Duration) -> f64 {
        let part = self.values.len() / WIDTH / threads;
        let order: Vec<u32> = self.order.iter().copied().filter(|&row| (row as usize) < part).collect();
        let mut best = 0.0;
        for ahead in AHEAD {
            let parts = std::sync::Mutex::new(self.values.chunks_exact_mut(part * WIDTH));
            let found = rate(threads, time / AHEAD.len() as u32, |_| {
                let values = parts.lock().expect("no thread panics").next().expect("a part a thread");
                let mut visits = order.chunks(VISIT).cycle();
                move || {
                    let rows = visits.next().expect("a table has rows");
                    (set.probes.change_rows)(values, WIDTH, rows, ahead);
                    (2 * rows.len() * WIDTH * size_of::<f32>()) as f64
                }
            });
            best = f64::max(best, found);
        }
        best
    }
}

/// Seconds that this thread has computed, which does not count what other programs take of the core; where the system
/// does not tell, seconds that have passed.
pub fn thread_seconds() -> f64 {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes one `timespec`.
        if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } == 0 {
            return time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9;
        }
    }
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Giga-units a second of `threads` threads that each call what `worker` gives them, over and over, for `time`; a call
/// returns its units. The best of four quarters counts: a ceiling is what the machine can do when left in peace.
fn rate<W: FnMut() -> f64>(threads: usize, time: Duration, worker: impl Fn(usize) -> W + Sync) -> f64 {
    const QUARTERS: usize = 4;
    let start = Barrier::new(threads);
    let run = |thread: usize| {
        let mut work = worker(thread);
        work(); // Wakes the vector units and fills the TLB.
        std::array::from_fn::<f64, QUARTERS, _>(|_| {
            start.wait();
            let (begin, end) = (thread_seconds(), Instant::now() + time / QUARTERS as u32);
            let mut units = 0.0;
            while Instant::now() < end {
                units += work();
            }
            units / (thread_seconds() - begin)
        })
    };
    let rates = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|thread| {
                scope.spawn({
                    let run = &run;
                    move || run(thread)
                })
            })
            .collect();
        let mut rates = vec![run(0)];
        rates.extend(others.into_iter().map(|other| other.join().expect("a probe does not panic")));
        rates
    });
    (0..QUARTERS).map(|quarter| rates.iter().map(|rates| rates[quarter]).sum::<f64>()).fold(0.0, f64::max) / 1e9
}
