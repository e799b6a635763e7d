//! Lines of JSON on a TCP connection.

use std::{
    fmt,
    io::{self, BufRead, BufReader, ErrorKind, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use socket2::{SockRef, TcpKeepalive};

/// The longest line: the histograms of a window, second by second, take less than 1 MB.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The longest first line, of one who may be anybody.
const FIRST_BYTES_MAX: usize = 64 << 10;

/// How long a silent peer is trusted, and how often it is asked then.
const KEEPALIVE: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_secs(2);

/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    reader: BufReader<TcpStream>,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// The longest line that is read.
    bytes_max: usize,
}

/// Why no line came.
#[derive(Debug)]
pub(super) enum Broken {
    /// None has come yet.
    TimeUp,
    /// The peer closed the connection.
    Closed,
    /// The connection failed.
    Failed(io::Error),
    /// What came is no line of this protocol.
    Nonsense,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeUp => formatter.write_str("it did not answer"),
            Self::Closed => formatter.write_str("it closed the connection"),
            Self::Failed(error) => write!(formatter, "{error}"),
            Self::Nonsense => formatter.write_str("it answered nonsense"),
        }
    }
}

impl Link {
    /// Takes a connection over.
    ///
    /// # Errors
    /// If the kernel refuses an option of the socket.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(PROBE).with_retries(3))?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        Ok(Self { reader: BufReader::new(stream), begun: Vec::new(), bytes_max: FIRST_BYTES_MAX })
    }

    /// The peer is known: its lines may be long, and are waited for.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(super) fn trust(&mut self) -> io::Result<()> {
        self.bytes_max = LINE_BYTES_MAX;
        self.reader.get_ref().set_nonblocking(false)?;
        self.set_patience(None)
    }

    /// What has not come is not waited for.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(super) fn set_impatient(&self) -> io::Result<()> {
        self.reader.get_ref().set_nonblocking(true)
    }

    /// Sends a line.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(super) fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        send(self.reader.get_ref(), message)
    }

    /// The next line; waits for it for as long as [`set_patience`](Self::set_patience) says.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, Broken> {
        let room = self.bytes_max - self.begun.len();
        let read = io::Read::take(&mut self.reader, room as u64).read_until(b'\n', &mut self.begun);
        match read {
            Ok(_) if self.begun.ends_with(b"\n") => {
                let line = std::mem::take(&mut self.begun);
                serde_json::from_slice(&line).map_err(|_| Broken::Nonsense)
            }
            Ok(_) if self.begun.len() >= self.bytes_max => Err(Broken::Nonsense),
            Ok(_) => Err(Broken::Closed),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Broken::TimeUp),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Broken::Closed),
            Err(error) => Err(Broken::Failed(error)),
        }
    }

    /// How long [`receive`](Self::receive) waits; `None` for ever.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(super) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        // A wait of zero would be one without end.
        let patience = patience.map(|patience| patience.max(Duration::from_millis(1)));
        self.reader.get_ref().set_read_timeout(patience)
    }

    /// Where the peer is.
    ///
    /// # Errors
    /// If it is gone.
    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.reader.get_ref().peer_addr()
    }

    /// A second handle to send on.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub(super) fn sender(&self) -> io::Result<TcpStream> {
        self.reader.get_ref().try_clone()
    }
}

/// Sends a line.
///
/// # Errors
/// If the connection is broken.
pub(super) fn send<T: Serialize>(mut stream: &TcpStream, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, Link) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let link = Link::new(listener.accept().unwrap().0).unwrap();
        link.set_patience(Some(Duration::from_millis(20))).unwrap();
        (near, link)
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let (mut near, mut link) = pair();
        assert!(matches!(link.receive::<u64>(), Err(Broken::TimeUp)));
        near.write_all(b"12").unwrap();
        assert!(matches!(link.receive::<u64>(), Err(Broken::TimeUp)));
        near.write_all(b"34\n5\n").unwrap();
        link.set_patience(None).unwrap();
        assert_eq!([link.receive::<u64>().unwrap(), link.receive::<u64>().unwrap()], [1_234, 5]);
    }

    #[test]
    fn what_is_no_line_of_the_protocol_is_told_from_the_end() {
        let (mut near, mut link) = pair();
        link.set_patience(None).unwrap();
        near.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert!(matches!(link.receive::<u64>(), Err(Broken::Nonsense)));
        near.write_all(b"12").unwrap();
        drop(near);
        assert!(matches!(link.receive::<u64>(), Err(Broken::Closed)));
    }
}
