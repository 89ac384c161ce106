#!/usr/bin/env bash
# The family's recipes at the embedded student's size:   examples/family/run.sh FOLDER LIBRISPEECH SPEECH_COMMANDS
#
# One teacher (hubert_mini), the same speech, as many updates of 16 s, 2.11 M parameters within 3 %; PR and KS on the hidden states,
# with the mini configs. SPEECH is the speech folder of examples/mini/run.sh. STEPS (default 1000) updates; SEEDS (default "1 2 3");
# RECIPES (default: all). Every step goes on where it was interrupted. Ends with FOLDER/family.md and family.png.
set -euo pipefail
here=$(dirname "$0")
[ $# -eq 3 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1
export LIBRISPEECH=$2 SPEECH_COMMANDS=$3 TARGETS=$1/targets
steps=${STEPS:-1000}
for seed in ${SEEDS:-1 2 3}; do
    upstreams=(-u fbank -u hubert_mini)
    for name in ${RECIPES:-fithubert no_reduction armhubert distilhubert starhubert dicehubert skill}; do
        targets=null # the teacher is asked for each crop
        [ "$name" = dicehubert ] && targets="$out/targets" # of the clusters, 2 bytes a frame
        fithubert distill -g "$here/$name.yaml" -c "$here/../mini/distill.yaml" -p "$out/$name-$seed" \
            data.targets="$targets" trainer.steps="$steps" trainer.seed="$seed" trainer.valid_every="$steps"
        upstreams+=(-u "$name=fithubert:$out/$name-$seed/student.safetensors@hidden_states")
    done
    fithubert superb "${upstreams[@]}" --tasks pr ks --splits mini-train mini-dev mini-test --skip-oov --seed "$seed" \
        -o "$out/table-$seed"
done
python "$here/report.py" "$out"
