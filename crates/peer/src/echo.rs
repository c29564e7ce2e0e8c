//! RFC 862's echo over TCP. (Over UDP the reflector answers it.)

use std::sync::atomic::Ordering;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::server::{Shared, REST};

/// How much of a connection is under way at once: also all that one which does not read costs.
const ROOM: usize = 4096;

/// Echoes every connection until its client closes it, is silent or does not read for the idle limit, or has had its time.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Some(_seat) = shared.echoes.enter(from.ip()) else {
                        shared.refused.fetch_add(1, Ordering::Relaxed);
                        return;
                    };
                    // However it ends: nothing was promised but the bytes that came.
                    let _ = timeout(shared.limits.duration, echo(stream, &shared)).await;
                });
            }
            Err(error) if rping_net::stream::is_exhaustion(&error) => sleep(REST).await,
            Err(_) => {}
        }
    }
}

async fn echo(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let idle = shared.limits.idle;
    stream.set_nodelay(true).ok()?;
    let mut bytes = [0; ROOM];
    loop {
        let got = timeout(idle, stream.read(&mut bytes)).await.ok()?.ok()?;
        if got == 0 {
            return stream.shutdown().await.ok();
        }
        timeout(idle, stream.write_all(bytes.get(..got)?))
            .await
            .ok()?
            .ok()?;
    }
}
