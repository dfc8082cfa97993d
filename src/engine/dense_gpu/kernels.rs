//! The WGSL kernels of `shaders/`: composed with their prelude, compiled once, bound to buffers.

use super::gpu::Gpu;
use crate::engine::EngineError;
use std::collections::HashMap;

/// Tile of the matrix-product kernels: `64 rm x 64 rn` outputs a workgroup, slabs of `bk` along the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    rm: u32,
    rn: u32,
    bk: u32,
}

impl Tile {
    /// Every configuration, smallest first; each must run on the devices that have the workgroup memory for it.
    pub const ALL: [Tile; 5] = [
        Tile { rm: 1, rn: 1, bk: 16 },
        Tile { rm: 2, rn: 1, bk: 16 },
        Tile { rm: 1, rn: 2, bk: 16 },
        Tile { rm: 2, rn: 2, bk: 8 },
        Tile { rm: 2, rn: 2, bk: 16 },
    ];
    /// The tile of the kernels on matrix units.
    const MATRIX: Tile = Tile { rm: 2, rn: 2, bk: 32 };

    /// Rows of a tile.
    pub const fn rows(self) -> usize {
        64 * self.rm as usize
    }

    /// Columns of a tile.
    pub const fn columns(self) -> usize {
        64 * self.rn as usize
    }

    /// Workgroup memory of the hungriest kernel, in bytes: the staged slabs, and the column statistics of the logits.
    const fn workgroup_bytes(self) -> u32 {
        16 * self.bk * (16 * self.rm + 1 + 16 * self.rn + 1) + 16 * 4 * 64 * self.rn
    }

    /// The configurations that the device has workgroup memory for, smallest first.
    pub fn that_fit(limits: &wgpu::Limits) -> Vec<Self> {
        let room = limits.max_compute_workgroup_storage_size;
        Self::ALL.into_iter().filter(|tile| tile.workgroup_bytes() <= room).collect()
    }

    fn constants(self) -> String {
        format!("const RM: u32 = {}u;\nconst RN: u32 = {}u;\nconst BK: u32 = {}u;\n", self.rm, self.rn, self.bk)
    }
}

impl std::str::FromStr for Tile {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|tile| tile.to_string() == text).ok_or(())
    }
}

impl std::fmt::Display for Tile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.rows(), self.columns(), self.bk)
    }
}

/// How the output layer is stored and multiplied; hidden layers are f32 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// f32 throughout.
    Full,
    /// Logits and a copy of the weights in f16; products and sums in f32, and so are Adam's weights and moments.
    Half,
    /// The same, with products of f16 operands on matrix units and sums in f32.
    HalfMatrix,
}

impl Precision {
    /// Whether logits and a copy of the output weights are 16-bit.
    pub fn half(self) -> bool {
        self != Precision::Full
    }

    /// What precedes every kernel: directives, and the types of logits and weights.
    fn prelude(self) -> &'static str {
        match self {
            Precision::Full => "alias Z = f32;\nalias Z4 = vec4f;\n",
            Precision::Half => "enable f16;\nalias Z = f16;\nalias Z4 = vec4<f16>;\n",
            Precision::HalfMatrix => {
                "enable f16;\nenable wgpu_cooperative_matrix;\nalias Z = f16;\nalias Z4 = vec4<f16>;\n"
            }
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::Full => "f32",
            Precision::Half => "f16 output weights and logits, f32 arithmetic and state",
            Precision::HalfMatrix => "f16 output weights and logits, f16 products with f32 sums, f32 state",
        })
    }
}

/// Which matrix product a kernel is built on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Product {
    None,
    /// tile.wgsl always.
    Layer,
    /// tile.wgsl, or tile_matrix.wgsl on matrix units.
    Output,
}

/// A kernel's file and the kind of its bindings from 0: `u`niform, `r`ead-only storage, read-`w`rite storage.
struct Source {
    name: &'static str,
    text: &'static str,
    bindings: &'static str,
    product: Product,
}

macro_rules! source {
    ($name:literal, $bindings:literal, $product:ident) => {
        Source {
            name: $name,
            text: include_str!(concat!("../../../shaders/", $name, ".wgsl")),
            bindings: $bindings,
            product: Product::$product,
        }
    };
}

const SOURCES: [Source; 22] = [
    source!("gather", "uurrrw", None),
    source!("layer", "uurrrw", Layer),
    source!("layer_input", "uurrrw", Layer),
    source!("logits", "uurrrww", Output),
    source!("logits_half", "uurrrw", Output),
    source!("statistics", "uurw", None),
    source!("normalize", "uurrw", None),
    source!("loss", "uurrrw", None),
    source!("loss_dense", "uurrrw", None),
    source!("loss_total", "uurw", None),
    source!("rows_in", "uurrw", None),
    source!("rows_out", "uurrw", None),
    source!("back_output", "uurrrrw", Output),
    source!("back_hidden", "uurrw", Layer),
    source!("reduce", "uurrw", None),
    source!("update_output", "uurrrrwwww", Output),
    source!("update_dense", "uurrwww", Layer),
    source!("update_bias", "uurw", None),
    source!("update_sparse", "uurrwwww", None),
    source!("decay", "uuwwwr", None),
    source!("average", "uuwr", None),
    source!("exchange", "uuww", None),
];
const TOP_K: Source = source!("topk", "uurw", None);
const COMMON: &str = include_str!("../../../shaders/common.wgsl");
const TILE: &str = include_str!("../../../shaders/tile.wgsl");
const TILE_MATRIX: &str = include_str!("../../../shaders/tile_matrix.wgsl");
const LOGITS_OPERANDS: &str = include_str!("../../../shaders/logits_operands.wgsl");
const CLOCK: &str = include_str!("../../../shaders/clock.wgsl");

impl Source {
    /// The whole shader.
    fn compose(&self, tile: Tile, precision: Precision, constants: &str) -> String {
        let mut text = format!("{}{COMMON}{constants}", precision.prelude());
        match self.product {
            Product::None => {}
            Product::Output if precision == Precision::HalfMatrix => text += TILE_MATRIX,
            Product::Layer | Product::Output => text += &(tile.constants() + TILE),
        }
        if self.name.starts_with("logits") {
            text += LOGITS_OPERANDS;
        }
        text += self.text;
        if precision.half() { text.replace("//HALF ", "") } else { text }
    }

    /// Whether the kernel belongs to a precision: statistics ride in the f32 logits kernel's epilogue.
    fn serves(&self, precision: Precision) -> bool {
        match self.name {
            "logits" => !precision.half(),
            "logits_half" | "statistics" => precision.half(),
            _ => true,
        }
    }
}

/// A compiled kernel.
pub(super) struct Kernel {
    pub pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl Kernel {
    /// Compiles a shader whose bindings are of the kinds listed.
    pub fn new(gpu: &Gpu, name: &str, text: String, bindings: &str) -> Result<Self, EngineError> {
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

    /// The best-k kernel for lists of `k`.
    pub fn top_k(gpu: &Gpu, precision: Precision, k: usize) -> Result<Self, EngineError> {
        let text = TOP_K.compose(Tile::ALL[0], precision, &format!("const K: u32 = {k}u;\n"));
        Self::new(gpu, TOP_K.name, text, TOP_K.bindings)
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

/// All kernels of a training step, compiled for one tile and precision.
pub(super) struct Kernels {
    /// Tile of the hidden layers' products.
    pub tile: Tile,
    /// Tile of the output layer's products.
    pub output_tile: Tile,
    pub precision: Precision,
    by_name: HashMap<&'static str, Kernel>,
}

impl Kernels {
    /// Compiles every kernel.
    pub fn new(gpu: &Gpu, tile: Tile, precision: Precision) -> Result<Self, EngineError> {
        let mut by_name = HashMap::new();
        for source in SOURCES.iter().filter(|source| source.serves(precision)) {
            let mut bindings = source.bindings.to_string();
            if precision.half() && source.name == "update_output" {
                // The 16-bit copy of the weights.
                bindings.push('w');
            }
            let text = source.compose(tile, precision, "");
            by_name.insert(source.name, Kernel::new(gpu, source.name, text, &bindings)?);
        }
        let output_tile = if precision == Precision::HalfMatrix { Tile::MATRIX } else { tile };
        Ok(Self { tile, output_tile, precision, by_name })
    }

    /// The kernel of a file in `shaders/`.
    pub fn get(&self, name: &str) -> &Kernel {
        &self.by_name[name]
    }
}

/// Compiles every shader, for every tile configuration and precision, on a device that needs no driver and executes
/// nothing. Returns how many pipelines were built.
///
/// # Errors
/// [`EngineError::Failed`] with the validator's message and the shader's name.
pub fn validate_shaders() -> Result<usize, EngineError> {
    let gpu = Gpu::noop()?;
    let mut built = 0;
    for precision in [Precision::Full, Precision::Half, Precision::HalfMatrix] {
        for tile in Tile::ALL {
            built += Kernels::new(&gpu, tile, precision)?.by_name.len();
        }
        for k in [1, 5, 16] {
            Kernel::top_k(&gpu, precision, k)?;
            built += 1;
        }
    }
    Kernel::clock(&gpu)?;
    gpu.check()?;
    Ok(built + 1)
}
