//! What the adapter can do at best, measured by kernels of our own: the roofline that steps are held against.

use super::gpu::Gpu;
use super::kernels::Kernel;
use super::plan::{Counts, Dispatch};
use crate::engine::EngineError;
use std::time::{Duration, Instant};

/// Peaks of one adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    pub adapter: String,
    pub software: bool,
    /// Bytes read and written a second by a copy within device memory.
    pub copy_bytes_per_second: f64,
    /// f32 operations a second, a multiply-add counting two.
    pub flops_per_second: f64,
    /// Bytes a second from host to device, through the same staging that batches take.
    pub upload_bytes_per_second: f64,
}

/// A measurement counts once it takes this long: launch costs are then under a percent.
const LONG_ENOUGH: Duration = Duration::from_millis(20);
const REPEATS: usize = 3;

/// Measures the adapter; takes about a second.
///
/// # Errors
/// [`EngineError::Unavailable`] without a usable adapter.
pub fn roofline(allow_software: bool) -> Result<Roofline, EngineError> {
    let gpu = Gpu::open(allow_software)?;
    Ok(Roofline {
        copy_bytes_per_second: copy(&gpu)?,
        flops_per_second: arithmetic(&gpu)?,
        upload_bytes_per_second: upload(&gpu)?,
        adapter: gpu.adapter.name,
        software: gpu.adapter.software,
    })
}

/// Larger than any cache where the device is real, small enough for a software one.
fn probe_bytes(gpu: &Gpu) -> u64 {
    let wanted = if gpu.adapter.software { 32 << 20 } else { 512 << 20 };
    wanted.min(gpu.limits.max_storage_buffer_binding_size).min(gpu.limits.max_buffer_size) / 1024 * 1024
}

/// Time of `rounds` runs of a dispatch in one submission.
fn time(gpu: &Gpu, dispatch: &Dispatch, rounds: usize) -> Result<Duration, EngineError> {
    let started = Instant::now();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for _ in 0..rounds {
            dispatch.encode(&mut pass, &Counts { samples: 0, touched: &[] });
        }
    }
    let submission = gpu.queue.submit([encoder.finish()]);
    gpu.wait(Some(submission))?;
    Ok(started.elapsed())
}

/// The best rate of `work` a round: rounds double until a run is long enough, then the fastest of several counts.
fn best_rate(gpu: &Gpu, dispatch: &Dispatch, work: f64) -> Result<f64, EngineError> {
    let mut rounds = 1;
    while time(gpu, dispatch, rounds)? < LONG_ENOUGH {
        rounds *= 2;
    }
    let mut best = Duration::MAX;
    for _ in 0..REPEATS {
        best = best.min(time(gpu, dispatch, rounds)?);
    }
    Ok(work * rounds as f64 / best.as_secs_f64())
}

fn copy(gpu: &Gpu) -> Result<f64, EngineError> {
    let bytes = probe_bytes(gpu);
    let (from, to) = (gpu.storage("copy source", bytes)?, gpu.storage("copy target", bytes)?);
    let kernel = Kernel::new(gpu, "probe_copy", include_str!("../../../shaders/probe_copy.wgsl").into(), "rw")?;
    let groups = (bytes / 16 / 256).clamp(1, 32768) as u32;
    let dispatch = Dispatch::new(gpu, &kernel, &[&from, &to], move |_| [groups, 1, 1]);
    best_rate(gpu, &dispatch, 2.0 * bytes as f64)
}

fn arithmetic(gpu: &Gpu) -> Result<f64, EngineError> {
    let (groups, rounds) = if gpu.adapter.software { (16, 256) } else { (4096, 1024) };
    let dims = gpu.uniform("probe", &[rounds, 0.999f32.to_bits(), 0.001f32.to_bits()])?;
    let out = gpu.storage("probe sums", 1 << 16)?;
    let kernel = Kernel::new(gpu, "probe_fma", include_str!("../../../shaders/probe_fma.wgsl").into(), "uw")?;
    let dispatch = Dispatch::new(gpu, &kernel, &[&dims, &out], move |_| [groups, 1, 1]);
    best_rate(gpu, &dispatch, f64::from(groups) * 256.0 * f64::from(rounds) * 64.0)
}

fn upload(gpu: &Gpu) -> Result<f64, EngineError> {
    let bytes = probe_bytes(gpu).min(64 << 20);
    let buffer = gpu.storage("upload target", bytes)?;
    let data = vec![1u8; bytes as usize];
    let mut best = Duration::MAX;
    // One more than counts: the first also allocates the staging memory.
    for _ in 0..=REPEATS {
        let started = Instant::now();
        gpu.queue.write_buffer(&buffer, 0, &data);
        let submission = gpu.queue.submit([]);
        gpu.wait(Some(submission))?;
        best = best.min(started.elapsed());
    }
    Ok(bytes as f64 / best.as_secs_f64())
}
