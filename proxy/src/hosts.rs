//! The mesh's names in a hosts file (`--write-hosts`), for apps in containers that share one with the proxy.
//!
//! Only the lines between two marks are ours; all others stay as they are, byte for byte. The file is written over in
//! place, since one that is mounted into a container can't be replaced, and the new text is there before the old one's
//! end is cut off: a reader never finds it empty.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::snapshot::{Published, Snapshot};

const BEGIN: &str =
    "# bowline-proxy: begin (written by --write-hosts; changes between these lines are lost)\n";
const END: &str = "# bowline-proxy: end\n";

/// A hosts file that is kept in step with the mesh.
#[derive(Clone, Debug)]
pub struct HostsFile {
    path: PathBuf,
}

impl HostsFile {
    /// The file at this path; it is made if it is not there.
    pub fn new(path: &Path) -> Self {
        HostsFile { path: path.to_owned() }
    }

    /// Writes the mesh's names, and again at each change. What can't be written is logged, once for each cause.
    pub async fn keep(self, published: Arc<Published>, mut changes: watch::Receiver<()>) {
        let mut said = None;
        loop {
            changes.mark_unchanged();
            let failed = self.write(&published.current()).err().map(|error| error.to_string());
            if let Some(error) = &failed
                && said != failed
            {
                tracing::warn!(file = %self.path.display(), error, "the hosts file can't be written: it is tried again at the next change");
            }
            said = failed;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn write(&self, snapshot: &Snapshot) -> io::Result<()> {
        let aliases = snapshot.services.iter().flat_map(|service| &service.aliases);
        let names = aliases.map(|alias| (alias.dns_name.as_str(), alias.vip)).collect();
        self.edit(&names)
    }

    /// Takes our lines out again.
    ///
    /// # Errors
    /// Those of the system.
    pub fn clear(&self) -> io::Result<()> {
        self.edit(&BTreeMap::new())
    }

    fn edit(&self, names: &BTreeMap<&str, Ipv4Addr>) -> io::Result<()> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        let mut before = Vec::new();
        file.read_to_end(&mut before)?;
        let after = merged(&before, names);
        if after != before {
            file.rewind()?;
            file.write_all(&after)?;
            file.set_len(after.len() as u64)?;
        }
        Ok(())
    }
}

/// `text` with these names between our marks, and everything else as it was. Without names the marks go too.
fn merged(text: &[u8], names: &BTreeMap<&str, Ipv4Addr>) -> Vec<u8> {
    let find = |mark: &str, from: usize| {
        let rest = &text[from..];
        rest.windows(mark.len()).position(|window| window == mark.as_bytes()).map(|at| from + at)
    };
    let (head, tail) = match find(BEGIN, 0) {
        Some(begin) => match find(END, begin) {
            Some(end) => (&text[..begin], &text[end + END.len()..]),
            // Somebody has cut the end off: what follows is ours, as far as anybody can tell.
            None => (&text[..begin], &text[text.len()..]),
        },
        None => (text, &text[text.len()..]),
    };
    let mut merged = head.to_vec();
    if !names.is_empty() {
        if !merged.is_empty() && !merged.ends_with(b"\n") {
            merged.push(b'\n');
        }
        merged.extend_from_slice(BEGIN.as_bytes());
        for (name, vip) in names {
            merged.extend_from_slice(format!("{vip}\t{name}\n").as_bytes());
        }
        merged.extend_from_slice(END.as_bytes());
    }
    merged.extend_from_slice(tail);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(list: &[(&'a str, [u8; 4])]) -> BTreeMap<&'a str, Ipv4Addr> {
        list.iter().map(|(name, vip)| (*name, Ipv4Addr::from(*vip))).collect()
    }

    #[test]
    fn everything_else_stays_as_it_was() {
        let theirs = "127.0.0.1 localhost\n";
        let once = merged(theirs.as_bytes(), &names(&[("a.test", [127, 255, 0, 7])]));
        assert_eq!(String::from_utf8_lossy(&once), format!("{theirs}{BEGIN}127.255.0.7\ta.test\n{END}"));
        let appended = [once.as_slice(), b"10.0.0.1 db\n"].concat();
        let twice = merged(&appended, &names(&[("b.test", [127, 255, 0, 8])]));
        assert_eq!(
            String::from_utf8_lossy(&twice),
            format!("{theirs}{BEGIN}127.255.0.8\tb.test\n{END}10.0.0.1 db\n")
        );
        assert_eq!(merged(&twice, &names(&[])), format!("{theirs}10.0.0.1 db\n").as_bytes());
        assert_eq!(merged(theirs.as_bytes(), &names(&[])), theirs.as_bytes());
        assert_eq!(merged(b"", &names(&[])), b"");
    }

    #[test]
    fn a_last_line_without_an_end_is_ended_first() {
        let text = merged(b"127.0.0.1 localhost", &names(&[("a.test", [127, 255, 0, 7])]));
        assert!(String::from_utf8_lossy(&text).starts_with("127.0.0.1 localhost\n#"));
    }

    #[test]
    fn a_block_without_its_end_is_replaced_and_not_doubled() {
        let broken = format!("127.0.0.1 localhost\n{BEGIN}127.255.0.7\ta.test\n");
        let text = merged(broken.as_bytes(), &names(&[("a.test", [127, 255, 0, 7])]));
        assert_eq!(String::from_utf8_lossy(&text).matches("a.test").count(), 1);
    }

    #[test]
    fn a_file_gets_shorter_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "127.0.0.1 localhost\n").unwrap();
        let file = HostsFile::new(&path);
        file.edit(&names(&[("a.test", [127, 255, 0, 7]), ("b.test", [127, 255, 0, 8])])).unwrap();
        file.edit(&names(&[("b.test", [127, 255, 0, 8])])).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("127.0.0.1 localhost\n{BEGIN}127.255.0.8\tb.test\n{END}"));
        file.clear().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost\n");
    }
}
