#!/bin/bash
# scripts/netns.sh: a trial from two namespaces, a link whose rate is known, and what it refuses.
#
#   scripts/tests/test_netns.sh target/release/loadgen
set -eu
LOADGEN=$(realpath "${1:?the loadgen to test}")
export LOADGEN
netns=$(cd "$(dirname "$0")/.." && pwd)/netns.sh

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

for arguments in "0 run" "x run" "1000 run" "2"; do
    status=0
    # shellcheck disable=SC2086 # several arguments
    "$netns" $arguments 2>/dev/null || status=$?
    [ "$status" = 2 ] || fail "netns.sh $arguments ended with $status and not with 2"
done

rootless=()
[ "$(id -u)" = 0 ] || rootless=(--user --map-root-user)
if ! unshare "${rootless[@]}" --net --mount true 2>/dev/null || ! command -v ip >/dev/null; then
    echo "SKIPPED: this host has no network namespaces for this user, or no ip(8)"
    exit 0
fi

trial=$(PACING=timer "$netns" 2 run --server mio --json --connections 8 --rate 2k --idle 500ms \
    --warmup 200ms --duration 1s --status-interval 100ms --seed 7)
python3 - "$trial" <<'PYTHON'
import json, sys

trial = json.loads(sys.argv[1])
assert trial["placement"] == "hosts" and trial["outcome"] == "ok", trial
assert trial["scheduled_count"] == trial["echoed_count"] > 1_500, trial["echoed_count"]
assert trial["ceiling_rate_per_sec"] > 0, "the generators reach the null server as well"
assert trial["status_missed_count"] == 0 and trial["loadgen_threads"] == 2, trial
print(trial["echoed_count"], "messages from two namespaces")
PYTHON

if unshare "${rootless[@]}" --net sh -c 'ip link set lo up && tc qdisc add dev lo root tbf rate 10mbit burst 3000 limit 1000000' 2>/dev/null; then
    # 1 KiB and its headers, with an acknowledgement now and then: 1,250,000 B/s carry 1,081 to 1,147 of them.
    trial=$(RATE=10mbit PACING=timer "$netns" 1 run --server mio --json --no-calibration --closed --connections 16 \
        --payload 1KiB --idle 0s --warmup 500ms --duration 2s --status-interval 0s)
    python3 - "$trial" <<'PYTHON'
import json, sys

rate = json.loads(sys.argv[1])["rate_achieved_per_sec"]
assert 1_040 < rate < 1_160, rate
print(f"{rate:.0f} messages/s over 10 Mbit/s")
PYTHON
else
    echo "SKIPPED: this kernel limits no link (sch_tbf)"
fi

status=0
said=$(DELAY=1ms "$netns" 1 run --server mio --duration 100ms 2>&1 >/dev/null) || status=$?
case $status in
    0) echo "links are delayed by netem" ;;
    2) [[ $said == *sch_netem* ]] || fail "without netem it says: $said" ;;
    *) fail "DELAY ended with $status: $said" ;;
esac
