#!/usr/bin/env bash
# One more round from exported weights, ours or one's own: a 2D detector goes on from their encoder and decoder, with views
# of heads that shut their eyes; it labels other rendered heads, these are lifted, and the lifter goes on from the weights,
# with the detector's encoder and decoder. How the shipped small lifter came out of its predecessors, with
# other numbers of heads and steps: its card has them.
# Needs what small.sh needs. Two CPU cores: labels and mesh 6 min, views 5 min, detector 40 min, lifting and views 10 min,
# lifter 45 min.
set -euo pipefail
work=${1:?usage: recipes/next-round.sh WORK_FOLDER WEIGHTS.onnx}
weights=${2:?usage: recipes/next-round.sh WORK_FOLDER WEIGHTS.onnx}
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1 OMP_NUM_THREADS=1
mkdir -p "$work"

[ -f "$work/labels.npz" ] || facelift label fill --out "$work/labels.npz"
[ -f "$work/mesh.npz" ] || facelift mesh --out "$work/mesh.npz"
facelift views --faces "${EXACT_HEADS:-480}" --first-seed 100000 --views 12 --out "$work/views-exact" --workers 2

loop=(--loop.devices 2 --loop.accelerator cpu --loop.threads 1)
augmentation=(--augmentation.roll-deg 12 --augmentation.large-roll 0.04 --augmentation.occluder 0.2)
facelift train detector --labels "$work/labels.npz" --mesh "$work/mesh.npz" --start "$weights" \
    --views "$work/views-exact" --labels-3d exact --views-definition head98 \
    --shares merl_train 0.35 w300_train 0.2 views 0.45 \
    --loop.run "$work/detector" --loop.steps "${DETECTOR_STEPS:-4500}" --loop.batch 24 --loop.lr 1.2e-3 \
    --loop.warmup 100 --loop.evaluate-every 750 "${loop[@]}" "${augmentation[@]}"
facelift export --run "$work/detector" --out "$work/detector.onnx" --name facelift-detector

facelift lift --out "$work/lift" --detector "$work/detector.onnx" --faces "${HEADS:-288}" --shard-faces 32 --workers 2
facelift views --lift "$work/lift" --out "$work/views" --views 24 --workers 2
facelift train lifter --views "$work/views" --labels "$work/labels.npz" \
    --start "$weights" --detector "$work/detector/checkpoint.pt" \
    --loop.run "$work/lifter" --loop.steps "${STEPS:-2700}" --loop.batch 32 --loop.lr 1.2e-3 --loop.warmup 150 \
    --loop.evaluate-every 500 "${loop[@]}" "${augmentation[@]}" \
    --augmentation.scale 0.08 --augmentation.shift 0.04 \
    --fit-frames --beta 0.8 --real-share 0.625 --weights.frames-2d 3 --weights.frames-marks 4 --weights.frames-hidden 10 \
    --weights.frames-rotation 6 --weights.points-2d 0.5 --weights.rotation 1.5 --weights.translation 20
facelift export --run "$work/lifter" --out "$work/facelift-small.onnx" --name facelift-small \
    --card src/facelift/weights/facelift-small.md
