//! Where records were made: facts about hardware and build that speed depends on, and nothing that names a person or
//! a host.

use super::{RecordError, now};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A computer, as `machine.toml` describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Folder and legend name: [`machine_label`], or the user's `--label`.
    pub label: String,
    /// When it was described: UTC, RFC 3339.
    pub time: String,
    pub os: String,
    /// Kernel release, numbers only.
    pub kernel: String,
    pub memory_bytes: u64,
    /// Linux transparent huge pages: `always`, `madvise`, `never`; empty elsewhere.
    pub huge_pages: String,
    /// Options of the run and `SLIDEBENCH_*` variables that may change speed, as the caller gave them.
    pub flags: Vec<String>,
    pub cpu: Cpu,
    pub build: Build,
    /// GPU adapters offered, software ones included and marked.
    pub adapters: Vec<Adapter>,
    /// What `slidebench devices` measured; free-form, but for the four peaks that [`peak`](Machine::peak) reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roofline: Option<toml::Table>,
}

/// The processor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    pub model: String,
    pub physical_cores: usize,
    /// Logical cores this process may use.
    pub logical_cores: usize,
    /// Vector extensions found at run time.
    pub simd: Vec<String>,
    pub caches: Vec<Cache>,
}

/// One cache as the first core sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cache {
    pub level: u8,
    /// `data`, `instruction`, `unified`.
    pub kind: String,
    pub bytes: u64,
}

/// One GPU adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adapter {
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software`.
    pub kind: String,
    /// `vulkan`, `metal`, `dx12`.
    pub backend: String,
    pub driver: String,
    /// Whether it computes on the CPU: never called a GPU.
    pub software: bool,
}

/// What the program was built from and with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    pub slidebench: String,
    /// Git revision of the source tree the program runs in, `+` if it has local changes; empty outside one.
    pub revision: String,
    pub rustc: String,
    pub target: String,
    pub profile: String,
    pub rustflags: String,
}

impl Machine {
    /// Describes this computer. `adapters` come from the caller, since only an engine room talks to GPU drivers.
    pub fn detect(adapters: &[Adapter]) -> Self {
        let (model, memory_bytes) = processor_and_memory().unwrap_or_default();
        let logical_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let physical_cores = sysinfo::System::physical_core_count().unwrap_or(logical_cores);
        let gpu = adapters.iter().find(|adapter| !adapter.software).map(|adapter| adapter.name.as_str());
        let kernel = sysinfo::System::kernel_version().unwrap_or_default();
        let numbers = kernel.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(kernel.len());
        Self {
            label: machine_label(&model, gpu, physical_cores.min(logical_cores)),
            time: now(),
            os: sysinfo::System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.into()),
            kernel: kernel[..numbers].trim_end_matches('.').into(),
            memory_bytes,
            huge_pages: huge_pages(),
            flags: Vec::new(),
            cpu: Cpu { model, physical_cores, logical_cores, simd: simd(), caches: caches() },
            build: Build::detect(),
            adapters: adapters.to_vec(),
            roofline: None,
        }
    }

    /// The same machine under the user's `--label`, reduced to what a folder name may hold.
    pub fn with_label(mut self, label: &str) -> Self {
        let label = slug(label);
        if !label.is_empty() {
            self.label = label;
        }
        self
    }

    /// A measured peak: `flops_per_s` or `bytes_per_s` of `cpu` or `gpu`, from `[roofline.cpu]` and `[roofline.gpu]`.
    pub fn peak(&self, device: &str, figure: &str) -> Option<f64> {
        let value = self.roofline.as_ref()?.get(device)?.get(figure)?;
        value.as_float().or_else(|| value.as_integer().map(|value| value as f64)).filter(|peak| *peak > 0.0)
    }

    /// Reads `machine.toml` in `folder`, if it is there.
    ///
    /// # Errors
    /// If it cannot be read or is not what [`save`](Machine::save) writes.
    pub fn load(folder: &Path) -> Result<Option<Self>, RecordError> {
        super::read::toml(folder.join("machine.toml"))
    }

    /// Writes `machine.toml` into `folder`, through a temporary file so that a kill leaves the old or the new one.
    /// A roofline measured earlier is kept where this description has none.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), RecordError> {
        fs::create_dir_all(folder).map_err(RecordError::io(folder))?;
        let mut machine = self.clone();
        if machine.roofline.is_none() {
            machine.roofline = Self::load(folder).ok().flatten().and_then(|earlier| earlier.roofline);
        }
        let text = toml::to_string(&machine)
            .map_err(|error| RecordError::Format { path: folder.into(), reason: error.to_string() })?;
        let (path, temporary) = (folder.join("machine.toml"), folder.join(".machine.toml.new"));
        fs::write(&temporary, text).map_err(RecordError::io(&temporary))?;
        fs::rename(&temporary, &path).map_err(RecordError::io(path))
    }
}

impl Build {
    fn detect() -> Self {
        let profile = concat!(env!("BUILT_PROFILE"), ", opt-level ", env!("BUILT_OPT_LEVEL")).into();
        Self {
            slidebench: env!("CARGO_PKG_VERSION").into(),
            revision: revision().unwrap_or_default(),
            rustc: env!("BUILT_RUSTC").into(),
            target: env!("BUILT_TARGET").into(),
            profile,
            rustflags: env!("BUILT_RUSTFLAGS").into(),
        }
    }
}

/// CPU model and bytes of main memory.
fn processor_and_memory() -> Option<(String, u64)> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let model = system.cpus().first().map_or("", |cpu| cpu.brand()).trim().to_string();
    Some((model, system.total_memory()))
}

/// The revision of the working folder's repository, if that is slidebench's own.
fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let manifest = fs::read_to_string(Path::new(&top).join("Cargo.toml")).ok()?;
    if !manifest.contains(concat!("name = \"", env!("CARGO_PKG_NAME"), "\"")) {
        return None;
    }
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    // Records and reports change with every run; they are not the program.
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no", "--", "src", "shaders", "Cargo.toml", "benches"]);
    Some(if changed.is_some_and(|list| !list.is_empty()) { head + "+" } else { head })
}

/// A short name for a kind of computer, from its parts alone: `xeon-e5-2699a-v4-44c`, `epyc-9b45-16c-h200`.
///
/// `gpu` is the name of a real GPU, never of a software adapter; `cores` are physical cores.
pub fn machine_label(cpu: &str, gpu: Option<&str>, cores: usize) -> String {
    const NOISE: &[&str] = &[
        "intel",
        "amd",
        "nvidia",
        "cpu",
        "processor",
        "gen",
        "geforce",
        "graphics",
        "with",
        "core",
        "virtual",
        "vcpu",
    ];
    let name = |model: &str| {
        let model = model.split('@').next().unwrap_or_default().to_lowercase();
        let model = model.replace("(r)", " ").replace("(tm)", " ");
        let model = model.split('(').next().unwrap_or_default();
        let words = model.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| {
            let ordinal = word.len() > 2 && word.ends_with("th") && word.as_bytes()[0].is_ascii_digit();
            !word.is_empty() && !ordinal && !word.ends_with("-core") && !NOISE.contains(word)
        });
        slug(&words.take(4).collect::<Vec<_>>().join("-"))
    };
    let cpu = Some(name(cpu)).filter(|name| !name.is_empty()).unwrap_or_else(|| "cpu".into());
    let label = format!("{cpu}-{cores}c");
    match gpu.map(name).filter(|name| !name.is_empty()) {
        Some(gpu) => format!("{label}-{gpu}"),
        None => label,
    }
}

/// Lower-case letters, digits, dots and single dashes: safe as a file name anywhere.
pub(super) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || (c == '.' && !slug.is_empty()) {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(64);
    slug.trim_end_matches(['-', '.']).into()
}

fn huge_pages() -> String {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let chosen = text.split('[').nth(1).and_then(|rest| rest.split(']').next());
    chosen.unwrap_or_default().into()
}

/// The first core's caches, from Linux's description; empty elsewhere.
fn caches() -> Vec<Cache> {
    let read = |index: usize, name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
        fs::read_to_string(path).ok().map(|text| text.trim().to_lowercase())
    };
    let size = |text: &str| -> Option<u64> {
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = match unit {
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            _ => 1,
        };
        Some(digits.parse::<u64>().ok()? * unit)
    };
    let one = |index| {
        let bytes = size(&read(index, "size")?)?;
        Some(Cache { level: read(index, "level")?.parse().ok()?, kind: read(index, "type")?, bytes })
    };
    (0..8).map_while(one).collect()
}

fn simd() -> Vec<String> {
    let mut found = Vec::new();
    macro_rules! probe {
        ($detect:ident: $($name:tt)*) => { $(if std::arch::$detect!($name) { found.push($name.to_string()); })* };
    }
    #[cfg(target_arch = "x86_64")]
    probe!(is_x86_feature_detected: "sse4.2" "avx" "f16c" "fma" "avx2" "avx512f" "avx512bw" "avx512vl" "avx512vnni"
        "avx512bf16" "avx512fp16");
    #[cfg(target_arch = "aarch64")]
    probe!(is_aarch64_feature_detected: "neon" "fp16" "bf16" "i8mm" "sve" "sve2");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_the_parts_and_nothing_else() {
        for (cpu, gpu, cores, label) in [
            ("Intel(R) Xeon(R) Processor", None, 2, "xeon-2c"),
            (
                "Intel(R) Xeon(R) CPU E5-2699A v4 @ 2.40GHz",
                Some("Tesla V100-SXM2-32GB"),
                44,
                "xeon-e5-2699a-v4-44c-tesla-v100-sxm2-32gb",
            ),
            ("AMD EPYC 9B45 96-Core Processor", Some("NVIDIA H200"), 16, "epyc-9b45-16c-h200"),
            ("13th Gen Intel(R) Core(TM) i7-13700K", Some("NVIDIA GeForce RTX 4090"), 16, "i7-13700k-16c-rtx-4090"),
            (
                "AMD Ryzen 9 7950X 16-Core Processor",
                Some("AMD Radeon RX 7900 XTX (RADV NAVI31)"),
                16,
                "ryzen-9-7950x-16c-radeon-rx-7900-xtx",
            ),
            ("Apple M2 Pro", Some("Apple M2 Pro"), 10, "apple-m2-pro-10c-apple-m2-pro"),
            ("", None, 4, "cpu-4c"),
        ] {
            assert_eq!(machine_label(cpu, gpu, cores), label);
        }
    }

    #[test]
    fn slugs_are_safe_file_names() {
        assert_eq!(slug("../My Box/№ 1!"), "my-box-1");
        assert_eq!(slug("slide20-fig5.v2"), "slide20-fig5.v2");
        assert_eq!(slug("///"), "");
    }

    #[test]
    fn software_adapters_stay_out_of_the_label() {
        let software = Adapter { name: "llvmpipe (LLVM 15)".into(), software: true, ..Adapter::default() };
        let with = Machine::detect(&[software]);
        assert!(!with.label.contains("llvmpipe"), "{}", with.label);
        assert_eq!(with.label, Machine::detect(&[]).label);
    }

    #[test]
    fn the_file_comes_back_with_its_roofline() {
        let folder = tempfile::tempdir().unwrap();
        let mut roofline = toml::Table::new();
        roofline.insert("sequential_bytes_per_s".into(), 1.1e10.into());
        let measured = Machine { roofline: Some(roofline), ..Machine::detect(&[Adapter::default()]) };
        measured.save(folder.path()).unwrap();
        assert_eq!(Machine::load(folder.path()).unwrap().as_ref(), Some(&measured));
        // A later description without one keeps it.
        Machine { roofline: None, ..measured.clone() }.save(folder.path()).unwrap();
        assert_eq!(Machine::load(folder.path()).unwrap(), Some(measured));
    }

    #[test]
    fn nothing_names_the_host_or_the_user() {
        let text = toml::to_string(&Machine::detect(&[])).unwrap().to_lowercase();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        for secret in [host.trim().to_lowercase(), std::env::var("HOME").unwrap_or_default().to_lowercase()] {
            assert!(secret.len() < 4 || !text.contains(&secret), "{secret} in {text}");
        }
    }
}
