//! What the steps measured here would cost on the machines of the paper: a projection, never a measurement.

use super::document::{Block, Cell, Table, plain};
use super::runs::{Contestant, Study};
use super::statistics::number;
use super::style::Style;
use super::tables::rates;
use crate::record::Machine;

/// A machine of SLIDE's evaluation (section 5), by its makers' figures.
struct Published {
    name: &'static str,
    /// f32, FLOP/s.
    flops: f64,
    /// Main or device memory, B/s.
    bytes: f64,
}

/// Two Intel Xeon E5-2699A v4: 44 cores with two 8-wide multiply-add units at about 3.1 GHz; 8 channels of DDR4, rounded
/// up in its favour.
const XEON: Published = Published { name: "44-core Xeon", flops: 4.4e12, bytes: 200e9 };
/// NVIDIA Tesla V100, SXM2: the data sheet's single precision and HBM2 bandwidth.
const V100: Published = Published { name: "V100", flops: 15.7e12, bytes: 900e9 };

/// Appends the projection, with what it rests on, where this machine's peaks are in the records.
pub fn blocks(study: &Study, prefix: &str, blocks: &mut Vec<Block>) {
    let Some(table) = table(study, &format!("{prefix}-projection")) else { return };
    let figures =
        [XEON, V100].map(|m| format!("{}: {} TFLOP/s, {} GB/s", m.name, number(m.flops / 1e12), number(m.bytes / 1e9)));
    blocks.push(Block::Subsection("Projection to the paper's machines".into()));
    blocks.push(Block::Text(format!(
        "**Computed, not measured**: what a step would take on the machine the paper used for this kind of engine, if it \
         reached the same share of that machine's roofline as of this one's ({}). It knows nothing of caches, latency or \
         how well an engine uses more cores.",
        figures.join("; ")
    )));
    blocks.push(Block::Table(table));
}

/// One row an engine and data set: a step here, its share of the roofline, and the step projected. None without
/// measured peaks.
pub fn table(study: &Study, id: &str) -> Option<Table> {
    let machine = study.machine.as_ref()?;
    let columns = ["data", "engine", "#ms a step here", "#share of roofline", "projected to", "#projected ms a step"];
    let mut table = Table::new(id, "Projection, not measurement: steps on the paper's machines", &columns);
    for panel in &study.panels {
        for contestant in panel.contestants.iter().filter(|contestant| contestant.counts()) {
            let Some(projection) = project(contestant, machine) else { continue };
            table.row([
                plain(&panel.dataset).into(),
                Cell::coloured(plain(&contestant.name), contestant.style.class()),
                number(projection.here * 1e3).into(),
                format!("{:.0} %", projection.share * 100.0).into(),
                projection.on.name.into(),
                number(projection.there * 1e3).into(),
            ]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

struct Projection {
    on: Published,
    /// Seconds a step, by the device clock.
    here: f64,
    share: f64,
    /// Projected seconds a step.
    there: f64,
}

fn project(contestant: &Contestant, machine: &Machine) -> Option<Projection> {
    let gpu = matches!(contestant.style, Style::DenseGpu | Style::LshGpu);
    let (device, on) = if gpu { ("gpu", V100) } else { ("cpu", XEON) };
    let (flops, bytes) = rates(contestant)?;
    let share = (flops / machine.peak(device, "flops_per_s")?).max(bytes / machine.peak(device, "bytes_per_s")?);
    let here = contestant.last(|row| Some(row.device_s.filter(|s| *s > 0.0)? / row.step as f64))?.median;
    // The roofline's time there, longer by as much as the step here is longer than the roofline's time here.
    let there = here * (flops / on.flops).max(bytes / on.bytes) / share;
    (share.is_finite() && share > 0.0).then_some(Projection { on, here, share, there })
}
