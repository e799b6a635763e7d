//! Linux: a process's relatives, and which of them listen.

use std::collections::BTreeSet;

use procfs::{
    net::{TcpState, tcp, tcp6},
    process::{FDTarget, Process, Stat, all_processes},
};

/// The living processes of a group.
pub fn group(group: i32) -> Vec<i32> {
    living().filter(|stat| stat.pgrp == group).map(|stat| stat.pid).collect()
}

/// The processes that hold a socket listening on a port, among a process (which comes first), its descendants and its
/// group. Empty if there are none, as when the server runs in a container; `None` if this host does not tell.
pub fn listening(pid: i32, port: u16) -> Option<Vec<i32>> {
    let entries = tcp().ok()?.into_iter().chain(tcp6().unwrap_or_default());
    let there = entries.filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port);
    let sockets: BTreeSet<u64> = there.map(|entry| entry.inode).collect();
    let holds = |pid: i32| -> Option<bool> {
        let mut descriptors = Process::new(pid).and_then(|process| process.fd()).ok()?.flatten();
        Some(descriptors.any(|fd| matches!(fd.target, FDTarget::Socket(inode) if sockets.contains(&inode))))
    };
    let relatives = relatives(pid);
    if relatives.is_empty() && holds(pid).is_none() {
        return None;
    }
    Some([pid].into_iter().chain(relatives).filter(|pid| holds(*pid) == Some(true)).collect())
}

/// The descendants of a process, and the members of its group.
fn relatives(pid: i32) -> Vec<i32> {
    let stats: Vec<Stat> = living().collect();
    let mut found = BTreeSet::from([pid]);
    loop {
        let is_new = |stat: &&Stat| !found.contains(&stat.pid) && (stat.pgrp == pid || found.contains(&stat.ppid));
        let new: Vec<i32> = stats.iter().filter(is_new).map(|stat| stat.pid).collect();
        if new.is_empty() {
            found.remove(&pid);
            return found.into_iter().collect();
        }
        found.extend(new);
    }
}

fn living() -> impl Iterator<Item = Stat> {
    let processes = all_processes().into_iter().flatten().flatten();
    processes.filter_map(|process| process.stat().ok()).filter(|stat| stat.state != 'Z' && stat.state != 'X')
}
