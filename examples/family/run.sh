#!/usr/bin/env bash
# The family's recipes at the embedded student's size:   examples/family/run.sh FOLDER LIBRISPEECH SPEECH_COMMANDS VOXCELEB1
#
# One teacher (hubert_mini), the same speech, as many updates of as many seconds, 2.11 M parameters within 3 %; the mini configs on
# the hidden states. SPEECH is the speech folder of examples/mini/run.sh. STEPS (default 1000) updates of BATCH (default 16)
# seconds; SEEDS (default "1 2 3"); RECIPES (default: all); TASKS (default "pr ks sv"); FEW_SHOT, a further corpus for KS such as
# examples/mini/gather_tests.py lays out. Every step goes on where it was interrupted. Ends with FOLDER/family.md and family.png.
set -euo pipefail
here=$(dirname "$0")
[ $# -eq 4 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1
export LIBRISPEECH=$2 SPEECH_COMMANDS=$3 VOXCELEB1=$4 TARGETS=$1/targets
steps=${STEPS:-1000} half=$((${STEPS:-1000} / 2)) batch=${BATCH:-16}
for seed in ${SEEDS:-1 2 3}; do
    upstreams=(-u fbank -u hubert_mini)
    for name in ${RECIPES:-fithubert no_reduction armhubert distilhubert starhubert dicehubert skill dphubert dphubert_reduction fithubert_plus}; do
        student=$out/$name-$seed
        if grep -q "^criterion: reconstruction" "$here/$name.yaml"; then
            fithubert prune -g "$here/$name.yaml" -c "$here/plus_train.yaml" -p "$student" data.batch_seconds="$batch" \
                distill.trainer.{steps=$((steps - 64 / batch)),seed="$seed",valid_every="$steps"} # 64 s are for calibration
        elif grep -q ^sparsity: "$here/$name.yaml"; then
            fithubert prune -g "$here/$name.yaml" -c "$here/prune_train.yaml" -p "$student" \
                data.batch_seconds="$batch" {prune,distill}.trainer.{steps=$half,seed="$seed",valid_every=$half}
        else
            targets=null # the teacher is asked for each crop
            [ "$name" = dicehubert ] && targets="$out/targets" # of the clusters, 2 bytes a frame
            fithubert distill -g "$here/$name.yaml" -c "$here/../mini/distill.yaml" -p "$student" \
                data.targets="$targets" data.batch_seconds="$batch" \
                trainer.steps="$steps" trainer.seed="$seed" trainer.valid_every="$steps"
        fi
        upstreams+=(-u "$name=fithubert:$student/student.safetensors@hidden_states")
    done
    # shellcheck disable=SC2086
    fithubert superb "${upstreams[@]}" --tasks ${TASKS:-pr ks sv} --splits mini-train mini-dev mini-test --skip-oov \
        --seed "$seed" -o "$out/table-$seed"
    if [ -n "${FEW_SHOT:-}" ]; then
        fithubert superb "${upstreams[@]}" --tasks ks --speech-commands "$FEW_SHOT" --seed "$seed" -o "$out/few-$seed"
    fi
done
python "$here/report.py" "$out"
