// Memory bandwidth: to[i] = from[i], a vec4 a thread and as many rounds as it takes.

@group(0) @binding(0) var<storage, read> from_: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> to: array<vec4f>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < arrayLength(&from_); i += groups.x * 256u) { to[i] = from_[i]; }
}
