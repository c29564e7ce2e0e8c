use std::io::Read;

use portable_pty::{native_pty_system, CommandBuilder, PtySize};

/// Set where this test runs itself again, inside a terminal.
const INSIDE: &str = "RPING_TEST_PANICS_INSIDE_A_TERMINAL";

#[test]
fn a_panic_leaves_the_terminal_as_it_was_and_is_readable() {
    if std::env::var_os(INSIDE).is_some() {
        let _terminal = super::take().expect("a terminal");
        panic!("in the middle of the picture");
    }
    let pty = native_pty_system()
        .openpty(PtySize::default())
        .expect("a pseudo-terminal");
    let settings = || format!("{:?}", pty.master.get_termios().expect("settings"));
    let before = settings();
    let mut command = CommandBuilder::new(std::env::current_exe().expect("this test"));
    let name = "graph::tests::a_panic_leaves_the_terminal_as_it_was_and_is_readable";
    command.args(["--exact", name, "--nocapture"]);
    command.env(INSIDE, "1");
    let mut output = pty.master.try_clone_reader().expect("a reader");
    let mut child = pty.slave.spawn_command(command).expect("it starts again");
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut bytes = [0; 4096];
        // A terminal whose other end is gone ends in an error.
        while let Ok(n @ 1..) = output.read(&mut bytes) {
            all.extend_from_slice(&bytes[..n]);
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    assert!(!child.wait().expect("an end").success());
    assert_eq!(settings(), before);
    drop(pty);
    let all = reader.join().expect("read");
    let (picture, after) = all.split_once("\x1b[?1049l").expect("the picture is left");
    assert!(picture.contains("\x1b[?1049h"), "{all:?}");
    assert!(after.contains("\x1b[?25h"), "the cursor is back: {all:?}");
    assert!(after.contains("in the middle of the picture"), "{all:?}");
}

#[test]
fn a_picture_that_takes_nothing_costs_bounded_memory_and_no_time() {
    use crate::render::sample::{target, Run};
    use crate::render::Render;
    use std::sync::mpsc;

    let mut run = Run::new(crate::job::Kind::Icmp, vec![target(None, "10.0.0.1:0")]);
    run.reply(0, 1000);
    let record = run.records[0];
    let after = crate::render::renderer(
        &crate::args::output::OutputOptions::default(),
        std::sync::Arc::clone(&run.report.job),
        Box::new(std::io::sink()),
        false,
    );
    let signals = crate::signals::Signals::new(rping_net::Waker::new().expect("a waker"));
    let mut graph = super::Graph::new(after, std::sync::Arc::clone(&run.report.job), signals);
    let (tell, told) = mpsc::sync_channel(super::WAITING);
    // A drawing thread that stands still until it is let go.
    let (go, wait) = mpsc::channel::<()>();
    let drawing = std::thread::spawn(move || {
        let _ = wait.recv();
        let mut taken = 0;
        while let Ok(super::Told::Records(batch)) = told.recv() {
            taken += batch.len();
        }
        TAKEN.store(taken, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    });
    graph.picture = Some((tell, drawing));
    for n in 0..10 * super::BATCH {
        graph.record(&record).expect("taken");
        if n % 100 == 0 {
            graph.flush().expect("handed on, or kept");
        }
        assert!(graph.batch.len() <= super::BATCH);
    }
    drop(go);
    drop(graph);
    let taken = TAKEN.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        (1..=(super::WAITING + 1) * super::BATCH).contains(&taken),
        "{taken}"
    );
}

static TAKEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
