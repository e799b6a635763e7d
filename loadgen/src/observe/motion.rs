//! Linux: whether a process runs, stands still or has ended, by the states of its threads (proc_pid_stat(5)).

use std::fs;

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// A thread runs, sleeps or waits for a device.
    Moving,
    /// Every living thread is stopped, by a signal or by a debugger.
    Stopped,
    /// There is no such process, or all its threads have ended.
    Ended,
}

/// Whether the main thread of a process runs, which tells of a process that was stopped long ago.
pub fn leader_motion(pid: i32) -> Motion {
    motion_of([state(&format!("/proc/{pid}/stat"))])
}

/// Whether any thread of a process runs: a signal stops one thread after the other, and each of them only when it leaves
/// the kernel or is woken there.
pub fn motion(pid: i32) -> Motion {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    motion_of(tasks.map(|task| state(&format!("/proc/{pid}/task/{}/stat", task.file_name().to_string_lossy()))))
}

fn motion_of(states: impl IntoIterator<Item = Option<char>>) -> Motion {
    let mut motion = Motion::Ended;
    for state in states {
        match state {
            None | Some('Z' | 'X') => {}
            Some('T' | 't') => motion = Motion::Stopped,
            Some(_) => return Motion::Moving,
        }
    }
    motion
}

/// The letter behind the name, which may contain anything; `None` if the thread is gone.
fn state(file: &str) -> Option<char> {
    state_in(&fs::read(file).ok()?)
}

fn state_in(stat: &[u8]) -> Option<char> {
    let name_end = memchr::memrchr(b')', stat)?;
    stat.get(name_end + 2).map(|letter| char::from(*letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_stands_still_once_its_last_living_thread_does() {
        let motion = |states: &str| motion_of(states.chars().map(Some));
        assert_eq!(["T", "TtT", "TZX"].map(motion), [Motion::Stopped; 3]);
        assert_eq!(["R", "TTS", "TD", "ZI"].map(motion), [Motion::Moving; 4]);
        assert_eq!(["", "Z", "XZ"].map(motion), [Motion::Ended; 3]);
        assert_eq!(motion_of([None, Some('T'), None]), Motion::Stopped, "threads that ended while they were listed");
    }

    #[test]
    fn the_state_stands_behind_the_name_whatever_the_name_is() {
        assert_eq!(state_in(b"7 (mio) S 1 7 7"), Some('S'));
        assert_eq!(state_in(b"7 (a) R (b) T 1 7 7"), Some('T'));
        assert_eq!(state_in(b"7 (\xff) t 1"), Some('t'));
        assert_eq!([&b""[..], b"7 (mio)", b"7 mio"].map(state_in), [None; 3]);
    }

    #[test]
    fn this_process_moves_and_the_one_of_no_number_has_ended() {
        let own = std::process::id().cast_signed();
        assert_eq!((motion(own), leader_motion(own) == Motion::Ended), (Motion::Moving, false));
        assert_eq!((motion(i32::MAX), leader_motion(i32::MAX)), (Motion::Ended, Motion::Ended));
    }
}
