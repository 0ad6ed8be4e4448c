//! Other small files in the mesh file's syntax.

use serde_json::Value;

use super::check::Finding;
use super::problem::Problems;
use super::{in_file, is_nothing, reader, to_text};

/// Reads YAML (JSON is YAML too) in the syntax of mesh files and with their messages, but with whatever keys. `name` is for
/// the messages. An empty text is null.
///
/// # Errors
/// It is not valid: what is wrong, and where.
pub fn parse_value(name: &str, bytes: Vec<u8>) -> Result<Value, Problems> {
    let text = to_text(bytes).map_err(|finding| Problems::new(vec![in_file(name, finding)]))?;
    // JSON may be indented with tabs; a tab in a string of either is a space then, which no such file needs.
    let reading = reader::read(&text.replace('\t', " "));
    if reading.faults.is_empty() {
        let root = reading.root.filter(|root| !is_nothing(root));
        return Ok(root.map_or(Value::Null, |root| root.to_json()));
    }
    let findings = reading.faults.into_iter().map(|fault| Finding {
        at: fault.at,
        path: String::new(),
        message: fault.message,
        help: fault.help,
    });
    Err(Problems::new(findings.map(|finding| in_file(name, finding)).collect()))
}
