#!/usr/bin/env bash
# A small lifter that anyone may use for anything: learned from rendered heads alone, no photo of a person anywhere.
# Heads: ICT-FaceKit Light (MIT), MakeHuman textures (CC0), London Set composites (CC BY 4.0). Scenes: procedural, with
# Poly Haven's light probes (CC0) where FACELIFT_DATA has them, all that is taken from there. The export
# refuses any other source (`--permissive`).
# Needs FACELIFT_ASSETS. HEADS, VIEWS, DETECTOR_STEPS, STEPS, BATCH and WORKERS scale it; every stage resumes.
#
# Nobody labelled a rendered head, so the labels are the heads' own landmarks, in 2D for the detector and in 3D for the
# lifter: lifting that detector's points would only add its errors to what is known exactly.
set -euo pipefail
work=${1:?usage: recipes/small-permissive.sh WORK_FOLDER}
heads=${HEADS:-2000}
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1
mkdir -p "$work"

# 1. Views of the heads with exact landmarks, from random cameras of the camera space C.
OMP_NUM_THREADS=1 facelift views --faces "$heads" --out "$work/views" --views "${VIEWS:-24}" --no-photos \
    --generator "${GENERATOR:-morphable}" --workers "${WORKERS:-2}"

# No training sees the folder of photos.
photos=${FACELIFT_DATA:-}
unset FACELIFT_DATA

# Both trainings see the views about upright, as the predictor turns its crops, and are told where to look: from nothing
# they hardly learn otherwise.
upright=(--upright --augmentation.roll-deg 12 --augmentation.large-roll 0.04)

# 2. The 2D detector: the lifter starts from its encoder and decoder.
facelift train detector --sets --views "$work/views" --labels-3d exact "${upright[@]}" --gaze 0.5 \
    --loop.run "$work/detector" --loop.steps "${DETECTOR_STEPS:-3000}" --loop.batch "${BATCH:-48}" --loop.threads 2
facelift export --run "$work/detector" --out "$work/detector.onnx" --name facelift-detector-permissive --permissive

# 3. The lifter: multi-view alone. Held-out heads measure it (the detector has met most of them: what they say is how the
# training goes on); nothing is chosen by photos.
facelift train lifter --sets --views "$work/views" --labels-3d exact --dev-heads $(((heads + 49) / 50)) \
    --detector "$work/detector/checkpoint.pt" --beta 0.5 "${upright[@]}" --weights.gaze 0.5 --loop.run "$work/lifter" \
    --loop.steps "${STEPS:-20000}" --loop.batch "${BATCH:-48}" --loop.lr 1.2e-3 --loop.threads 2 --loop.evaluate-every 500
facelift export --run "$work/lifter" --out "$work/facelift-small-permissive.onnx" --name facelift-small-permissive \
    --permissive

# 4. Only now photos, if there are any: to measure.
[ -f "$photos/merl_test.npz" ] || exit 0
for benchmark in merl_test aflw2000_sample; do
    FACELIFT_DATA=$photos facelift evaluate predict --model "$work/facelift-small-permissive.onnx" \
        --benchmark $benchmark --out "$work/$benchmark.npz"
    FACELIFT_DATA=$photos facelift evaluate score "$work/$benchmark.npz" --benchmark $benchmark --out "$work/$benchmark"
done
