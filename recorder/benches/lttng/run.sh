#!/bin/bash
# The same events through LTTng-UST, beside ttlog's; and how fast each is made text.
#
#     recorder/benches/lttng/run.sh
#
# LTTng records as a flight recorder does: overwrite mode, buffers per user, --shm-path.
# Its events and ttlog's F are measured in turn, in batches of 1,000, and the least
# minimum of each counts. Then as many events F are converted to text by babeltrace2 from
# a trace of LTTng's and by ttlog-reader from a recording.
#
# The session daemon is our own, and ends with us. Root's has its sockets at a place that
# cannot be chosen, so as root all of this happens in namespaces of its own, where that
# place is empty; nothing of it is left.
set -euo pipefail

ROUNDS=5
BATCHES=4000
EVENTS=300000

here=$(cd "$(dirname "$0")" && pwd)

for tool in lttng lttng-sessiond babeltrace2 gcc cargo; do
    if ! command -v "$tool" >/dev/null; then
        echo "SKIPPED: there is no $tool (lttng-tools, liblttng-ust-dev, babeltrace2, gcc)"
        exit 0
    fi
done
if ! echo '#include <lttng/tracepoint.h>' | gcc -E - >/dev/null 2>&1; then
    echo "SKIPPED: there is no <lttng/tracepoint.h> (liblttng-ust-dev)"
    exit 0
fi
if [ "$(id -u)" = 0 ] && [ -z "${TTLOG_BENCH_ALONE:-}" ]; then
    if ! unshare --mount --pid --fork --mount-proc true 2>/dev/null; then
        echo "SKIPPED: root may not have namespaces of its own here"
        exit 0
    fi
    TTLOG_BENCH_ALONE=1 exec unshare --mount --pid --fork --mount-proc --kill-child "$0" "$@"
fi
if [ -n "${TTLOG_BENCH_ALONE:-}" ]; then
    mount -t tmpfs none /run
    mount -t tmpfs none /dev/shm
fi

work=$(mktemp -d ${TTLOG_BENCH_ALONE:+-p /dev/shm})
buffers=$(mktemp -d -p /dev/shm)
# What LTTng's library makes there, and leaves, where it is not there yet.
waits=()
for wait in /dev/shm/lttng-ust-wait-8 /dev/shm/lttng-ust-wait-8-$(id -u); do
    [ -e "$wait" ] || waits+=("$wait")
done
sessiond=
finish() {
    if [ -n "$sessiond" ]; then
        lttng destroy --all >/dev/null 2>&1 || true
        kill "$sessiond" 2>/dev/null || true
        wait "$sessiond" 2>/dev/null || true
    fi
    rm -rf "$work" "$buffers" "${waits[@]}"
}
trap finish EXIT
export LTTNG_HOME=$work/home
mkdir "$LTTNG_HOME"

cd "$here/../../.."
cargo bench -q -p ttlog --bench record --bench scale --no-run
cargo build -q --release -p ttlog-reader
reader=${CARGO_TARGET_DIR:-target}/release/ttlog-reader
gcc -O2 -Wall -Wextra -I "$here" -o "$work/events" "$here/events.c" -llttng-ust -ldl

lttng-sessiond --no-kernel >"$work/sessiond.log" 2>&1 &
sessiond=$!
for _ in $(seq 100); do
    lttng list >/dev/null 2>&1 && break
    sleep 0.1
done

# What a command says on stderr matters if it fails.
quietly() {
    "$@" 2>"$work/said" || { cat "$work/said" >&2; return 1; }
}

# Of the numbers of all rounds.
least() { sort -n | head -n 1; }
middle() { sort -n | awk '{ at[NR] = $1 } END { print at[int((NR + 1) / 2)] }'; }

lttng create bench --snapshot --output="$work/snapshots" --shm-path="$buffers" >/dev/null
lttng enable-channel --userspace --overwrite --buffers-uid --subbuf-size=1M --num-subbuf=8 ring >/dev/null
lttng enable-event --userspace --channel=ring 'bench:*' >/dev/null
lttng start >/dev/null
for round in $(seq $ROUNDS); do
    for event in S F M; do
        "$work/events" $event $BATCHES >>"$work/lttng.$event"
    done
    quietly cargo bench -q -p ttlog --bench record -- 'own Subscriber/F$' >"$work/table"
    awk '/^[^ ]/ { own = $0 == "own Subscriber" } own && $1 == "F" { print $2, $3 }' \
        "$work/table" >>"$work/ttlog.F"
    echo "round $round of $ROUNDS is over" >&2
done
lttng snapshot record >/dev/null
kept=$(babeltrace2 "$work/snapshots" 2>/dev/null | grep -c bench: || true)
lttng destroy bench >/dev/null

echo
printf '%-40s%8s%9s\n' 'ns of an event' min median
for of in lttng.S lttng.F lttng.M ttlog.F; do
    name="LTTng-UST, ${of#lttng.}"
    [ $of = ttlog.F ] && name='ttlog, own Subscriber, F'
    printf '%-40s%8s%9s\n' "$name" \
        "$(cut -d' ' -f1 "$work/$of" | least)" "$(cut -d' ' -f2 "$work/$of" | middle)"
done
of_lttng=$(cut -d' ' -f1 "$work/lttng.F" | least)
of_ttlog=$(cut -d' ' -f1 "$work/ttlog.F" | least)
awk -v l="$of_lttng" -v t="$of_ttlog" \
    'BEGIN { printf "ttlog'\''s F takes %.2f of what LTTng'\''s takes\n", t / l }'
echo "($kept events were in LTTng's buffers at the end)"

lttng create text --output="$work/text" >/dev/null
lttng enable-channel --userspace --buffers-uid --subbuf-size=16M --num-subbuf=4 all >/dev/null
lttng enable-event --userspace --channel=all 'bench:*' >/dev/null
lttng start >/dev/null
"$work/events" F $((EVENTS / 1000)) >/dev/null
lttng destroy text >/dev/null
export TTLOG_BENCH_WHAT=leave TTLOG_BENCH_HOW_MUCH=$EVENTS TTLOG_BENCH_DIRECTORY=$work/ttlog
quietly cargo bench -q -p ttlog --bench scale >"$work/path"
recording=$(tail -n 1 "$work/path")

# Nanoseconds that a command takes.
took() {
    local began
    began=$(date +%s%N)
    "$@" >/dev/null 2>&1
    echo $(($(date +%s%N) - began))
}

# NAME LINES NANOSECONDS
rate() {
    awk -v n="$1" -v l="$2" -v ns="$3" \
        'BEGIN { printf "%-40s%8d%9.1f%12.0f\n", n, l, ns / 1e6, l * 1e9 / ns }'
}

for _ in $(seq $ROUNDS); do
    took babeltrace2 "$work/text" >>"$work/babeltrace2.ns"
    took "$reader" view "$recording" >>"$work/reader.ns"
done
lines=$(babeltrace2 "$work/text" 2>/dev/null | wc -l)
shown=$("$reader" view "$recording" | wc -l)
echo
printf '%-40s%8s%9s%12s\n' 'events F to text' lines ms 'lines a s'
rate babeltrace2 "$lines" "$(least <"$work/babeltrace2.ns")" | tee "$work/rates"
rate 'ttlog-reader view' "$shown" "$(least <"$work/reader.ns")" | tee -a "$work/rates"
awk '{ rate[NR] = $NF }
    END { printf "ttlog-reader has %.1f times the rate of babeltrace2; 10 is wanted\n", rate[2] / rate[1] }' \
    "$work/rates"
