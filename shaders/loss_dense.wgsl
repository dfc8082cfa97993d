// The loss from a dense label matrix t[l, b], as published baselines were fed: every entry is read, though all but a
// few are zero. GROUPS workgroups keep a sum each; loss_total.wgsl adds them up. L labels of this window, B in vec4s.

struct Dims { L: u32, B: u32, begins: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> t: array<vec4f>;
@group(0) @binding(3) var<storage, read> z: array<Z4>;
@group(0) @binding(4) var<storage, read> normalizer: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;

const THREADS: u32 = 256u;

var<workgroup> lanes: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = 0.0;
    for (var i = group.x * THREADS + lane; i < dims.L * dims.B; i += groups.x * THREADS) {
        sum += dot(t[i], normalizer[i % dims.B] - vec4f(z[i]));
    }
    lanes[lane] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if lane < half { lanes[lane] += lanes[lane + half]; }
        workgroupBarrier();
    }
    if lane == 0u {
        sum = lanes[0];
        if dims.begins == 0u { sum += sums[group.x]; }
        sums[group.x] = sum;
    }
}
