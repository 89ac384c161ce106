#!/usr/bin/env bash
# The check for a GPU, at most 6 minutes: tests marked gpu, then the two benchmarks at HuBERT Base's size.
#
#   benchmarks/gpu.sh                  needs a checkout, and a python3 with torch >= 2.11 that sees a GPU; no package index
#   benchmarks/gpu.sh wheels DIR       on a machine with an index: put what a bare machine lacks into DIR
#   WHEELS=DIR benchmarks/gpu.sh       take packages that python3 lacks from DIR
#
# Results go to $OUT (result/gpu): tests.txt, train-32-true.json, train-bf16-mixed.json, inference.json, table.md.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

# What the tests and benchmarks import besides torch, numpy, PyYAML and tqdm.
packages="s3prl lhotse lightning-fabric lightning-utilities soundfile soxr safetensors transformers huggingface_hub
tensorboardX protobuf librosa pooch lazy_loader audioread msgpack decorator numba llvmlite cytoolz toolz intervaltree
sortedcontainers tabulate lilcom scikit-learn scipy joblib threadpoolctl pandas editdistance filelock omegaconf
antlr4-python3-runtime pytest iniconfig pluggy pygments torchaudio matplotlib"

if [ "${1:-}" = wheels ]; then
    mkdir -p "${2:?give a folder}"
    for package in $packages; do
        "$python" -m pip download --quiet --no-deps --dest "$2" "$package" || echo "no wheel of $package"
    done
    exit
fi

out=${OUT:-result/gpu}
mkdir -p "$out"
if [ -n "${WHEELS:-}" ]; then
    site=$(mktemp -d)
    for wheel in "$WHEELS"/*; do
        name=$(basename "$wheel" | sed 's/-[0-9].*//; s/_/-/g')
        "$python" -m pip show --quiet "$name" 2>/dev/null ||
            "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheel"
    done
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
"$python" - <<'EOF' || exit 2
import sys
try:
    import torch
except ImportError:
    sys.exit("gpu.sh: expected torch in this python3, found none; give another with PYTHON=...")
if not torch.cuda.is_available():
    sys.exit("gpu.sh: expected a CUDA GPU, found none")
print("torch", torch.__version__, "on", torch.cuda.get_device_name())
EOF

run() { # run NAME SECONDS COMMAND...: what fails is told, and the rest goes on
    local name=$1 seconds=$2
    shift 2
    echo "== $name"
    timeout "$seconds" "$@" 2>&1 | tee "$out/$name.txt" | tail -n 25
    [ "${PIPESTATUS[0]}" = 0 ] || { echo "$name: failed"; failed="${failed:-} $name"; }
}

fithubert() { "$python" -m fithubert_upstream "$@"; }
export -f fithubert
export python
run tests 120 "$python" -m pytest -q -m gpu tests/test_cuda.py -rs
for precision in 32-true bf16-mixed; do
    run "train-$precision" 60 bash -c "fithubert benchmark train --device cuda --precision $precision -o $out/train-$precision"
    cp "$out/train-$precision/train.json" "$out/train-$precision.json" 2>/dev/null
done
run inference 110 bash -c "fithubert benchmark inference --device cuda --models hubert_base distilhubert fithubert \
    --variants fp32 bf16 --seconds 1 10 30 --rounds 7 -o $out/inference"
cp "$out/inference/inference.json" "$out/inference.json" 2>/dev/null
cat "$out"/train-*/train.md "$out/inference/inference.md" > "$out/table.md" 2>/dev/null
echo "results in $out${failed:+; failed:$failed}"
[ -z "${failed:-}" ]
