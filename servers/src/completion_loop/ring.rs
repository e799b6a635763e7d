//! The ring of the `io-uring` server: operations in, completions out, and the buffers that the kernel reads into.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use io_uring::{
    IoUring, cqueue, opcode,
    squeue::{self, Flags},
    types::{BufRingEntry, Fd, SubmitArgs, Timespec},
};
use rustix::{event::PollFlags, io::Errno, net::SendFlags};

/// Operations that can be prepared before they have to be submitted.
const SUBMISSIONS: u32 = 256;

/// Room for completions; the kernel keeps any that do not fit (IORING_FEAT_NODROP).
const COMPLETIONS: u32 = 2048;

/// Number of buffers that the kernel reads into, a power of two. One is in use from a read until its echo is sent.
const BUFFERS: u16 = 256;

/// Size of each of them in bytes: as for a buffer per connection, since small messages touch only its first page.
const BUFFER_BYTES: usize = 16 * 1024;

/// The group of the buffers; there is no other.
const GROUP: u16 = 0;

/// IORING_RECVSEND_POLL_FIRST: wait for input before the first attempt to read (io_uring_prep_recv(3)).
const POLL_FIRST: u16 = 1;

/// The number of every cancellation, whose own completion says nothing of interest.
pub(super) const CANCELLATION: u64 = u64::MAX;

/// A ring of one thread.
pub(super) struct Ring(IoUring);

/// A completed operation.
pub(super) struct Completion {
    /// The number that the operation was given.
    pub(super) user_data: u64,
    /// Bytes or events, or the error.
    pub(super) result: Result<usize, Errno>,
    flags: u32,
}

impl Completion {
    /// Whether the operation goes on and completes again.
    pub(super) fn goes_on(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// Whether a read left input in the socket.
    pub(super) fn left_input(&self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }
}

impl Ring {
    /// Sets up a ring.
    ///
    /// # Errors
    /// Names the reason why the kernel, or the container's filter of system calls, refuses io_uring.
    pub(super) fn new() -> io::Result<Self> {
        let build = |deferred: bool| {
            let mut builder = IoUring::builder();
            builder.setup_cqsize(COMPLETIONS).setup_submit_all().setup_taskrun_flag();
            // Completions wait until this thread asks for them, instead of interrupting it.
            if deferred {
                builder.setup_single_issuer().setup_defer_taskrun();
            } else {
                builder.setup_coop_taskrun();
            }
            builder.build(SUBMISSIONS)
        };
        // Linux 6.1 can defer; before, since 5.19, completions at least come with system calls only.
        let ring = build(true).or_else(|error| if is_unknown(&error) { build(false) } else { Err(error) });
        ring.map(Self).map_err(|error| refusal("io_uring_setup", &error))
    }

    /// Prepares to read from a socket into a buffer that the kernel chooses once there is input.
    pub(super) fn recv(&mut self, socket: &impl AsRawFd, likely: bool, user_data: u64) {
        let recv = opcode::Recv::new(fd(socket), std::ptr::null_mut(), 0).buf_group(GROUP);
        let recv = recv.ioprio(if likely { 0 } else { POLL_FIRST }).build().flags(Flags::BUFFER_SELECT);
        // SAFETY: the kernel writes only to buffers that it was given, and those are never freed (`Buffers`).
        unsafe { self.push(&recv.user_data(user_data)) }
    }

    /// Prepares to send as many of `bytes` as the socket takes at once.
    ///
    /// # Safety
    /// `bytes` must not be changed, moved or freed before the operation has completed.
    pub(super) unsafe fn send(&mut self, socket: &impl AsRawFd, bytes: &[u8], user_data: u64) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // What exceeds 32 bits is sent next.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let send = opcode::Send::new(fd(socket), bytes.as_ptr(), length).flags(flags.bits().cast_signed()).build();
        // SAFETY: the kernel reads `bytes`, which the caller leaves alone until then.
        unsafe { self.push(&send.user_data(user_data)) }
    }

    /// Prepares to wait for one of the `events`; `multi` completes each time, until it says otherwise.
    pub(super) fn poll(&mut self, socket: &impl AsRawFd, events: PollFlags, multi: bool, user_data: u64) {
        let poll = opcode::PollAdd::new(fd(socket), u32::from(events.bits())).multi(multi).build();
        // SAFETY: the operation uses no memory of this process.
        unsafe { self.push(&poll.user_data(user_data)) }
    }

    /// Prepares to cancel an operation, which then completes in any case.
    pub(super) fn cancel(&mut self, user_data: u64) {
        let cancel = opcode::AsyncCancel::new(user_data).build();
        // SAFETY: the operation uses no memory of this process.
        unsafe { self.push(&cancel.user_data(CANCELLATION)) }
    }

    /// # Safety
    /// What the operation points to must stay valid until it has completed.
    unsafe fn push(&mut self, operation: &squeue::Entry) {
        // SAFETY: the caller's promise.
        while unsafe { self.0.submission().push(operation) }.is_err() {
            // The queue is full; of errors, the next wait reports those that last.
            drop(self.0.submit());
        }
    }

    /// Submits what has been prepared.
    pub(super) fn submit(&self) -> io::Result<()> {
        passing(self.0.submit())
    }

    /// Submits what has been prepared, and waits for a completion; at most that long, or for ever.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        match timeout {
            Some(Duration::ZERO) => passing(self.0.submit()),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                passing(self.0.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)))
            }
            None => passing(self.0.submit_and_wait(1)),
        }
    }

    /// Number of completions that can be taken.
    pub(super) fn completed(&mut self) -> usize {
        self.0.completion().len()
    }

    /// Takes the oldest completion.
    pub(super) fn take(&mut self) -> Option<Completion> {
        let entry = self.0.completion().next()?;
        let result = usize::try_from(entry.result()).map_err(|_| Errno::from_raw_os_error(-entry.result()));
        Some(Completion { user_data: entry.user_data(), result, flags: entry.flags() })
    }
}

fn fd(socket: &impl AsRawFd) -> Fd {
    let number: RawFd = socket.as_raw_fd();
    Fd(number)
}

/// Errors after which the next wait continues: the time is over, a signal came, or the kernel is short of memory.
fn passing(result: io::Result<usize>) -> io::Result<()> {
    match result.map_err(|error| (Errno::from_io_error(&error), error)) {
        Ok(_) | Err((Some(Errno::TIME | Errno::INTR | Errno::AGAIN | Errno::BUSY), _)) => Ok(()),
        Err((_, error)) => Err(error),
    }
}

fn is_unknown(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::INVAL)
}

fn refusal(call: &str, error: &io::Error) -> io::Error {
    let remedy = match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => "; see kernel.io_uring_disabled, and the container's seccomp profile",
        Some(Errno::NOSYS | Errno::INVAL) => "; it needs Linux 5.19 or newer",
        // Newer kernels count the memory of rings as locked, per user.
        Some(Errno::NOMEM) => "; it needs locked memory, see ulimit -l",
        _ => "",
    };
    io::Error::new(error.kind(), format!("this kernel refuses io_uring ({call}: {error}){remedy}"))
}

/// The buffers that the kernel reads into (io_uring_register_buf_ring(3)).
///
/// Each belongs either to the kernel or to the owner of its [`Filled`]. They are never freed: after the ring's end the
/// kernel may still use them for a moment, and there is one set per process.
pub(super) struct Buffers {
    memory: *mut [u8; BUFFER_BYTES],
    /// The kernel takes buffers from one end of this queue, and this process adds them at the other.
    entries: *mut BufRingEntry,
    tail: u16,
    free: usize,
}

/// A buffer with input, which is to be given back.
#[must_use]
pub(super) struct Filled {
    id: u16,
    length: usize,
}

/// The kernel wants whole pages.
#[repr(C, align(4096))]
struct Entries([MaybeUninit<BufRingEntry>; BUFFERS as usize]);

impl Buffers {
    /// Allocates the buffers and gives them all to the kernel. Pages are allotted when they are first touched.
    pub(super) fn new(ring: &Ring) -> io::Result<Self> {
        let memory = Box::leak(vec![[0; BUFFER_BYTES]; BUFFERS.into()].into_boxed_slice()).as_mut_ptr();
        let entries = Box::into_raw(Box::new(Entries([const { MaybeUninit::zeroed() }; BUFFERS as usize])));
        let mut buffers = Self { memory, entries: entries.cast(), tail: 0, free: 0 };
        // SAFETY: the entries are never freed.
        unsafe { ring.0.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, GROUP, 0) }
            .map_err(|error| refusal("io_uring_register", &error))?;
        (0..BUFFERS).for_each(|id| buffers.give_back(Filled { id, length: 0 }));
        Ok(buffers)
    }

    /// The buffer of a completed read, if it used one.
    pub(super) fn filled(&mut self, completion: &Completion) -> Option<Filled> {
        let id = cqueue::buffer_select(completion.flags)?;
        self.free -= 1;
        Some(Filled { id, length: completion.result.unwrap_or(0) })
    }

    /// The input in a buffer.
    pub(super) fn bytes(&self, filled: &Filled) -> &[u8] {
        // SAFETY: the kernel named the buffer and its length, and leaves it alone until it is given back, which ends
        // `filled`. Its memory was zeroed to begin with and is never freed.
        unsafe { std::slice::from_raw_parts(self.memory.add(filled.id.into()).cast(), filled.length) }
    }

    /// Gives a buffer to the kernel.
    pub(super) fn give_back(&mut self, filled: Filled) {
        // SAFETY: the index is below the number of entries, which belong to this process from the tail on. An entry's
        // setters leave alone the field in which the first one holds the tail.
        unsafe {
            let entry = &mut *self.entries.add((self.tail & (BUFFERS - 1)).into());
            entry.set_addr(self.memory.add(filled.id.into()) as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(filled.id);
        }
        self.tail = self.tail.wrapping_add(1);
        self.free += 1;
        // SAFETY: the first entry is valid, and the kernel reads its tail atomically; hence the same here, after the entry.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) }.store(self.tail, Ordering::Release);
    }

    /// Number of buffers that the kernel has, as far as is known.
    pub(super) fn free(&self) -> usize {
        self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_where_to_look() {
        for (errno, remedy) in [
            (Errno::PERM, "kernel.io_uring_disabled"),
            (Errno::NOSYS, "Linux 5.19"),
            (Errno::INVAL, "Linux 5.19"),
            (Errno::NOMEM, "ulimit -l"),
        ] {
            let words = refusal("io_uring_setup", &errno.into()).to_string();
            assert!(words.starts_with("this kernel refuses io_uring (io_uring_setup: "), "{words}");
            assert!(words.contains(remedy), "{words}");
        }
        assert!(!refusal("io_uring_setup", &Errno::MFILE.into()).to_string().contains(';'));
    }
}
