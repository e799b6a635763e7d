//! A server in a process of its own, and what that process started in turn.
//!
//! A guest may be a launcher (`npm start`, a shell script that does not exec): then the server is one of its descendants,
//! which is found by the socket that listens, observed instead of the launcher, and ended with it.

use std::{
    ffi::OsStr,
    io::{self, Read},
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::Once,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::{
    event::PollFlags,
    process::{
        Pid, PidfdFlags, Signal, getpid, getppid, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
        set_parent_process_death_signal,
    },
    thread::set_current_timer_slack,
};

use super::{
    Stopped,
    log::{Log, Pipe},
    wait::{OnSignal, Waited, wait},
};
use crate::{
    error::{CannotStart, Interrupted},
    interrupt, observe,
    plan::units,
    terminal,
};

/// Limit for a server to print its address.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Limit of the line with the address, in bytes.
const FIRST_LINE_BYTES: usize = 4096;

/// Limit for a server to exit: one second for its flush, and the rest for ten thousand threads to end.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Limit for a launcher to pass a signal on; then its descendants get one from here.
const LAUNCHER_PATIENCE: Duration = Duration::from_millis(1500);

/// Limit for reading the rest of a pipe, once every process has ended that is known to write to it.
const PIPE_PATIENCE: Duration = Duration::from_secs(5);

/// Who wrote a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This project.
    Own,
    /// Anyone else: the server need not print counters nor handle SIGTERM.
    Guest,
}

#[derive(Debug)]
pub(super) struct ServerChild {
    child: Child,
    origin: Origin,
    log: Log,
    pipes: Vec<Pipe>,
    /// The processes that listen; none if they are not known.
    pub(super) listening: Vec<i32>,
    /// The listening processes other than the child itself.
    launched: Vec<(i32, OwnedFd)>,
    has_ended: bool,
}

impl ServerChild {
    pub(super) fn spawn(
        name: &str,
        mut command: Command,
        cpus: &[usize],
        origin: Origin,
    ) -> Result<(Self, SocketAddr)> {
        prepare(&mut command, cpus);
        let child = command.spawn().map_err(|error| CannotStart(format!("cannot start {name}: {error}")))?;
        let listening = vec![child.id().cast_signed()];
        let mut server = Self {
            child,
            origin,
            log: Log::default(),
            pipes: Vec::new(),
            listening,
            launched: Vec::new(),
            has_ended: false,
        };
        interrupt::take_along(server.pid());
        match server.greeting() {
            Ok(addr) => {
                server.find_listening(name, addr);
                Ok((server, addr))
            }
            Err(error) => {
                server.kill();
                if error.is::<Interrupted>() {
                    return Err(error);
                }
                let log = server.log.text();
                let log = if log.is_empty() { log } else { format!("; {log}") };
                Err(CannotStart(format!("{name} did not start: {error:#}{log}")).into())
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The address that the server prints. From then on all its output is read.
    fn greeting(&mut self) -> Result<SocketAddr> {
        let stderr = self.child.stderr.take().context("stderr is piped")?;
        let log = self.log.clone();
        self.pipes.push(Pipe::drain("stderr", stderr, move |bytes| log.add(bytes))?);
        let mut stdout = self.child.stdout.take().context("stdout is piped")?;
        let addr = address(&first_line(&mut stdout)?)?;
        self.pipes.push(Pipe::drain("stdout", stdout, |_| {})?);
        Ok(addr)
    }

    /// A launcher's own CPU time says nothing about the server.
    fn find_listening(&mut self, name: &str, addr: SocketAddr) {
        static WARN: Once = Once::new();
        if self.origin == Origin::Own {
            return;
        }
        let own = self.child.id().cast_signed();
        let Some(listening) = observe::listening(own, addr.port()) else { return };
        if listening.is_empty() {
            WARN.call_once(|| {
                terminal::say(format_args!(
                    "warning: {addr} is listened at by no process that {name} started and that can be seen: what the \
                     server uses stays unknown"
                ));
            });
        }
        let others = listening.iter().filter(|pid| **pid != own);
        self.launched = others.filter_map(|pid| Some((*pid, open(*pid)?))).collect();
        self.listening = listening;
    }

    /// Ends the server and returns its counters and last line.
    pub(super) fn stop(mut self) -> Result<Stopped> {
        let guest = self.origin == Origin::Guest;
        let begun = Instant::now();
        // The server may have died: its exit status tells.
        let _ = kill_process(self.pid(), Signal::TERM);
        if guest {
            // Signalled at once, a server whose launcher passes signals on would get two, and the second one aborts.
            self.exits_by(begun + LAUNCHER_PATIENCE)?;
            self.signal_launched();
        }
        let status = self.wait_until(begun + STOP_PATIENCE)?;
        // The exit code of a shell whose last command was ended by a signal.
        let told = status.code() == Some(128 + Signal::TERM.as_raw());
        let terminated = guest && (told || status.signal() == Some(Signal::TERM.as_raw()));
        if !status.success() && !terminated {
            bail!("the server ended with {status}: {}", self.log.text());
        }
        let last_words = self.log.last().unwrap_or_default();
        match serde_json::from_str(&last_words) {
            Ok(counters) => Ok(Stopped { counters: Some(counters), last_words }),
            Err(_) if guest => Ok(Stopped { counters: None, last_words }),
            Err(_) => bail!("the server's last line is not its counters: {last_words}"),
        }
    }

    /// Waits for the server to exit by itself; returns its status and the last line of its stderr.
    pub(super) fn wait(mut self) -> Result<(ExitStatus, String)> {
        let status = self.wait_until(Instant::now() + STOP_PATIENCE)?;
        Ok((status, self.log.last().unwrap_or_default()))
    }

    pub(super) fn log(&self) -> String {
        self.log.text()
    }

    /// Waits for every process that was started to end, the child first, and for their output to be in the log; kills
    /// those that take too long. A signal to this process does not shorten the wait: no process may be left behind.
    fn wait_until(&mut self, deadline: Instant) -> Result<ExitStatus> {
        if !self.exits_by(deadline)? {
            self.kill();
            bail!("the server did not exit within {} of a signal", units::show_duration(STOP_PATIENCE));
        }
        for (_, launched) in &self.launched {
            ends_by(launched, deadline)?;
        }
        self.end()
    }

    fn exits_by(&self, deadline: Instant) -> io::Result<bool> {
        // The child is reaped only below, so the number is still its own.
        ends_by(&pidfd_open(self.pid(), PidfdFlags::empty())?, deadline)
    }

    /// SIGTERM to the descendants that the child has not ended itself.
    fn signal_launched(&mut self) {
        for pid in observe::group(self.pid().as_raw_nonzero().get()) {
            let is_new = pid != self.child.id().cast_signed() && self.launched.iter().all(|(known, _)| *known != pid);
            if let Some(launched) = Some(pid).filter(|_| is_new).and_then(open) {
                self.launched.push((pid, launched));
            }
        }
        for (_, launched) in &self.launched {
            // It may have ended.
            let _ = pidfd_send_signal(launched, Signal::TERM);
        }
    }

    fn kill(&mut self) {
        // An error means that the child is gone.
        drop(self.end());
    }

    /// Kills what is left and reaps the child, until which the group keeps its number.
    fn end(&mut self) -> Result<ExitStatus> {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        for (_, launched) in &self.launched {
            let _ = pidfd_send_signal(launched, Signal::KILL);
        }
        interrupt::has_ended(self.pid());
        self.has_ended = true;
        let status = self.child.wait()?;
        // A pipe that stays open is held by a process that has left the group, and may keep it.
        let deadline = Instant::now() + PIPE_PATIENCE;
        for pipe in self.pipes.drain(..) {
            let _ = pipe.ends_by(deadline);
        }
        Ok(status)
    }
}

impl Drop for ServerChild {
    fn drop(&mut self) {
        if !self.has_ended {
            self.kill();
        }
    }
}

fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Whether a process ends before the deadline.
fn ends_by(process: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    Ok(wait(process.as_fd(), PollFlags::IN, deadline, OnSignal::Continue)? == Waited::Ready)
}

/// Prepares what all children have in common.
fn prepare(prepared: &mut Command, cpus: &[usize]) {
    prepared.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_scrubbed(name)) {
        prepared.env_remove(name);
    }
    let (cpus, parent) = (cpus.to_owned(), getpid());
    let set_up = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that took effect.
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        set_current_timer_slack(None)?;
        if cpus.is_empty() { Ok(()) } else { observe::pin_thread(&cpus) }
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor locks.
    unsafe { prepared.pre_exec(set_up) };
}

/// Variables that would configure a runtime in ways that the plan does not state.
fn is_scrubbed(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"TOKIO_") || name.as_bytes().starts_with(b"RUST_")
}

/// The first line of a server's stdout. The deadline holds however many bytes come without a newline.
fn first_line(stdout: &mut ChildStdout) -> Result<String> {
    let deadline = Instant::now() + START_PATIENCE;
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        match wait(stdout.as_fd(), PollFlags::IN, deadline, OnSignal::End)? {
            Waited::Ready if Instant::now() < deadline => {}
            Waited::Interrupted => return Err(Interrupted.into()),
            _ => bail!("it did not say where it listens for {}", units::show_duration(START_PATIENCE)),
        }
        let mut byte = [0];
        match stdout.read(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) => bail!("it exited before it said that it listens"),
            result => result?,
        };
        line.push(byte[0]);
        if line.len() > FIRST_LINE_BYTES {
            bail!("its first line is longer than {FIRST_LINE_BYTES} bytes and not `listening on ADDR:PORT`");
        }
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn address(line: &str) -> Result<SocketAddr> {
    line.strip_prefix("listening on ")
        .and_then(|addr| addr.parse().ok())
        .ok_or_else(|| anyhow!("its first line is {line:?} and not `listening on ADDR:PORT`"))
}
