//! The WGSL kernels of `shaders/`: composed with their prelude, compiled once, bound to buffers.

use super::gpu::Gpu;
use crate::engine::EngineError;
use std::collections::HashMap;

/// Tile of the matrix-product kernels: `64 rm x 64 rn` outputs a workgroup, slabs of `bk` along the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub rm: u32,
    pub rn: u32,
    pub bk: u32,
}

impl Tile {
    /// Every configuration that is ever compiled; the first is for devices with little workgroup memory.
    pub const ALL: [Tile; 2] = [Tile { rm: 1, rn: 1, bk: 16 }, Tile { rm: 2, rn: 2, bk: 16 }];

    /// Rows of a tile.
    pub const fn rows(self) -> usize {
        64 * self.rm as usize
    }

    /// Columns of a tile.
    pub const fn columns(self) -> usize {
        64 * self.rn as usize
    }

    /// Workgroup memory of the hungriest kernel, in bytes.
    const fn workgroup_bytes(self) -> u32 {
        let staged = 16 * self.bk * (16 * self.rm + 1 + 16 * self.rn + 1);
        staged + 16 * 4 * 64 * self.rn
    }

    /// The largest tile that the device has workgroup memory for.
    pub fn largest(limits: &wgpu::Limits) -> Self {
        let fits = |tile: &&Tile| tile.workgroup_bytes() <= limits.max_compute_workgroup_storage_size;
        *Self::ALL.iter().rev().find(fits).unwrap_or(&Self::ALL[0])
    }

    fn constants(self) -> String {
        format!("const RM: u32 = {}u;\nconst RN: u32 = {}u;\nconst BK: u32 = {}u;\n", self.rm, self.rn, self.bk)
    }
}

/// A kernel's file and the kind of its bindings from 0: `u`niform, `r`ead-only storage, read-`w`rite storage.
struct Source {
    name: &'static str,
    text: &'static str,
    bindings: &'static str,
    tiled: bool,
}

macro_rules! sources {
    ($($name:literal $bindings:literal $tiled:literal;)*) => {
        &[$(Source {
            name: $name,
            text: include_str!(concat!("../../../shaders/", $name, ".wgsl")),
            bindings: $bindings,
            tiled: $tiled,
        }),*]
    };
}

const SOURCES: &[Source] = sources! {
    "gather" "uurrrw" false;
    "layer" "uurrrw" true;
    "layer_input" "uurrrw" true;
    "logits" "uurrrww" true;
    "normalize" "uurrw" false;
    "loss" "uurrrw" false;
    "back_output" "uurrrrw" true;
    "back_hidden" "uurrw" true;
    "reduce" "uurrw" false;
    "update_output" "uurrrrwwww" true;
    "update_dense" "uurrwww" true;
    "update_bias" "uurw" false;
    "update_sparse" "uurrwwww" false;
    "decay" "uuwwwr" false;
};
const TOP_K: Source =
    Source { name: "topk", text: include_str!("../../../shaders/topk.wgsl"), bindings: "uurw", tiled: false };
const COMMON: &str = include_str!("../../../shaders/common.wgsl");
const TILE: &str = include_str!("../../../shaders/tile.wgsl");
const CLOCK: &str = include_str!("../../../shaders/clock.wgsl");

/// A compiled kernel.
pub(super) struct Kernel {
    pub pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl Kernel {
    fn new(gpu: &Gpu, name: &str, text: String, bindings: &str) -> Result<Self, EngineError> {
        let device = &gpu.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(name), source: wgpu::ShaderSource::Wgsl(text.into()) };
        // SAFETY: the shaders are our own; every index is guarded by the dimensions its buffers were made for, and
        // every loop ends. The checks would otherwise sit inside the innermost loops.
        let module = unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = bindings
            .chars()
            .enumerate()
            .map(|(binding, kind)| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match kind {
                        'u' => wgpu::BufferBindingType::Uniform,
                        kind => wgpu::BufferBindingType::Storage { read_only: kind == 'r' },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            // Every kernel writes its workgroup memory before it reads it.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        match pollster::block_on(scope.pop()) {
            None => Ok(Self { pipeline, layout }),
            Some(e) => Err(EngineError::Failed(format!("shader {name}: {e}"))),
        }
    }

    fn from_source(gpu: &Gpu, source: &Source, tile: Tile, prelude: &str) -> Result<Self, EngineError> {
        let tiling = if source.tiled { tile.constants() + TILE } else { String::new() };
        // The matrix of softmax partials is laid out by the logits kernel's tile, so its reader shares the prelude.
        let text = format!("{COMMON}{prelude}{tiling}{}", source.text);
        Self::new(gpu, source.name, text, source.bindings)
    }

    /// The best-k kernel for lists of `k`.
    pub fn top_k(gpu: &Gpu, k: usize) -> Result<Self, EngineError> {
        Self::from_source(gpu, &TOP_K, Tile::ALL[0], &format!("const K: u32 = {k}u;\n"))
    }

    /// The kernel that sums timestamps.
    pub fn clock(gpu: &Gpu) -> Result<Self, EngineError> {
        Self::new(gpu, "clock", CLOCK.into(), "rw")
    }

    /// Binds buffers 0, 1, 2 ... in order.
    pub fn bind(&self, gpu: &Gpu, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let entries: Vec<_> = buffers
            .iter()
            .enumerate()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: binding as u32,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &self.layout, entries: &entries };
        gpu.device.create_bind_group(&descriptor)
    }
}

/// All kernels of a training step, compiled for one tile.
pub(super) struct Kernels {
    pub tile: Tile,
    by_name: HashMap<&'static str, Kernel>,
}

impl Kernels {
    /// Compiles every kernel.
    pub fn new(gpu: &Gpu, tile: Tile) -> Result<Self, EngineError> {
        let by_name = SOURCES
            .iter()
            .map(|source| Ok((source.name, Kernel::from_source(gpu, source, tile, "")?)))
            .collect::<Result<_, EngineError>>()?;
        Ok(Self { tile, by_name })
    }

    /// The kernel of a file in `shaders/`.
    pub fn get(&self, name: &str) -> &Kernel {
        &self.by_name[name]
    }
}

/// Compiles every shader, for every tile configuration, on a device that needs no driver and executes nothing.
/// Returns how many pipelines were built.
///
/// # Errors
/// [`EngineError::Failed`] with the validator's message and the shader's name.
pub fn validate_shaders() -> Result<usize, EngineError> {
    let gpu = Gpu::noop()?;
    let mut built = 0;
    for tile in Tile::ALL {
        built += Kernels::new(&gpu, tile)?.by_name.len();
    }
    for k in [1, 5, 16] {
        Kernel::top_k(&gpu, k)?;
        built += 1;
    }
    Kernel::clock(&gpu)?;
    gpu.check()?;
    Ok(built + 1)
}
