//! Compares the observations of the clients with the server's counters.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use protocol::{Counters, limits::UNSENT_BYTES_MAX, status::Status};

use crate::{client::Gone, script::Ending};

/// The observations of all clients of a server that has exited.
pub(crate) struct Account<'a> {
    pub(crate) gone: &'a [Gone],
    pub(crate) status_interval: Duration,
    /// Before the server was told to stop.
    pub(crate) stop_ns: u64,
    /// After it had exited.
    pub(crate) exit_ns: u64,
    /// The server was told to stop while clients were busy.
    pub(crate) cut_short: bool,
    /// The first client connected before all others and stayed to the end.
    pub(crate) has_witness: bool,
}

impl Account<'_> {
    /// Compares everything that can be compared.
    pub(crate) fn settle(&self, counters: &Counters) -> Result<()> {
        let ticks = self.ticks()?;
        for status in ticks.values() {
            self.check_active(status)?;
        }
        let backlog = counters.backlog_max_bytes;
        ensure!(backlog <= UNSENT_BYTES_MAX as u64, "{backlog} bytes of one connection were held back (F1)");
        self.settle_echo(counters)?;
        self.settle_schedule(counters, &ticks)?;
        self.settle_statuses(counters, &ticks)
    }

    /// Every tick that was seen: the same text everywhere (B1), on time (B4).
    fn ticks(&self) -> Result<BTreeMap<u64, Status>> {
        let mut ticks = BTreeMap::new();
        for status in self.gone.iter().flat_map(|gone| &gone.statuses) {
            let first = ticks.entry(status.tick).or_insert(*status);
            ensure!(first == status, "a tick has two texts: {first:?} and {status:?}");
        }
        let interval_ns = self.status_interval.as_nanos() as u64;
        ensure!(interval_ns > 0 || ticks.is_empty(), "statuses although they are off: {ticks:?}");
        let mut last_emit_ns = 0;
        for status in ticks.values() {
            let Status { tick, due_ns, emit_ns, .. } = *status;
            let start_ns = due_ns.checked_sub(tick * interval_ns);
            ensure!(tick > 0 && start_ns.is_some() && start_ns == self.start_ns(), "another start: {status:?}");
            ensure!((due_ns..due_ns + interval_ns).contains(&emit_ns), "not the newest due tick: {status:?}");
            ensure!(emit_ns > last_emit_ns, "a later tick was emitted earlier: {status:?}");
            last_emit_ns = emit_ns;
        }
        Ok(ticks)
    }

    /// When the server started, computed from any status.
    fn start_ns(&self) -> Option<u64> {
        let status = self.gone.iter().flat_map(|gone| &gone.statuses).next()?;
        status.due_ns.checked_sub(status.tick * self.status_interval.as_nanos() as u64)
    }

    /// A tick counts every client that was certainly connected, and none that certainly was not (B1).
    fn check_active(&self, status: &Status) -> Result<()> {
        let Status { active, emit_ns, .. } = *status;
        if !self.has_witness {
            ensure!(active == 1, "one at a time, and it counts {active}");
            return Ok(());
        }
        let times = || self.gone.iter().map(|gone| &gone.times);
        let certain = times().filter(|it| it.served_ns < emit_ns && it.going_ns.min(self.stop_ns) > emit_ns).count();
        let possible = times().filter(|it| it.connect_ns < emit_ns && it.closed_ns > emit_ns).count();
        let range = certain as u64..=possible as u64;
        ensure!(range.contains(&active), "{active} active, and {range:?} were there: {status:?}");
        Ok(())
    }

    fn settle_echo(&self, counters: &Counters) -> Result<()> {
        let total = |of: fn(&Gone) -> u64| self.gone.iter().map(of).sum::<u64>();
        let served = total(|gone| u64::from(gone.times.served_ns < u64::MAX));
        let all = self.gone.len() as u64;
        let accepts = if self.cut_short { served } else { all }..=all;
        ensure!(accepts.contains(&counters.accepts), "{} accepted, and it was {accepts:?}", counters.accepts);

        let (echoed, written) = (total(|gone| gone.echoed), total(|gone| gone.written));
        let bytes =
            echoed..=if self.cut_short || self.has(|it| matches!(it, Ending::Reset(_))) { written } else { echoed };
        ensure!(bytes.contains(&counters.bytes_echoed), "{} bytes echoed, and it was {bytes:?}", counters.bytes_echoed);
        Ok(())
    }

    /// Emitted and skipped ticks add up to the ticks due.
    fn settle_schedule(&self, counters: &Counters, ticks: &BTreeMap<u64, Status>) -> Result<()> {
        let Some(last) = ticks.keys().next_back() else { return Ok(()) };
        let (start_ns, interval_ns) = (self.start_ns().unwrap_or(0), self.status_interval.as_nanos() as u64);
        let due = *last..=(self.exit_ns - start_ns) / interval_ns;
        let taken = counters.ticks + counters.ticks_skipped;
        ensure!(due.contains(&taken), "{taken} ticks emitted or skipped, and {due:?} were due: {counters:?}");
        ensure!(ticks.len() as u64 <= counters.ticks, "{} ticks came: {counters:?}", ticks.len());
        Ok(())
    }

    /// Every status that a tick counts is sent, replaced or dropped.
    fn settle_statuses(&self, counters: &Counters, ticks: &BTreeMap<u64, Status>) -> Result<()> {
        let received = self.gone.iter().map(|gone| gone.statuses.len() as u64).sum::<u64>();
        let sent = counters.statuses_sent;
        let is_exact = !self.cut_short && !self.has(|it| matches!(it, Ending::Reset(_) | Ending::Leave));
        ensure!(received <= sent, "{received} statuses came: {counters:?}");
        ensure!(
            received == sent || !is_exact,
            "{received} of {sent} statuses arrived, and no client left any unread: {counters:?}"
        );

        let settled = sent + counters.statuses_replaced + counters.statuses_dropped_at_eof;
        let counted = ticks.values().map(|status| status.active).sum::<u64>();
        // Ticks without recipients: those before the first client, and those replaced or dropped on all connections.
        let unseen = counters.ticks - ticks.len() as u64;
        let first = ticks.keys().next().map_or(0, |first| first - 1);
        let before = if self.has_witness { first.saturating_sub(counters.ticks_skipped) } else { 0 };
        let most_active = if self.has_witness { self.gone.len() as u64 } else { 1 };
        let counted = counted..=counted + unseen.saturating_sub(before) * most_active;
        ensure!(
            counted.contains(&settled),
            "{settled} statuses were sent, replaced or dropped, and the ticks counted {counted:?}: {counters:?}"
        );
        Ok(())
    }

    fn has(&self, ending: fn(Ending) -> bool) -> bool {
        self.gone.iter().any(|gone| ending(gone.ending))
    }
}
