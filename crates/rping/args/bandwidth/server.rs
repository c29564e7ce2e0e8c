//! From what was asked for to a test that can be run: the server found, the whole judged against this host.

use std::net::SocketAddr;
use std::time::Duration;

use rping_net::stream::StreamOptions;
use rping_peer::iperf::{Client, End};

use super::BandwidthRequest;
use crate::args::{shown, Family, Request, Source, Usage};
use crate::job::{Kind, Stop, UdpProtocol};
use crate::targets::{LocalNet, Resolver};

/// The headers that a UDP payload shares the path MTU with.
const HEADERS_V4: usize = 28;
const HEADERS_V6: usize = 48;

/// A test that can be run.
#[derive(Debug)]
pub struct Plan {
    /// The server's name as output shows it.
    pub name: String,
    /// The test.
    pub client: Client,
    /// The STAMP reflector whose latency is probed beside the load.
    pub reflector: Option<SocketAddr>,
}

impl BandwidthRequest {
    /// Looks the name up and checks the whole against this host.
    ///
    /// # Errors
    /// What cannot be carried out as it was asked; a name that does not resolve.
    pub fn into_client(self, resolver: &dyn Resolver, local: &LocalNet) -> Result<Plan, Usage> {
        let server = |host| Server {
            host,
            family: self.family,
            source: self.source.clone(),
            interface: self.interface.clone(),
            ttl: self.ttl,
            dscp: self.dscp,
            mark: self.mark,
        };
        let (name, address, stream) = server(&self.host).find(resolver, local)?;
        let reflector = match &self.latency {
            None => None,
            Some(None) => Some(address),
            Some(Some(other)) => Some(server(other).find(resolver, local)?.1),
        };
        let mut parameters = self.parameters;
        if parameters.length == 0 {
            let headers = if address.is_ipv6() { HEADERS_V6 } else { HEADERS_V4 };
            let mtu = rping_net::options::path_mtu(address).map_or(1500, |mtu| mtu as usize);
            parameters.length = mtu.saturating_sub(headers).clamp(16, 65_507);
        }
        let stream = StreamOptions {
            mss: parameters.mss,
            congestion: parameters.congestion.clone(),
            ..stream
        };
        let end = match self.stop {
            Stop::Count(n) => End::Bytes(n.saturating_mul(parameters.length as u64).min(1 << 62)),
            Stop::After(time) => End::After(time),
            Stop::Never => End::After(Duration::MAX),
        };
        let key = crate::key::load(self.key_file.as_deref())?;
        let client = Client {
            server: address,
            parameters,
            end,
            stream,
            patience: self.patience,
            interval: self.interval,
            key,
        };
        Ok(Plan {
            name,
            client,
            reflector,
        })
    }
}

/// The far end of a two-ended test, and how to get there.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    pub(crate) host: &'a str,
    pub(crate) family: Option<Family>,
    pub(crate) source: Option<Source>,
    pub(crate) interface: Option<String>,
    pub(crate) ttl: Option<u8>,
    pub(crate) dscp: Option<u8>,
    pub(crate) mark: Option<u32>,
}

impl Server<'_> {
    /// Its name as output shows it, its address, and the options of connections to it. Judged as a UDP probe's target
    /// would be, whose default port is the same.
    pub(crate) fn find(
        self,
        resolver: &dyn Resolver,
        local: &LocalNet,
    ) -> Result<(String, SocketAddr, StreamOptions), Usage> {
        let request = Request {
            family: self.family,
            source: self.source,
            interface: self.interface,
            ttl: self.ttl,
            dscp: self.dscp,
            mark: self.mark,
            ..Request::new(Kind::Udp(UdpProtocol::Auto)).target(self.host)
        };
        let job = request.into_job(resolver, local)?;
        let [target] = job.targets.as_slice() else {
            return Err(Usage::new(format_args!(
                "{} is not one host and one port",
                shown(self.host)
            )));
        };
        let name = target.label();
        if let Some(error) = &target.error {
            return Err(Usage::about(&name, error));
        }
        let Some(address) = target.address else {
            return Err(Usage::about(&name, "has no address"));
        };
        let source = job
            .source
            .map(|ip| SocketAddr::new(ip, job.source_port.unwrap_or(0)));
        let stream = StreamOptions {
            source,
            interface: job.interface,
            dscp: job.dscp,
            ttl: job.ttl,
            mark: job.mark,
            mss: None,
            congestion: None,
        };
        Ok((name, address, stream))
    }
}
