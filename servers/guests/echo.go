// A guest: the protocol of servers/protocol/SPEC.md in Go, with one goroutine per connection.
//
//	go build -o echo-go echo.go
//	./echo-go [ADDR:PORT [STATUS_INTERVAL_MS [MAX_CONNECTIONS]]]
//
// A connection's goroutine reads and echoes, under the connection's lock for writing, which is nearly always free. The
// broadcaster never waits for a connection: it leaves the status in the connection's slot and then tries the lock. If
// the goroutine holds it, the goroutine looks into the slot after unlocking; if the socket is full, a goroutine that
// exists only until then sends what is owed.
//
// Linux, Go 1.21 or later; only the standard library.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	readBytes    = 16 * 1024
	fanOutChunk  = 32                    // statuses sent before other goroutines run (B5)
	acceptRetry  = 50 * time.Millisecond // after a shortage, unless a connection ends before (F3)
	warningPause = 10 * time.Second
	flushTime    = time.Second           // the most that a shutdown takes (F4)
	lingerPause  = 50 * time.Millisecond // between looks at peers that have acknowledged all, yet do not close
)

// Linux constants that package syscall does not have on every architecture.
const (
	clockMonotonic = 1
	tcpCongestion  = 13
)

type counters struct {
	Accepts              uint64 `json:"accepts"`
	BytesEchoed          uint64 `json:"bytes_echoed"`
	Ticks                uint64 `json:"ticks"`
	TicksSkipped         uint64 `json:"ticks_skipped"`
	StatusesSent         uint64 `json:"statuses_sent"`
	StatusesReplaced     uint64 `json:"statuses_replaced"`
	StatusesDroppedAtEOF uint64 `json:"statuses_dropped_at_eof"`
	BacklogMaxBytes      uint64 `json:"backlog_max_bytes"` // always 0: a goroutine waits in the write instead
}

func (c *counters) merge(other *counters) {
	c.Accepts += other.Accepts
	c.BytesEchoed += other.BytesEchoed
	c.Ticks += other.Ticks
	c.TicksSkipped += other.TicksSkipped
	c.StatusesSent += other.StatusesSent
	c.StatusesReplaced += other.StatusesReplaced
	c.StatusesDroppedAtEOF += other.StatusesDroppedAtEOF
}

type server struct {
	listener *net.TCPListener
	places   chan struct{} // one element per place that is taken (F3)
	freed    chan struct{} // a descriptor is free again
	interval uint64        // of the ticks, in nanoseconds; 0 for none
	start    uint64

	stopBy atomic.Pointer[time.Time] // nil unless the server stops
	fanOut sync.Mutex                // held during a fan-out, so that shutdown can wait until it is over and counted
	ended  sync.WaitGroup

	mu          sync.Mutex // guards the rest; never held while sending
	connections map[*connection]struct{}
	counters    counters
}

func (s *server) acceptAll() {
	var warned time.Time
	for {
		s.places <- struct{}{}
		conn, err := s.listener.AcceptTCP()
		if err == nil {
			s.admit(conn)
			continue
		}
		<-s.places
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if !isShortage(err) {
			continue
		}
		if time.Since(warned) >= warningPause {
			warned = time.Now()
			fmt.Fprintf(os.Stderr, "cannot accept: %v; further connections wait in the backlog\n", err)
		}
		select {
		case <-s.freed:
		case <-time.After(acceptRetry):
		}
	}
}

// isShortage tells a shortage, where accepting again at once would spin, from the failure of one connection.
func isShortage(err error) bool {
	for _, shortage := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, shortage) {
			return true
		}
	}
	return false
}

func (s *server) admit(conn *net.TCPConn) {
	c := &connection{conn: conn}
	raw, err := conn.SyscallConn()
	c.raw = raw
	s.mu.Lock()
	s.counters.Accepts++
	s.connections[c] = struct{}{}
	if stopBy := s.stopBy.Load(); stopBy != nil {
		c.wake(*stopBy)
	}
	s.ended.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.remove(c)
		if err == nil {
			c.serve(s)
		}
	}()
}

func (s *server) remove(c *connection) {
	c.hangUp()
	c.conn.Close()
	s.mu.Lock()
	delete(s.connections, c)
	s.counters.merge(&c.counters)
	s.mu.Unlock()
	s.ended.Done()
	<-s.places
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// broadcastAll sends the newest due tick whenever one is due: tick k at start + k * interval (B4).
func (s *server) broadcastAll() {
	for tick := uint64(0); ; {
		due := s.start + (tick+1)*s.interval
		if now := now(); now < due {
			time.Sleep(time.Duration(due - now))
			continue
		}
		s.fanOut.Lock()
		if s.stopBy.Load() != nil {
			s.fanOut.Unlock()
			return
		}
		emit := now()
		newest := (emit - s.start) / s.interval
		counted := counters{Ticks: 1, TicksSkipped: newest - tick - 1}
		tick = newest
		s.broadcast(tick, emit, &counted)
		s.mu.Lock()
		s.counters.merge(&counted)
		s.mu.Unlock()
		s.fanOut.Unlock()
	}
}

func (s *server) broadcast(tick, emit uint64, counted *counters) {
	s.mu.Lock()
	recipients := make([]*connection, 0, len(s.connections))
	for c := range s.connections {
		recipients = append(recipients, c)
	}
	s.mu.Unlock()
	line := []byte(fmt.Sprintf("Server status: %d active connections tick=%d due_ns=%d emit_ns=%d\n",
		len(recipients), tick, s.start+tick*s.interval, emit))
	for index, c := range recipients {
		if index%fanOutChunk == fanOutChunk-1 {
			runtime.Gosched()
		}
		c.leave(&line, counted)
		c.deliver()
	}
}

// stop ends everything within flushTime (F4) and returns the counters.
func (s *server) stop() counters {
	stopBy := time.Now().Add(flushTime)
	s.stopBy.Store(&stopBy)
	s.listener.Close()
	s.fanOut.Lock() // no further one begins
	s.mu.Lock()
	for c := range s.connections {
		c.wake(stopBy)
	}
	s.mu.Unlock()
	over := make(chan struct{})
	go func() {
		s.ended.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(time.Until(stopBy) + lingerPause):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

type connection struct {
	conn *net.TCPConn
	raw  syscall.RawConn
	slot atomic.Pointer[[]byte] // the newest status not yet begun (B3), or gone

	writing    sync.Mutex // guards the rest
	insideLine bool       // of the stream as sent so far: no status may begin (B2)
	status     *[]byte    // being sent
	statusSent int
	counters   counters
}

// gone is in the slot of a connection that takes no further status (E3).
var gone = new([]byte)

// serve echoes until the end of input, or until the server stops.
func (c *connection) serve(s *server) {
	buffer := make([]byte, readBytes)
	for {
		count, err := c.conn.Read(buffer)
		if stopBy := s.stopBy.Load(); stopBy != nil {
			c.linger(*stopBy, buffer)
			return
		}
		if count > 0 && c.echo(buffer[:count]) != nil || err != nil {
			return
		}
	}
}

// echo writes input back. While the peer does not read this waits, but only the connection's own goroutine.
func (c *connection) echo(input []byte) error {
	c.writing.Lock()
	_, err := c.send(input, true)
	c.writing.Unlock()
	c.deliver()
	return err
}

func (c *connection) leave(line *[]byte, counted *counters) {
	for {
		old := c.slot.Load()
		if old == gone {
			counted.StatusesDroppedAtEOF++
			return
		}
		if c.slot.CompareAndSwap(old, line) {
			if old != nil {
				counted.StatusesReplaced++
			}
			return
		}
	}
}

func (c *connection) hasStatus() bool {
	line := c.slot.Load()
	return line != nil && line != gone
}

// deliver sends the status in the slot, unless another goroutine holds the lock.
//
// No status is left behind: a goroutine that fills the slot tries the lock afterwards, and one that holds the lock looks
// into the slot after unlocking. Inside a line, the status stays in the slot until the line's end is sent.
func (c *connection) deliver() {
	for c.hasStatus() && c.writing.TryLock() {
		done, err := c.send(nil, false)
		if err == nil && !done {
			go func() { // it takes over the lock
				c.send(nil, true)
				c.writing.Unlock()
				c.deliver()
			}()
			return
		}
		insideLine := c.insideLine
		c.writing.Unlock()
		if insideLine || err != nil {
			return
		}
	}
}

// send writes what is pending and then input. If the socket is full, it waits until all is sent, or returns false.
func (c *connection) send(input []byte, wait bool) (done bool, err error) {
	var failed error
	err = c.raw.Write(func(fd uintptr) bool {
		for {
			next := c.next(input)
			if len(next) == 0 {
				done = true
				return true
			}
			count, err := syscall.Write(int(fd), next)
			switch {
			case err == syscall.EINTR:
			case err == syscall.EAGAIN:
				c.putBack()
				return !wait
			case err != nil:
				failed = err
				return true
			case c.status != nil:
				c.statusSent += count
				if c.statusSent == len(*c.status) {
					c.counters.StatusesSent++
					c.status, c.statusSent = nil, 0
				}
			default:
				c.counters.BytesEchoed += uint64(count)
				c.insideLine = input[count-1] != '\n'
				input = input[count:]
			}
		}
	})
	if err == nil {
		err = failed
	}
	return done, err
}

// next returns the bytes to write now: a status at a boundary, otherwise input, up to its newline if a status waits.
func (c *connection) next(input []byte) []byte {
	if c.status == nil && !c.insideLine && c.hasStatus() {
		if line := c.slot.Load(); line != gone && c.slot.CompareAndSwap(line, nil) {
			c.status = line
		}
	}
	if c.status != nil {
		return (*c.status)[c.statusSent:]
	}
	if c.hasStatus() {
		if newline := bytes.IndexByte(input, '\n'); newline >= 0 {
			return input[:newline+1]
		}
	}
	return input
}

// putBack returns a status of which nothing was sent to the slot, where a newer one may replace it.
func (c *connection) putBack() {
	if c.status == nil || c.statusSent > 0 {
		return
	}
	if !c.slot.CompareAndSwap(nil, c.status) {
		if c.slot.Load() == gone {
			c.counters.StatusesDroppedAtEOF++
		} else {
			c.counters.StatusesReplaced++
		}
	}
	c.status = nil
}

// hangUp takes no further status, finishes a partly sent one and shuts down the sending side.
func (c *connection) hangUp() {
	held := c.slot.Swap(gone)
	c.writing.Lock()
	defer c.writing.Unlock()
	if held != nil && held != gone {
		c.counters.StatusesDroppedAtEOF++
	}
	if c.status != nil {
		c.send(nil, true)
	}
	if c.status != nil { // the connection has failed
		c.counters.StatusesDroppedAtEOF++
		c.status, c.statusSent = nil, 0
	}
	c.conn.CloseWrite()
}

// wake ends the wait of the connection's goroutine for input at once, and that for room in the socket in time.
func (c *connection) wake(stopBy time.Time) {
	c.conn.SetWriteDeadline(stopBy)
	c.conn.SetReadDeadline(time.Now())
}

// linger discards input until the peer's FIN, or until a close loses no data (F4).
func (c *connection) linger(stopBy time.Time, buffer []byte) {
	c.hangUp()
	for !c.isSettled() && time.Now().Before(stopBy) {
		c.conn.SetReadDeadline(time.Now().Add(lingerPause))
		if _, err := c.conn.Read(buffer); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// isSettled reports whether the peer has acknowledged everything and no input is unread. Otherwise closing would send a
// reset, on which the kernel discards what is unsent.
func (c *connection) isSettled() bool {
	settled := false
	c.raw.Control(func(fd uintptr) {
		settled = queued(fd, syscall.TIOCINQ) == 0 && queued(fd, syscall.TIOCOUTQ) == 0
	})
	return settled
}

func queued(fd, queue uintptr) int32 {
	var count int32
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, queue, uintptr(unsafe.Pointer(&count))); errno != 0 {
		return -1
	}
	return count
}

// now is CLOCK_MONOTONIC in nanoseconds, which package time reads but does not show.
func now() uint64 {
	var now syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	return uint64(now.Nano())
}

// listen sets what accepted sockets inherit (S1); Go itself sets SO_REUSEADDR, TCP_NODELAY and the longest backlog.
func listen(addr string) (*net.TCPListener, error) {
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlled := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptString(int(fd), syscall.IPPROTO_TCP, tcpCongestion, "reno")
		})
		return errors.Join(controlled, err)
	}}
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// argument is the number at an index of the command line.
func argument(index, otherwise int, fits func(int) bool, wanted string) int {
	if len(os.Args) <= index {
		return otherwise
	}
	number, err := strconv.Atoi(os.Args[index])
	if err != nil || !fits(number) {
		fmt.Fprintf(os.Stderr, "error: %s: write %s\n", os.Args[index], wanted)
		os.Exit(2)
	}
	return number
}

func main() {
	start := now()
	addr := "127.0.0.1:9000"
	if len(os.Args) > 1 {
		addr = os.Args[1]
	}
	interval := argument(2, 5000, func(ms int) bool { return ms == 0 || ms >= 10 && ms <= 1<<31 },
		"a number of milliseconds, at least 10, or 0 for no statuses")
	places := argument(3, 16000, func(places int) bool { return places >= 1 && places <= 1<<30 }, "1 or more connections")

	signal.Ignore(syscall.SIGPIPE) // a log that is not read is no reason to stop
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	listener, err := listen(addr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
	s := &server{
		listener:    listener,
		places:      make(chan struct{}, places),
		freed:       make(chan struct{}, 1),
		interval:    uint64(interval) * uint64(time.Millisecond),
		start:       start,
		connections: make(map[*connection]struct{}),
	}
	go s.acceptAll()
	if interval > 0 {
		go s.broadcastAll()
	}
	if _, err := fmt.Printf("listening on %v\n", listener.Addr()); err != nil {
		fmt.Fprintf(os.Stderr, "error: cannot write the listening address to stdout: %v\n", err)
		os.Exit(1)
	}

	<-signals
	go func() {
		<-signals
		os.Exit(130)
	}()
	counters := s.stop()
	line, _ := json.Marshal(counters) // of numbers alone, which cannot fail
	fmt.Fprintf(os.Stderr, "%s\n", line)
}
