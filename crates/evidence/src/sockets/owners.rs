//! Which process holds a socket open: `/proc/PID/fd` points to `socket:[INODE]`.
//!
//! Other users' processes show their open files to root alone (`CAP_SYS_PTRACE`). What could not be seen is counted,
//! so that "no process" is never mistaken for "nobody".

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A process that holds a socket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// Its name, as the kernel keeps it: at most 15 bytes, chosen by the process. Escape it before showing it.
    pub name: String,
}

/// Sockets and the processes that hold them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owners {
    by_inode: HashMap<u32, Vec<Owner>>,
    /// Processes whose open files could not be read.
    pub unseen: usize,
}

impl Owners {
    /// Reads `/proc`. A process that ends meanwhile is left out.
    pub fn read() -> Owners {
        Owners::read_in(Path::new("/proc"))
    }

    fn read_in(proc: &Path) -> Owners {
        let mut all = Owners::default();
        let Ok(entries) = fs::read_dir(proc) else {
            return all;
        };
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            all.add(pid, &entry.path());
        }
        all
    }

    fn add(&mut self, pid: u32, directory: &Path) {
        let descriptors = match fs::read_dir(directory.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                self.unseen += usize::from(error.kind() == std::io::ErrorKind::PermissionDenied);
                return;
            }
        };
        let mut name = None;
        for descriptor in descriptors.flatten() {
            let Some(inode) = fs::read_link(descriptor.path())
                .ok()
                .and_then(|link| inode(link.to_str()?))
            else {
                continue;
            };
            let name = name.get_or_insert_with(|| {
                let bytes = fs::read(directory.join("comm")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).trim_end().to_owned()
            });
            let owners = self.by_inode.entry(inode).or_default();
            if owners.last().is_none_or(|owner| owner.pid != pid) {
                owners.push(Owner {
                    pid,
                    name: name.clone(),
                });
            }
        }
    }

    /// The processes that hold the socket with this inode number, by process id.
    pub fn of(&self, inode: u32) -> Vec<Owner> {
        let mut found = self.by_inode.get(&inode).cloned().unwrap_or_default();
        found.sort();
        found
    }
}

fn inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_behind_a_socket_is_found_once_however_often_it_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let process = root.path().join("41");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::write(process.join("comm"), "reader\n").unwrap();
        for (descriptor, link) in [("3", "socket:[77]"), ("4", "socket:[77]"), ("5", "pipe:[9]")] {
            std::os::unix::fs::symlink(link, process.join("fd").join(descriptor)).unwrap();
        }
        fs::create_dir_all(root.path().join("not-a-process")).unwrap();
        let owners = Owners::read_in(root.path());
        let reader = Owner {
            pid: 41,
            name: "reader".to_owned(),
        };
        assert_eq!(owners.of(77), [reader]);
        assert!(owners.of(9).is_empty());
        assert_eq!(owners.unseen, 0);
    }

    #[test]
    fn only_a_socket_link_names_a_socket() {
        for link in [
            "socket:[]",
            "socket:[1",
            "socket:[-1]",
            "socket:[99999999999]",
            "",
        ] {
            assert_eq!(inode(link), None, "{link}");
        }
        assert_eq!(inode("socket:[5]"), Some(5));
    }
}
