#!/usr/bin/env bash
# joint_mini, keywords and speakers on the embedded student:   examples/mini/joint.sh FOLDER STUDENT WORDS TEST VOXCELEB1 VOICES ...
#
# STUDENT is a file of run.sh. WORDS is a training part in Speech Commands' layout, TEST its test part; VOXCELEB1 holds
# test/wav and test_trials.txt; VOICES are folders of speakers to train on. SENTENCES names folders with transcripts, as
# LibriSpeech, of which words are cut. LEAVE_OUT names speakers of WORDS (their 8 digits) who are in TEST too. Ends with
# FOLDER/joint_mini.safetensors; an interrupted run begins again.
set -euo pipefail
here=$(dirname "$0")
[ $# -ge 6 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1 student=$2 words=("$3") test=$4 voxceleb1=$5 takes=(8)
shift 5

if [ -n "${SENTENCES:-}" ]; then
    python "$here/mine_words.py" "$out/mined" $SENTENCES
    words+=("$out/mined")
    takes+=(2)
fi
python "$here/gather_joint.py" "$out/corpora" --words "${words[@]}" --takes "${takes[@]}" --test "$test" \
    --trials "$voxceleb1" --voices "$@" --leave-out ${LEAVE_OUT:-}
export JOINT=$out/corpora
fithubert downstream -m train -f -u fithubert_local -k "$student" -d joint_ks_sv -c "$here/joint.yaml" -p "$out/run"
fithubert downstream -m evaluate -e "$out/run/dev-best.ckpt"
fithubert export-joint "$out/run" --half -o "$out/joint_mini.safetensors"
