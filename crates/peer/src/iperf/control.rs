//! The control connection: states, and texts behind their length. Every read has a deadline, and no announced length
//! is believed before its bytes are there.

use std::time::Duration;

use rping_wire::iperf::{Cookie, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Error;

/// How long a side may take for a step that needs no data to flow.
pub(crate) const STEP: Duration = Duration::from_secs(10);

/// How long the other side may take to close at the end.
const FAREWELL: Duration = Duration::from_millis(300);

/// One end of a control connection.
#[derive(Debug)]
pub(crate) struct Control {
    stream: TcpStream,
}

impl Control {
    pub(crate) fn new(stream: TcpStream) -> Control {
        Control { stream }
    }

    pub(crate) async fn send_cookie(&mut self, cookie: &Cookie) -> Result<(), Error> {
        self.write(cookie.as_bytes(), "sending the cookie").await
    }

    pub(crate) async fn send_state(&mut self, state: State) -> Result<(), Error> {
        self.write(&[state.octet()], "sending a state").await
    }

    /// Tells why the test ends: the number, and no errno.
    pub(crate) async fn send_error(&mut self, number: i32) -> Result<(), Error> {
        let mut message = vec![State::ServerError.octet()];
        message.extend(number.to_be_bytes());
        message.extend(0i32.to_be_bytes());
        self.write(&message, "sending an error").await
    }

    /// A text of JSON behind its length.
    pub(crate) async fn send_text(&mut self, text: &[u8]) -> Result<(), Error> {
        let length = u32::try_from(text.len()).map_err(|_| Error::Nonsense("a text beyond 4 GiB"))?;
        let mut message = length.to_be_bytes().to_vec();
        message.extend(text);
        self.write(&message, "sending a text").await
    }

    async fn write(&mut self, bytes: &[u8], what: &'static str) -> Result<(), Error> {
        within(STEP, what, self.stream.write_all(bytes)).await
    }

    /// The next state. A server's error is read whole and returned as such.
    pub(crate) async fn state(&mut self, most: Duration, what: &'static str) -> Result<State, Error> {
        let octet = within(most, what, self.stream.read_u8()).await?;
        match State::from_octet(octet) {
            None => Err(Error::Nonsense("an unknown state")),
            Some(State::ServerError) => {
                // The errno behind it is often a stale one: nobody is shown it.
                let number = within(STEP, what, self.stream.read_i32()).await;
                Err(number.map_or(Error::Terminated, Error::Server))
            }
            Some(state) => Ok(state),
        }
    }

    /// Waits for this state.
    pub(crate) async fn expect(
        &mut self,
        wanted: State,
        most: Duration,
        what: &'static str,
    ) -> Result<(), Error> {
        match self.state(most, what).await? {
            state if state == wanted => Ok(()),
            other => Err(Error::unexpected(other)),
        }
    }

    /// A text of at most `longest` bytes.
    pub(crate) async fn text(&mut self, longest: usize, what: &'static str) -> Result<Vec<u8>, Error> {
        let length = within(STEP, what, self.stream.read_u32()).await? as usize;
        if length > longest {
            return Err(Error::Nonsense("a text longer than any of iperf3's"));
        }
        let mut text = Vec::new();
        let mut limited = (&mut self.stream).take(length as u64);
        let got = within(STEP, what, limited.read_to_end(&mut text)).await?;
        if got < length {
            return Err(Error::Closed(what));
        }
        Ok(text)
    }

    /// Waits for whatever the other side says while data flows. Safe to be dropped half-way: one octet is all it reads.
    pub(crate) async fn hear(&mut self) -> Result<u8, Error> {
        self.stream.read_u8().await.map_err(Error::io("data flowed"))
    }

    /// Waits, not for long, until the other side has closed as well: its server is then ready for the next test.
    pub(crate) async fn finish(mut self) {
        let mut rest = [0; 64];
        let closing = async {
            self.stream.shutdown().await?;
            while self.stream.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // However it ends, there is nothing left to be told.
        let _ = timeout(FAREWELL, closing).await;
    }

    /// Reads the number behind a server's error.
    pub(crate) async fn error_number(&mut self) -> Error {
        let number = within(STEP, "an error was told", self.stream.read_i32()).await;
        number.map_or(Error::Terminated, Error::Server)
    }
}

/// Runs `work` for at most this long.
pub(crate) async fn within<T>(
    most: Duration,
    what: &'static str,
    work: impl std::future::Future<Output = std::io::Result<T>>,
) -> Result<T, Error> {
    match timeout(most, work).await {
        Ok(done) => done.map_err(Error::io(what)),
        Err(_) => Err(Error::Silent {
            what,
            seconds: most.as_secs(),
        }),
    }
}
