#!/bin/bash
# A cluster of Slurm on this host, each node in a network namespace of its own, and two jobs of scripts/slurm on it: a
# comparison that ends well, and one in which a generator is cut off. Takes root and Debian's packages, which it installs
# where there are none; says SKIPPED where it cannot run.
#
#   scripts/tests/test_slurm.sh target/release/loadgen
set -eu

skip() {
    echo "SKIPPED: $*"
    exit 0
}

if [ "${1:-}" != inside ]; then
    loadgen=$(realpath "${1:?the loadgen to test}")
    [ "$(id -u)" = 0 ] || skip "a cluster takes root"
    if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
        command -v apt-get >/dev/null || skip "there is no Slurm, and no apt-get to install it"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            slurmctld slurmd slurm-client munge; } >/dev/null 2>&1 || skip "Slurm's packages cannot be installed"
    fi
    unshare --net --mount true 2>/dev/null || skip "this host lets nobody make namespaces"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    chmod 755 "$scratch"
    unshare --net --mount "$0" inside "$loadgen" "$scratch"
    # Out here, where Python's packages can be installed.
    [ ! -d "$scratch/session" ] || python3 "$(dirname "$0")/test_hosts.py" "$scratch/session"
    exit
fi
loadgen=$2
scratch=$3
here=$(cd "$(dirname "$0")/../.." && pwd)
network=198.18.0 # RFC 2544
export SLURM_CONF=$scratch/slurm.conf

# Ends what was started, by the files that name it.
down() {
    local file signal
    for signal in TERM KILL; do
        for file in "$scratch"/spool/*.pid "$scratch/ctld.pid" "$scratch/munge/pid"; do
            [ ! -f "$file" ] || kill -"$signal" "$(cat "$file")" 2>/dev/null || true
        done
        sleep 1
    done
    # A step on a node that was cut off is nobody's child any more; in these namespaces everything was started here.
    local node pid
    for node in ctl h0 g1 g2; do
        for pid in $(ip netns pids "$node" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
    done
}
trap down EXIT

fail() {
    echo "FAILED: $*" >&2
    tail -n 20 "$scratch"/log/* "$scratch"/*.out >&2 2>/dev/null || true
    exit 1
}

# Network: one namespace per node, joined by a bridge.
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip netns add switch
ip -n switch link add bridge type bridge
ip -n switch link set bridge up
number=100
for node in ctl h0 g1 g2; do
    ip netns add "$node"
    ip -n "$node" link set lo up
    ip link add eth0 netns "$node" type veth peer name "port-$node" netns switch
    ip -n switch link set "port-$node" master bridge up
    ip -n "$node" addr add "$network.$number/24" dev eth0
    ip -n "$node" link set eth0 up
    number=$((number + 1))
done
# nsenter and not ip netns exec, which would hide the cgroups that slurmd looks for.
as() {
    local node=$1
    shift
    nsenter --net=/run/netns/"$node" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$node" "$@"
}

mkdir -p "$scratch"/{state,spool,log,munge}
dd if=/dev/urandom of="$scratch/munge/key" bs=1k count=1 status=none
chmod 400 "$scratch/munge/key"
chown -R munge "$scratch/munge"
cpus=$(nproc)
cat >"$SLURM_CONF" <<CONF
ClusterName=iomodels
SlurmctldHost=ctl($network.100)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$scratch/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_min_interval=100000,defer=0
ReturnToService=2
StateSaveLocation=$scratch/state
SlurmctldPidFile=$scratch/ctld.pid
SlurmctldLogFile=$scratch/log/ctld
SlurmdPidFile=$scratch/spool/%n.pid
SlurmdSpoolDir=$scratch/spool/%n
SlurmdLogFile=$scratch/log/%n
SlurmdTimeout=15
KillWait=5
InactiveLimit=0
NodeName=h0 NodeAddr=$network.101 CPUs=$cpus RealMemory=500 State=UNKNOWN
NodeName=g1 NodeAddr=$network.102 CPUs=$cpus RealMemory=500 State=UNKNOWN
NodeName=g2 NodeAddr=$network.103 CPUs=$cpus RealMemory=500 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP OverSubscribe=NO
CONF
setpriv --reuid munge --regid munge --clear-groups munged --force --socket="$scratch/munge/socket" \
    --key-file="$scratch/munge/key" --log-file="$scratch/munge/log" --pid-file="$scratch/munge/pid" \
    --seed-file="$scratch/munge/seed" >/dev/null 2>&1 || skip "munged does not start here"
as ctl slurmctld -i -f "$SLURM_CONF" || fail "slurmctld does not start"
for node in h0 g1 g2; do
    mkdir -p "$scratch/spool/$node"
    as "$node" slurmd -N "$node" -f "$SLURM_CONF" || fail "slurmd does not start on $node"
done
for _ in $(seq 100); do
    [ "$(as ctl sinfo -h -t idle -o %D 2>/dev/null)" != 3 ] || break
    sleep 0.2
done
[ "$(as ctl sinfo -h -t idle -o %D)" = 3 ] || fail "the nodes do not come up"

export LOADGEN=$loadgen GENERATE="--pacing timer"
job=$here/scripts/slurm/compare.sbatch

echo "one node has no generator"
status=0
as ctl sbatch --wait --nodes=1 --chdir="$scratch" "$job" >/dev/null || status=$?
[ "$status" = 2 ] || fail "a job of one node ended with $status and not with 2"

echo "a comparison under Slurm"
status=0
as ctl sbatch --wait --nodes=3 --chdir="$scratch" "$job" --profile smoke --servers mio --seed 1 \
    --out "$scratch/session" >/dev/null || status=$?
# 5: this host spoiled the measurement, which is not the code's fault.
case $status in 0 | 5) ;; *) fail "sbatch ended with $status" ;; esac
grep -q '"state": "complete"' "$scratch/session/session.json" || fail "the session is not complete"
trials=$(($(wc -l <"$scratch/session/trials.csv") - 1))
hosts=$(($(wc -l <"$scratch/session/hosts.csv") - 1))
[ "$hosts" = $((2 * trials)) ] || fail "$hosts rows of hosts and $trials trials"
"$loadgen" report "$scratch/session" >/dev/null || fail "the report does not read it"

echo "a generator that is cut off"
status=0
as ctl sbatch --wait --nodes=3 --chdir="$scratch" "$job" --profile smoke --servers mio --seed 1 \
    --out "$scratch/cut" >/dev/null &
waiting=$!
for _ in $(seq 300); do
    [ ! -s "$scratch/cut/trials.csv" ] || break
    sleep 0.1
done
[ -s "$scratch/cut/trials.csv" ] || fail "no trial was recorded"
ip -n switch link set port-g2 down
cut=$(date +%s)
for _ in $(seq 600); do
    ! grep -qsh "is lost" "$scratch"/iomodels.*.out || break
    sleep 0.1
done
echo "it was reported $(($(date +%s) - cut)) s after the cut"
wait "$waiting" || status=$?
[ "$status" = 5 ] || fail "sbatch ended with $status and not with 5"
grep -q '"state": "partial"' "$scratch/cut/session.json" || fail "the session is not partial"
grep -h "is lost" "$scratch"/iomodels.*.out
echo "Slurm: a session, a cut cable and their exit codes are right"
