//! Stopping the processes of a server for a moment, and continuing them whatever happens.
//!
//! A process that was stopped is continued when its [`Standstill`] goes, on a panic as well, and before this process ends by
//! a signal that can be handled (see `interrupt`). Only SIGKILL leaves it behind, and it is known by its number then:
//! `kill -CONT`.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fd::OwnedFd,
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, test_kill_process,
        waitid,
    },
};
use servers::clock;

use crate::{
    interrupt,
    observe::{self, Motion},
};

/// Limit for a process to stop: each of its threads has to leave the kernel first.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks at the threads.
const LOOK: Duration = Duration::from_micros(50);

/// The processes of a server, which may be stopped.
#[derive(Debug)]
pub(crate) struct Stoppable(Vec<(Pid, OwnedFd)>);

/// Processes that stand still until this goes.
#[derive(Debug)]
pub(crate) struct Standstill<'a>(Vec<&'a (Pid, OwnedFd)>);

impl Stoppable {
    /// Makes sure that these processes may be stopped; changes nothing.
    ///
    /// # Errors
    /// One line that names the process which may not be stopped, and why.
    pub(crate) fn open(pids: &[i32]) -> Result<Self, String> {
        if pids.is_empty() {
            return Err("the server's process is not known (--pid)".to_owned());
        }
        if pids.len() > interrupt::STOPPED_MAX {
            return Err(format!("the server has {} processes, more than can be stopped at a time", pids.len()));
        }
        pids.iter().map(|pid| open(*pid)).collect::<Result<_, _>>().map(Self)
    }

    /// Makes sure that every process runs.
    ///
    /// # Errors
    /// One line that names the process which does not.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (pid, _) in &self.0 {
            let number = pid.as_raw_nonzero().get();
            let motion = match observe::leader_motion(number) {
                // Threads may outlive the main one.
                Motion::Ended => observe::motion(number),
                motion => motion,
            };
            match motion {
                Motion::Moving => {}
                Motion::Stopped => {
                    return Err(format!("process {pid} was stopped already, by someone else: it is left as it is"));
                }
                Motion::Ended => return Err(format!("process {pid} has ended")),
            }
        }
        Ok(())
    }

    /// Stops every process, and returns once each of their threads is stopped.
    ///
    /// # Errors
    /// One line. What was stopped here is continued by then, and what was stopped before is left as it is.
    pub(crate) fn stop(&self) -> Result<Standstill<'_>, String> {
        self.check()?;
        let mut standstill = Standstill(Vec::with_capacity(self.0.len()));
        for process in &self.0 {
            standstill.stop(process)?;
        }
        standstill.wait()?;
        Ok(standstill)
    }
}

impl<'a> Standstill<'a> {
    /// From the signal on it is continued when this goes, even if the signal does not arrive.
    fn stop(&mut self, process: &'a (Pid, OwnedFd)) -> Result<(), String> {
        let (pid, fd) = process;
        self.0.push(process);
        interrupt::stops(*pid, || pidfd_send_signal(fd, Signal::STOP))
            .ok_or("too many processes are stopped at a time")?
            .map_err(|error| refusal(*pid, error))
    }

    /// Waits until no thread moves any more.
    fn wait(&self) -> Result<(), String> {
        let deadline = Instant::now() + STOP_PATIENCE;
        for (pid, _) in &self.0 {
            loop {
                match motion(*pid) {
                    Motion::Stopped => break,
                    Motion::Ended => return Err(format!("process {pid} has ended")),
                    Motion::Moving if interrupt::requested() => return Err("interrupted".to_owned()),
                    Motion::Moving if Instant::now() >= deadline => {
                        return Err(format!("process {pid} did not stop within {} s", STOP_PATIENCE.as_secs()));
                    }
                    Motion::Moving => thread::sleep(LOOK),
                }
            }
        }
        Ok(())
    }

    /// Continues every process; returns the time just before, in nanoseconds of CLOCK_MONOTONIC.
    pub(crate) fn end(self) -> u64 {
        let now_ns = clock::now_ns();
        drop(self);
        now_ns
    }
}

impl Drop for Standstill<'_> {
    fn drop(&mut self) {
        for (_, fd) in &self.0 {
            // It may have been killed meanwhile.
            let _ = pidfd_send_signal(fd, Signal::CONT);
        }
        for (pid, _) in &self.0 {
            interrupt::continues(*pid);
        }
    }
}

/// Whether a thread of a process moves. The kernel tells a parent when the last thread of its child has stopped; of other
/// processes the threads are looked at one by one, which takes milliseconds if there are hundreds.
fn motion(pid: Pid) -> Motion {
    match waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG) {
        Ok(Some(_)) => Motion::Stopped,
        // A child that has ended is left to those who wait for its end.
        Ok(None) if observe::leader_motion(pid.as_raw_nonzero().get()) != Motion::Ended => Motion::Moving,
        Ok(None) | Err(_) => observe::motion(pid.as_raw_nonzero().get()),
    }
}

/// A handle of a process that this one may signal. A number may pass to another process, a handle does not.
fn open(pid: i32) -> Result<(Pid, OwnedFd), String> {
    let Some(process) = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
        return Err(format!("{pid} is no number of a process"));
    };
    if process == getpid() {
        return Err(format!("process {pid} is this one, which cannot measure while it stands still"));
    }
    let fd = pidfd_open(process, PidfdFlags::empty()).map_err(|error| match error {
        Errno::SRCH | Errno::INVAL => format!("there is no process {pid}"),
        error => refusal(process, error),
    })?;
    test_kill_process(process).map_err(|error| refusal(process, error))?;
    Ok((process, fd))
}

fn refusal(pid: Pid, error: Errno) -> String {
    match error {
        Errno::PERM => format!("process {pid} may not be stopped by this user: run as its user or as root"),
        Errno::SRCH => format!("process {pid} has ended"),
        error => format!("process {pid} cannot be stopped: {error}"),
    }
}

#[cfg(test)]
mod tests;
