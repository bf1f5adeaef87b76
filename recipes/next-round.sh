#!/usr/bin/env bash
# One more round from exported weights, ours or one's own: they label rendered heads, these are lifted, and the lifter goes
# on from the weights with the new 3D labels. How the shipped small lifter came out of its predecessor, whose own recipe
# was small.sh with a detector of human labels alone.
# Needs what small.sh needs. Two CPU cores: labels 3 min, lifting and views 20 min, lifter 45 min.
set -euo pipefail
weights=${1:?usage: recipes/next-round.sh WEIGHTS.onnx WORK_FOLDER}
work=${2:?usage: recipes/next-round.sh WEIGHTS.onnx WORK_FOLDER}
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1 OMP_NUM_THREADS=1
mkdir -p "$work"

[ -f "$work/labels.npz" ] || facelift label fill --out "$work/labels.npz"
facelift lift --out "$work/lift" --detector "$weights" --faces "${HEADS:-512}" --shard-faces 32 --workers 2
facelift views --lift "$work/lift" --out "$work/views" --views 24 --workers 2
facelift train lifter --views "$work/views" --labels "$work/labels.npz" --start "$weights" \
    --loop.batch 32 --loop.devices 2 --loop.accelerator cpu --loop.threads 1 --loop.lr 1e-3 --loop.warmup 150 \
    --loop.steps "${STEPS:-2700}" --loop.evaluate-every 550 --loop.run "$work/lifter" \
    --augmentation.roll-deg 12 --augmentation.large-roll 0.04 --augmentation.occluder 0.25 \
    --fit-frames --beta 0.5 --real-share 0.625 --weights.frames-2d 3 --weights.frames-marks 3 --weights.frames-hidden 10 \
    --weights.frames-rotation 6 --weights.points-2d 0.5 --weights.rotation 1.5 --weights.translation 20
facelift export --run "$work/lifter" --out "$work/facelift-small.onnx" --name facelift-small \
    --card src/facelift/weights/facelift-small.md
