#!/usr/bin/env python3
"""A guest: the protocol of servers/protocol/SPEC.md in Python, on the event loop of the standard library.

    echo.py [ADDR:PORT [STATUS_INTERVAL_MS [MAX_CONNECTIONS]]]

It keeps every clause without knowing anything of this project but its specification, and is what a server in any other
language has to be: it says `listening on ADDR:PORT` on its first line of stdout, serves until SIGTERM, and prints its
counters as the last line on stderr.
"""

import errno
import fcntl
import json
import selectors
import signal
import socket
import sys
import termios
import time

READ_BYTES = 64 * 1024
TURN_READS = 4
ACCEPT_RETRY_NS = 50_000_000
FLUSH_NS = 1_000_000_000
FAN_OUT_CHUNK = 128
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

counters = dict.fromkeys(
    ["accepts", "bytes_echoed", "ticks", "ticks_skipped", "statuses_sent", "statuses_replaced"]
    + ["statuses_dropped_at_eof", "backlog_max_bytes"],
    0,
)


class Connection:
    """A client, with pending output. A status is sent only where the stream so far ends with a newline (B2)."""

    def __init__(self, sock, serial):
        self.sock = sock
        self.serial = serial
        self.unsent = b""  # echo that a full socket did not accept
        self.status = b""  # held or partly sent
        self.newer = b""  # arrived while `status` was partly sent
        self.status_begun = self.inside_line = self.ended = False
        self.leaving = self.lingering = False

    def offer(self, line):
        if self.ended:
            counters["statuses_dropped_at_eof"] += 1
        elif self.status_begun:
            counters["statuses_replaced"] += bool(self.newer)
            self.newer = line
        else:
            counters["statuses_replaced"] += bool(self.status)
            self.status = line

    def end_of_input(self):
        self.ended = True
        counters["statuses_dropped_at_eof"] += bool(self.newer) + (bool(self.status) and not self.status_begun)
        self.newer = b""
        if not self.status_begun:
            self.status = b""

    def flush(self):
        """Sends pending output; false if the socket is full."""
        while True:
            if self.status and (self.status_begun or not self.inside_line):
                sent = self.send(self.status)
                if not sent:
                    return False
                self.status, self.status_begun = self.status[sent:], True
                if not self.status:
                    counters["statuses_sent"] += 1
                    self.status, self.newer, self.status_begun = self.newer, b"", False
            elif self.unsent:
                end = self.unsent.find(b"\n") + 1 if self.status else 0
                sent = self.send(self.unsent[: end or len(self.unsent)])
                if not sent:
                    return False
                counters["bytes_echoed"] += sent
                self.inside_line = self.unsent[sent - 1] != 10
                self.unsent = self.unsent[sent:]
            else:
                return True

    def send(self, data):
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def serve(self):
        """Reads and echoes, sending each read's bytes before the next read (F1); false once the connection is over."""
        for _ in range(TURN_READS):
            if not self.flush():
                counters["backlog_max_bytes"] = max(counters["backlog_max_bytes"], len(self.unsent))
                return True
            if self.leaving and not self.lingering:
                if is_settled(self.sock):
                    return False
                self.sock.shutdown(socket.SHUT_WR)
                self.lingering = True
            elif self.ended and not self.leaving:
                return False
            try:
                received = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                return True
            if not received:
                self.end_of_input()
                self.leaving = False
            elif not self.lingering:
                self.unsent = received
        # Everything is sent or the socket is blocked; the level-triggered selector reports further input again.
        self.flush()
        return True


def is_settled(sock):
    """Whether a close loses no data: all output is acknowledged and no input is unread (F4)."""
    queues = (termios.FIONREAD, termios.TIOCOUTQ)
    return not any(int.from_bytes(fcntl.ioctl(sock, queue, bytes(4)), sys.byteorder) for queue in queues)


class Server:
    def __init__(self, listener, interval_ns, places):
        self.start_ns = time.monotonic_ns()
        self.selector = selectors.DefaultSelector()
        self.listener, self.interval_ns, self.places = listener, interval_ns, places
        self.connections = {}
        self.serial = self.tick = self.accept_again_ns = 0
        self.fan_out = []  # connections that the current tick has not reached
        self.line = b""
        self.accepting = False
        self.stop = False

    def run(self):
        while not self.stop:
            self.watch_listener()
            for key, _ in self.selector.select(self.timeout()):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.data:
                    self.drive(key.data)
                else:
                    self.stop = bool(key.fileobj.recv(64))
            self.send_tick()
        self.drain()

    def timeout(self):
        if self.fan_out:
            return 0
        waits = [self.accept_again_ns] if self.accept_again_ns else []
        if self.interval_ns:
            waits.append(self.start_ns + (self.tick + 1) * self.interval_ns)
        return max(0, min(waits) - time.monotonic_ns()) / 1e9 if waits else None

    def watch_listener(self):
        """Beyond the limit, and for a while after a shortage, further clients wait in the backlog (F3)."""
        if self.accept_again_ns and time.monotonic_ns() >= self.accept_again_ns:
            self.accept_again_ns = 0
        wanted = len(self.connections) < self.places and not self.accept_again_ns
        if wanted != self.accepting:
            if wanted:
                self.selector.register(self.listener, selectors.EVENT_READ)
            else:
                self.selector.unregister(self.listener)
            self.accepting = wanted

    def accept(self):
        while len(self.connections) < self.places:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in SHORTAGES:
                    self.accept_again_ns = time.monotonic_ns() + ACCEPT_RETRY_NS
                    return
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self.serial)
            self.serial += 1
            counters["accepts"] += 1
            self.connections[connection.serial] = connection
            self.selector.register(sock, selectors.EVENT_READ, connection)

    def drive(self, connection):
        try:
            alive = connection.serve()
        except OSError:
            alive = False  # an error ends this connection alone (F2)
        if not alive:
            self.close(connection)
            return
        blocked = connection.unsent or connection.status_begun
        events = selectors.EVENT_WRITE if blocked else selectors.EVENT_READ
        if self.selector.get_key(connection.sock).events != events:
            self.selector.modify(connection.sock, events, connection)

    def close(self, connection):
        begun = connection.status_begun
        connection.end_of_input()
        counters["statuses_dropped_at_eof"] += begun
        self.selector.unregister(connection.sock)
        connection.sock.close()
        del self.connections[connection.serial]
        self.accept_again_ns = 0  # after a shortage, a descriptor is free again

    def send_tick(self):
        """Sends the newest due tick only (B4), to one chunk of the connections at a time (B5)."""
        now_ns = time.monotonic_ns()
        if self.interval_ns and not self.fan_out:
            newest = (now_ns - self.start_ns) // self.interval_ns
            if newest > self.tick:
                counters["ticks"] += 1
                counters["ticks_skipped"] += newest - self.tick - 1
                self.tick = newest
                due_ns = self.start_ns + newest * self.interval_ns
                self.line = (
                    f"Server status: {len(self.connections)} active connections"
                    f" tick={newest} due_ns={due_ns} emit_ns={now_ns}\n"
                ).encode()
                self.fan_out = list(self.connections)
        chunk, self.fan_out = self.fan_out[:FAN_OUT_CHUNK], self.fan_out[FAN_OUT_CHUNK:]
        for serial in chunk:
            if serial in self.connections:
                connection = self.connections[serial]
                connection.offer(self.line)
                self.drive(connection)
            else:
                counters["statuses_dropped_at_eof"] += 1

    def drain(self):
        until_ns = time.monotonic_ns() + FLUSH_NS
        self.listener.close()
        counters["statuses_dropped_at_eof"] += len(self.fan_out)
        for connection in list(self.connections.values()):
            connection.end_of_input()
            connection.leaving = True
            self.drive(connection)
        while self.connections and time.monotonic_ns() < until_ns:
            for key, _ in self.selector.select(0.01):
                if key.data:
                    self.drive(key.data)
            for connection in list(self.connections.values()):
                if connection.lingering and is_settled(connection.sock):
                    self.close(connection)


def main():
    addr = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9000"
    interval_ms = int(sys.argv[2]) if len(sys.argv) > 2 else 5_000
    places = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000
    host, port = addr.rsplit(":", 1)
    listener = socket.create_server((host, int(port)), backlog=4096)
    listener.setblocking(False)

    server = Server(listener, interval_ms * 1_000_000, places)
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signals = []

    def on_signal(number, _frame):
        signals.append(number)
        if len(signals) > 1:
            sys.exit(130)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    server.selector.register(woken, selectors.EVENT_READ)
    print("listening on {}:{}".format(*listener.getsockname()), flush=True)
    server.run()
    print(json.dumps(counters), file=sys.stderr)


if __name__ == "__main__":
    main()
