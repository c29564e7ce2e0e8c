use super::*;
use std::net::UdpSocket;

fn soon(micros: u64) -> Timestamp {
    Clock.now().plus(Duration::from_micros(micros))
}

#[test]
fn no_pacing_returns_before_the_instant_without_a_reason() {
    for pacing in [Pacing::Precise, Pacing::Spin, Pacing::Eco] {
        let mut waiter = Waiter::new(pacing);
        for micros in [0, 1, 50, 300, 3_000] {
            let until = soon(micros);
            assert_eq!(waiter.wait(&[], until), Woken::Due, "{pacing:?}");
            assert!(Clock.now() >= until, "{pacing:?} {micros}");
        }
    }
}

#[test]
fn a_datagram_ends_the_wait_and_is_said_to_be_readable() {
    for pacing in [Pacing::Precise, Pacing::Spin, Pacing::Eco] {
        let quiet = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket
            .send_to(b"x", socket.local_addr().expect("address"))
            .expect("send");
        let mut waiter = Waiter::new(pacing);
        assert_eq!(
            waiter.wait(&[quiet.as_fd(), socket.as_fd()], soon(2_000_000)),
            Woken::Ready
        );
        assert!(
            !waiter.readiness(0).readable && waiter.readiness(1).readable,
            "{pacing:?}"
        );
        assert!(!waiter.readiness(1).error && !waiter.readiness(7).readable);
    }
}

#[test]
fn a_wake_ends_a_wait_without_an_end_and_is_not_lost_when_it_comes_first() {
    for pacing in [Pacing::Precise, Pacing::Spin, Pacing::Eco] {
        let waker = Waker::new().expect("eventfd");
        let mut waiter = Waiter::new(pacing).with_waker(waker.clone());
        waker.wake();
        assert_eq!(waiter.wait(&[], Timestamp::NEVER), Woken::Interrupted);
        assert_eq!(
            waiter.wait(&[], soon(100)),
            Woken::Due,
            "one wake, one interruption"
        );
        let thread = std::thread::spawn({
            let waker = waker.clone();
            move || {
                sleep(Duration::from_millis(5));
                waker.wake();
            }
        });
        assert_eq!(waiter.wait(&[], Timestamp::NEVER), Woken::Interrupted);
        thread.join().expect("join");
        assert_eq!(waiter.wait(&[], soon(100)), Woken::Due);
    }
}

#[test]
fn a_waiter_that_is_always_late_still_sees_a_wake() {
    let waker = Waker::new().expect("eventfd");
    let mut waiter = Waiter::new(Pacing::Precise).with_waker(waker.clone());
    waker.wake();
    assert_eq!(waiter.wait(&[], Timestamp::ZERO), Woken::Interrupted);
}

#[test]
fn the_margin_follows_the_oversleep_within_its_bounds() {
    let mut margin = Margin::short();
    for _ in 0..200 {
        margin.observe(Duration::from_micros(2));
    }
    assert_eq!(margin.get(), Duration::from_micros(20));
    for _ in 0..200 {
        margin.observe(Duration::from_millis(40));
    }
    assert_eq!(margin.get(), Duration::from_micros(150));
}
