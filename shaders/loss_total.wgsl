// Adds the sums of loss_dense.wgsl to the step's slot of `totals`.

struct Dims { groups: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> totals: array<f32>;

@compute @workgroup_size(1)
fn main() {
    var sum = 0.0;
    for (var i = 0u; i < dims.groups; i++) { sum += sums[i]; }
    totals[now.slot] += sum;
}
