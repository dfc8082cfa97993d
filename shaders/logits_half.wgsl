// Output layer with 16-bit weights and logits (operands in logits_operands.wgsl); statistics.wgsl follows.

fn put(m: u32, n: u32, c: vec4f) {
    if m >= dims.L || n >= 4u * dims.B { return; }
    z[m * dims.B + n / 4u] = Z4(c + vec4f(bias[3u * (m / 4u)][m % 4u]));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    run(t, group.y * BM, group.x * BN, 0u, 4u * dims.H);
}
