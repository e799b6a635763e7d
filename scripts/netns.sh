#!/bin/bash
# netns.sh K ARGS...: `loadgen ARGS` with the server in one network namespace and K generators in others of their own, all
# on this host, joined by veth and a bridge: a network without a card and a wire. It needs no root, only unshare(1), ip(8)
# and a kernel that lets users make namespaces; with root, the receiver's CPU does the receiver's work (RPS), which over
# loopback the sender's does.
#
#   scripts/netns.sh 2 compare --profile smoke
#   RATE=10mbit scripts/netns.sh 1 run --server mio --closed     limits each generator's link, both ways (tbf)
#   DELAY=1ms scripts/netns.sh 1 run --server mio                delays each (netem); exits with 2 where there is no netem
#   PACING=spin scripts/netns.sh 1 compare                       for `loadgen generate`
#
# LOADGEN names the executable; by default the one that `cargo build --release` makes.
set -eu

usage() {
    echo "usage: netns.sh K run|compare|capacity ARGS...   (K generators, 1 to 100)" >&2
    exit 2
}

if [ "${1:-}" != inside ]; then
    [ $# -ge 2 ] || usage
    case $1 in '' | *[!0-9]* | 0 | ????*) usage ;; esac
    here=$(cd "$(dirname "$0")/.." && pwd)
    export LOADGEN=${LOADGEN:-$here/target/release/loadgen}
    if [ ! -x "$LOADGEN" ]; then
        echo "netns.sh: $LOADGEN is missing: run \`cargo build --release\`, or set LOADGEN" >&2
        exit 2
    fi
    rootless=()
    [ "$(id -u)" = 0 ] || rootless=(--user --map-root-user)
    exec unshare "${rootless[@]}" --net --mount "$0" inside "$@"
fi
shift
count=$1
shift
network=198.18.0 # RFC 2544: for benchmarks
server=$network.1

# The server has the first half of the CPUs, the generators have the others.
cpus=$(nproc)
half=$(((cpus + 1) / 2))
server_cpus=0-$((half - 1))
other_cpus=$((half < cpus ? half : 0))-$((cpus - 1))
mask() { printf %x $((((1 << ($2 + 1)) - 1) & ~((1 << $1) - 1))); }

mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip netns add switch
ip -n switch link add bridge type bridge
ip -n switch link set bridge up
no_rps=
for i in $(seq 0 "$count"); do
    ip netns add "host$i"
    ip -n "host$i" link set lo up
    ip link add eth0 netns "host$i" type veth peer name "port$i" netns switch
    ip -n switch link set "port$i" master bridge up
    ip -n "host$i" addr add "$network.$((i + 1))/24" dev eth0
    ip -n "host$i" link set eth0 up
    range=$([ "$i" = 0 ] && echo "$server_cpus" || echo "$other_cpus")
    ip netns exec "host$i" sh -c "echo $(mask "${range%-*}" "${range#*-}") > /sys/class/net/eth0/queues/rx-0/rps_cpus" \
        2>/dev/null || no_rps=1
    [ "$i" != 0 ] || continue
    for link in "host$i eth0" "switch port$i"; do
        set -- "$@" # keeps the arguments while the words are split
        read -r where device <<<"$link"
        if [ -n "${RATE:-}" ]; then
            tc -n "$where" qdisc add dev "$device" root tbf rate "$RATE" burst 3000 limit 1000000 || {
                echo "netns.sh: this kernel cannot limit a link to RATE=$RATE (sch_tbf)" >&2
                exit 2
            }
        fi
        if [ -n "${DELAY:-}" ]; then
            tc -n "$where" qdisc add dev "$device" root netem delay "$DELAY" 2>/dev/null || {
                echo "netns.sh: this kernel cannot delay a link by DELAY=$DELAY (sch_netem): leave DELAY out" >&2
                exit 2
            }
        fi
    done
done
[ -z "$no_rps" ] || echo "without root the sender's CPU does the receiver's work, as over loopback" >&2

# Runs a command as a host of that name.
as() {
    local host=$1 cpus=$2
    shift 2
    exec taskset -c "$cpus" nsenter --net=/run/netns/"$host" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$host" "$@"
}

generators=()
for i in $(seq "$count"); do
    (as "host$i" "$other_cpus" "$LOADGEN" generate "$server:7700" ${PACING:+--pacing "$PACING"}) &
    generators+=($!)
done
(as host0 "$server_cpus" "$LOADGEN" "$@" --generators "$count" --listen "$server:7700") &
coordinator=$!
# A signal to this script is one to the coordinator, which tells the generators. A Ctrl-C reaches it from the terminal, and
# a second signal would end it before it has kept what it has.
trap : INT
trap 'kill -TERM "$coordinator"' TERM
status=0
wait "$coordinator" || status=$?
trap - INT TERM
[ "$status" -le 128 ] || wait "$coordinator" || status=$?
# Those that still look for a coordinator would do so for a minute.
kill -TERM "${generators[@]}" 2>/dev/null || true
wait || true
exit "$status"
