//! `slidebench export`: the same data, first weights and order of batches for programs outside, as safetensors.
//!
//! `benches/peers/pytorch.py` reads what this writes; so can anything else that reads safetensors.

use super::console::Reading;
use super::{End, Usage, devices};
use crate::data::{Batch, DataError, Dataset, Features, OpenOptions, Source, Split, open, sample, shuffled};
use crate::engine::{EngineSettings, find};
use crate::harness::{Batches, SAMPLE_SEED};
use crate::network::{Init, Order, Parameters, Rows, Shape, Training};
use crate::record;
use anyhow::Context;
use safetensors::tensor::{Dtype, View, serialize_to_file};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  slidebench export moby --out peer-data
  slidebench export synthetic:amazon-670k --out peer-data --batch 256 --learning-rate 1e-3 --check 5

Written into the folder:
  data.safetensors        train.*, test.*: offsets (u64), indices (u32), values (f32), or dense (f32, N x I);
                          label_offsets (u64), labels (u32); sample: the test rows evaluated during training;
                          order: one row an epoch, the training rows in the order they are seen
  parameters.safetensors  layer0.weight, I x H (a row an input); layer1.weight and on, outputs x inputs; layerN.bias
  meta.json               sizes, settings, the columns of a record, and the losses of dense-cpu's first steps
  machine.toml            this machine, as beside records")]
pub(super) struct Arguments {
    #[arg(help = format!("One of {}", Source::FORMS))]
    source: String,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Seed of the first weights and of the order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Widths of the hidden layers, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "128")]
    hidden: Vec<usize>,
    /// How the first weights are drawn: glorot or slide
    #[arg(long, default_value = "glorot", value_parser = keyword::<Init>)]
    init: Init,
    /// Epochs to write the order of
    #[arg(long, default_value_t = 2)]
    epochs: u64,
    #[arg(long, default_value_t = 128)]
    batch: usize,
    #[arg(long, default_value_t = 1e-2)]
    learning_rate: f32,
    /// Rows of the first layer that Adam moves when the input is sparse: lazy (those in the batch) or dense
    #[arg(long, default_value = "lazy", value_parser = keyword::<Rows>)]
    input_rows: Rows,
    /// Test rows evaluated during training
    #[arg(long, default_value_t = 2048)]
    eval_sample: usize,
    /// Steps to train with dense-cpu, for their losses to be compared with
    #[arg(long, default_value_t = 20, value_name = "STEPS")]
    check: usize,
    /// Name of this machine in the records [default: made of CPU, cores and GPU]
    #[arg(long)]
    label: Option<String>,
}

/// A word as TOML knows it.
fn keyword<T: serde::de::DeserializeOwned>(word: &str) -> Result<T, String> {
    toml::Value::from(word).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<End> {
    let source: Source = arguments.source.parse().map_err(|error: DataError| Usage(error.to_string()))?;
    if arguments.batch == 0 || arguments.epochs == 0 || arguments.hidden.contains(&0) {
        return Err(Usage("--batch, --epochs and --hidden want numbers above 0".into()).into());
    }
    let data = open(&source, &OpenOptions { progress: Arc::new(Reading::new(false)), ..OpenOptions::default() })?;
    let folder = &arguments.out;
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    write(&folder.join("data.safetensors"), data_tensors(&data, arguments))?;
    let shape = Shape { inputs: data.inputs, hidden: arguments.hidden.clone(), labels: data.labels };
    let initial = Parameters::new(&shape, arguments.init, arguments.seed);
    write(&folder.join("parameters.safetensors"), parameter_tensors(&initial))?;
    let machine = devices::machine(arguments.label.as_deref());
    machine.save(folder)?;

    let training = Training {
        batch: arguments.batch,
        learning_rate: arguments.learning_rate,
        input_rows: arguments.input_rows,
        ..Training::default()
    };
    let (losses, flops) = first_losses(&data, &shape, &training, &initial, arguments)?;
    let meta = serde_json::json!({
        "dataset": arguments.source,
        "fingerprint": format!("{:016x}", data.fingerprint),
        "provenance": data.provenance,
        "shape": shape,
        "training": training,
        "seed": arguments.seed,
        "init": arguments.init,
        "epochs": arguments.epochs,
        "machine": machine.label,
        "columns": record::columns(),
        "check": { "engine": "dense-cpu", "losses": losses, "flops_per_step": flops },
    });
    let path = folder.join("meta.json");
    std::fs::write(&path, serde_json::to_string_pretty(&meta)?)
        .with_context(|| format!("{}: cannot be written", path.display()))?;
    writeln!(std::io::stdout(), "{} is in {}, for benches/peers/pytorch.py", arguments.source, folder.display())?;
    Ok(End::Done)
}

/// The losses of dense-cpu's first steps, and the floating-point operations a step takes.
fn first_losses(
    data: &Dataset,
    shape: &Shape,
    training: &Training,
    initial: &Parameters,
    arguments: &Arguments,
) -> anyhow::Result<(Vec<f64>, Option<f64>)> {
    let settings = EngineSettings {
        shape: shape.clone(),
        training: training.clone(),
        options: toml::Table::new(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        allow_software: false,
        seed: arguments.seed,
        label_rows: Arc::default(),
    };
    if arguments.check == 0 || data.train.rows() == 0 {
        return Ok((vec![], None));
    }
    let mut engine = (find("dense-cpu").expect("in the registry").build)(&settings)?;
    engine.load(initial)?;
    let rows: Vec<u32> = (0..data.train.rows() as u32).collect();
    let mut batches = Batches::new(&data.train, &rows, training.batch, arguments.seed);
    let (mut batch, mut losses, mut flops) = (Batch::default(), vec![], 0.0);
    for _ in 0..arguments.check {
        batches.fill(&mut batch);
        engine.step(&batch)?;
        let stats = engine.finish()?;
        losses.push(stats.loss);
        flops += stats.flops / arguments.check as f64;
    }
    Ok((losses, Some(flops)))
}

type Tensors<'a> = BTreeMap<String, Tensor<'a>>;

fn data_tensors<'a>(data: &'a Dataset, arguments: &Arguments) -> Tensors<'a> {
    let mut tensors = Tensors::new();
    for (side, split) in [("train", &data.train), ("test", &data.test)] {
        split_tensors(side, split, &mut tensors);
    }
    let rows = data.train.rows();
    let order: Vec<u32> = (0..arguments.epochs).flat_map(|epoch| shuffled(rows, arguments.seed, epoch)).collect();
    tensors.insert("order".into(), Tensor::owned(Dtype::U32, [arguments.epochs as usize, rows], order));
    let sample = sample(data.test.rows(), arguments.eval_sample, SAMPLE_SEED);
    tensors.insert("sample".into(), Tensor::owned(Dtype::U32, [sample.len()], sample));
    tensors
}

fn split_tensors<'a>(side: &str, split: &'a Split, tensors: &mut Tensors<'a>) {
    let rows = split.rows();
    let mut put = |name: &str, tensor: Tensor<'a>| tensors.insert(format!("{side}.{name}"), tensor);
    match &split.features {
        Features::Sparse(csr) => {
            put("offsets", offsets((0..rows).map(|row| csr.row(row).0.len())));
            put("indices", Tensor::borrowed(Dtype::U32, [csr.nnz()], csr.indices()));
            put("values", Tensor::borrowed(Dtype::F32, [csr.nnz()], csr.values()));
        }
        Features::Dense { width, values } => {
            put("dense", Tensor::borrowed(Dtype::F32, [rows, *width], values.as_slice()));
        }
    }
    put("label_offsets", offsets((0..rows).map(|row| split.labels.row(row).len())));
    put("labels", Tensor::borrowed(Dtype::U32, [split.labels.total()], split.labels.labels()));
}

/// Where each row starts, and where the last one ends.
fn offsets<'a>(lengths: impl Iterator<Item = usize>) -> Tensor<'a> {
    let starts = lengths.scan(0, |end, length| {
        *end += length as u64;
        Some(*end)
    });
    let offsets: Vec<u64> = std::iter::once(0).chain(starts).collect();
    Tensor::owned(Dtype::U64, [offsets.len()], offsets)
}

fn parameter_tensors(parameters: &Parameters) -> Tensors<'_> {
    let mut tensors = Tensors::new();
    for (index, layer) in parameters.layers.iter().enumerate() {
        let shape = match layer.order {
            Order::InputMajor => [layer.inputs, layer.outputs],
            Order::NeuronMajor => [layer.outputs, layer.inputs],
        };
        tensors.insert(format!("layer{index}.weight"), Tensor::borrowed(Dtype::F32, shape, layer.weights.as_slice()));
        tensors
            .insert(format!("layer{index}.bias"), Tensor::borrowed(Dtype::F32, [layer.outputs], layer.bias.as_slice()));
    }
    tensors
}

fn write(path: &Path, tensors: Tensors<'_>) -> anyhow::Result<()> {
    serialize_to_file(tensors, None, path).with_context(|| format!("{}: cannot be written", path.display()))
}

/// Numbers with their type and shape.
struct Tensor<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Tensor<'a> {
    fn borrowed<T: bytemuck::NoUninit, const N: usize>(dtype: Dtype, shape: [usize; N], values: &'a [T]) -> Self {
        Self { dtype, shape: shape.into(), bytes: bytemuck::cast_slice(values).into() }
    }

    fn owned<T: bytemuck::NoUninit, const N: usize>(dtype: Dtype, shape: [usize; N], values: Vec<T>) -> Self {
        Self { dtype, shape: shape.into(), bytes: bytemuck::cast_slice::<T, u8>(&values).to_vec().into() }
    }
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.bytes.as_ref().into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn what_is_written_is_what_engines_start_from() {
        let folder = tempfile::tempdir().unwrap();
        let shape = Shape { inputs: 5, hidden: vec![3], labels: 4 };
        let initial = Parameters::new(&shape, Init::Slide, 7);
        let path = folder.path().join("p.safetensors");
        write(&path, parameter_tensors(&initial)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        for (index, layer) in initial.layers.iter().enumerate() {
            let weight = read.tensor(&format!("layer{index}.weight")).unwrap();
            assert_eq!(weight.data(), bytemuck::cast_slice::<f32, u8>(&layer.weights));
            assert_eq!(weight.shape(), [[5, 3], [4, 3]][index]);
            let bias = read.tensor(&format!("layer{index}.bias")).unwrap();
            assert_eq!(bias.data(), bytemuck::cast_slice::<f32, u8>(&layer.bias));
        }
    }

    #[test]
    fn row_offsets_add_up() {
        let tensor = offsets([2usize, 0, 3].into_iter());
        assert_eq!(tensor.bytes.as_ref(), bytemuck::cast_slice::<u64, u8>(&[0, 2, 2, 5]));
        assert_eq!(tensor.shape, [4]);
    }

    #[test]
    fn words_are_those_of_toml() {
        assert_eq!(keyword::<Init>("slide"), Ok(Init::Slide));
        assert_eq!(keyword::<Rows>("dense"), Ok(Rows::Dense));
        assert!(keyword::<Rows>("sometimes").is_err());
    }
}
