#!/usr/bin/env bash
# The shipped small lifter, from raw data folders to the ONNX file; every stage resumes where it was stopped.
# Needs: pip install '.[train]' and MediaPipe (docs/install.md), FACELIFT_DATA, FACELIFT_ASSETS.
# Two CPU cores: labels 3 min, mesh 3 min, views 10 min, detector 3 h, lifting 12 min, lifter 85, 80 and 55 min. The shipped
# weights were made with a detector of human labels alone (3,000 steps), and went two rounds further by next-round.sh.
set -euo pipefail
work=${1:?usage: recipes/small.sh WORK_FOLDER}
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1
mkdir -p "$work"

# 1. Lower brow edges and pupils, which 68-point labels lack, by MediaPipe's mesh fitted to the human labels.
[ -f "$work/labels.npz" ] || facelift label fill --out "$work/labels.npz"
[ -f "$work/mesh.npz" ] || facelift mesh --out "$work/mesh.npz"

# 2. Views of heads with their own landmarks, for the detector alone: shut eyes, which photos lack.
OMP_NUM_THREADS=1 facelift views --faces 640 --first-seed 100000 --views 12 --out "$work/views-exact" --workers 2

# 3. The 2D detector: photos, mesh and those views; add --wflw and --lapa where they are. Its table of errors by definition
#    is detector/definitions.md.
facelift train detector --labels "$work/labels.npz" --mesh "$work/mesh.npz" --views "$work/views-exact" \
    --labels-3d exact --views-definition head98 --shares merl_train 0.5 w300_train 0.2 views 0.3 \
    --loop.run "$work/detector" --loop.steps 12000 --loop.batch 48 --loop.evaluate-every 1000 --loop.threads 2
facelift export --run "$work/detector" --out "$work/detector.onnx" --name facelift-detector

# 4. 3D pseudo-labels: its detections in 41 views of each of 640 other heads, lifted. The lifter sees no exact vertices.
OMP_NUM_THREADS=1 facelift lift --out "$work/lift" --detector "$work/detector.onnx" --faces 640 --shard-faces 32

# 5. Training views of the accepted heads, from random cameras of the camera space C.
OMP_NUM_THREADS=1 facelift views --lift "$work/lift" --out "$work/views" --views 24 --workers 2

# 6. The lifter: half of each batch rendered views with lifted labels, half real photos with human 2D labels. First as
#    in the paper; then from there with the pose that the lifted shapes, fitted to each photo's labels, give it, and with
#    factors that let the real photos speak: left alone, renders had twice the gradient of photos (docs/training.md).
lifter() {
    facelift train lifter --views "$work/views" --labels "$work/labels.npz" \
        --loop.batch 48 --loop.lr 1.2e-3 --loop.warmup 200 --loop.threads 2 \
        --augmentation.roll-deg 12 --augmentation.large-roll 0.04 --augmentation.occluder 0.25 "$@"
}
lifter --detector "$work/detector/checkpoint.pt" --loop.run "$work/lifter-paper" \
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
