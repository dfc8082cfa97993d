// The best K logits of every sample within a chunk of labels, best first, ties to the lower label. A thread reads one
// sample's logits at every fourth label, beside 63 other samples; the host merges 4 lists a chunk. B samples (a
// multiple of 4), L labels of this window. K is set when the kernel is built.

struct Dims { first: u32, L: u32, B: u32, chunk: u32, first_list: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> z: array<Z>;
// lists[list][rank][sample]: label and bits of the score.
@group(0) @binding(3) var<storage, read_write> lists: array<vec2u>;

const NONE: u32 = 0xffffffffu;

@compute @workgroup_size(64, 4)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
    let b = group.y * 64u + id.x;
    if b >= now.samples { return; }
    var scores: array<f32, K>;
    var labels: array<u32, K>;
    for (var r = 0u; r < K; r++) {
        scores[r] = NEGLIGIBLE;
        labels[r] = NONE;
    }
    let end = min((group.x + 1u) * dims.chunk, dims.L);
    for (var l = group.x * dims.chunk + id.y; l < end; l += 4u) {
        let score = f32(z[l * dims.B + b]);
        // Labels ascend, so an equal score never displaces an earlier one.
        if score > scores[K - 1u] {
            var r = K - 1u;
            while r > 0u && score > scores[r - 1u] {
                scores[r] = scores[r - 1u];
                labels[r] = labels[r - 1u];
                r--;
            }
            scores[r] = score;
            labels[r] = dims.first + l;
        }
    }
    let list = dims.first_list + group.x * 4u + id.y;
    for (var r = 0u; r < K; r++) {
        lists[(list * K + r) * dims.B + b] = vec2u(labels[r], bitcast<u32>(scores[r]));
    }
}
