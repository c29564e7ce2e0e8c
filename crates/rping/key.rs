//! The key that both ends of an authenticated test share: read from a file that nobody else can read, or from the
//! environment; never from an argument, which every user of the machine can see.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rping_peer::Key;

use crate::args::Usage;

/// The environment variable that holds a key where no file is named.
pub const VARIABLE: &str = "RPING_KEY";

/// The longest key file, bytes.
const LONGEST: u64 = 4096;

/// The key of `file`, else of [`VARIABLE`]; `None` where neither is given. Line breaks and blanks at a key's end are no part
/// of it.
///
/// # Errors
/// In one line: a file that cannot be read or that others can read, a key that is too short.
pub fn load(file: Option<&Path>) -> Result<Option<Key>, Usage> {
    match file {
        Some(path) => from_file(path)
            .map(Some)
            .map_err(|why| Usage::about(path.display(), why)),
        None => match std::env::var_os(VARIABLE) {
            None => Ok(None),
            Some(text) => key(text.as_encoded_bytes())
                .map(Some)
                .map_err(|why| Usage::about(VARIABLE, why)),
        },
    }
}

fn from_file(path: &Path) -> Result<Key, String> {
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let is_file = |file: std::io::Result<std::fs::Metadata>| match file {
        Ok(file) if file.is_file() => Ok(file),
        Ok(_) => Err("is no regular file".to_owned()),
        Err(error) => Err(format!("the key cannot be read: {error}")),
    };
    is_file(std::fs::metadata(path))?;
    let file = File::open(path).map_err(|error| format!("the key cannot be read: {error}"))?;
    let about = is_file(file.metadata())?;
    // Whoever owns the file knows the key and may change it.
    if about.uid() != 0 && about.uid() != rping_net::caps::effective_user() {
        return Err("belongs to another user, who knows it: use a file of your own".to_owned());
    }
    let mode = about.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "others may read or change it (mode {:03o}): chmod 600 it, and use another key if they did",
            mode & 0o777
        ));
    }
    if about.size() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes: no key"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the key cannot be read: {error}"))?;
    key(&bytes)
}

fn key(bytes: &[u8]) -> Result<Key, String> {
    Key::new(bytes.trim_ascii_end())
        .ok_or_else(|| "a key has 16 bytes or more: openssl rand -hex 32 makes one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{set_permissions, write, Permissions};

    #[test]
    fn a_key_comes_from_a_file_that_is_ours_alone_and_from_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, "0123456789abcdef\n").unwrap();
        let with_mode = |mode| {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            load(Some(&path))
        };
        let key = with_mode(0o600).unwrap().unwrap();
        assert_eq!(Some(key), Key::new(b"0123456789abcdef"));
        assert!(with_mode(0o400).is_ok());
        for mode in [0o640, 0o604, 0o620, 0o601, 0o644] {
            let told = with_mode(mode).unwrap_err().to_string();
            assert!(
                told.contains("chmod 600") && !told.contains("0123456789"),
                "{told}"
            );
        }
        with_mode(0o600).unwrap();
        write(&path, "short").unwrap();
        assert!(load(Some(&path)).unwrap_err().to_string().contains("16 bytes"));
        write(&path, [b'x'; 5000]).unwrap();
        assert!(load(Some(&path)).is_err());
        assert!(load(Some(dir.path()))
            .unwrap_err()
            .to_string()
            .contains("no regular file"));
        assert!(load(Some(&dir.path().join("none"))).is_err());
    }
}
