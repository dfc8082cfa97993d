// Put before every kernel: what changes from step to step. Field order is that of `batch::StepHead`.

struct Step {
    // Samples in this batch (at most the capacity B that buffers are laid out for) and 1 / samples.
    samples: u32,
    scale: f32,
    // Adam's constants; `rate` holds the bias correction.
    rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    // Step number from 1, and the slot of `totals` that takes this step's loss.
    time: u32,
    slot: u32,
    // Where each section of `batch` starts, in words. Sparse input by sample (compressed rows) ...
    x_starts: u32,
    x_columns: u32,
    x_values: u32,
    // ... and by feature (compressed columns, touched features only), with the slots of each weight window.
    f_rows: u32,
    f_starts: u32,
    f_samples: u32,
    f_values: u32,
    f_windows: u32,
    // Targets sorted by label: (label, sample, 1/n) triples; p_starts has an entry every 64 labels.
    p_starts: u32,
    p_labels: u32,
    p_samples: u32,
    p_values: u32,
    // Labels of each sample.
    label_counts: u32,
    // The sampled labels, ascending, where softmax is sampled.
    s_labels: u32,
    // What this step's weights count in their average, where one is taken.
    snapshot: f32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> now: Step;

// The workgroup's number in a long one-dimensional grid that `folded` of plan.rs lays out in two dimensions.
fn folded(group: vec3u, groups: vec3u) -> u32 {
    return group.x + group.y * groups.x;
}

const NEGLIGIBLE: f32 = -3.0e38;
// Lifts softmax probabilities into the range of f16 where they are rounded to it.
const SOFTMAX_SCALE: f32 = 16384.0;

struct Adam { w: vec4f, m: vec4f, v: vec4f }

// Adam with its epsilon outside the bias correction: see network/mod.rs.
fn adam(s: Adam, g: vec4f) -> Adam {
    let m = now.beta1 * s.m + (1.0 - now.beta1) * g;
    let v = now.beta2 * s.v + (1.0 - now.beta2) * g * g;
    return Adam(s.w - now.rate * m / (sqrt(v) + now.epsilon), m, v);
}

// 1 in the lane that holds `index` if the vector starts at `base`, else 0.
fn one_hot(base: u32, index: u32) -> vec4f {
    return select(vec4f(0.0), vec4f(1.0), vec4u(base, base + 1u, base + 2u, base + 3u) == vec4u(index));
}
