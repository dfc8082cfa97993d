#!/usr/bin/env bash
# Everything that needs a GPU, in one command:
#
#   benches/gpu.sh                              on a machine with a real GPU
#   benches/gpu.sh --allow-software --small     does it run? (software Vulkan, minutes; measures nothing)
#
# Tests of the GPU engines, steps at the size of Amazon-670K, the default experiment, and PyTorch at the same precisions
# where `$PYTHON` (python3) has torch. Records and logs go to results/<date>-<machine>/, logs under gpu/.
set -euo pipefail
cd "$(dirname "$0")/.."

software='' small='' label=() results=results
while [ $# -gt 0 ]; do
    case $1 in
        --allow-software) software=--allow-software ;;
        --small) small=1 ;;
        --label) label=(--label "${2:?--label wants a name}"); shift ;;
        --results) results=${2:?--results wants a folder}; shift ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
python=${PYTHON:-python3}
failed=()

cargo build --release --bin slidebench --example gpu_step
bench=target/release/slidebench

# The record's folder: named by the program, after what it finds.
name=$("$bench" devices "${label[@]}" | tee /dev/stderr | sed -n 's/^label *//p')
folder=$results/$(date -u +%Y-%m-%d)-$name
mkdir -p "$folder/gpu"

# Runs a command, its output on screen and in the log named first; a failure is noted and the rest goes on.
run() {
    local log=$folder/gpu/$1.txt
    shift
    echo
    echo "== $*"
    { echo "\$ $*"; "$@" 2>&1; } | tee "$log" || { echo "FAILED: $*" | tee -a "$log"; failed+=("$*"); }
}

run devices "$bench" devices --measure --results "$results" "${label[@]}"
if [ -n "$small" ]; then
    run tests cargo test --test gpu
    for options in "" "precision = 'f16'" $'precision = \'f16\'\nmatrix-units = false' 'upload-dense-labels = true'; do
        run "step-$(echo "${options:-f32}" | tr -cs 'a-z0-9\n' - | paste -sd- | sed 's/-*$//')" \
            target/release/examples/gpu_step 1024 1 "$options"
    done
    run experiment "$bench" run default --scale smoke --engines dense-gpu,dense-cpu --results "$results" \
        --reports "$folder/gpu/report" $software "${label[@]}"
else
    run tests cargo test --test gpu
    run step target/release/examples/gpu_step # f32, f16, f16 without matrix units, dense labels
    run experiment "$bench" run default --results "$results" --reports "$folder/gpu/report" \
        $software "${label[@]}"
fi

if ! "$python" -c 'import torch, numpy, safetensors' 2>/dev/null; then
    echo "no PyTorch in $python: PYTHON=... names another; pip install torch numpy safetensors"
else
    device=cpu precisions='f32 bf16' steps=(--labels 4096 --inputs 5000 --steps 1) limit=(--steps 8)
    if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
        device=cuda precisions='f32 tf32 bf16'
    elif [ -z "$small" ]; then
        echo "PyTorch in $python sees no CUDA device: timed on the CPU"
    fi
    modes=('' --compile)
    if [ -z "$small" ]; then
        steps=(--steps 20) limit=()
    else
        modes=('')
    fi
    for source in moby $([ -n "$small" ] || echo webster); do
        # As in benches/experiments/default.toml.
        epochs=2
        [ "$source" = moby ] || epochs=6
        seeds='1 2 3'
        [ -z "$small" ] || seeds=1
        for seed in $seeds; do
            data=$(mktemp -d)
            run "export-$source-$seed" "$bench" export "$source" --out "$data" --seed "$seed" --epochs $epochs "${label[@]}"
            [ "$seed" != 1 ] || run "peer-check-$source" \
                "$python" benches/peers/pytorch.py train "$data" --device $device --check
            for precision in $precisions; do
                for mode in "${modes[@]}"; do
                    run "peer-$source-$seed-$precision$mode" "$python" benches/peers/pytorch.py train "$data" \
                        --device $device --precision "$precision" --results "$results" $mode "${limit[@]}"
                done
            done
            rm -r "$data"
        done
    done
    for precision in $precisions; do
        for mode in "${modes[@]}"; do
            run "peer-step-$precision$mode" "$python" benches/peers/pytorch.py step --device $device \
                --precision "$precision" $mode "${steps[@]}"
        done
    done
fi

echo
echo "records and logs: $folder"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
