//! Completions and manual pages, made from the same definition of the command line that parses it.

use std::path::Path;

use clap_mangen::roff::{roman, Roff};
use clap_mangen::Man;

use super::{command, plain, shown, topics, Usage};

/// Completions of the whole command line for `shell`.
pub(crate) fn completions(shell: clap_complete::Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command(), "rping", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The manual page of the program, or of one of its commands by name or alias, as roff.
///
/// # Errors
/// There is no such command.
pub(crate) fn manual(of: Option<&str>) -> Result<String, Usage> {
    let whole = built();
    let page = match of {
        None => whole,
        Some(name) => whole.find_subcommand(name).cloned().ok_or_else(|| {
            Usage::new(format_args!(
                "no such command: {}; rping --help lists them",
                shown(name)
            ))
        })?,
    };
    render(page)
}

/// Writes `rping.1` and one page a command, `rping-tcp.1` and so on, into `dir`, which is made if need be.
///
/// # Errors
/// A page cannot be written.
pub(crate) fn write_manuals(dir: &Path) -> Result<(), Usage> {
    let failed =
        |path: &Path, error: &std::io::Error| Usage::about(shown(&path.to_string_lossy()), plain(error));
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    let whole = built();
    let commands = whole.get_subcommands().cloned().collect::<Vec<_>>();
    for page in std::iter::once(whole).chain(commands) {
        let path = dir.join(format!("{}.1", page_name(&page)));
        std::fs::write(&path, render(page)?).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// Names and usage lines of commands are complete only once clap has built them. The page of the word `help` would say
/// nothing that `rping(1)` does not.
fn built() -> clap::Command {
    let mut whole = command().disable_help_subcommand(true);
    whole.build();
    whole
}

fn page_name(page: &clap::Command) -> String {
    match page.get_name() {
        "rping" => "rping".to_owned(),
        name => format!("rping-{name}"),
    }
}

/// Clap's own sections, then what help says below the flags with its lines kept as they are. The program's page also
/// explains outcomes, exit codes and formats.
fn render(page: clap::Command) -> Result<String, Usage> {
    let is_whole = page.get_name() == "rping";
    let name = page_name(&page);
    let below = page.get_after_help().map(ToString::to_string);
    let has_commands = page.has_subcommands();
    let man = Man::new(page).title(&name).manual("rping manual");
    let mut out = Vec::new();
    let written = man
        .render_title(&mut out)
        .and_then(|()| man.render_name_section(&mut out))
        .and_then(|()| man.render_synopsis_section(&mut out))
        .and_then(|()| man.render_description_section(&mut out))
        .and_then(|()| man.render_options_section(&mut out))
        .and_then(|()| match has_commands {
            true => man.render_subcommands_section(&mut out),
            false => Ok(()),
        })
        .and_then(|()| {
            let mut notes = Roff::new();
            if let Some(text) = &below {
                as_it_stands(&mut notes, "NOTES", text);
            }
            for (_, text) in topics::TOPICS.iter().filter(|_| is_whole) {
                let (title, rest) = text.split_once('\n').unwrap_or((text, ""));
                as_it_stands(&mut notes, &title.to_uppercase(), rest);
            }
            notes.to_writer(&mut out)
        });
    written.map_err(|error| Usage::new(plain(&error)))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// A section whose lines are not filled: its columns mean something.
fn as_it_stands(page: &mut Roff, title: &str, text: &str) {
    page.control("SH", [title]).control("nf", []);
    for line in text.trim_matches('\n').lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn each_shell_gets_completions_with_every_command() {
        for shell in clap_complete::Shell::value_variants() {
            let text = completions(*shell);
            for command in command().get_subcommands() {
                let name = command.get_name();
                assert!(text.contains(name), "{shell}: no {name}");
            }
            assert!(
                text.contains("--interval") || text.contains("interval"),
                "{shell}"
            );
        }
    }

    #[test]
    fn the_manual_has_a_page_for_the_program_and_one_for_each_command_and_alias() {
        let own = manual(None).expect("the program's page");
        assert!(own.starts_with(".ie") || own.contains(".TH rping 1"), "{own}");
        assert!(
            own.contains("rping\\-tcp(1)") || own.contains("rping-tcp"),
            "{own}"
        );
        let tcp = manual(Some("tcp")).expect("a command's page");
        assert!(tcp.contains(".TH rping-tcp 1"), "{tcp}");
        assert!(tcp.contains("\\-\\-timeout"), "{tcp}");
        assert!(tcp.contains(".nf\nExamples:\n  rping tcp host:445 "), "{tcp}");
        assert!(own.contains(".SH \"WHAT BECAME OF A PROBE\""), "{own}");
        assert_eq!(manual(Some("ping")), manual(Some("icmp")));
        let error = manual(Some("nosuch")).expect_err("no such command");
        assert_eq!(
            error.to_string(),
            "no such command: 'nosuch'; rping --help lists them"
        );
    }

    #[test]
    fn all_pages_are_written_and_a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let man1 = dir.path().join("share/man1");
        write_manuals(&man1).expect("pages");
        for command in built().get_subcommands() {
            let path = man1.join(format!("rping-{}.1", command.get_name()));
            assert!(path.is_file(), "{}", path.display());
        }
        assert!(man1.join("rping.1").is_file());
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let error = write_manuals(&file).expect_err("a file is no directory");
        assert!(error.to_string().contains("file"), "{error}");
    }
}
