//! Hand-written peers, with a thread of the test per connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

/// Serves every connection in its own thread, as long as the test process lives.
pub(crate) fn peer(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_nodelay(true).unwrap();
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// A peer with a function from each line to its answer.
pub(crate) fn line_peer(answer: impl Fn(u64, &[u8]) -> Vec<u8> + Clone + Send + 'static) -> SocketAddr {
    peer(move |stream| serve_lines(stream, &answer))
}

pub(crate) fn serve_lines(mut stream: TcpStream, mut answer: impl FnMut(u64, &[u8]) -> Vec<u8>) {
    let (mut pending, mut buffer, mut number) = (Vec::new(), [0; 4096], 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        pending.extend_from_slice(&buffer[..count]);
        while let Some(newline) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=newline).collect();
            if stream.write_all(&answer(number, &line)).is_err() {
                return;
            }
            number += 1;
        }
    }
}

/// A status line with plausible times of this host's clock.
pub(crate) fn status(tick: u64) -> String {
    let now_ns = servers::clock::now_ns();
    format!("Server status: 2 active connections tick={tick} due_ns={} emit_ns={now_ns}\n", now_ns - 1_000)
}
