//! Names to addresses through the system's resolver, so that one slow name never stops the others.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::Arc;
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::Clock;

/// What became of one name: its addresses in the order of preference, port 0; or why there are none, in words.
pub type Answer = Result<Vec<SocketAddr>, String>;

/// Something that knows addresses of names.
pub trait Resolver {
    /// Looks all names up; answers in their order, one each. A name that takes longer than `patience` is given up.
    fn resolve(&self, names: &[String], patience: Duration) -> Vec<Answer>;
}

/// Lookups at the same time.
const WORKERS: usize = 64;
/// Threads in all: those stuck in a lookup that was given up cannot be stopped, only left behind.
const MOST_THREADS: usize = 512;
/// Bound over all names together.
const OVERALL: Duration = Duration::from_secs(30);
/// A lookup that takes longer gets another worker beside it, so that dead names at the head of a long list do not
/// hold up what stands behind them.
const SLOW: Duration = Duration::from_secs(1);
/// Room for the name service's modules, which the C library loads into the calling thread.
const STACK: usize = 1 << 20;

type LookUp = dyn Fn(&str) -> Answer + Send + Sync;

/// The system's resolver (`getaddrinfo`): `/etc/hosts`, DNS, whatever the host is set up for.
#[derive(Clone)]
pub struct SystemResolver {
    lookup: Arc<LookUp>,
    overall: Duration,
}

impl std::fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemResolver").finish_non_exhaustive()
    }
}

impl Default for SystemResolver {
    fn default() -> SystemResolver {
        SystemResolver {
            lookup: Arc::new(look_up),
            overall: OVERALL,
        }
    }
}

fn look_up(name: &str) -> Answer {
    match (name, 0).to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(error) => {
            let error = error.to_string();
            let why = error
                .strip_prefix("failed to lookup address information: ")
                .unwrap_or(&error);
            Err(format!("name does not resolve ({why})"))
        }
    }
}

enum Event {
    Started(usize),
    Done(usize, Answer),
}

/// A lookup under way.
struct Lookup {
    at: usize,
    since: Timestamp,
    /// Another worker was started for its sake.
    helped: bool,
}

/// What the workers share.
struct Work {
    names: Vec<String>,
    next: AtomicUsize,
    lookup: Arc<LookUp>,
}

impl Work {
    fn start(self: &Arc<Work>, events: &Sender<Event>) -> bool {
        let (work, events) = (Arc::clone(self), events.clone());
        let run = move || {
            // The name service's modules need none of what was granted for sockets. Failing is no worse than before.
            let _ = rping_net::caps::drop_all();
            loop {
                let at = work.next.fetch_add(1, Ordering::Relaxed);
                let Some(name) = work.names.get(at) else { return };
                // Nobody listens any more once the time is up.
                if events.send(Event::Started(at)).is_err() {
                    return;
                }
                if events.send(Event::Done(at, (work.lookup)(name))).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("resolve".to_owned())
            .stack_size(STACK)
            .spawn(run)
            .is_ok()
    }

    fn waiting(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.names.len()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Resolver for SystemResolver {
    fn resolve(&self, names: &[String], patience: Duration) -> Vec<Answer> {
        let work = Arc::new(Work {
            names: names.to_vec(),
            next: AtomicUsize::new(0),
            lookup: Arc::clone(&self.lookup),
        });
        let mut answers: Vec<Option<Answer>> = vec![None; names.len()];
        let (sender, events) = mpsc::channel();
        let mut threads = 0;
        let mut running: Vec<Lookup> = Vec::new();
        let mut open = names.len();
        let mut given_up = 0;
        let began = Clock::new().now();
        let mut wanted = names.len().min(WORKERS);
        while open > 0 {
            while wanted > 0 && threads < MOST_THREADS {
                wanted -= 1;
                threads += usize::from(work.start(&sender));
            }
            let wait = Duration::from_millis(50)
                .min(patience)
                .max(Duration::from_millis(1));
            let event = events.recv_timeout(wait).ok();
            let now = Clock::new().now();
            match event {
                Some(Event::Started(at)) => running.push(Lookup {
                    at,
                    since: now,
                    helped: false,
                }),
                Some(Event::Done(at, answer)) => {
                    running.retain(|lookup| lookup.at != at);
                    if answers[at].is_none() {
                        answers[at] = Some(answer);
                        open -= 1;
                    }
                }
                None => {}
            }
            running.retain_mut(|lookup| {
                let took = now.nanos_since(lookup.since);
                if !lookup.helped && took >= nanos(patience.min(SLOW)) {
                    lookup.helped = true;
                    wanted += usize::from(work.waiting());
                }
                if took < nanos(patience) {
                    return true;
                }
                answers[lookup.at] = Some(Err(format!(
                    "name does not resolve (no answer from the name service within {patience:?})"
                )));
                open -= 1;
                given_up += 1;
                false
            });
            let nobody_left = threads == 0 || running.is_empty() && given_up >= MOST_THREADS;
            if nobody_left || now.nanos_since(began) > nanos(self.overall) {
                break;
            }
        }
        let unanswered =
            || Err("name does not resolve (the name service is too slow for so many names)".to_owned());
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(unanswered))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(lookup: impl Fn(&str) -> Answer + Send + Sync + 'static) -> SystemResolver {
        SystemResolver {
            lookup: Arc::new(lookup),
            overall: OVERALL,
        }
    }

    fn names(of: impl Iterator<Item = usize>) -> Vec<String> {
        of.map(|n| n.to_string()).collect()
    }

    /// Blocks its thread, as a name server that does not answer does.
    fn stuck() -> Answer {
        loop {
            std::thread::park();
        }
    }

    fn address(n: &str) -> Answer {
        Ok(vec![SocketAddr::from((
            [10, 0, 0, n.parse::<u16>().unwrap() as u8],
            0,
        ))])
    }

    #[test]
    fn a_name_that_never_answers_does_not_stop_the_others() {
        let resolver = resolver(|name| if name == "1" { stuck() } else { address(name) });
        let answers = resolver.resolve(&names(0..4), Duration::from_millis(100));
        assert!(answers[1].as_ref().is_err_and(|why| why.contains("within 100ms")));
        for at in [0, 2, 3] {
            assert_eq!(answers[at], address(&at.to_string()));
        }
    }

    #[test]
    fn more_dead_names_than_workers_do_not_starve_the_live_ones() {
        let dead = WORKERS * 2;
        let resolver = resolver(move |name| {
            if name.parse::<usize>().unwrap() < dead {
                stuck()
            } else {
                address(name)
            }
        });
        let answers = resolver.resolve(&names(0..dead + 20), Duration::from_millis(50));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 20);
    }

    #[test]
    fn answers_come_in_the_order_of_the_names() {
        let answers = resolver(address).resolve(&names(0..200), Duration::from_secs(5));
        let expected: Vec<Answer> = (0..200).map(|n| address(&n.to_string())).collect();
        assert_eq!(answers, expected);
        assert!(resolver(address).resolve(&[], Duration::ZERO).is_empty());
    }

    #[test]
    fn the_whole_is_bounded_even_if_nothing_ever_answers() {
        let mut resolver = resolver(|_| stuck());
        resolver.overall = Duration::from_millis(120);
        let answers = resolver.resolve(&names(0..300), Duration::from_secs(3600));
        assert!(answers.iter().all(|answer| answer.is_err()) && answers.len() == 300);
    }

    #[test]
    fn the_system_knows_this_host_and_no_impossible_name() {
        // A label of 64 characters fits no question (RFC 1035 section 2.3.4), so none is sent.
        let names = ["localhost".to_owned(), "a".repeat(64)];
        let answers = SystemResolver::default().resolve(&names, Duration::from_secs(20));
        assert!(answers[0]
            .as_ref()
            .is_ok_and(|found| found.iter().all(|address| address.ip().is_loopback())));
        assert!(answers[1]
            .as_ref()
            .is_err_and(|why| why.starts_with("name does not resolve (")));
    }
}
