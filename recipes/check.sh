#!/usr/bin/env bash
# The whole recipe in ten minutes of one CPU thread: views, detector, lifting, views of lifted heads, lifter, ONNX.
# Fails with exit code 1 unless the errors at the end are under the bounds below.
# It goes on from the weights that come with the package, as next-round.sh does: from nothing, ten minutes teach a
# network hardly more than where the middle of a face is.
# Without FACELIFT_ASSETS the head built by code stands in for the textured one; with FACELIFT_DATA (merl_train) real photos
# are half of the lifter's batches and the errors on held-out photos count too.
set -euo pipefail
work=${1:?usage: recipes/check.sh WORK_FOLDER}
here=$(dirname "$0")
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1 OMP_NUM_THREADS=1
generator=procedural
[ -f "${FACELIFT_ASSETS:-}/head.npz" ] && generator=morphable
photos=()
[ -f "${FACELIFT_DATA:-}/merl_train.npz" ] && photos=(merl_train)
start=$here/../src/facelift/weights/facelift-small.onnx
loop=(--loop.batch 24 --loop.lr 6e-4 --loop.warmup 30 --loop.ema 0.98 --loop.threads 1 --loop.evaluate-every 50)
mkdir -p "$work"

facelift views --faces 40 --views 8 --generator $generator --out "$work/heads"
facelift train detector --sets --views "$work/heads" --labels-3d exact --start "$start" \
    --loop.run "$work/detector" --loop.steps 150 "${loop[@]}"
facelift export --run "$work/detector" --out "$work/detector.onnx" --name check-detector
facelift lift --detector "$work/detector.onnx" --generator $generator --faces 24 --first-seed 1000 --views 9 --size 128 \
    --workers 1 --quality.max-residual-px 12 --out "$work/lift"
facelift views --lift "$work/lift" --views 12 --generator $generator --out "$work/views"
facelift train lifter --views "$work/views" --sets "${photos[@]}" --dev-heads 3 --start "$start" \
    --detector "$work/detector/checkpoint.pt" --loop.run "$work/lifter" --loop.steps 200 "${loop[@]}"
facelift export --run "$work/lifter" --out "$work/check.onnx" --name check

bounds=(heads_nme=15 heads_pose_deg=13 train_loss=0)
[ ${#photos[@]} -gt 0 ] && bounds+=(nme=4.4)
python "$here/reached.py" "$work/lifter" "${bounds[@]}"
