//! Running rping inside a namespace and reading what it says.

use std::io::Write as _;
use std::process::Command;
use std::sync::OnceLock;

use jsonschema::Validator;
use rping_lab::Namespace;
use serde_json::Value;

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code; `None` when a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program under test, to be run inside this namespace.
pub(crate) fn command(namespace: &Namespace) -> Command {
    namespace.command(env!("CARGO_BIN_EXE_rping"))
}

/// Runs it to its end; a hang ends after two minutes with code 124.
pub(crate) fn rping(namespace: &Namespace, args: &[&str]) -> Run {
    finish(
        namespace
            .command("timeout")
            .args(["120", env!("CARGO_BIN_EXE_rping")])
            .args(args),
    )
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Run {
    let out = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Run {
        status: out.status.code(),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

impl Run {
    /// The document on standard output, after it has been held against the published schema.
    pub(crate) fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not one JSON document: {error}: {self:?}"));
        if let Err(fault) = validate(&document) {
            panic!("{fault}\n{document:#}");
        }
        document
    }

    /// The records on standard output, one per line; the last one is the summary.
    pub(crate) fn ndjson(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self:?}"))
            })
            .collect()
    }
}

/// Holds a document against `docs/schema/rping.run-1.json`.
pub(crate) fn validate(document: &Value) -> Result<(), String> {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema/rping.run-1.json");
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let schema = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{path} is no JSON Schema: {error}"))
    });
    let faults: Vec<String> = schema
        .iter_errors(document)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// Holds a document against `docs/schema/NAME-1.json`, in which NAME is the document's own `schema` up to the slash.
pub(crate) fn validated(stdout: &str) -> Value {
    let document: Value = serde_json::from_str(stdout)
        .unwrap_or_else(|error| panic!("standard output is not one JSON document: {error}: {stdout}"));
    let name = document["schema"]
        .as_str()
        .expect("a schema's name")
        .replace('/', "-");
    let path = format!("{}/docs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let schema = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let validator = jsonschema::validator_for(&schema)
        .unwrap_or_else(|error| panic!("{path} is no JSON Schema: {error}"));
    let faults: Vec<String> = validator
        .iter_errors(&document)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?} in {document:#}");
    document
}

/// A counter of a JSON object.
pub(crate) fn count(object: &Value, key: &str) -> u64 {
    object[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} is not a count in {object:#}"))
}

/// Writes a table to standard error, past the capture of the test harness: it is the proof a person looks for.
pub(crate) fn show(title: &str, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell: &String| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = format!("\n{title}\n");
    for row in rows {
        text.push(' ');
        for (cell, &width) in row.iter().zip(&widths) {
            text.push_str(&format!(" {cell:width$} "));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    // A closed standard error loses the table, nothing else.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
