//! Which colour a curve has: fixed by the engine's name, in every figure and table. SLIDE's figures draw SLIDE red, the
//! GPU blue, the dense CPU black and sampled softmax in a further colour; so do ours.

/// A colour of a curve; [`Style::class`] names it in style sheets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Style {
    /// Dense on the CPU: black on white, white on black.
    DenseCpu,
    /// Dense on a GPU: blue.
    DenseGpu,
    /// Hashed on the CPU: red.
    Lsh,
    /// Hashed on a GPU: magenta.
    LshGpu,
    /// Sampled softmax, wherever it runs: green.
    Sampled,
    /// A software GPU adapter: grey.
    Software,
    /// Everything else, by its name: orange, violet, teal, brown.
    Other(u8),
}

/// Classes with their colours in light and dark, for style sheets; contrast to the ground is at least 4.5 : 1.
pub const COLOURS: [(&str, &str, &str); 10] = [
    ("dense-cpu", "#111111", "#f2f2f0"),
    ("dense-gpu", "#1a4fc4", "#7da7ff"),
    ("lsh", "#c4122f", "#ff7a80"),
    ("lsh-gpu", "#a3157f", "#f58ad8"),
    ("sampled", "#19742f", "#6fd08a"),
    ("software", "#6a6f78", "#9aa1ac"),
    ("other-0", "#9a5200", "#f0ab5c"),
    ("other-1", "#6a3bb0", "#bd9bf7"),
    ("other-2", "#0a6c75", "#5fcad3"),
    ("other-3", "#7a4a2b", "#cfa27f"),
];

/// Phases of a training step with their colours in light and dark: upload, select, forward, backward, update, rebuild,
/// and what is in none of them.
pub const PHASES: [(&str, &str, &str); 7] = [
    ("upload", "#8c6bb1", "#a78bd0"),
    ("select", "#d95f0e", "#f08b45"),
    ("forward", "#3182bd", "#5aa6dc"),
    ("backward", "#9ecae1", "#35688a"),
    ("update", "#31a354", "#5cc07b"),
    ("rebuild", "#c51b8a", "#e35fb4"),
    ("other", "#bdbdbd", "#5c5f66"),
];

impl Style {
    /// The style of an engine, by the name it has in records.
    pub fn of(engine: &str, software: bool) -> Self {
        let name = engine.to_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        if software {
            Style::Software
        } else if has(&["sampled", "ssm"]) {
            Style::Sampled
        } else if has(&["lsh-gpu", "sparse-gpu"]) {
            Style::LshGpu
        } else if has(&["lsh", "slide"]) {
            Style::Lsh
        } else if name.starts_with("dense-gpu") || name == "tf-gpu" {
            Style::DenseGpu
        } else if name.starts_with("dense-cpu") || name == "tf-cpu" {
            Style::DenseCpu
        } else {
            // FNV-1a: the same name has the same colour on every machine and in every release.
            let hash =
                name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
            Style::Other((hash >> 8) as u8 % 4)
        }
    }

    /// Its class in style sheets.
    pub fn class(self) -> &'static str {
        match self {
            Style::DenseCpu => "dense-cpu",
            Style::DenseGpu => "dense-gpu",
            Style::Lsh => "lsh",
            Style::LshGpu => "lsh-gpu",
            Style::Sampled => "sampled",
            Style::Software => "software",
            Style::Other(slot) => COLOURS[6 + usize::from(slot) % 4].0,
        }
    }
}

/// Colour and dash pattern of what is no engine, by its place in the legend. Blue stays the GPU's.
pub fn palette(index: usize) -> (Style, usize) {
    use Style::{DenseCpu, Lsh, Other, Sampled};
    let colours = [Lsh, DenseCpu, Other(2), Other(0), Other(1), Sampled, Other(3)];
    (colours[index % colours.len()], index / colours.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_engine_and_software_is_never_blue() {
        assert_eq!(Style::of("lsh-cpu", false).class(), "lsh");
        assert_eq!(Style::of("LSH, 20 tables", false).class(), "lsh");
        assert_eq!(Style::of("lsh-gpu", false).class(), "lsh-gpu");
        assert_eq!(Style::of("dense-gpu:as-published", false).class(), "dense-gpu");
        assert_eq!(Style::of("dense-gpu", true).class(), "software");
        assert_eq!(Style::of("dense-cpu:sampled-softmax", false).class(), "sampled");
        assert_eq!(Style::of("sparse-cpu:uniform", false), Style::of("sparse-cpu:uniform", false));
        for slot in 0..4 {
            assert!(COLOURS.iter().any(|(class, ..)| *class == Style::Other(slot).class()));
        }
    }
}
