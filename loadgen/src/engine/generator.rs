//! A generator on another host than the coordinator's: the orders that it carries out, and its answers.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use servers::clock;

use super::{
    Generators, Options, Schedule, State,
    drain::{BurstClients, Bursts, Sent},
    histogram_text,
    progress::Progress,
    step::Step,
    threads::Threads,
    window::HostWindow,
};
use crate::{
    hosts::ClockMap,
    plan::{Cohorts, Pacing, Payloads},
};

/// What the coordinator asks of a generator. Times are by the generator's clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Get ready to connect, and forget what was before.
    Begin(Box<Share>),
    /// Carry out a step; the server's times are by the other clock.
    Step { step: Step, server_clock: ClockMap },
    /// Take the slots of the next open loop.
    Prepare(Schedule),
    /// Waste so much time before each message.
    SetDelay(Duration),
    /// Start or end the background clients.
    SetCohortsActive(bool),
    /// Tell the receive lags since this was last asked.
    TakeReceiveLags,
    /// Open a share of so many connections for bursts.
    OpenForBursts { count: u32, server_clock: ClockMap },
    /// Receive what comes between bursts.
    ReceiveUntil { until_ns: u64 },
    /// Send one message on every connection for bursts.
    SendBurst,
    /// Spin for the echoes.
    AwaitEchoes { until_ns: u64 },
    /// Close the connections for bursts.
    EndBursts,
    /// Close all connections.
    Disconnect,
}

/// A generator's share of a trial's connections, and how it loads the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Share {
    /// Port of the server, at the coordinator's address.
    pub(crate) port: u16,
    /// Measured connections of all generators.
    pub(crate) connections: u32,
    /// Threads of all generators, and the index of this generator's first.
    pub(crate) threads: u32,
    pub(crate) first_thread: u32,
    /// Index of this generator among all, and their number.
    pub(crate) host: [u32; 2],
    pub(crate) payloads: Payloads,
    pub(crate) pacing: Pacing,
    pub(crate) nodelay: bool,
    pub(crate) congestion: Option<String>,
    pub(crate) handshake: bool,
    pub(crate) generator_delay: Duration,
    pub(crate) stamps_arrivals: bool,
    /// The slow readers and the churn of all generators, and this one's flooders.
    pub(crate) cohorts: Cohorts,
    pub(crate) fan_out_span_ns: u64,
}

/// What a generator answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    /// What a step measured, and how long before its start the order came; negative if it was too late.
    Measured {
        window: Box<HostWindow>,
        state: State,
        lead_ns: i64,
    },
    Lags(#[serde(with = "histogram_text")] Histogram<u64>),
    /// Connections for bursts.
    Opened {
        connections: u32,
        why_no_more: Option<String>,
        state: State,
    },
    BurstSent {
        sent: Sent,
        state: State,
    },
    /// When the last echo of a burst came.
    Echoed {
        last_ns: Option<u64>,
        state: State,
    },
    /// What the bursts measured.
    Bursts {
        window: Box<HostWindow>,
        begun_ns: u64,
    },
}

/// The generator of this host.
#[derive(Debug)]
pub(crate) struct Generator {
    /// The only address that is loaded.
    server: IpAddr,
    own_threads: u32,
    cpus: Vec<usize>,
    host: [u32; 2],
    threads: Option<Threads>,
    bursts: Option<Box<BurstClients>>,
}

impl Generator {
    /// A generator of so many threads on these CPUs, which loads servers at this address only.
    pub(crate) fn new(server: IpAddr, own_threads: u32, cpus: Vec<usize>) -> Self {
        Self { server, own_threads, cpus, host: [0, 1], threads: None, bursts: None }
    }

    /// Carries out an order.
    ///
    /// # Errors
    /// If the kernel refuses something, or the order makes no sense now.
    pub(crate) fn carry_out(&mut self, order: Order) -> Result<Answer> {
        match order {
            Order::Begin(share) => self.begin(&share)?,
            Order::Disconnect => (self.bursts, self.threads) = (None, None),
            Order::Step { step, server_clock } => return self.step(step, server_clock),
            Order::Prepare(schedule) => self.threads()?.prepare(&schedule)?,
            Order::SetDelay(per_message) => self.threads()?.set_delay(per_message)?,
            Order::SetCohortsActive(active) => self.threads()?.set_cohorts_active(active)?,
            Order::TakeReceiveLags => return Ok(Answer::Lags(self.threads()?.take_receive_lags()?)),
            Order::OpenForBursts { count, server_clock } => return self.open_for_bursts(count, server_clock),
            Order::ReceiveUntil { until_ns } => self.bursts()?.receive_until(until_ns)?,
            Order::SendBurst => {
                let bursts = self.bursts()?;
                return Ok(Answer::BurstSent { sent: bursts.send()?, state: bursts.state().clone() });
            }
            Order::AwaitEchoes { until_ns } => {
                let bursts = self.bursts()?;
                bursts.await_echoes(until_ns)?;
                return Ok(Answer::Echoed { last_ns: bursts.last_echo_ns()?, state: bursts.state().clone() });
            }
            Order::EndBursts => {
                let (mut windows, begun_ns) = self.bursts.take().context("there are no bursts")?.finish()?;
                return Ok(Answer::Bursts { window: Box::new(windows.remove(0)), begun_ns });
            }
        }
        Ok(Answer::Done)
    }

    fn begin(&mut self, share: &Share) -> io::Result<()> {
        (self.bursts, self.threads, self.host) = (None, None, share.host);
        let options = Options {
            addr: SocketAddr::new(self.server, share.port),
            hosts: None,
            connections: share.connections,
            payloads: share.payloads.clone(),
            nodelay: share.nodelay,
            congestion: share.congestion.clone(),
            handshake: share.handshake,
            pacing: share.pacing,
            threads: share.threads,
            cpus: self.cpus.clone(),
            flood_cpus: Vec::new(),
            source_addresses: 1,
            generator_delay: share.generator_delay,
            stamps_arrivals: share.stamps_arrivals,
            cohorts: share.cohorts,
            fan_out_span_ns: share.fan_out_span_ns,
            progress: Arc::new(Progress::default()),
        };
        self.threads = Some(Threads::new(&options, share.first_thread, self.own_threads)?);
        Ok(())
    }

    fn step(&mut self, step: Step, server_clock: ClockMap) -> Result<Answer> {
        let lead_ns = step.start_ns().map_or(0, |start_ns| start_ns.cast_signed() - clock::now_ns().cast_signed());
        let threads = self.threads()?;
        threads.set_server_clock(server_clock);
        let window = Box::new(threads.step(step)?);
        Ok(Answer::Measured { window, state: threads.state(), lead_ns })
    }

    fn open_for_bursts(&mut self, count: u32, server_clock: ClockMap) -> Result<Answer> {
        let host = self.host;
        let bursts = Box::new(self.threads()?.burst_clients(count, host, server_clock)?);
        let (connections, why_no_more) = (bursts.connections(), bursts.why_no_more().map(str::to_owned));
        let state = bursts.state().clone();
        self.bursts = Some(bursts);
        Ok(Answer::Opened { connections, why_no_more, state })
    }

    fn threads(&mut self) -> Result<&mut Threads> {
        self.threads.as_mut().context("there is no trial")
    }

    fn bursts(&mut self) -> Result<&mut BurstClients> {
        self.bursts.as_deref_mut().context("there are no bursts")
    }
}
