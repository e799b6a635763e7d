//! Echo-and-status servers, one per concurrency model, that all implement the same [specification](protocol).
//!
//! They share the protocol and the bound listener, nothing else; each is written in the idiom of its library.
//! To add one, write a file with a `run` function and add a line to [`SERVERS`].

pub mod cli;
pub mod clock;
pub mod listen;

mod event_loop;
mod linger;
mod one_connection;
mod polling_loop;
#[cfg(target_os = "linux")]
mod raw_epoll;
mod shutdown;
mod task_per_connection;
mod thread_per_connection;
mod work;

use std::{io, net::TcpListener, num::NonZeroUsize, time::Duration};

use protocol::{Counters, Feature, Service};

/// A server: its name, and the function that runs it.
#[derive(Debug)]
pub struct Server {
    /// Its name on the command line and in records.
    pub name: &'static str,
    /// Its concurrency model, in one line.
    pub summary: &'static str,
    /// The clauses of the specification that it breaks by construction.
    pub violates: &'static [&'static str],
    /// The options of the specification that it does not have.
    pub lacks: &'static [Feature],
    /// Its source text, from which lines are counted.
    pub source: &'static str,
    /// Sets up everything it needs (signal handlers above all), announces that it listens, serves the listener until
    /// SIGTERM or SIGINT, and returns its counters.
    ///
    /// # Errors
    /// Only if it cannot start; an error on a connection ends that connection alone (F2).
    pub run: fn(TcpListener, &Config) -> io::Result<Counters>,
}

/// Every server, in display order.
pub const SERVERS: &[Server] = &[
    Server {
        name: "mio",
        summary: "one thread, one edge-triggered event loop on mio",
        violates: &[],
        lacks: Feature::ALL,
        source: include_str!("event_loop.rs"),
        run: event_loop::run,
    },
    Server {
        name: "threads",
        summary: "one blocking thread per connection plus a broadcaster",
        violates: &[],
        lacks: Feature::ALL,
        source: include_str!("thread_per_connection.rs"),
        run: thread_per_connection::run,
    },
    Server {
        name: "tokio",
        summary: "one task per connection on tokio's multi-thread runtime",
        violates: &[],
        lacks: Feature::ALL,
        source: include_str!("task_per_connection.rs"),
        run: task_per_connection::run_multi_thread,
    },
    Server {
        name: "tokio-current-thread",
        summary: "the same tasks on one thread",
        violates: &[],
        lacks: Feature::ALL,
        source: include_str!("task_per_connection.rs"),
        run: task_per_connection::run_current_thread,
    },
    #[cfg(target_os = "linux")]
    Server {
        name: "epoll",
        summary: "the algorithm of the `mio` server on bare epoll: shows what the mio library costs",
        violates: &[],
        lacks: Feature::ALL,
        source: include_str!("raw_epoll.rs"),
        run: raw_epoll::run,
    },
    Server {
        name: "blocking",
        summary: "one connection at a time: the lower bound of latency",
        violates: &["F2"],
        lacks: Feature::ALL,
        source: include_str!("one_connection.rs"),
        run: one_connection::run,
    },
    Server {
        name: "busy-loop",
        summary: "polls every socket in turn, without a pause",
        violates: &["I1"],
        lacks: Feature::ALL,
        source: include_str!("polling_loop.rs"),
        run: polling_loop::run_busy,
    },
    Server {
        name: "sleep-loop",
        summary: "polls every socket in turn, with a pause of 1 ms",
        violates: &["I1"],
        lacks: Feature::ALL,
        source: include_str!("polling_loop.rs"),
        run: polling_loop::run_sleepy,
    },
];

/// The server named `name`.
pub fn by_name(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}

/// The regions of the servers' files that hold what an option alone needs.
pub const REGIONS: [(&str, Feature); 2] = [("handshake", Feature::Handshake), ("idle timeout", Feature::IdleTimeout)];

impl Server {
    /// Lines of logic in its files, without blank lines, comments, imports and tests.
    pub fn logic_lines(&self) -> usize {
        self.logic(|_| true)
    }

    /// Those of them that stand in a region of this name, which the files mark for editors to fold: from
    /// `// region: NAME` to `// endregion`. A region within another one belongs to both.
    pub fn region_lines(&self, name: &str) -> usize {
        self.logic(|regions| regions.contains(&name))
    }

    /// The lines of logic in such regions.
    fn logic(&self, counts: impl Fn(&[&str]) -> bool) -> usize {
        let (mut testing, mut importing, mut regions, mut lines) = (false, false, Vec::new(), 0);
        for line in self.source.lines() {
            let text = line.trim();
            // Tests stand at the end of a file, behind which another one may follow.
            testing |= line == "#[cfg(test)]";
            if testing {
                testing = line.starts_with(' ') || !(line == "}" || line.ends_with(';'));
                continue;
            }
            if let Some(name) = text.strip_prefix("// region: ") {
                regions.push(name);
            } else if text == "// endregion" {
                regions.pop();
            }
            importing |= line.starts_with("use ");
            let is_logic = !importing && !text.is_empty() && !text.starts_with("//");
            importing &= !line.ends_with(';');
            lines += usize::from(is_logic && counts(&regions));
        }
        lines
    }
}

/// A server's configuration, besides its listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Interval between status lines; zero for none.
    pub status_interval: Duration,
    /// Maximum number of concurrent connections; further ones wait in the listen backlog.
    pub max_connections: NonZeroUsize,
    /// Number of worker threads, if the runtime has any.
    pub workers: NonZeroUsize,
    /// What it does beside echoing and broadcasting. A server is never asked for what it lacks.
    pub service: Service,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logic_is_counted() {
        let source = "//! Doc.\n\nuse a::b;\nuse c::{\n    d,\n    e,\n};\n\n/// Doc.\nfn f() {\n    // Why.\n    g();\n}\n\n#[cfg(test)]\nmod tests {}\n";
        let server = of_source(source);
        assert_eq!((server.logic_lines(), server.region_lines("handshake")), (3, 0));
    }

    fn of_source(source: &'static str) -> Server {
        Server { name: "", summary: "", violates: &[], lacks: &[], source, run: |_, _| Ok(Counters::default()) }
    }

    #[test]
    fn the_tests_of_one_file_do_not_hide_the_file_behind_it() {
        let server = of_source(
            "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    fn t() {\n    }\n}\n//! Doc.\nuse a::b;\n\nfn \
             h() {}\n#[cfg(test)]\nmod tests;\nfn i() {}\n",
        );
        assert_eq!(server.logic_lines(), 3);
    }

    #[test]
    fn a_region_has_the_lines_of_logic_between_its_marks() {
        let server = of_source(
            "fn f() {\n    // region: handshake\n    // Why.\n    greet();\n\n    // endregion\n    // region: idle \
             timeout\n    wait();\n    // region: handshake\n    now();\n    // endregion\n    more();\n    // \
             endregion\n}\n// region: handshake\nfn g() {}\n#[cfg(test)]\nmod tests {}\n",
        );
        assert_eq!((server.region_lines("handshake"), server.region_lines("idle timeout")), (3, 3));
        assert_eq!((server.region_lines("work"), server.logic_lines()), (0, 7));
    }

    #[test]
    fn what_an_option_needs_is_marked_in_the_files_that_have_it_and_every_region_ends() {
        for server in SERVERS {
            for (region, feature) in REGIONS {
                // A file may serve several models, of which one lacks it.
                let (lacks, lines) = (server.lacks.contains(&feature), server.region_lines(region));
                assert!(lacks || lines > 0, "{}: no line between the marks of {region}", server.name);
                assert!(lines < server.logic_lines());
            }
            let marks = |text: &str| server.source.lines().filter(|line| line.trim().starts_with(text)).count();
            assert_eq!(marks("// region: "), marks("// endregion"), "{}", server.name);
        }
    }
}
