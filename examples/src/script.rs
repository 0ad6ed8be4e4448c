//! The script: which faults there are, what a person should see, and who is hit.

use std::io;
use std::net::SocketAddr;

use crate::endpoint::Service;
use crate::stage::Stage;

/// What goes wrong, or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An HTTP endpoint dies without a word and comes back later.
    Kill(SocketAddr),
    /// An HTTP endpoint answers late.
    Slow(SocketAddr),
    /// An HTTP endpoint answers 503, fast.
    Refuse(SocketAddr),
    /// One more HTTP endpoint, by editing the mesh file.
    Add,
    /// One HTTP endpoint less, by editing the mesh file.
    Remove(SocketAddr),
    /// A gRPC endpoint dies in the middle of its streams.
    KillStream(SocketAddr),
}

/// All faults, in order, each for an endpoint that none of the others hits.
pub(crate) fn write(stage: &Stage, rng: &mut fastrand::Rng) -> Option<[Fault; 6]> {
    let mut servers = stage.addresses(Service::Http);
    let mut streams = stage.addresses(Service::Grpc);
    rng.shuffle(&mut servers);
    rng.shuffle(&mut streams);
    let [killed, slow, refusing, removed, ..] = *servers else { return None };
    Some([
        Fault::Kill(killed),
        Fault::Slow(slow),
        Fault::Refuse(refusing),
        Fault::Add,
        Fault::Remove(removed),
        Fault::KillStream(*streams.first()?),
    ])
}

/// What is said about a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// What happens.
    pub(crate) title: String,
    /// What to look at, and what should be seen.
    pub(crate) watch: String,
    /// What is said when it is put right; empty: it is not.
    pub(crate) repaired: String,
}

/// `:9001`.
pub(crate) fn short(address: SocketAddr) -> String {
    format!(":{}", address.port())
}

impl Fault {
    /// What is said about it. `new` is the endpoint that [`Fault::Add`] will add.
    pub(crate) fn words(self, new: Option<SocketAddr>) -> Words {
        let (title, watch, repaired) = match self {
            Fault::Kill(who) => {
                let who = short(who);
                (
                    format!("Endpoint {who} is killed (SIGKILL)."),
                    format!(
                        "Watch the row of {who}: after the first failures it gets nothing more. The app sees none of \
                         them: what {who} was working on is tried again elsewhere."
                    ),
                    format!("{who} is started again, and soon has its share of traffic back."),
                )
            }
            Fault::Slow(who) => {
                let who = short(who);
                (
                    format!("Endpoint {who} becomes slow: 200 ms late."),
                    format!(
                        "Watch the row of {who}: it still works, but the balancer gives it next to nothing, so that \
                         hardly a request is slow."
                    ),
                    format!(
                        "{who} is fast again, but trusted little by little: its rate comes back within a minute."
                    ),
                )
            }
            Fault::Refuse(who) => {
                let who = short(who);
                (
                    format!("Endpoint {who} answers 503, and fast."),
                    format!(
                        "Watch the row of {who}: after five failures in a row it is ejected. GETs are tried again \
                         elsewhere; a POST is not, lest it be done twice."
                    ),
                    format!("{who} works again: it comes back when its ejection is over."),
                )
            }
            Fault::Add => {
                let who = new.map_or_else(|| "a new endpoint".to_owned(), short);
                (
                    format!("Endpoint {who} is added: one more line in the mesh file."),
                    format!(
                        "Watch the row of {who}: it has its share of traffic at once. Nothing is restarted or \
                         redeployed."
                    ),
                    String::new(),
                )
            }
            Fault::Remove(who) => {
                let who = short(who);
                (
                    format!("Endpoint {who} is removed: one line less in the mesh file."),
                    format!(
                        "Watch the row of {who}: its rate falls to 0. What it is working on is finished; nothing fails."
                    ),
                    String::new(),
                )
            }
            Fault::KillStream(who) => {
                let who = short(who);
                (
                    format!("gRPC endpoint {who} is killed in the middle of its streams."),
                    format!(
                        "Watch the row of {who}: streams that it was sending are cut, which nobody can repair, and are \
                         counted apart; new ones go to the other endpoint."
                    ),
                    format!("{who} is started again: new streams go to both."),
                )
            }
        };
        Words { title, watch, repaired }
    }

    /// Makes it happen. `new` as for [`Fault::words`].
    pub(crate) async fn begin(self, stage: &mut Stage) -> io::Result<()> {
        match self {
            Fault::Kill(who) | Fault::KillStream(who) => stage.kill(who).await,
            Fault::Slow(who) => stage.order(who, "slow 200", "+200 ms").await,
            Fault::Refuse(who) => stage.order(who, "fail 503", "says 503").await,
            Fault::Add => stage.write_mesh(),
            Fault::Remove(who) => stage.unlist(who),
        }
    }

    /// Puts it right again, where that is in the script.
    pub(crate) async fn repair(self, stage: &mut Stage) -> io::Result<()> {
        match self {
            Fault::Kill(who) | Fault::KillStream(who) => stage.restart(who).await,
            Fault::Slow(who) | Fault::Refuse(who) => stage.order(who, "ok", "").await,
            Fault::Add | Fault::Remove(_) => Ok(()),
        }
    }

    /// After which part of its time it is put right.
    pub(crate) fn repaired_after(self) -> f64 {
        match self {
            // Ejections last half a fault's time in the demo's mesh: it must be back by then.
            Fault::Kill(_) | Fault::KillStream(_) | Fault::Refuse(_) => 0.45,
            Fault::Slow(_) => 0.75,
            Fault::Add | Fault::Remove(_) => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn words_name_the_row_to_watch_and_are_short_enough_for_a_terminal() {
        let who = ([127, 0, 0, 1], 9003).into();
        let all = [
            Fault::Kill(who),
            Fault::Slow(who),
            Fault::Refuse(who),
            Fault::Add,
            Fault::Remove(who),
            Fault::KillStream(who),
        ];
        for fault in all {
            let words = fault.words(Some(who));
            assert!(words.title.contains(":9003") && words.watch.contains(":9003"), "{words:?}");
            assert!(words.title.len() < 72, "{words:?}");
            // Two lines of an 80-column terminal.
            assert!(
                words.watch.len() <= 152 && words.repaired.len() <= 152,
                "{}: {words:?}",
                words.watch.len()
            );
        }
    }
}
