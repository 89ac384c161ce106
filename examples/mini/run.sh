#!/usr/bin/env bash
# The embedded models from nothing:   examples/mini/run.sh FOLDER REAL_SPEECH ...
#
# REAL_SPEECH are folders of recordings, speakers below them. The embedded pair has learned from
#   train-clean-5 of Mini LibriSpeech, https://openslr.org/31, and
#   the training part of speechocean762, https://openslr.org/101
# WHISPER is the teacher: a hub id, a transformers folder or a CTranslate2 model.bin. SPEAKER is the pretrained.pt of
# Resemblyzer, which is fetched if it is not named. joint.sh makes joint_mini of what this leaves.
# Every step goes on where it was interrupted and leaves alone what is done.
set -euo pipefail
here=$(dirname "$0")
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1
shift
export WHISPER=${WHISPER:-openai/whisper-base}

if [ -z "${SPEAKER:-}" ]; then
    SPEAKER=$out/resemblyzer/pretrained.pt
    if [ ! -e "$SPEAKER" ]; then
        python -m pip download --no-deps -d "$out/wheel" resemblyzer==0.1.4
        python -m zipfile -e "$out"/wheel/*esemblyzer-0.1.4*.whl "$out"
    fi
fi
export SPEAKER

python "$here/make_speech.py" "$out/synthetic" --hours 10
python "$here/pretrain_hubert.py" "$out/synthetic" "$out/pretrained"
python "$here/gather_speech.py" "$out/speech" "$@"

export SPEECH=$out/speech TARGETS=$out/targets
fithubert distill -g "$here/hubert.yaml" -c "$here/distill.yaml" -p "$out/hubert" \
    model.init="$out/pretrained/hubert_mini.safetensors" trainer.steps=11000
fithubert distill -g "$here/fithubert.yaml" -c "$here/distill.yaml" -p "$out/fithubert" trainer.steps=21000

for name in hubert fithubert; do
    fithubert convert "$out/$name/student.safetensors" --last-head --half -o "$out/${name}_mini.safetensors"
done
