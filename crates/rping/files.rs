//! Files that a run leaves behind: written aside and put in their place whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rping_net::caps::{self, Cap};
use rping_net::open_special;

/// Gives up every capability, for the reading of what others wrote. Where a file is to be `written` afterwards root keeps
/// root's right to every file: it is the person's own. What the program's file lends to anybody else is never used on
/// files.
///
/// # Errors
/// In one line; not expected.
pub(crate) fn give_up_privileges(written: bool) -> Result<(), String> {
    caps::drop_all_but(root_rights(written)).map_err(|error| format!("cannot give up privileges: {error}"))
}

/// The capability that writing files takes root, by name and to the end: a file that was opened aside is renamed last.
pub(crate) fn root_rights(written: bool) -> &'static [Cap] {
    match written && caps::real_user() == 0 {
        true => &[Cap::DacOverride],
        false => &[],
    }
}

/// A file that takes its name only when it is told to: until then what bore the name is as it was.
#[derive(Debug)]
pub struct Aside {
    /// `None` once it is settled.
    file: Option<File>,
    /// What is to be renamed, and to what; `None` for what is no regular file, a pipe or a device, and is written as it is.
    rename: Option<(PathBuf, PathBuf)>,
}

impl Aside {
    /// Opens it beside `path`, in the same directory; so it is known now that it can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub fn create(path: &Path) -> io::Result<Aside> {
        // Opened by the name that was given before links are followed: where the kernel forbids to follow a stranger's link
        // (fs.protected_symlinks), it says so here.
        match open_special(path, false) {
            Ok(Some(file)) => {
                return Ok(Aside {
                    file: Some(file),
                    rename: None,
                })
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::Other
                ) =>
            {
                return Err(error)
            }
            _ => {}
        }
        // The name that a link leads to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut mode = None;
        match fs::metadata(&path) {
            Ok(there) if there.is_dir() => {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))
            }
            // It has come meanwhile.
            Ok(there) if !there.is_file() => return Err(taken()),
            // A file that may not be written is not replaced by way of its directory either.
            Ok(there) => {
                drop(File::options().append(true).open(&path)?);
                mode = Some(there.permissions());
            }
            Err(_) => {}
        }
        let open = |aside: &Path| File::options().write(true).create_new(true).open(aside);
        let (file, aside) = beside(&path, open)?;
        // Who could not read the old one cannot read the new one.
        if let Some(mode) = mode {
            file.set_permissions(mode)?;
        }
        Ok(Aside {
            file: Some(file),
            rename: Some((aside, path)),
        })
    }

    /// What is written to.
    #[allow(clippy::expect_used)]
    pub fn file(&mut self) -> &mut File {
        // Cannot fail: only `settle` takes it, and with it the whole.
        self.file.as_mut().expect("a file until it is settled")
    }

    /// Puts it in its place and hands it over, for more to be written.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn settle(mut self) -> io::Result<File> {
        if let Some((aside, path)) = &self.rename {
            fs::rename(aside, path)?;
        }
        self.rename = None;
        self.file
            .take()
            .ok_or_else(|| io::Error::other("it was settled before"))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some((aside, _)) = &self.rename {
            // Given up: nobody misses it.
            let _ = fs::remove_file(aside);
        }
    }
}

/// A file that is new: it takes its name when it is whole, never that of another file, and only its owner can read it.
#[derive(Debug)]
pub struct Fresh {
    file: File,
    /// What is to be named, and how; `None` for a pipe or a device, which is written as it is.
    naming: Option<(PathBuf, PathBuf)>,
}

impl Fresh {
    /// Opens it beside `path`, in the same directory. No link is followed.
    ///
    /// # Errors
    /// When it cannot be written, or something bears that name.
    pub fn create(path: &Path) -> io::Result<Fresh> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(there) if there.is_dir() => {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))
            }
            Ok(there) if there.is_file() || there.is_symlink() => return Err(taken()),
            Ok(_) => {
                // A link or a file that has come since is neither followed nor replaced.
                let file = open_special(path, true)?.ok_or_else(taken)?;
                return Ok(Fresh { file, naming: None });
            }
        }
        let (file, aside) = beside(path, private)?;
        Ok(Fresh {
            file,
            naming: Some((aside, path.to_owned())),
        })
    }

    /// What is written to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// When something has taken that name meanwhile, or the disk does not take the rest.
    pub fn settle(mut self) -> io::Result<()> {
        let Some((aside, path)) = self.naming.take() else {
            return Ok(());
        };
        let named = self
            .file
            .sync_all()
            .and_then(|()| match fs::hard_link(&aside, &path) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
                // A file system without links.
                Err(_) => {
                    let mut whole = private(&path).map_err(|error| match error.kind() {
                        io::ErrorKind::AlreadyExists => taken(),
                        _ => error,
                    })?;
                    let copied = io::copy(&mut File::open(&aside)?, &mut whole);
                    if copied.is_err() {
                        let _ = fs::remove_file(&path);
                    }
                    copied.map(drop)
                }
            });
        let _ = fs::remove_file(&aside);
        named
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some((aside, _)) = &self.naming {
            // Given up: nobody misses it.
            let _ = fs::remove_file(aside);
        }
    }
}

fn taken() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "it is there already, and no file is replaced: name another",
    )
}

/// Opens a file of a name of its own in the directory of `path`, which it is to bear later. `open` refuses what is there.
fn beside(path: &Path, open: impl Fn(&Path) -> io::Result<File>) -> io::Result<(File, PathBuf)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"))?;
    for attempt in 0..100 {
        let mut aside = std::ffi::OsString::from(".");
        aside.push(name);
        aside.push(format!(".{}.{attempt}.part", std::process::id()));
        let aside = path.with_file_name(aside);
        match open(&aside) {
            Ok(file) => return Ok((file, aside)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A new file, mode 0600 whatever the mask says.
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_there_stays_until_the_new_file_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        fs::write(&path, "old").unwrap();
        let mut given_up = Aside::create(&path).unwrap();
        given_up.file().write_all(b"half").unwrap();
        drop(given_up);
        assert_eq!(
            (fs::read_to_string(&path).unwrap(), names(dir.path()).len()),
            ("old".into(), 1)
        );
        let mut aside = Aside::create(&path).unwrap();
        aside.file().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        aside.settle().unwrap().write_all(b" and more").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new and more");
        assert_eq!(names(dir.path()), ["run"]);
    }

    #[test]
    fn a_link_stays_a_link_and_a_device_is_written_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("run"), dir.path().join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut aside = Aside::create(&link).unwrap();
        aside.file().write_all(b"new").unwrap();
        drop(aside.settle().unwrap());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        let mut null = Aside::create(Path::new("/dev/null")).unwrap();
        null.file().write_all(b"x").unwrap();
        null.settle().unwrap();
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_refused_and_one_with_a_reader_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, link) = (dir.path().join("pipe"), dir.path().join("link"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let said = |refused: io::Result<()>| refused.unwrap_err().to_string();
        assert!(said(Fresh::create(&pipe).map(drop)).contains("nobody reads"));
        assert!(said(Aside::create(&pipe).map(drop)).contains("nobody reads"));
        // What a check has seen is opened without following a link that has come since.
        assert!(open_special(&link, true).is_err());
        let there = pipe.clone();
        let reader = std::thread::spawn(move || fs::read_to_string(there).unwrap());
        // Until the reader is there it is refused.
        let mut fresh = loop {
            match Fresh::create(&pipe) {
                Ok(fresh) => break fresh,
                Err(_) => std::thread::yield_now(),
            }
        };
        // More than a pipe holds: the writer waits.
        let text = "x".repeat(1 << 20);
        fresh.file().write_all(text.as_bytes()).unwrap();
        fresh.settle().unwrap();
        assert_eq!(reader.join().unwrap(), text);
    }

    #[test]
    fn what_cannot_be_written_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Aside::create(dir.path()).is_err());
        assert!(Aside::create(&dir.path().join("no/such/dir")).is_err());
        assert!(Aside::create(Path::new("/")).is_err());
    }
    #[test]
    fn a_fresh_file_is_its_owners_alone_and_replaces_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle");
        let mut fresh = Fresh::create(&path).unwrap();
        fresh.file().write_all(b"whole").unwrap();
        assert!(!path.exists());
        fresh.settle().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["bundle"]);
        // There already, before it begins or before it ends; a link, a dangling one among them.
        let other = dir.path().join("other");
        let late = Fresh::create(&other).unwrap();
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), dir.path().join("link")).unwrap();
        let said = |refused: io::Result<()>| refused.unwrap_err().to_string();
        assert!(said(late.settle()).contains("no file is replaced"));
        assert!(said(Fresh::create(&other).map(drop)).contains("no file is replaced"));
        assert!(said(Fresh::create(&dir.path().join("link")).map(drop)).contains("no file is replaced"));
        assert!(Fresh::create(dir.path()).is_err());
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
        drop(Fresh::create(&dir.path().join("given-up")).unwrap());
        assert_eq!(names(dir.path()), ["bundle", "link", "other"]);
    }
}
