#!/usr/bin/env bash
# The shipped face finder, from raw data folders to the ONNX file; the training resumes where it was stopped.
# Needs: pip install '.[train]', FACELIFT_DATA, FACELIFT_ASSETS; the last line MediaPipe too (docs/install.md).
# One CPU core: heads 7 min, training 75 min. The shipped file came out of two shorter trainings, of 1,920 steps and, with
# --start on that one's checkpoint, 9,000: its card has the rest.
set -euo pipefail
work=${1:?usage: recipes/finder.sh WORK_FOLDER}
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1 OMP_NUM_THREADS=1
mkdir -p "$work"

# 1. Whole heads, cut out, from all sides up to profile.
[ -f "$work/heads.npz" ] || facelift heads --out "$work/heads.npz" --faces 500 --views 3

# 2. Scenes of labelled photos, pasted faces and heads, and photos without faces; composed anew for every step.
facelift train finder --heads "$work/heads.npz" --size 192 \
    --loop.run "$work/finder" --loop.batch 16 --loop.steps 20000 --loop.lr 2e-3 --loop.warmup 150 \
    --loop.weight-decay 0.01 --loop.clip 5 --loop.evaluate-every 2500 --loop.threads 1

facelift export --run "$work/finder" --out "$work/facelift-finder.onnx" --name facelift-finder \
    --card src/facelift/weights/facelift-finder.md

# 3. On held-out pictures beside MediaPipe's detectors, and the share found of two test sets.
python benchmarks/bench_finders.py --data "$FACELIFT_DATA" --weights "$work/facelift-finder.onnx" --test \
    --out "$work/finders.json"
