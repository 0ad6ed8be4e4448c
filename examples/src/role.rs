//! The parts that this program plays when it is called by itself.

use std::ffi::OsString;
use std::io::{BufRead, Read};
use std::process::ExitCode;
use std::sync::Arc;

use crate::endpoint::{self, Behaviour, Service};

/// A part to play. Its word is the hidden first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `bowline-proxy`, with the arguments that follow.
    Proxy,
    /// `bowline-control`, with the arguments that follow.
    Control,
    /// An endpoint of the HTTP service.
    Http,
    /// An endpoint of the gRPC service.
    Grpc,
}

impl Role {
    const ALL: [Role; 4] = [Role::Proxy, Role::Control, Role::Http, Role::Grpc];

    /// The word on the command line: one that nobody types by accident.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Role::Proxy => "as:proxy",
            Role::Control => "as:control",
            Role::Http => "as:http-endpoint",
            Role::Grpc => "as:grpc-endpoint",
        }
    }

    /// The role that the arguments name, and its own arguments.
    pub(crate) fn of(args: &[OsString]) -> Option<(Role, &[OsString])> {
        let (first, rest) = args.split_first()?;
        let role = Role::ALL.into_iter().find(|role| first.to_str() == Some(role.word()))?;
        Some((role, rest))
    }

    /// Plays it until the demo lets go of this process's stdin, which is also what happens when the demo dies.
    pub(crate) fn play(self, args: &[OsString]) -> ExitCode {
        let service = match self {
            Role::Proxy => {
                std::thread::spawn(end_with_parent);
                let name = OsString::from("bowline-proxy");
                return bowline_proxy::app::main(std::iter::once(name).chain(args.iter().cloned()));
            }
            Role::Control => {
                std::thread::spawn(end_with_parent);
                let name = OsString::from("bowline-control");
                return bowline_control::app::main(std::iter::once(name).chain(args.iter().cloned()));
            }
            Role::Http => Service::Http,
            Role::Grpc => Service::Grpc,
        };
        let behaviour = Arc::new(Behaviour::default());
        let orders = behaviour.clone();
        std::thread::spawn(move || obey(&orders));
        match endpoint::Place::parse(args).and_then(|place| endpoint::serve(service, &place, &behaviour)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", self.word());
                ExitCode::FAILURE
            }
        }
    }
}

fn end_with_parent() {
    let mut stdin = std::io::stdin().lock();
    let mut nothing = [0; 64];
    while matches!(stdin.read(&mut nothing), Ok(1..)) {}
    std::process::exit(0);
}

/// Takes orders from the demo, a line each.
fn obey(behaviour: &Behaviour) {
    for line in std::io::stdin().lock().lines() {
        match line {
            Ok(line) if behaviour.order(&line) => {}
            Ok(line) => eprintln!("endpoint: no such order: {line}"),
            Err(_) => break,
        }
    }
    std::process::exit(0);
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn a_role_is_its_word_and_nothing_else() {
        let args = ["as:proxy", "run", "--mesh", "m.yaml"].map(Into::into);
        let (role, rest) = Role::of(&args).expect("a role");
        assert_eq!((role, rest.len()), (Role::Proxy, 3));
        assert_eq!(Role::of(&["--hold".into()]), None);
        assert_eq!(Role::of(&[]), None);
    }
}
