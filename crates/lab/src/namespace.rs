//! A network namespace that lives as long as its value, and the commands run inside it.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use nix::sched::{setns, CloneFlags};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::turn::Turn;
use crate::wait::wait_until;

const PREFIX: &str = "rlab";

/// A network namespace of its own: loopback up, no duplicate address detection, no ICMP rate limit.
///
/// Clones are handles to the same one; it is deleted with the last of them.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    name: String,
    _turn: Arc<Turn>,
}

impl Namespace {
    /// Creates a namespace; `hint` becomes a part of its name, which is unique on this machine.
    ///
    /// Waits while a bench is up that fills the machine's neighbour table ([`crate::Lab::on_link`]).
    #[must_use]
    pub fn new(hint: &str) -> Self {
        Self::in_turn(hint, &Arc::new(Turn::shared()))
    }

    pub(crate) fn in_turn(hint: &str, turn: &Arc<Turn>) -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}-{hint}", std::process::id());
        // The first `ip netns add` of a machine turns /run/netns into a shared mount; two at once can collide.
        let mut tries = 0;
        wait_until("ip netns add succeeds", Duration::from_secs(5), || {
            tries += 1;
            let out = output(Command::new("ip").args(["netns", "add", &name]));
            assert!(
                tries < 20 || out.status.success(),
                "ip netns add {name}: {}",
                said(&out)
            );
            out.status.success()
        });
        let namespace = Self(Arc::new(Owned {
            name,
            _turn: Arc::clone(turn),
        }));
        namespace.run(|| {
            // Interfaces made later inherit these: an address is usable as soon as it is there.
            write_sysctl("net.ipv6.conf.default.accept_dad", "0");
            write_sysctl("net.ipv6.conf.all.accept_dad", "0");
            write_sysctl("net.ipv6.conf.default.dad_transmits", "0");
            write_sysctl("net.ipv6.conf.default.router_solicitations", "0");
            // A test that counts ICMP errors counts all of them.
            write_sysctl("net.ipv4.icmp_ratelimit", "0");
            write_sysctl("net.ipv6.icmp.ratelimit", "0");
        });
        namespace.ip("link set lo up");
        namespace
    }

    /// The name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A command that will run in this namespace, with `/sys` of the namespace.
    ///
    /// `ip netns exec` becomes the program, so the child's process id is the program's own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0.name]).arg(program);
        command
    }

    /// A command that will run in this namespace as `nobody`, without any capability and without a way to one.
    #[must_use]
    pub fn unprivileged(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .args([
                "--inh-caps=-all",
                "--ambient-caps=-all",
                "--bounding-set=-all",
                "--no-new-privs",
            ])
            .arg(program);
        command
    }

    /// Runs a command line in this namespace to its end.
    ///
    /// # Panics
    /// When it cannot be started or exits other than 0; the message holds what it said.
    pub fn exec(&self, argv: &[&str]) -> Output {
        let out = self.try_exec(argv);
        assert!(
            out.status.success(),
            "{argv:?} in {}: {}: {}",
            self.name(),
            out.status,
            said(&out)
        );
        out
    }

    /// Runs a command line in this namespace to its end, whatever its exit code.
    ///
    /// # Panics
    /// When it cannot be started or `argv` is empty.
    pub fn try_exec(&self, argv: &[&str]) -> Output {
        let (program, args) = argv.split_first().expect("a program to run");
        output(self.command(program).args(args))
    }

    /// Runs `work` on a fresh thread inside this namespace and returns what it returns.
    ///
    /// Sockets opened there stay in this namespace wherever they are used later.
    ///
    /// # Panics
    /// With the panic of `work`, or when the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name());
        let door = File::open(&path).unwrap_or_else(|error| panic!("open {path}: {error}"));
        let joined = std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(&door, CloneFlags::CLONE_NEWNET)
                        .unwrap_or_else(|error| panic!("enter {path}: {error}"));
                    work()
                })
                .join()
        });
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs `ip` with these lines as one batch: a thousand addresses cost one process.
    pub fn ip(&self, lines: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.0.name, "-batch", "-"]);
        feed(&mut command, lines);
    }

    /// Loads these rules into nftables, all or none.
    pub fn nft(&self, rules: &str) {
        feed(self.command("nft").args(["-f", "-"]), rules);
    }

    /// Removes every nftables rule.
    pub fn nft_flush(&self) {
        self.nft("flush ruleset");
    }

    /// Sets a kernel parameter by its dotted name (`net.ipv4.ip_forward`).
    pub fn sysctl(&self, name: &str, value: &str) {
        self.run(|| write_sysctl(name, value));
    }

    /// Takes an interface down; its routes go with it.
    pub fn link_down(&self, interface: &str) {
        self.ip(&format!("link set {interface} down"));
    }

    /// Brings an interface up.
    pub fn link_up(&self, interface: &str) {
        self.ip(&format!("link set {interface} up"));
    }

    /// Waits until the stack has noticed that the far end of an interface is there, or gone.
    ///
    /// The kernel acts on a lost carrier up to a second after the link flag shows it.
    ///
    /// # Panics
    /// When it does not within a minute: the kernel's own thread does it, when a busy machine lets it.
    pub fn wait_carrier(&self, interface: &str, is_there: bool) {
        let path = format!("/sys/class/net/{interface}/operstate");
        wait_until(
            &format!("{interface} has carrier: {is_there}"),
            Duration::from_secs(60),
            || {
                let out = self.exec(&["cat", &path]);
                (out.stdout == b"up\n") == is_there
            },
        );
    }

    /// Sets the MTU of an interface, in bytes.
    pub fn mtu(&self, interface: &str, bytes: u32) {
        self.ip(&format!("link set {interface} mtu {bytes}"));
    }

    /// Forgets every neighbour, so that the next packet has to resolve again.
    pub fn forget_neighbours(&self) {
        self.ip("neigh flush all");
    }

    /// The hardware address of an interface, as `aa:bb:cc:dd:ee:ff`.
    #[must_use]
    pub fn mac(&self, interface: &str) -> String {
        let out = self.exec(&["cat", &format!("/sys/class/net/{interface}/address")]);
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// A counter of an interface from `/sys/class/net/…/statistics` (`rx_dropped`).
    #[must_use]
    pub fn statistic(&self, interface: &str, counter: &str) -> u64 {
        let path = format!("/sys/class/net/{interface}/statistics/{counter}");
        let out = self.exec(&["cat", &path]);
        let text = String::from_utf8_lossy(&out.stdout);
        text.trim()
            .parse()
            .unwrap_or_else(|error| panic!("{path}: {text:?}: {error}"))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Nothing to be done about a failure here; the next run sweeps what is left.
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .stderr(Stdio::null())
            .status();
    }
}

/// Deletes the namespaces of test processes that were killed before they could.
fn sweep() {
    let Ok(names) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for name in names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let mut parts = name.split('-');
        if parts.next() != Some(PREFIX) {
            continue;
        }
        let Some(owner) = parts.next().and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !std::path::Path::new(&format!("/proc/{owner}")).exists() {
            let _ = Command::new("ip")
                .args(["netns", "del", &name])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// A program that runs beside the test until this value is dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    log: File,
    what: String,
}

impl Background {
    /// Starts `command`; what it writes to both outputs is kept and can be read with [`Background::log`].
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let log = tempfile::tempfile().expect("a temporary file for a program's output");
        let copy = || log.try_clone().expect("a second handle of a temporary file");
        let child = command
            .stdin(Stdio::null())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .unwrap_or_else(|error| panic!("start {what}: {error}"));
        Self { child, log, what }
    }

    /// Everything it has written so far.
    ///
    /// The child shares the file position, so this reads without moving it.
    #[must_use]
    pub fn log(&self) -> String {
        use std::os::unix::fs::FileExt as _;
        let length = self.log.metadata().map_or(0, |meta| meta.len());
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = self.log.read_at(&mut bytes, 0).unwrap_or(0);
        bytes.truncate(read);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until its output contains `words`.
    ///
    /// # Panics
    /// When `limit` passes first, or the program ends first; the message holds what it wrote.
    pub fn wait_for(&mut self, words: &str, limit: Duration) {
        let what = format!("{} says {words:?}", self.what);
        wait_until(&what, limit, || {
            let said = self.log();
            if said.contains(words) {
                return true;
            }
            let ended = self.child.try_wait().ok().flatten();
            assert!(ended.is_none(), "{} ended: {ended:?}: {said}", self.what);
            false
        });
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        // It may have ended by itself.
        let _ = kill(pid, signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When `limit` passes first.
    pub fn finish(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait_until(&format!("{} ends", self.what), limit, || {
            status = self.child.try_wait().expect("the state of a child of ours");
            status.is_some()
        });
        status.expect("the loop ended because it is there")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail only where it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("write {value} to {path}: {error}"));
}

fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("run {command:?}: {error}"))
}

fn said(out: &Output) -> String {
    let both = [out.stdout.as_slice(), out.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}

/// Runs a command with this text as its input and insists on exit 0.
fn feed(command: &mut Command, text: &str) {
    // A file, not a pipe: a program that answers at length while it still reads cannot block us.
    let mut input = tempfile::tempfile().expect("a temporary file for a program's input");
    input
        .write_all(text.as_bytes())
        .and_then(|()| input.rewind())
        .expect("a temporary file can be written");
    let out = command
        .stdin(input)
        .output()
        .unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    assert!(
        out.status.success(),
        "{command:?}: {}: {}\n{text}",
        out.status,
        said(&out)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_holds_its_own_network_and_goes_with_its_value() {
        if !crate::require_root("a_namespace_holds_its_own_network_and_goes_with_its_value") {
            return;
        }
        let namespace = Namespace::new("own");
        let path = format!("/run/netns/{}", namespace.name());
        let links = namespace.exec(&["ip", "-o", "link"]);
        assert!(String::from_utf8_lossy(&links.stdout).contains("lo: <LOOPBACK,UP"));
        let port = namespace.run(|| {
            std::net::TcpListener::bind("127.0.0.1:445").map(|socket| socket.local_addr().unwrap().port())
        });
        assert_eq!(port.unwrap(), 445);
        assert!(std::path::Path::new(&path).exists());
        drop(namespace);
        assert!(!std::path::Path::new(&path).exists());
    }

    #[test]
    fn nobody_in_a_namespace_holds_no_capability() {
        if !crate::require_root("nobody_in_a_namespace_holds_no_capability") {
            return;
        }
        let namespace = Namespace::new("nobody");
        let out = namespace
            .unprivileged("cat")
            .arg("/proc/self/status")
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
        assert!(text.contains("CapBnd:\t0000000000000000"), "{text}");
        assert!(text.contains("Uid:\t65534"), "{text}");
    }

    #[test]
    fn a_background_program_is_read_while_it_runs_and_ends_with_its_value() {
        if !crate::require_root("a_background_program_is_read_while_it_runs_and_ends_with_its_value") {
            return;
        }
        let namespace = Namespace::new("back");
        let mut command = namespace.command("sh");
        command.args(["-c", "echo ready; exec sleep 60"]);
        let mut background = Background::spawn(command);
        background.wait_for("ready", Duration::from_secs(5));
        let process = format!("/proc/{}", background.id());
        assert!(std::path::Path::new(&process).exists());
        drop(background);
        assert!(!std::path::Path::new(&process).exists());
    }

    #[test]
    #[should_panic(expected = "No such file")]
    fn a_command_that_fails_fails_the_test_with_its_own_words() {
        if !crate::require_root("a_command_that_fails_fails_the_test_with_its_own_words") {
            panic!("No such file");
        }
        let _ = Namespace::new("fails").exec(&["cat", "/no/such/file"]);
    }
}
