#!/usr/bin/env bash
# check-long.sh - the long forms of what .ci/run does in a short one: all seeds and states of the random and exhaustive tests,
# slow_*, everything under both sanitizers, each fuzz target for ten minutes.  Takes hours.
# QSFS_FUZZ_SECONDS=N: that long for each fuzz target.  Last line: "N passed, M failed".
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=tests/stages.sh
. tests/stages.sh
# shellcheck source=bootstrap/packages.sh
. bootstrap/packages.sh
# shellcheck disable=SC2086 # a list of words
stages_packages $PACKAGES_CI

step lint tests/lint.sh
QSFS_LONG=1 suite gcc tests/run.sh
CC=clang suite clang tests/run.sh
SAN=address,undefined suite address,undefined tests/run.sh
SAN=thread suite thread tests/run.sh
step fuzz make -j"$(nproc)" --no-print-directory FUZZ_SECONDS="${QSFS_FUZZ_SECONDS:-600}" fuzz-run
stages_result
