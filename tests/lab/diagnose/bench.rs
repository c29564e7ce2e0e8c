//! Places to diagnose from, each with its fault and the way to repair it.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use rping_lab::{Acceptor, Namespace, Pair, Routed};

/// What must stay alive.
pub(super) type Keep = Vec<Box<dyn Any + Send>>;

/// A place to diagnose from.
pub(super) struct Place {
    pub from: Namespace,
    pub target: String,
    _keep: Keep,
    repair: Option<Box<dyn FnOnce() -> Keep + Send>>,
}

impl Place {
    pub(super) fn new(
        from: &Namespace,
        target: &str,
        keep: Keep,
        repair: impl FnOnce() -> Keep + Send + 'static,
    ) -> Place {
        Place {
            from: from.clone(),
            target: target.to_owned(),
            _keep: keep,
            repair: Some(Box::new(repair)),
        }
    }

    /// A place without a fault.
    pub(super) fn sound(from: &Namespace, target: &str, keep: Keep) -> Place {
        Place::new(from, target, keep, Vec::new)
    }

    /// Removes the fault. What is returned must stay alive.
    pub(super) fn repair(&mut self) -> Keep {
        let keep = self.repair.take().map(|repair| repair()).unwrap_or_default();
        // What this host gave up on while the fault was there is no fault of what is there now.
        self.from.forget_neighbours();
        keep
    }
}

pub(super) fn address(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

/// Something that accepts on port 445 of every address, in both families.
pub(super) fn serve(namespace: &Namespace) -> Box<dyn Any + Send> {
    let any = IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED);
    Box::new(Acceptor::start(namespace, SocketAddr::new(any, 445)))
}

/// Rules of one chain, one per line.
pub(super) fn filter(namespace: &Namespace, hook: &str, rules: &str) {
    namespace.nft(&format!(
        "table inet lab {{\nchain {hook} {{\ntype filter hook {hook} priority 0\n{rules}\n}}\n}}"
    ));
}

/// Rules in one of the namespaces of a pair that serves; repaired by removing them.
pub(super) fn filtered_pair(pair: Pair, on_client: bool, hook: &str, rules: &str, target: &str) -> Place {
    let where_to = if on_client { &pair.client } else { &pair.server };
    filter(where_to, hook, rules);
    let flushed = where_to.clone();
    let keep: Keep = vec![serve(&pair.server), Box::new(pair.server)];
    Place::new(&pair.client, target, keep, move || {
        flushed.nft_flush();
        Vec::new()
    })
}

/// Rules on the router; repaired by removing them.
pub(super) fn filtered_router(lab: Routed, hook: &str, rules: &str) -> Place {
    filter(&lab.router, hook, rules);
    let router = lab.router.clone();
    let keep: Keep = vec![serve(&lab.server), Box::new(lab.server), Box::new(lab.router)];
    Place::new(&lab.client, "10.77.2.1:445", keep, move || {
        router.nft_flush();
        Vec::new()
    })
}

/// Files that a namespace has instead of the machine's, as long as this value lives. The names come from the hosts file,
/// then from DNS.
pub(super) struct Etc(PathBuf);

impl Etc {
    pub(super) fn new(namespace: &Namespace, hosts: &str, resolv: &str) -> Etc {
        let directory = PathBuf::from("/etc/netns").join(namespace.name());
        std::fs::create_dir_all(&directory).expect("a directory for a namespace's files");
        let etc = Etc(directory);
        etc.write("hosts", &format!("127.0.0.1 localhost\n{hosts}"));
        etc.write("resolv.conf", resolv);
        etc.write("nsswitch.conf", "hosts: files dns\n");
        etc
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a namespace's file is written");
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        // What is left is found by nobody: namespaces have unique names.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
