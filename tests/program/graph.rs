//! The live picture, through a pseudo-terminal whose screen is read as a person would see it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portable_pty::{native_pty_system, Child, CommandBuilder, MasterPty, PtySize};

use crate::{rping, text};

/// Long enough for a debug build on a busy machine; what is waited for is looked for again and again until then.
const PATIENCE: Duration = Duration::from_secs(30);

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize {
        rows,
        cols,
        pixel_width: 0,
        pixel_height: 0,
    }
}

fn whole(n: u16) -> NonZero<u16> {
    NonZero::new(n).expect("a size")
}

/// A terminal with rping in it.
struct Seat {
    master: Option<Box<dyn MasterPty + Send>>,
    keys: Option<Box<dyn Write + Send>>,
    child: Box<dyn Child + Send + Sync>,
    screen: Arc<Mutex<vt100::Parser>>,
    before: String,
    hung_up: Arc<AtomicBool>,
}

impl Seat {
    fn with(args: &[&str]) -> Seat {
        let pty = native_pty_system()
            .openpty(size(24, 100))
            .expect("a pseudo-terminal");
        let before = format!("{:?}", pty.master.get_termios().expect("a terminal's settings"));
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_rping"));
        command.args(args);
        command.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(command).expect("rping starts");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(whole(24), whole(100), 0)));
        let mut output = pty.master.try_clone_reader().expect("a reader");
        let read = Arc::clone(&screen);
        let hung_up = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&hung_up);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let (Ok(n @ 1..), false) = (output.read(&mut bytes), theirs.load(Ordering::Acquire)) {
                read.lock().expect("a screen").process(&bytes[..n]);
            }
        });
        let keys = pty.master.take_writer().expect("a writer");
        Seat {
            master: Some(pty.master),
            keys: Some(keys),
            child,
            screen,
            before,
            hung_up,
        }
    }

    fn seen(&self) -> String {
        self.screen.lock().expect("a screen").screen().contents()
    }

    fn is_drawn(&self) -> bool {
        self.screen.lock().expect("a screen").screen().alternate_screen()
    }

    /// Looks until `wanted` holds of what is seen.
    fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut seen = String::new();
        rping_lab::wait_until(what, PATIENCE, || {
            seen = self.seen();
            wanted(&seen)
        });
        seen
    }

    fn resize(&self, rows: u16, cols: u16) {
        let mut screen = self.screen.lock().expect("a screen");
        screen.screen_mut().set_size(whole(rows), whole(cols));
        self.terminal().resize(size(rows, cols)).expect("resized");
    }

    fn press(&mut self, keys: &str) {
        let typed = self.keys.as_mut().expect("not hung up");
        typed.write_all(keys.as_bytes()).expect("keys are taken");
        typed.flush().expect("keys are taken");
    }

    fn kill(&self, signal: &str) {
        let pid = self.child.process_id().expect("a process").to_string();
        let killed = std::process::Command::new("kill")
            .args(["-s", signal, &pid])
            .status();
        assert!(killed.expect("kill starts").success());
    }

    /// How the terminal is set: whether it takes lines, echoes them, turns Ctrl-C into a signal.
    fn settings(&self) -> String {
        format!(
            "{:?}",
            self.terminal().get_termios().expect("a terminal's settings")
        )
    }

    fn terminal(&self) -> &dyn MasterPty {
        self.master.as_deref().expect("not hung up")
    }

    /// Hangs up, as a window that is closed, and waits for the end.
    fn hang_up(mut self) {
        self.hung_up.store(true, Ordering::Release);
        self.keys = None;
        self.master = None;
        self.child.wait().expect("an end");
    }

    /// Waits for the end; the terminal is as it was, and shows the summary.
    fn ended(mut self) -> (u32, String) {
        let status = self.child.wait().expect("an end");
        let seen = self.until("the summary is shown", |seen| seen.contains("sent, "));
        assert!(!self.is_drawn(), "{seen}");
        assert_eq!(self.settings(), self.before);
        let hidden = self.screen.lock().expect("a screen").screen().hide_cursor();
        assert!(!hidden, "the cursor is back");
        (status.exit_code(), seen)
    }
}

/// A test that failed leaves nothing running.
impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn target() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    (listener, target)
}

/// How many of the picture's cells are braille dots: a line of round trips.
fn dots(seen: &str) -> usize {
    seen.chars()
        .filter(|c| ('\u{2801}'..='\u{28ff}').contains(c))
        .count()
}

#[test]
fn round_trips_and_refusals_are_drawn_with_their_figures_and_q_ends_in_the_summary() {
    let (_kept, open) = target();
    let (gone, closed) = target();
    drop(gone);
    let mut seat = Seat::with(&["tcp", &open, &closed, "-t", "-i", "20ms", "--graph"]);
    let seen = seat.until("replies and refusals are drawn", |seen| {
        dots(seen) > 3 && seen.matches('×').count() > 4 && seen.contains("µs")
    });
    assert!(seat.is_drawn());
    assert_ne!(seat.settings(), seat.before, "keys are read one by one");
    for wanted in [&open, &closed, "jitter", "p99", "-1m", "now", "q quit"] {
        assert!(seen.contains(wanted), "no {wanted}:\n{seen}");
    }
    // The closed port's probes are refused: 100 % loss as ping counts it.
    let row = seen
        .lines()
        .find(|line| line.starts_with(&closed))
        .expect("its row");
    assert!(row.contains("100%"), "{seen}");
    seat.press("q");
    let (code, seen) = seat.ended();
    assert_eq!(code, 1, "one never replied: {seen}");
}

#[test]
fn keys_pause_zoom_switch_and_reset_and_a_new_size_is_filled() {
    let (_kept, open) = target();
    let (_kept_too, other) = target();
    let mut seat = Seat::with(&["tcp", &open, &other, "-t", "-i", "20ms", "--graph"]);
    seat.until("a line is drawn", |seen| dots(seen) > 2);
    seat.press("p");
    seat.until("it stands still", |seen| seen.contains("paused"));
    let still = seat.seen();
    seat.press("-");
    let zoomed = seat.until("a longer stretch is shown", |seen| seen.contains("-5m"));
    let figures = |seen: &str| {
        seen.lines()
            .filter(|l| l.starts_with("127."))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(figures(&zoomed), figures(&still), "figures stand still too");
    seat.press("p++");
    seat.until("it goes on, nearer", |seen| {
        !seen.contains("paused") && seen.contains("-30s")
    });
    seat.press("\t\t");
    seat.until("the second target alone is looked at", |seen| {
        seen.lines().next().is_some_and(|title| title.contains(&other))
    });
    seat.press("a");
    seat.until("all targets are looked at", |seen| seen.contains("2 targets"));
    seat.until("a hundred were sent", |seen| {
        let row = seen.lines().find(|line| line.starts_with(&open));
        row.and_then(|row| row.split_whitespace().nth(1)?.parse::<u64>().ok())
            .is_some_and(|sent| sent > 100)
    });
    seat.press("r");
    seat.until("figures begin again", |seen| {
        let row = seen.lines().find(|line| line.starts_with(&open));
        row.and_then(|row| row.split_whitespace().nth(1)?.parse::<u64>().ok())
            .is_some_and(|sent| sent < 100)
    });
    seat.resize(40, 140);
    seat.until("the keys stand on the new last line", |seen| {
        seen.lines().nth(39).is_some_and(|line| line.contains("q quit"))
    });
    seat.resize(5, 20);
    seat.until("a small terminal is told so", |seen| seen.contains("is needed"));
    seat.resize(24, 100);
    seat.until("the picture is back", |seen| seen.contains("q quit"));
    // Ctrl-C as a key.
    seat.press("\u{3}");
    assert_eq!(seat.ended().0, 0);
}

#[test]
fn a_signal_and_the_count_leave_the_terminal_as_it_was() {
    let (_kept, open) = target();
    for signal in ["TERM", "INT", "HUP"] {
        let seat = Seat::with(&["tcp", &open, "-t", "-i", "20ms", "--graph"]);
        seat.until("a line is drawn", |seen| dots(seen) > 2);
        seat.kill(signal);
        assert_eq!(seat.ended().0, 0, "{signal}");
    }
    let seat = Seat::with(&["tcp", &open, "-n", "20", "-i", "20ms", "--graph"]);
    let (code, seen) = seat.ended();
    assert_eq!(code, 0);
    assert!(seen.contains("20 sent, 20 received"), "{seen}");
}

#[test]
fn a_terminal_that_is_gone_ends_the_run() {
    let (_kept, open) = target();
    let seat = Seat::with(&["tcp", &open, "-t", "-i", "20ms", "--graph"]);
    seat.until("a line is drawn", |seen| dots(seen) > 2);
    seat.hang_up();
}

#[test]
fn without_a_terminal_it_is_refused() {
    let output = rping(&["tcp", "127.0.0.1:9", "--graph"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(
        said.starts_with("rping: --graph draws on a terminal") && said.lines().count() == 1,
        "{said}"
    );
    let output = rping(&["tcp", "127.0.0.1:9", "--graph", "--json"]);
    assert_eq!(output.status.code(), Some(2));
}
