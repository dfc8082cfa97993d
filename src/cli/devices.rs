//! `slidebench devices`: what this machine can compute with.

use super::End;
use crate::engine::dense_gpu::{self, AdapterSummary};
use crate::kernels::{kernels, roofline};
use crate::record::{Adapter, Machine, today};
use anyhow::Context;
use std::io::Write;
use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  slidebench devices
  slidebench devices --measure                 writes the peaks beside today's records, for the report to use")]
pub(super) struct Arguments {
    /// Measure memory bandwidth and arithmetic peaks (some seconds), and note them beside today's records
    #[arg(long)]
    measure: bool,
    /// Name of this machine in the records [default: made of CPU, cores and GPU]
    #[arg(long)]
    label: Option<String>,
    /// Where records go
    #[arg(long, default_value = "results", value_name = "FOLDER")]
    results: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<End> {
    let summaries = dense_gpu::adapters();
    let mut machine = describe(&summaries, arguments.label.as_deref());
    let mut out = std::io::stdout().lock();
    let cpu = &machine.cpu;
    writeln!(out, "CPU      {}, {} cores, {} threads", cpu.model, cpu.physical_cores, cpu.logical_cores)?;
    writeln!(out, "         {}; kernels: {}", cpu.simd.join(" "), kernels().name)?;
    let caches = cpu.caches.iter().filter(|cache| cache.kind != "instruction");
    let caches: Vec<String> = caches.map(|cache| format!("L{} {}", cache.level, bytes(cache.bytes))).collect();
    if !caches.is_empty() {
        writeln!(out, "caches   {}", caches.join(", "))?;
    }
    let pages = if machine.huge_pages.is_empty() { "unknown" } else { &machine.huge_pages };
    writeln!(out, "memory   {}, transparent huge pages: {pages}", bytes(machine.memory_bytes))?;
    if summaries.is_empty() {
        writeln!(out, "GPU      none: no Vulkan, Metal or DX12 adapter; dense-gpu is skipped here")?;
    }
    for gpu in &summaries {
        let note = if gpu.software { ", a software adapter: used only with --allow-software" } else { "" };
        writeln!(out, "GPU      {}{note}", gpu.name)?;
        writeln!(out, "         {}, driver {}", gpu.backend, gpu.driver)?;
        let can = [("timestamps", gpu.timestamps), ("subgroups", gpu.subgroups), ("f16", gpu.f16)];
        let can: Vec<&str> = can.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        let binding = bytes(gpu.max_binding_bytes);
        writeln!(
            out,
            "         bindings up to {binding}, {} of workgroup memory; {}",
            bytes(gpu.workgroup_bytes.into()),
            can.join(", ")
        )?;
    }
    writeln!(out, "label    {}", machine.label)?;
    if arguments.measure {
        writeln!(out, "\nmeasuring ...")?;
        let threads = machine.cpu.logical_cores;
        let measured = roofline::measure(threads).context("the roofline could not be measured")?;
        print_peaks(&mut out, &measured)?;
        let mut roofline = peaks(&measured);
        // Only of a real GPU: a software adapter's peaks are the CPU's.
        match dense_gpu::roofline(false) {
            Ok(gpu) => {
                print_gpu_peaks(&mut out, &gpu)?;
                roofline.insert("gpu".into(), gpu_peaks(&gpu).into());
            }
            Err(reason) => writeln!(out, "GPU not measured: {reason}")?,
        }
        machine.roofline = Some(roofline);
        let folder = arguments.results.join(format!("{}-{}", today(), machine.label));
        machine.save(&folder)?;
        writeln!(out, "noted in {}", folder.join("machine.toml").display())?;
    }
    Ok(End::Done)
}

fn print_peaks(out: &mut impl Write, measured: &roofline::Roofline) -> std::io::Result<()> {
    let (one, all) = (&measured.one, &measured.all);
    writeln!(out, "{:32}{:>12}{:>12}", "", "1 thread", format!("{} threads", all.threads))?;
    let mut line = |what: &str, one: f64, all: f64| writeln!(out, "{what:32}{one:>12.1}{all:>12.1}");
    line("sequential reads, GB/s", one.sequential_read, all.sequential_read)?;
    line("random 512-byte rows read, GB/s", one.random_read, all.random_read)?;
    line("the same, read and written, GB/s", one.random_update, all.random_update)?;
    line("f32 multiply-adds, GFLOP/s", one.f32_multiply_add, all.f32_multiply_add)?;
    match (one.bf16_dot, all.bf16_dot) {
        (Some(one), Some(all)) => line("bf16 dot products, GFLOP/s", one, all),
        _ => Ok(()),
    }
}

/// The peaks as records hold them: B/s and FLOP/s; `cpu` is all threads together.
fn peaks(measured: &roofline::Roofline) -> toml::Table {
    let table = |peaks: &roofline::Peaks| {
        let mut table = toml::Table::new();
        table.insert("threads".into(), (peaks.threads as i64).into());
        let mut put = |name: &str, giga: f64| table.insert(name.into(), (giga * 1e9).round().into());
        put("bytes_per_s", peaks.sequential_read);
        put("random_row_bytes_per_s", peaks.random_read);
        put("random_row_update_bytes_per_s", peaks.random_update);
        put("flops_per_s", peaks.f32_multiply_add);
        if let Some(bf16) = peaks.bf16_dot {
            put("bf16_flops_per_s", bf16);
        }
        table
    };
    let mut both = toml::Table::new();
    both.insert("cpu".into(), table(&measured.all).into());
    both.insert("one_thread".into(), table(&measured.one).into());
    both
}

fn print_gpu_peaks(out: &mut impl Write, gpu: &dense_gpu::Roofline) -> std::io::Result<()> {
    writeln!(out, "{}", gpu.adapter)?;
    let mut line = |what: &str, value: f64| writeln!(out, "{what:32}{:>12.1}", value / 1e9);
    line("copy within device, GB/s", gpu.copy_bytes_per_second)?;
    line("host to device, GB/s", gpu.upload_bytes_per_second)?;
    line("f32 multiply-adds, GFLOP/s", gpu.flops_per_second)
}

/// The GPU's peaks as records hold them.
fn gpu_peaks(gpu: &dense_gpu::Roofline) -> toml::Table {
    let peaks = [
        ("bytes_per_s", gpu.copy_bytes_per_second),
        ("upload_bytes_per_s", gpu.upload_bytes_per_second),
        ("flops_per_s", gpu.flops_per_second),
    ];
    peaks.into_iter().map(|(name, peak)| (name.into(), peak.round().into())).collect()
}

/// Bytes in binary units, as memory is sold.
fn bytes(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// This machine, under the user's label if there is one, with every GPU adapter it offers.
pub(super) fn machine(label: Option<&str>) -> Machine {
    describe(&dense_gpu::adapters(), label)
}

fn describe(adapters: &[AdapterSummary], label: Option<&str>) -> Machine {
    let adapter = |summary: &AdapterSummary| Adapter {
        name: summary.name.clone(),
        kind: if summary.software { "software" } else { "gpu" }.into(),
        backend: summary.backend.clone(),
        driver: summary.driver.clone(),
        software: summary.software,
    };
    let machine = Machine::detect(&adapters.iter().map(adapter).collect::<Vec<_>>());
    match label {
        Some(label) => machine.with_label(label),
        None => machine,
    }
}
