//! The adapter: which one, what it offers, and how its failures become [`EngineError`]s.

use crate::engine::EngineError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// GL is left out on purpose: it would fall back to a software rasteriser without saying so.
const BACKENDS: wgpu::Backends = wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

/// One GPU adapter, as `slidebench devices` lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSummary {
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software`, `other`.
    pub kind: String,
    /// `vulkan`, `metal`, `dx12`.
    pub backend: String,
    pub driver: String,
    /// Whether it computes on the CPU (llvmpipe, WARP): for tests, never for results called GPU.
    pub software: bool,
    /// Largest buffer one binding can hold, in bytes.
    pub max_binding_bytes: u64,
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
    pub timestamps: bool,
    pub subgroups: bool,
    pub f16: bool,
    /// Whether 16x16x16 products of f16 with f32 sums run on matrix units, by subgroups of 32.
    pub matrix_units: bool,
}

impl AdapterSummary {
    fn of(adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        Self {
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Cpu => "software",
                wgpu::DeviceType::Other => "other",
            }
            .to_string(),
            software: info.device_type == wgpu::DeviceType::Cpu,
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            name: info.name,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16),
            matrix_units: matrix_units(adapter),
        }
    }
}

/// Every adapter that Vulkan, Metal or DX12 offers, software ones included.
pub fn adapters() -> Vec<AdapterSummary> {
    pollster::block_on(instance(BACKENDS).enumerate_adapters(BACKENDS)).iter().map(AdapterSummary::of).collect()
}

fn instance(backends: wgpu::Backends) -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    descriptor.backend_options.noop.enable = backends.contains(wgpu::Backends::NOOP);
    wgpu::Instance::new(descriptor)
}

/// Whether the adapter runs the kernels on tile_matrix.wgsl.
fn matrix_units(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
    let shape = |p: &wgpu::CooperativeMatrixProperties| (p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type);
    adapter.features().contains(needed)
        && (info.subgroup_min_size, info.subgroup_max_size) == (32, 32)
        && adapter.cooperative_matrix_properties().iter().any(|p| shape(p) == (16, 16, 16, F16, F32))
}

/// What went wrong on the device outside any call that could return it.
#[derive(Clone, Debug)]
enum Trouble {
    Lost(String),
    OutOfMemory,
    Other(String),
}

/// An open device with its queue.
pub(super) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub adapter: AdapterSummary,
    pub limits: wgpu::Limits,
    pub timestamps: bool,
    trouble: Arc<Mutex<Option<Trouble>>>,
    allocated: AtomicU64,
}

impl Gpu {
    /// Opens the fastest adapter; a software one only if allowed.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] where there is no adapter or it may not be used.
    pub fn open(allow_software: bool) -> Result<Self, EngineError> {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = pollster::block_on(instance(BACKENDS).request_adapter(&options))
            .map_err(|e| EngineError::Unavailable(format!("no GPU adapter: {}", one_line(&e.to_string()))))?;
        let summary = AdapterSummary::of(&adapter);
        if summary.software && !allow_software {
            return Err(EngineError::Unavailable(format!(
                "software adapter: {}; it computes on the CPU, so it is used only with --allow-software",
                summary.name
            )));
        }
        Self::with_adapter(&adapter, summary)
    }

    /// A device that validates everything and executes nothing; needs no driver.
    pub fn noop() -> Result<Self, EngineError> {
        let instance = instance(wgpu::Backends::NOOP);
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
            .map_err(|e| EngineError::Unavailable(format!("no validation device: {}", one_line(&e.to_string()))))?;
        let summary = AdapterSummary { matrix_units: true, ..AdapterSummary::of(&adapter) };
        Self::with_adapter(&adapter, summary)
    }

    fn with_adapter(adapter: &wgpu::Adapter, summary: AdapterSummary) -> Result<Self, EngineError> {
        let mut wanted = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16;
        if summary.matrix_units {
            wanted |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        }
        let features = adapter.features() & wanted;
        let limits = adapter.limits();
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("slidebench"),
            required_features: features,
            required_limits: limits.clone(),
            // SAFETY: of the experimental interfaces only cooperative matrices are used, on loads and stores whose
            // whole fragments lie inside workgroup memory.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        }))
        .map_err(|e| EngineError::Unavailable(format!("{}: {}", summary.name, one_line(&e.to_string()))))?;
        let trouble = Arc::new(Mutex::new(None));
        let seen = trouble.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            note(
                &seen,
                match error {
                    wgpu::Error::OutOfMemory { .. } => Trouble::OutOfMemory,
                    other => Trouble::Other(other.to_string()),
                },
            );
        }));
        let seen = trouble.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                note(&seen, Trouble::Lost(message));
            }
        });
        let timestamps = features.contains(wgpu::Features::TIMESTAMP_QUERY);
        Ok(Self { device, queue, adapter: summary, limits, timestamps, trouble, allocated: AtomicU64::new(0) })
    }

    /// Bytes of all buffers created and not yet given back.
    pub fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Says that a buffer is about to be dropped.
    pub fn release(&self, buffer: &wgpu::Buffer) {
        self.allocated.fetch_sub(buffer.size(), Ordering::Relaxed);
    }

    /// Says that every buffer has been dropped.
    pub fn forget(&self) {
        self.allocated.store(0, Ordering::Relaxed);
    }

    /// A zeroed buffer.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`] where the device has no room or refuses the size.
    pub fn buffer(&self, what: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer, EngineError> {
        let out_of_memory = || EngineError::OutOfMemory {
            what: format!("{what} on {}", self.adapter.name),
            needs: bytes,
            remedy: "use a smaller batch or hidden width, or a GPU with more memory".into(),
        };
        if bytes > self.limits.max_buffer_size {
            return Err(out_of_memory());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let size = bytes.max(16).next_multiple_of(4);
        let descriptor = wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        if pollster::block_on(scope.pop()).is_some() {
            return Err(out_of_memory());
        }
        self.check()?;
        self.allocated.fetch_add(size, Ordering::Relaxed);
        Ok(buffer)
    }

    /// A storage buffer that can be written and read back.
    pub fn storage(&self, what: &str, bytes: u64) -> Result<wgpu::Buffer, EngineError> {
        use wgpu::BufferUsages as Usage;
        self.buffer(what, bytes, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC)
    }

    /// A small constant for one dispatch.
    pub fn uniform(&self, what: &str, words: &[u32]) -> Result<wgpu::Buffer, EngineError> {
        let bytes = (words.len() as u64 * 4).next_multiple_of(16);
        let buffer = self.buffer(what, bytes, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST)?;
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        Ok(buffer)
    }

    /// What went wrong since the last call, if anything.
    pub fn check(&self) -> Result<(), EngineError> {
        let seen = self.trouble.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        match seen {
            None => Ok(()),
            Some(Trouble::Lost(message)) => Err(EngineError::DeviceLost(one_line(&message))),
            Some(Trouble::OutOfMemory) => Err(EngineError::OutOfMemory {
                what: format!("work space on {}", self.adapter.name),
                needs: self.allocated(),
                remedy: "use a smaller batch or hidden width, or a GPU with more memory".into(),
            }),
            Some(Trouble::Other(message)) => Err(EngineError::Failed(one_line(&message))),
        }
    }

    /// Waits for one submission, or for all.
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), EngineError> {
        let outcome = self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.check()?;
        outcome.map(|_| ()).map_err(|e| EngineError::DeviceLost(one_line(&e.to_string())))
    }

    /// Copies `bytes` from the start of a buffer to the host, waiting for all work before it.
    pub fn download(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u32>, EngineError> {
        // Read in pieces: a staging buffer as large as the weights would double their memory.
        const PIECE: u64 = 64 << 20;
        let mut out = Vec::with_capacity((bytes / 4) as usize);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.buffer("read-back", bytes.min(PIECE), usage)?;
        let mut at = 0;
        while at < bytes {
            let piece = PIECE.min(bytes - at);
            let mut encoder = self.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, at, &staging, 0, piece);
            self.queue.submit([encoder.finish()]);
            let mapped = Arc::new(Mutex::new(None));
            let result = mapped.clone();
            staging.slice(..piece).map_async(wgpu::MapMode::Read, move |outcome| {
                *result.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(outcome);
            });
            self.wait(None)?;
            if let Some(Err(e)) = mapped.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
                return Err(EngineError::Failed(format!("reading back from the GPU: {e}")));
            }
            let view = staging
                .slice(..piece)
                .get_mapped_range()
                .map_err(|e| EngineError::Failed(format!("reading back from the GPU: {e}")))?;
            out.extend(view.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])));
            drop(view);
            staging.unmap();
            at += piece;
        }
        self.release(&staging);
        Ok(out)
    }
}

fn note(seen: &Mutex<Option<Trouble>>, trouble: Trouble) {
    // The first trouble explains the rest.
    seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(trouble);
}

/// A message without line breaks, for a cell of a record.
pub(super) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
