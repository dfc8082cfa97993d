// Arithmetic peak: eight chains of vec4 multiply-adds a thread, independent of each other, for dims.rounds rounds.
// 64 operations a round and thread.

struct Dims { rounds: u32, factor: f32, offset: f32 }

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let x = vec4f(dims.factor);
    let y = vec4f(dims.offset);
    var a = vec4f(f32(id.x));
    var b = a + 1.0;
    var c = a + 2.0;
    var d = a + 3.0;
    var e = a + 4.0;
    var f = a + 5.0;
    var g = a + 6.0;
    var h = a + 7.0;
    for (var i = 0u; i < dims.rounds; i++) {
        a = fma(a, x, y);
        b = fma(b, x, y);
        c = fma(c, x, y);
        d = fma(d, x, y);
        e = fma(e, x, y);
        f = fma(f, x, y);
        g = fma(g, x, y);
        h = fma(h, x, y);
    }
    out[id.x % arrayLength(&out)] = ((a + b) + (c + d)) + ((e + f) + (g + h));
}
