#!/usr/bin/env bash
# The embedded pair from nothing: speech, hubert_mini, fithubert_mini.   examples/mini/run.sh [FOLDER]
# Every step goes on where it was interrupted and leaves alone what is done.
set -euo pipefail
here=$(dirname "$0")
out=${1:-result/mini}
export SPEECH=$out/speech

python "$here/make_speech.py" "$SPEECH" --hours 10
python "$here/pretrain_hubert.py" "$SPEECH" "$out/hubert"
[ -f "$out/fithubert/student.safetensors" ] || fithubert distill -g fithubert_mini.yaml -c "$here/distill.yaml" \
    -p "$out/fithubert" model.teacher.model="$out/hubert/hubert_mini.safetensors"
fithubert convert "$out/hubert/hubert_mini.safetensors" --half -o "$out/hubert_mini.safetensors"
fithubert convert "$out/fithubert/student.safetensors" --last-head --half -o "$out/fithubert_mini.safetensors"
