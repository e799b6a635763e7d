//! The messages of one connection that are in flight, oldest first. Pure.

use std::{collections::VecDeque, iter, mem};

use super::message::SizeIndex;

/// A message in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// When it was due.
    pub(crate) intended_ns: u64,
    /// When its first byte was handed to the kernel; 0 while it waits behind a full socket.
    pub(crate) tried_ns: u64,
    pub(crate) size: SizeIndex,
    /// Costs the server no more than most; not set where that is not recorded.
    pub(crate) is_light: bool,
}

impl Sent {
    /// A message that is due and tried at this time.
    pub(crate) fn at(now_ns: u64) -> Self {
        Self { intended_ns: now_ns, tried_ns: now_ns, size: 0, is_light: false }
    }

    /// Whether its first byte was handed to the kernel.
    pub(crate) fn was_tried(&self) -> bool {
        self.tried_ns != 0
    }
}

/// A queue that holds its oldest message in place: a connection with one message in flight touches no other memory.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    oldest: Option<Sent>,
    later: VecDeque<Sent>,
}

impl InFlight {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.oldest.is_some()) + self.later.len()
    }

    pub(crate) fn oldest(&self) -> Option<Sent> {
        self.oldest
    }

    pub(crate) fn push(&mut self, sent: Sent) {
        match self.oldest {
            None => self.oldest = Some(sent),
            Some(_) => self.later.push_back(sent),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Sent> {
        let next = self.later.pop_front();
        mem::replace(&mut self.oldest, next)
    }

    pub(crate) fn pop_newest(&mut self) -> Option<Sent> {
        self.later.pop_back().or_else(|| self.oldest.take())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.oldest.iter().chain(&self.later)
    }

    /// The messages queued behind a full socket, which are the newest.
    pub(crate) fn waiting_mut(&mut self) -> impl Iterator<Item = &mut Sent> {
        let first = self.later.partition_point(Sent::was_tried);
        let oldest = self.oldest.as_mut().filter(|sent| !sent.was_tried());
        iter::chain(oldest, self.later.iter_mut().skip(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_queue_whose_newest_message_can_be_taken_back(actions in prop::collection::vec(0..4_u8, 0..60)) {
            let (mut in_flight, mut queue) = (InFlight::default(), VecDeque::new());
            for (number, action) in actions.into_iter().enumerate() {
                if action == 0 {
                    prop_assert_eq!(in_flight.pop_newest(), queue.pop_back());
                } else if action > 1 {
                    let sent = Sent { intended_ns: number as u64, tried_ns: 0, size: 0, is_light: false };
                    in_flight.push(sent);
                    queue.push_back(sent);
                } else {
                    prop_assert_eq!(in_flight.pop(), queue.pop_front());
                }
                prop_assert_eq!((in_flight.len(), in_flight.oldest()), (queue.len(), queue.front().copied()));
                prop_assert!(in_flight.iter().eq(&queue));
            }
        }
    }
}
