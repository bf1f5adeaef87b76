#!/usr/bin/env bash
# The ablation table of docs/training.md: every row one flag of `facelift train lifter`, all under one budget.
# Needs the views of recipes/small.sh (WORK/views) and FACELIFT_DATA. Every row resumes; more options go to all rows.
# A row of 600 steps x 48 with the mobile encoder takes some 20 CPU minutes on a busy shared core; STEPS, BATCH (of each
# process) and PROCESSES change the budget of all rows alike.
set -euo pipefail
work=${1:?usage: recipes/ablation.sh WORK_FOLDER [options of facelift train lifter]}
shift
export OMP_WAIT_POLICY=PASSIVE GLIBC_TUNABLES=glibc.malloc.hugetlb=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
labels=()
[ -f "$work/labels.npz" ] && labels=(--labels "$work/labels.npz")
frames=()
[ -d "$work/frames" ] && frames=(--frames "$work/frames")
large=()
[ -d "$work/views-224" ] && large=(--views-224 "$work/views-224")

python "$(dirname "$0")/../benchmarks/ablation.py" --views "$work/views" --out "$work/ablation" \
    --steps "${STEPS:-600}" --batch "${BATCH:-48}" --processes "${PROCESSES:-1}" \
    "${frames[@]}" "${large[@]}" "${labels[@]}" "$@"
