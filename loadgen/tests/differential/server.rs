//! A server's process.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use protocol::Counters;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use servers::Server;

/// Time limit of an operation. Nothing waits for it to pass, so it only has to be long enough for a slow host.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server that has announced its address.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    child: Child,
    stderr: ChildStderr,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

/// The resources that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Served {
    pub(crate) fn start(server: &Server, status_interval: Duration) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["serve", server.name, "--addr", "127.0.0.1:0", "--max-connections", "2000", "--workers", "3"])
            .arg("--status-interval")
            .arg(format!("{}ms", status_interval.as_millis()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut line = String::new();
        BufReader::new(stdout.context("no stdout")?).read_line(&mut line)?;
        let addr = line.trim_end().strip_prefix("listening on ").with_context(|| format!("it says {line:?}"))?;
        Ok(Self { addr: addr.parse()?, child, stderr: stderr.context("no stderr")? })
    }

    pub(crate) fn held(&self) -> Result<Held> {
        let count =
            |what: &str| Ok::<_, anyhow::Error>(fs::read_dir(format!("/proc/{}/{what}", self.child.id()))?.count());
        Ok(Held { descriptors: count("fd")?, threads: count("task")? })
    }

    /// Waits until the process holds no more than it held before.
    pub(crate) fn wait_for(&self, wanted: Held) -> Result<()> {
        let begun = Instant::now();
        loop {
            let held = self.held()?;
            if held == wanted {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "when all had gone it held {held:?}, and before they came {wanted:?}");
            thread::yield_now();
        }
    }

    pub(crate) fn terminate(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Waits until the server has exited, with code 0, and parses the counters in its last line.
    pub(crate) fn counters(mut self) -> Result<Counters> {
        // Readable once the process has exited (pidfd_open(2)).
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&PATIENCE.try_into()?))?;
        ensure!(ended > 0, "it was told to stop and does not exit");
        let status = self.child.wait()?;
        let mut log = String::new();
        self.stderr.read_to_string(&mut log)?;
        ensure!(status.code() == Some(0), "told to stop, it ended with {status}: {log}");
        let last = log.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("its last line is no counters: {log:?}"))
    }
}
