//! Sockets that know when a packet left and arrived; clock, waiting, error queue.
