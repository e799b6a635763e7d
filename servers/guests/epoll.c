/* A guest: the protocol of servers/protocol/SPEC.md in C, on bare epoll.
 *
 *     cc -std=c11 -O2 -o epoll-c epoll.c
 *     ./epoll-c [ADDR:PORT [STATUS_INTERVAL_MS [MAX_CONNECTIONS]]]
 *
 * The echo server that every introduction to epoll shows has some sixty lines. This is what it becomes when it has to
 * keep its promises: to lose nothing when a client does not read, to starve nobody when one floods, to survive a
 * shortage of descriptors, to tell its clients the time, and to stop without cutting off what it has said.
 *
 * One thread waits for edge-triggered events, which report only once that a socket became ready. So a socket that is
 * not drained needs another reason to be visited: a connection that used up its turn goes to the run queue, one whose
 * peer does not read is visited again when it becomes writable, and the listener when a connection ends. */

#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MS UINT64_C(1000000) /* in nanoseconds, as all times here */

enum {
    BACKLOG = 4096,
    READ_BYTES = 64 * 1024,  /* one read buffer, and so the most that a connection holds unsent (F1) */
    TURN_BYTES = 256 * 1024, /* read from one connection before the next is served (F2) */
    EVENT_BYTES = TURN_BYTES / 64, /* what an event costs at least, as bytes that could be echoed in the same time */
    FAN_OUT_CHUNK = 32,      /* statuses sent before I/O is served again (B5) */
    ACCEPT_CHUNK = 64,       /* connections accepted before I/O is served again */
    EVENTS = 1024,
    LINE_BYTES = 160,        /* more than a status line has */
};

static const uint64_t ACCEPT_RETRY = 50 * MS;  /* after a shortage, unless a connection ends before (F3) */
static const uint64_t WARNING_PAUSE = 10000 * MS;
static const uint64_t FLUSH = 1000 * MS;       /* the most that a shutdown takes (F4) */
static const uint64_t LINGER_PAUSE = 50 * MS;  /* between looks at peers that have acknowledged all, yet do not close */

/* A status line, shared by the connections that still have to send it. */
struct status {
    unsigned users;
    size_t length;
    char text[LINE_BYTES];
};

enum stage {
    OPEN,      /* input is echoed */
    ENDED,     /* the end of input was read: closed as soon as nothing is left to send (E3) */
    LEAVING,   /* the server stops: the sending side is shut down as soon as nothing is left to send (F4) */
    LINGERING, /* input is discarded until the peer's FIN */
};

struct connection {
    int fd; /* -1 once closed */
    enum stage stage;
    uint64_t serial;
    struct connection *previous, *next; /* all open ones, in the order of their serials */
    struct connection *follower;        /* in the run queue, or in the graveyard */
    bool blocked;     /* the last write found the socket full */
    bool watched;     /* EPOLLOUT is registered, which it is only while the socket is full */
    bool queued;      /* in the run queue */
    bool hung_up;     /* the end of input was reported, so a short read does not mean that the socket is drained */
    bool inside_line; /* of the stream as sent so far: no status may begin (B2) */
    unsigned char *unsent; /* echo that the socket did not accept, from `unsent_from` to `unsent_to` */
    size_t unsent_from, unsent_to;
    struct status *status, *newer; /* held or partly sent; offered while that was partly sent (B3) */
    size_t status_sent;
};

struct list {
    struct connection *first, *last;
};

static struct {
    int epoll, listener, signals, timer;
    uint64_t rings_at; /* when the timer rings, or has rung */
    struct list open, turns; /* the latter is the run queue: each at most once */
    struct connection *graveyard; /* closed in this pass; an event may still point to them */
    uint64_t count, places, accepted;
    bool has_clients; /* the last accept did not find the backlog empty */
    uint64_t retry_at, warned_at; /* 0 for never */
    uint64_t start, interval, tick; /* the schedule: tick k is due at start + k * interval (B4) */
    struct status *line; /* of the fan-out under way, to the connections from `reached` up to `before` */
    struct connection *reached;
    uint64_t before;
    uint64_t since_look; /* work since the clock was read, in bytes */
    uint64_t stop_by, look_at; /* 0 unless the server stops */
    unsigned char buffer[READ_BYTES]; /* shared by all connections, so that an idle one holds none */
} server;

static struct {
    uint64_t accepts, bytes_echoed, ticks, ticks_skipped, statuses_sent, statuses_replaced, statuses_dropped_at_eof,
        backlog_max_bytes;
} counters;

static void die(int code, const char *what, const char *why) {
    fprintf(stderr, "error: %s: %s\n", what, why);
    exit(code);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 * MS + (uint64_t)time.tv_nsec;
}

static void append(struct list *turns, struct connection *connection) {
    connection->follower = NULL;
    *(turns->first ? &turns->last->follower : &turns->first) = connection;
    turns->last = connection;
}

/* ---- Pending output: echo, and statuses where the stream is at a boundary (E1, B2, B3, E3). ---- */

static void forget(struct status **held) {
    if (*held && --(*held)->users == 0) free(*held);
    *held = NULL;
}

static void offer(struct connection *connection, struct status *line) {
    if (connection->stage != OPEN) {
        counters.statuses_dropped_at_eof++;
        return;
    }
    struct status **held = connection->status_sent > 0 ? &connection->newer : &connection->status;
    counters.statuses_replaced += *held != NULL;
    forget(held);
    *held = line;
    line->users++;
}

/* Drops held statuses; a partly sent one is still finished. */
static void end_of_input(struct connection *connection) {
    struct status **held = connection->status_sent > 0 ? &connection->newer : &connection->status;
    counters.statuses_dropped_at_eof += *held != NULL;
    forget(held);
}

/* Writes pending output, then `input`; if the socket is full, keeps the rest and sets `blocked`. False on an error. */
static bool flush(struct connection *connection, const unsigned char *input, size_t length) {
    connection->blocked = false;
    for (;;) {
        const bool is_status = connection->status && !connection->inside_line;
        const bool is_kept = !is_status && connection->unsent;
        const unsigned char *next = input;
        size_t wanted = length;
        if (is_status) {
            next = (unsigned char *)connection->status->text + connection->status_sent;
            wanted = connection->status->length - connection->status_sent;
        } else {
            if (is_kept) {
                next = connection->unsent + connection->unsent_from;
                wanted = connection->unsent_to - connection->unsent_from;
            }
            /* A status waits for the end of the line. */
            const unsigned char *newline = connection->status && wanted ? memchr(next, '\n', wanted) : NULL;
            if (newline) wanted = (size_t)(newline - next) + 1;
        }
        if (wanted == 0) return true;

        const ssize_t result = send(connection->fd, next, wanted, MSG_NOSIGNAL);
        if (result < 0 && errno == EINTR) continue;
        if (result < 0 && errno != EAGAIN) return false;
        const size_t sent = result < 0 ? 0 : (size_t)result;
        if (is_status) {
            connection->status_sent += sent;
            if (sent == wanted) {
                counters.statuses_sent++;
                forget(&connection->status);
                connection->status = connection->newer;
                connection->newer = NULL;
                connection->status_sent = 0;
            }
        } else if (sent > 0) {
            counters.bytes_echoed += sent;
            connection->inside_line = next[sent - 1] != '\n';
            if (is_kept) {
                connection->unsent_from += sent;
            } else {
                input += sent;
                length -= sent;
            }
        }
        if (connection->unsent && connection->unsent_from == connection->unsent_to) {
            free(connection->unsent); /* not kept for later: an idle connection holds no buffer */
            connection->unsent = NULL;
        }
        if (sent == wanted) continue;

        connection->blocked = true;
        if (length > 0) { /* then nothing was kept before: one read is sent before the next */
            connection->unsent = malloc(length);
            if (!connection->unsent) return false;
            memcpy(connection->unsent, input, length);
            connection->unsent_from = 0;
            connection->unsent_to = length;
            if (length > counters.backlog_max_bytes) counters.backlog_max_bytes = length;
        }
        return true;
    }
}

/* ---- The end of a connection (E3, F4). ---- */

/* Whether a close loses no data: the peer has acknowledged everything, and no input is unread. Otherwise closing would
 * send a reset, on which the kernel discards what is unsent. */
static bool is_settled(int fd) {
    int unread, unacknowledged;
    return ioctl(fd, FIONREAD, &unread) == 0 && unread == 0 && ioctl(fd, TIOCOUTQ, &unacknowledged) == 0 &&
           unacknowledged == 0;
}

/* Whether a connection with nothing left to send is over; if the server stops, it begins to linger instead. */
static bool is_over(struct connection *connection) {
    if (connection->stage != LEAVING) return connection->stage == ENDED;
    if (is_settled(connection->fd)) return true;
    connection->stage = LINGERING;
    return shutdown(connection->fd, SHUT_WR) != 0;
}

static void bury(struct connection *connection) {
    connection->follower = server.graveyard;
    server.graveyard = connection;
}

static void close_connection(struct connection *connection) {
    if (server.line && connection->serial < server.before && server.reached &&
        connection->serial >= server.reached->serial)
        counters.statuses_dropped_at_eof++; /* the fan-out counts it and has not reached it (B1) */
    if (server.reached == connection) server.reached = connection->next;
    *(connection->previous ? &connection->previous->next : &server.open.first) = connection->next;
    *(connection->next ? &connection->next->previous : &server.open.last) = connection->previous;
    end_of_input(connection);
    counters.statuses_dropped_at_eof += connection->status != NULL;
    forget(&connection->status);
    free(connection->unsent);
    close(connection->fd);
    connection->fd = -1;
    if (!connection->queued) bury(connection);
    server.count--;
    server.retry_at = 0; /* after a shortage, a descriptor is free again */
}

static void empty_graveyard(void) {
    while (server.graveyard) {
        struct connection *connection = server.graveyard;
        server.graveyard = connection->follower;
        free(connection);
    }
}

/* ---- A connection's turn (F1, F2). ---- */

enum turn { DRAINED, UNFINISHED, CLOSED };

/* Writes pending output, then reads and echoes, until the input is drained, the socket full or the turn over. One read
 * is written before the next, which bounds the memory of a connection. */
static enum turn drive(struct connection *connection) {
    if (!flush(connection, NULL, 0)) return CLOSED;
    for (size_t turn = 0; !connection->blocked;) {
        if (is_over(connection)) return CLOSED;
        if (turn >= TURN_BYTES) return UNFINISHED;
        const ssize_t count = recv(connection->fd, server.buffer, READ_BYTES, 0);
        if (count < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN ? DRAINED : CLOSED;
        }
        if (count == 0) {
            connection->stage = ENDED;
            end_of_input(connection);
            continue;
        }
        turn += (size_t)count;
        if (connection->stage == OPEN && !flush(connection, server.buffer, (size_t)count)) return CLOSED;
        /* A short read means drained (epoll(7)), unless the end of input is still to be read. */
        if (count < READ_BYTES && !connection->hung_up && !connection->blocked) return DRAINED;
    }
    return DRAINED;
}

/* Watches for writability while the socket is full. Registering again also reports room that became free meanwhile. */
static bool watch(struct connection *connection, int operation) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    if (connection->blocked) event.events |= EPOLLOUT;
    if (operation == EPOLL_CTL_MOD && connection->blocked == connection->watched) return true;
    connection->watched = connection->blocked;
    return epoll_ctl(server.epoll, operation, connection->fd, &event) == 0;
}

static void take_turn(struct connection *connection) {
    const uint64_t before = counters.bytes_echoed;
    enum turn turn = drive(connection);
    if (turn != CLOSED && !watch(connection, EPOLL_CTL_MOD)) turn = CLOSED;
    if (turn == CLOSED) {
        close_connection(connection); /* an error concerns this connection alone */
    } else if (turn == UNFINISHED && !connection->queued) {
        connection->queued = true;
        append(&server.turns, connection);
    }
    server.since_look += EVENT_BYTES + (counters.bytes_echoed - before);
}

/* ---- Ticks (B1, B4, B5). ---- */

static void begin_fan_out(uint64_t time) {
    const uint64_t tick = server.interval ? (time - server.start) / server.interval : 0;
    if (tick <= server.tick) return;
    struct status *line = malloc(sizeof *line);
    counters.ticks_skipped += tick - server.tick - (line != NULL); /* without memory, this one as well */
    server.tick = tick;
    if (!line) return;
    counters.ticks++;
    const int length = snprintf(line->text, sizeof line->text,
                                "Server status: %" PRIu64 " active connections tick=%" PRIu64 " due_ns=%" PRIu64
                                " emit_ns=%" PRIu64 "\n",
                                server.count, tick, server.start + tick * server.interval, time);
    line->length = (size_t)length;
    line->users = 1;
    server.line = line;
    server.reached = server.open.first;
    server.before = server.accepted;
}

/* Begins the fan-out of a due tick or continues the current one, by one chunk, so that I/O is served in between. */
static void send_statuses(uint64_t time) {
    server.since_look = 0;
    if (server.stop_by) return;
    if (!server.line) begin_fan_out(time);
    if (!server.line) return;
    for (int left = FAN_OUT_CHUNK; left > 0; left--) {
        struct connection *connection = server.reached;
        if (!connection || connection->serial >= server.before) {
            forget(&server.line);
            return;
        }
        server.reached = connection->next;
        offer(connection, server.line);
        if (!connection->blocked && !(flush(connection, NULL, 0) && watch(connection, EPOLL_CTL_MOD)))
            close_connection(connection);
    }
}

static void serve(struct connection *connection) {
    take_turn(connection);
    if (server.since_look >= TURN_BYTES) send_statuses(now());
}

/* Gives one turn to each connection in the run queue. */
static void take_turns(void) {
    struct connection *connection = server.turns.first;
    server.turns = (struct list){0};
    while (connection) {
        struct connection *follower = connection->follower;
        connection->queued = false;
        if (connection->fd < 0) bury(connection);
        else serve(connection);
        connection = follower;
    }
}

/* ---- Accepting (F3). ---- */

static bool may_accept(void) {
    return server.has_clients && !server.retry_at && server.count < server.places;
}

static void run_short(uint64_t time) {
    server.retry_at = time + ACCEPT_RETRY;
    if (server.warned_at && time - server.warned_at < WARNING_PAUSE) return;
    server.warned_at = time;
    fprintf(stderr, "cannot accept: %s; further connections wait in the backlog\n", strerror(errno));
}

static void admit(int fd, uint64_t time) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection) connection->fd = fd;
    if (!connection || !watch(connection, EPOLL_CTL_ADD)) {
        run_short(time);
        free(connection);
        close(fd);
        return;
    }
    connection->serial = server.accepted++;
    connection->previous = server.open.last;
    *(server.open.last ? &server.open.last->next : &server.open.first) = connection;
    server.open.last = connection;
    server.count++;
    counters.accepts++;
}

static void accept_clients(uint64_t time) {
    if (time >= server.retry_at) server.retry_at = 0;
    for (int left = ACCEPT_CHUNK; left > 0 && may_accept(); left--) {
        const int fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            admit(fd, time);
            continue;
        }
        switch (errno) {
        case EAGAIN: server.has_clients = false; break;
        /* These concern only the connection that was to be accepted (accept(2)). */
        case EINTR: case ECONNABORTED: case EPROTO: case EPERM: case ENETDOWN: case ENETUNREACH: case ENOPROTOOPT:
        case EHOSTUNREACH: case EOPNOTSUPP: break;
        /* Others are a shortage of descriptors or memory, where accepting again at once would spin. */
        default: run_short(time);
        }
    }
}

/* ---- Shutdown (F4). ---- */

/* Stops accepting and echoing; queued output is still flushed. */
static void stop(void) {
    struct signalfd_siginfo signal;
    if (read(server.signals, &signal, sizeof signal) < 0) return;
    if (server.stop_by) _exit(130);
    server.stop_by = now() + FLUSH;
    server.look_at = now() + LINGER_PAUSE;
    close(server.listener);
    server.has_clients = false;
    struct connection *awaited = server.line ? server.reached : NULL; /* counted by a fan-out that ends here (B1) */
    for (; awaited && awaited->serial < server.before; awaited = awaited->next) counters.statuses_dropped_at_eof++;
    forget(&server.line);
    for (struct connection *one = server.open.first, *next; one; one = next) {
        next = one->next;
        one->stage = LEAVING;
        end_of_input(one);
        take_turn(one);
    }
}

/* From time to time, closes connections whose peers have acknowledged everything, yet neither send nor close. */
static void close_settled(uint64_t time) {
    if (time < server.look_at) return;
    server.look_at = time + LINGER_PAUSE;
    for (struct connection *one = server.open.first, *next; one; one = next) {
        next = one->next;
        if (one->stage == LINGERING && is_settled(one->fd)) close_connection(one);
    }
}

/* ---- The loop. ---- */

/* How long to wait: not at all if work is left, otherwise without end, until the timer rings for the next event of the
 * clock. A timeout of epoll would be late: the kernel allows itself a slack of a thousandth of it. */
static int timeout(void) {
    if (server.line || server.turns.first || may_accept()) return 0;
    uint64_t next = UINT64_MAX;
    if (server.interval && !server.stop_by) next = server.start + (server.tick + 1) * server.interval;
    if (server.retry_at && server.retry_at < next) next = server.retry_at;
    if (server.stop_by) next = server.look_at < server.stop_by ? server.look_at : server.stop_by;
    const uint64_t time = now();
    if (next <= time) return 0;
    if (next < server.rings_at || server.rings_at <= time) {
        struct itimerspec once = {0};
        once.it_value.tv_sec = (time_t)(next / (1000 * MS));
        once.it_value.tv_nsec = (long)(next % (1000 * MS));
        if (next != UINT64_MAX && timerfd_settime(server.timer, TFD_TIMER_ABSTIME, &once, NULL) < 0)
            die(1, "cannot set the timer", strerror(errno));
        server.rings_at = next;
    }
    return -1;
}

static void on_event(const struct epoll_event *event) {
    if (event->data.ptr == &server.listener) {
        server.has_clients = !server.stop_by;
    } else if (event->data.ptr == &server.signals) {
        stop();
    } else if (event->data.ptr == &server.timer) {
        server.rings_at = 0;
    } else {
        struct connection *connection = event->data.ptr;
        if (connection->fd < 0) return;
        if (event->events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) connection->hung_up = true;
        /* While the socket is full, input waits until there is room. */
        const bool ready = !connection->blocked || event->events & (EPOLLERR | EPOLLHUP | EPOLLOUT);
        if (ready && !connection->queued) serve(connection);
    }
}

static void run(void) {
    static struct epoll_event events[EVENTS];
    while (!server.stop_by || (server.count > 0 && now() < server.stop_by)) {
        const int count = epoll_wait(server.epoll, events, EVENTS, timeout());
        if (count < 0 && errno != EINTR) die(1, "cannot wait for events", strerror(errno));
        /* Before the events, which skip connections that are queued again: one turn per connection and pass. */
        take_turns();
        for (int index = 0; index < count; index++) on_event(&events[index]);
        const uint64_t time = now();
        send_statuses(time);
        if (server.stop_by) close_settled(time);
        else accept_clients(time);
        empty_graveyard();
    }
    while (server.open.first) close_connection(server.open.first);
    take_turns();
    empty_graveyard();
}

/* ---- The start (S1). ---- */

static int listen_on(struct addrinfo *to) {
    const int on = 1, fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* Accepted sockets inherit the options of TCP. */
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0 && bind(fd, to->ai_addr, to->ai_addrlen) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    const int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return -1;
}

/* Splits ADDR:PORT at its last colon; the address of IPv6 may stand in brackets. */
static int listen_at(const char *addr) {
    char host[256], *colon;
    if (strlen(addr) >= sizeof host || !strrchr(addr, ':')) die(2, addr, "write for example 127.0.0.1:9000");
    colon = strrchr(strcpy(host, addr), ':');
    *colon = '\0';
    char *name = host;
    if (name[0] == '[' && colon[-1] == ']') {
        name++;
        colon[-1] = '\0';
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    const int error = getaddrinfo(name, colon + 1, &hints, &found);
    if (error) die(2, addr, gai_strerror(error));
    int fd = -1;
    for (struct addrinfo *one = found; one && fd < 0; one = one->ai_next) fd = listen_on(one);
    freeaddrinfo(found);
    if (fd < 0) die(1, addr, strerror(errno));
    return fd;
}

static uint64_t number(const char *text, const char *wanted) {
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value > INT32_MAX) die(2, text, wanted);
    return value;
}

static void register_source(int *source) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    /* The timer need not be read then: each time it rings is an event. */
    if (source != &server.signals) event.events |= EPOLLET;
    if (*source < 0 || epoll_ctl(server.epoll, EPOLL_CTL_ADD, *source, &event) != 0)
        die(1, "cannot start", strerror(errno));
}

static void announce(void) {
    struct sockaddr_storage addr;
    socklen_t length = sizeof addr;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(server.listener, (struct sockaddr *)&addr, &length) != 0 ||
        getnameinfo((struct sockaddr *)&addr, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        die(1, "cannot start", "its address is unknown");
    printf(addr.ss_family == AF_INET6 ? "listening on [%s]:%s\n" : "listening on %s:%s\n", host, port);
    if (fflush(stdout) != 0) die(1, "cannot write the listening address to stdout", strerror(errno));
}

int main(int argc, char **argv) {
    server.start = now();
    if (argc > 4) die(2, argv[4], "usage: epoll-c [ADDR:PORT [STATUS_INTERVAL_MS [MAX_CONNECTIONS]]]");
    server.interval = MS * (argc > 2 ? number(argv[2], "write a number of milliseconds, 0 for no statuses") : 5000);
    if (server.interval && server.interval < 10 * MS) die(2, argv[2], "too short; write at least 10, or 0 for none");
    server.places = argc > 3 ? number(argv[3], "write a number of connections") : 16000;
    if (server.places == 0) die(2, argv[3], "write 1 or more connections");

    struct rlimit descriptors;
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        descriptors.rlim_cur = descriptors.rlim_max;
        setrlimit(RLIMIT_NOFILE, &descriptors); /* if not, there is room for fewer */
    }
    signal(SIGPIPE, SIG_IGN); /* a log that is not read is no reason to stop */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    server.signals = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    server.listener = listen_at(argc > 1 ? argv[1] : "127.0.0.1:9000");
    server.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    register_source(&server.signals);
    register_source(&server.timer);
    register_source(&server.listener);
    announce();
    run();
    fprintf(stderr,
            "{\"accepts\":%" PRIu64 ",\"bytes_echoed\":%" PRIu64 ",\"ticks\":%" PRIu64 ",\"ticks_skipped\":%" PRIu64
            ",\"statuses_sent\":%" PRIu64 ",\"statuses_replaced\":%" PRIu64 ",\"statuses_dropped_at_eof\":%" PRIu64
            ",\"backlog_max_bytes\":%" PRIu64 "}\n",
            counters.accepts, counters.bytes_echoed, counters.ticks, counters.ticks_skipped, counters.statuses_sent,
            counters.statuses_replaced, counters.statuses_dropped_at_eof, counters.backlog_max_bytes);
    return 0;
}
