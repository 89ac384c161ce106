#!/usr/bin/env bash
# The embedded pair from nothing:   examples/mini/run.sh FOLDER REAL_SPEECH ...
#
# REAL_SPEECH are folders of recordings, speakers below them. The embedded pair has learned from
#   train-clean-5 of Mini LibriSpeech, https://openslr.org/31, and
#   the training part of speechocean762, https://openslr.org/101
# WHISPER is the teacher: a hub id, a transformers folder or a CTranslate2 model.bin.
# Every step goes on where it was interrupted and leaves alone what is done.
set -euo pipefail
here=$(dirname "$0")
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1
shift
whisper=${WHISPER:-openai/whisper-base}

python "$here/make_speech.py" "$out/synthetic" --hours 10
python "$here/pretrain_hubert.py" "$out/synthetic" "$out/pretrained"
python "$here/gather_speech.py" "$out/speech" "$@"

export SPEECH=$out/speech TARGETS=$out/targets
fithubert distill -g "$here/hubert.yaml" -c "$here/distill.yaml" -p "$out/hubert" \
    model.teacher.model="$whisper" model.init="$out/pretrained/hubert_mini.safetensors" trainer.steps=11000
fithubert distill -g "$here/fithubert.yaml" -c "$here/distill.yaml" -p "$out/fithubert" \
    model.teacher.model="$whisper" trainer.steps=6000

fithubert convert "$out/hubert/student.safetensors" --last-head --half -o "$out/hubert_mini.safetensors"
fithubert convert "$out/fithubert/student.safetensors" --last-head --half -o "$out/fithubert_mini.safetensors"
