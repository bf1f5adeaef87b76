#!/usr/bin/env bash
# Small dense landmarks for CPUs, from raw data folders to the ONNX file; every stage resumes where it was stopped.
# Needs FACELIFT_ASSETS (the textured head) and FACELIFT_DATA (merl_train, w300_train). HEADS, VIEWS, STEPS, BATCH,
# DEVICES, WORKERS, SEED and POINTS scale it, RUN names a variant; more options go to `facelift train dense`, such as
# --network.loss resll or --start LIFTER.onnx (docs/dense.md).
set -euo pipefail
work=${1:?usage: recipes/dense.sh WORK_FOLDER [options of facelift train dense]}
shift
heads=${HEADS:-1500}
run=$work/${RUN:-dense}
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1 OMP_NUM_THREADS=1
mkdir -p "$work"

# 1. Views of heads with their exact cameras; the points follow from the heads' seeds.
facelift views --faces "$heads" --first-seed "${SEED:-300000}" --views "${VIEWS:-12}" --out "$work/views" --workers "${WORKERS:-2}"

# 2. Renders with all points, photos with 68 human landmarks on the points' mesh. Upside-down faces are left out: the
# predictor turns its crops upright.
facelift train dense --views "$work/views" --dev-heads $(((heads + 49) / 50)) --real-share 0.4 --flips 0.5 0 \
    --network.encoder mobile --network.size 128 --network.points "${POINTS:-202}" --network.features grid \
    --network.predictor mlp --network.loss nlll \
    --loop.run "$run" --loop.steps "${STEPS:-12000}" --loop.batch "${BATCH:-32}" --loop.lr 1e-3 \
    --loop.warmup 300 --loop.evaluate-every 500 --loop.accelerator cpu --loop.devices "${DEVICES:-2}" --loop.threads 1 \
    "$@"
facelift export --run "$run" --name "${RUN:-dense}" --out "$run.onnx"
