#!/usr/bin/env bash
# The papers' claims at a small size:   examples/claims/run.sh FOLDER LIBRISPEECH SPEECH_COMMANDS VOXCELEB1 WORDS
#
# Needs what examples/mini/run.sh leaves: SPEECH (its speech folder) and TARGETS (its targets), and WHISPER (the teacher). WORDS is
# a corpus like DSPSpeech-20. STEPS (default 1000) updates for each student; SEEDS (default "1 2 3").
# Every step goes on where it was interrupted and leaves alone what is done. Ends with FOLDER/claims.md and claims.png.
set -euo pipefail
here=$(dirname "$0")
[ $# -eq 5 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1
export LIBRISPEECH=$2 SPEECH_COMMANDS=$3 VOXCELEB1=$4 DSPSPEECH=$5
seeds=${SEEDS:-1 2 3}
splits="--splits mini-train mini-dev mini-test --skip-oov"

declare -A changes=(
    [thin_deep]=""
    [wide_shallow]="student.embed_dim=256 student.num_layers=3 student.ffn_dim=512 student.head_layers=[1,2,3] teacher.layers=[2,4,6]"
    [last_layer]="student.head_layers=[12] teacher.layers=[6]"
    [no_reduction]="student.time_reduction=1"
)
students="thin_deep wide_shallow last_layer no_reduction"
for seed in $seeds; do
    # the embedded pair: what is said stands in the last hidden state
    fithubert superb -u fbank -u fithubert_mini@last_hidden_state -u hubert_mini@last_hidden_state --tasks pr ks $splits \
        --seed "$seed" --feature-cache "$out/features" -o "$out/pair-$seed"
    upstreams=()
    for name in $students; do
        words=()
        for change in ${changes[$name]}; do words+=("model.$change"); done
        fithubert distill -g "$here/student.yaml" -c "$here/../mini/distill.yaml" -p "$out/$name-$seed" \
            trainer.steps="${STEPS:-1000}" trainer.seed="$seed" \
            trainer.valid_every="${STEPS:-1000}" ${words[@]+"${words[@]}"}
        upstreams+=(-u "$name=fithubert:$out/$name-$seed/student.safetensors@last_hidden_state")
    done
    fithubert superb "${upstreams[@]}" --tasks pr $splits --seed "$seed" \
        --feature-cache "$out/features" -o "$out/students-$seed"
done
for seed in $seeds; do # who says it: in the weighted sum of all
    fithubert superb -u fbank -u fithubert_mini -u hubert_mini --tasks sv --seed "$seed" -o "$out/voices-$seed"
done
fithubert joint-report -u fithubert_mini --seeds $seeds --override frozen:optimizer.lr=1e-3 \
    --feature-cache "$out/features" -o "$out/joint"
python "$here/report.py" "$out"
