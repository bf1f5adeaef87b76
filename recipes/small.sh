#!/usr/bin/env bash
# The shipped small lifter, from raw data folders to the ONNX file; every stage resumes where it was stopped.
# Needs: pip install 'facelift[train]' and MediaPipe (docs/install.md), FACELIFT_DATA, FACELIFT_ASSETS.
# Two CPU cores: labels 3 min, mesh 3 min, detector 45 min, lifting 12 min, views 5 min, full detector 3 h (12,000 steps
# at the first one's speed), lifter 85, 80 and 55 min. The shipped weights were made without mesh and full detector, and
# went one round further by next-round.sh.
set -euo pipefail
work=${1:?usage: recipes/small.sh WORK_FOLDER}
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1
mkdir -p "$work"

# 1. Lower brow edges and pupils, which 68-point labels lack, by MediaPipe's mesh fitted to the human labels.
[ -f "$work/labels.npz" ] || facelift label fill --out "$work/labels.npz"
[ -f "$work/mesh.npz" ] || facelift mesh --out "$work/mesh.npz"

# 2. A first 2D detector, on human labels alone.
facelift train detector --labels "$work/labels.npz" \
    --loop.run "$work/detector" --loop.steps 3000 --loop.batch 48 --loop.evaluate-every 400 --loop.threads 2
facelift export --run "$work/detector" --out "$work/detector.onnx" --name facelift-detector

# 3. 3D pseudo-labels: its detections in 41 views of each of 640 rendered heads, lifted. Exact vertices are not used.
OMP_NUM_THREADS=1 facelift lift --out "$work/lift" --detector "$work/detector.onnx" --faces 640 --shard-faces 32

# 4. Training views of the accepted heads, from random cameras of the camera space C.
OMP_NUM_THREADS=1 facelift views --lift "$work/lift" --out "$work/views" --views 24 --workers 2

# 5. The 2D detector at full strength: photos, mesh and views of the lifted heads; add --wflw and --lapa where they are.
#    Its table of errors by definition is detector-full/definitions.md.
facelift train detector --labels "$work/labels.npz" --mesh "$work/mesh.npz" --views "$work/views" \
    --shares merl_train 0.5 w300_train 0.2 views 0.3 \
    --loop.run "$work/detector-full" --loop.steps 12000 --loop.batch 48 --loop.evaluate-every 1000 --loop.threads 2
facelift export --run "$work/detector-full" --out "$work/detector-full.onnx" --name facelift-detector

# 6. The lifter: half of each batch rendered views with lifted labels, half real photos with human 2D labels. First as
#    in the paper; then from there with the pose that the lifted shapes, fitted to each photo's labels, give it, and with
#    factors that let the real photos speak: left alone, renders had twice the gradient of photos (docs/training.md).
lifter() {
    facelift train lifter --views "$work/views" --labels "$work/labels.npz" \
        --loop.batch 48 --loop.lr 1.2e-3 --loop.warmup 200 --loop.threads 2 \
        --augmentation.roll-deg 12 --augmentation.large-roll 0.04 --augmentation.occluder 0.25 "$@"
}
lifter --detector "$work/detector-full/checkpoint.pt" --loop.run "$work/lifter-paper" \
    --loop.steps 9000 --loop.evaluate-every 400
photos() {
    lifter --fit-frames --beta 0.5 --weights.frames-2d 3 --weights.frames-hidden 10 \
        --weights.points-2d 0.5 --weights.rotation 1.5 --weights.translation 20 "$@"
}
photos --start "$work/lifter-paper/checkpoint.pt" --real-share 0.6 --weights.frames-rotation 4 \
    --loop.run "$work/lifter-photos" --loop.steps 7800 --loop.evaluate-every 400
photos --start "$work/lifter-photos/checkpoint.pt" --real-share 0.65 --weights.frames-rotation 6 --loop.lr 1e-3 \
    --loop.run "$work/lifter" --loop.steps 5000 --loop.evaluate-every 500

facelift export --run "$work/lifter" --out "$work/facelift-small.onnx" --name facelift-small \
    --card src/facelift/weights/facelift-small.md
for benchmark in merl_test aflw2000_sample; do
    facelift evaluate predict --model "$work/facelift-small.onnx" --benchmark $benchmark --out "$work/$benchmark.npz"
    facelift evaluate score "$work/$benchmark.npz" --benchmark $benchmark --out "$work/$benchmark"
done
