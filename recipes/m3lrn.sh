#!/usr/bin/env bash
# M3-LRN, from raw data folders to the ONNX file; every stage resumes where it was stopped. The shipped weights are what it
# makes with STEPS=1500 BATCH=64 DEVICES=1 and --network.refinement-width 0.25.
# Needs FACELIFT_ASSETS (the textured head) and FACELIFT_DATA (merl_train, w300_train; merl_test and aflw2000_sample to
# measure). HEADS, VIEWS, STEPS, BATCH, DEVICES and WORKERS scale it, RUN names a variant; more options go to
# `facelift train m3lrn`, such as --network.no-refine or --network.support none (docs/m3lrn.md).
set -euo pipefail
work=${1:?usage: recipes/m3lrn.sh WORK_FOLDER [options of facelift train m3lrn]}
shift
heads=${HEADS:-480}
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1 OMP_NUM_THREADS=1
mkdir -p "$work"

# 1. The linear model of the head, and views of heads with their exact landmarks.
[ -f "$work/open-head.npz" ] || facelift morphable open-head --out "$work/open-head.npz"
facelift views --faces "$heads" --first-seed 100000 --views "${VIEWS:-12}" --out "$work/views" --workers "${WORKERS:-2}"

# 2. Half renders with exact parameters, half photos with human landmarks.
facelift train m3lrn --views "$work/views" --model "$work/open-head.npz" --dev-heads $(((heads + 39) / 40)) \
    --network.encoder mobile_global --encoder-start small \
    --loop.run "$work/${RUN:-m3lrn}" --loop.steps "${STEPS:-4000}" --loop.batch "${BATCH:-32}" --loop.lr 7e-4 \
    --loop.warmup 100 --loop.evaluate-every 250 --loop.accelerator cpu --loop.devices "${DEVICES:-2}" --loop.threads 1 \
    --augmentation.roll-deg 15 --augmentation.large-roll 0 --augmentation.occluder 0.2 "$@"
facelift export --run "$work/${RUN:-m3lrn}" --mesh "$work/open-head.npz" --name "${RUN:-m3lrn}" \
    --out "$work/${RUN:-m3lrn}.onnx"

# 3. Test splits, where they are, measure the finished file alone.
for benchmark in merl_test aflw2000_sample; do
    [ -f "${FACELIFT_DATA:-}/$benchmark.npz" ] || continue
    facelift evaluate predict --model "$work/${RUN:-m3lrn}.onnx" --benchmark $benchmark \
        --out "$work/${RUN:-m3lrn}-$benchmark.npz"
    facelift evaluate score "$work/${RUN:-m3lrn}-$benchmark.npz" --benchmark $benchmark \
        --out "$work/${RUN:-m3lrn}-$benchmark"
done
