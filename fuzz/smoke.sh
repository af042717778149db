#!/usr/bin/env bash
# Compiles every fuzz target and runs each for some seconds (first argument, 5), from the seeds.
#
# On the stable compiler: the coverage flags below are what `cargo fuzz` passes, less the address
# sanitizer, which only a nightly compiler has and code without `unsafe` does not miss. With a nightly
# toolchain `cargo fuzz run TARGET` works as usual.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-5}
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"

# With an explicit target the flags do not reach build scripts and macros.
"${CARGO:-cargo}" build --release --target "$host"

for source in targets/*.rs; do
    target=$(basename "$source" .rs)
    mkdir -p "corpus/$target" "artifacts/$target"
    log="artifacts/$target/log"
    if "target/$host/release/$target" "corpus/$target" "seeds/$target" -max_total_time="$seconds" \
        -max_len=4096 -artifact_prefix="artifacts/$target/" >"$log" 2>&1; then
        echo "fuzz: $target: $(sed -n 's/^Done //p' "$log")"
    else
        tail -n 60 "$log"
        echo "fuzz: $target failed; the input is in fuzz/artifacts/$target" >&2
        exit 1
    fi
done
