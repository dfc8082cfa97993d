//! The engine's options in TOML.

use super::kernels::Tile;
use crate::engine::EngineError;
use std::str::FromStr;

/// What `[engine.options]` may hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// `max-binding-bytes`: an upper bound on the bytes of one binding, to test windows; the adapter's limit otherwise.
    pub max_binding: u64,
    /// `tile = "128x128x16"`: the product kernels' tile; measured and chosen otherwise.
    pub tile: Option<Tile>,
    /// `precision = "f32"` or `"f16"`: the latter keeps logits and a copy of the output weights in 16 bits.
    pub half: bool,
    /// `matrix-units = false` keeps f16 products off matrix units.
    pub matrix_units: bool,
    /// `upload-dense-labels = true` sends a dense B x L label matrix every step and takes the loss from it.
    pub dense_labels: bool,
    /// `sampled = 0.05`: softmax in training runs over this share of the labels, drawn anew every step.
    pub sampled: Option<f64>,
    /// `average = 32`: steps between snapshots of the weights, whose average is evaluated in place of the last ones.
    pub average: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_binding: u64::MAX,
            tile: None,
            half: false,
            matrix_units: true,
            dense_labels: false,
            sampled: None,
            average: None,
        }
    }
}

impl Options {
    /// Reads the table.
    ///
    /// # Errors
    /// [`EngineError::Settings`] naming a key that is unknown or a value that does not fit.
    pub fn read(table: &toml::Table) -> Result<Self, EngineError> {
        let mut options = Self::default();
        for (key, value) in table {
            let wrong = |wanted: &str| EngineError::Settings(format!("dense-gpu: {key} = {value} is not {wanted}"));
            match key.as_str() {
                "max-binding-bytes" => {
                    let bytes = value.as_integer().and_then(|bytes| u64::try_from(bytes).ok()).filter(|&b| b > 0);
                    options.max_binding = bytes.ok_or_else(|| wrong("a positive number of bytes"))?;
                }
                "tile" => {
                    let tile = value.as_str().and_then(|text| Tile::from_str(text).ok());
                    let known = Tile::ALL.map(|tile| tile.to_string()).join(", ");
                    options.tile = Some(tile.ok_or_else(|| wrong(&format!("one of {known}")))?);
                }
                "precision" => {
                    options.half = match value.as_str() {
                        Some("f32") => false,
                        Some("f16") => true,
                        _ => return Err(wrong("\"f32\" or \"f16\"")),
                    };
                }
                "matrix-units" => options.matrix_units = value.as_bool().ok_or_else(|| wrong("true or false"))?,
                "upload-dense-labels" => {
                    options.dense_labels = value.as_bool().ok_or_else(|| wrong("true or false"))?
                }
                "sampled" => {
                    let share = value.as_float().filter(|&share| share > 0.0 && share <= 1.0);
                    options.sampled = Some(share.ok_or_else(|| wrong("a share above 0 and up to 1.0"))?);
                }
                "average" => {
                    let every = value.as_integer().and_then(|every| u64::try_from(every).ok());
                    options.average = Some(every.ok_or_else(|| wrong("a number of steps"))?).filter(|&every| every > 0);
                }
                _ => {
                    return Err(EngineError::Settings(format!(
                        "dense-gpu has no option {key}; it has max-binding-bytes, tile, precision, matrix-units, \
                         upload-dense-labels, sampled and average"
                    )));
                }
            }
        }
        if options.sampled.is_some() && (options.half || options.dense_labels) {
            return Err(EngineError::Settings(
                "dense-gpu: sampled goes with neither precision = \"f16\" nor upload-dense-labels".into(),
            ));
        }
        if options.average.is_some() && options.half {
            return Err(EngineError::Settings("dense-gpu: average goes with precision = \"f32\"".into()));
        }
        Ok(options)
    }
}
