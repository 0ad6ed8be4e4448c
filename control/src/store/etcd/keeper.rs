//! Tells etcd what this process holds, and keeps its lease.
//!
//! It works towards a state instead of doing steps: whatever was missed while etcd was away is still to be done when it is
//! back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Status};

use super::client::say;
use super::messages::{Compare, DeleteRangeRequest, LEASE, Op, PutRequest, RequestOp, TxnRequest, Value};
use super::{Entry, Link};
use crate::lease;
use crate::store::board::LeaseId;

/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// Registrations that are put in one transaction; etcd takes 128 by default.
const AT_A_TIME: usize = 100;

/// Works for ever.
pub(super) async fn keep(link: Arc<Link>) {
    let mut keeper = Keeper { link, lease: None, renew: Instant::now() };
    let mut backoff = Link::backoff();
    loop {
        match keeper.round().await {
            Ok(()) => {
                if backoff.failures() > 0 {
                    tracing::info!("etcd answers again");
                }
                backoff.succeeded();
                let shared = &keeper.link.shared;
                shared.seen(|board, now| board.back(now));
                tokio::select! {
                    () = sleep_until(keeper.renew) => {}
                    () = shared.work.notified() => {}
                }
            }
            Err(status) => {
                let why = format!("etcd fails, and what is known stays: {}", say(&status));
                if backoff.failures() == 0 {
                    tracing::warn!("{why}");
                }
                keeper.link.shared.seen(|board, _| board.away(why));
                // Overdue: the first thing when it is back.
                keeper.renew = Instant::now();
                sleep(backoff.failed(fastrand::f64())).await;
            }
        }
    }
}

struct Keeper {
    link: Arc<Link>,
    lease: Option<LeaseId>,
    renew: Instant,
}

impl Keeper {
    /// Does all that is to be done.
    async fn round(&mut self) -> Result<(), Status> {
        let lease = self.leased().await?;
        match self.tell(lease).await {
            // The lease has run out between two renewals.
            Err(status) if status.code() == Code::NotFound => {
                self.lease = None;
                let lease = self.leased().await?;
                self.tell(lease).await
            }
            told => told,
        }
    }

    /// The lease, renewed when it is time, or a new one.
    async fn leased(&mut self) -> Result<LeaseId, Status> {
        let client = &self.link.client;
        if let Some(lease) = self.lease {
            let due = self.renew <= Instant::now();
            if !due || client.keep_alive(lease).await? {
                if due {
                    self.renew = Instant::now() + RENEW;
                }
                return Ok(lease);
            }
            tracing::warn!("the lease in etcd has run out: all registrations are put there again");
        }
        let lease = client.grant(lease::LEASE).await?;
        self.lease = Some(lease);
        self.renew = Instant::now() + RENEW;
        self.link.shared.seen(|board, _| board.lease_granted(lease));
        Ok(lease)
    }

    async fn tell(&self, lease: LeaseId) -> Result<(), Status> {
        let Link { client, keys, shared } = &*self.link;
        loop {
            let batch = shared.board().to_put(AT_A_TIME);
            if batch.is_empty() {
                break;
            }
            let success = batch
                .iter()
                .map(|registration| {
                    let key = keys.of(&registration.key());
                    put(key, &Entry::Registered(registration.clone()), lease)
                })
                .collect::<Result<_, _>>()?;
            client.transact(TxnRequest { compare: Vec::new(), success }).await?;
            shared.seen(|board, _| board.put_done(&batch));
        }
        loop {
            let Some((key, of)) = shared.board().to_delete() else { break };
            let name = keys.of(&key);
            // Not if it is somebody else's by now: the task may have come back elsewhere.
            let compare = vec![Compare { target: LEASE, key: name.clone(), value: Some(Value::Lease(of)) }];
            let mark = vec![put(name.clone(), &Entry::Withdrawn {}, of)?];
            let marked = client.transact(TxnRequest { compare: compare.clone(), success: mark }).await;
            // That lease has run out, and the key with it.
            let marked = match marked {
                Err(status) if status.code() == Code::NotFound => false,
                marked => marked?,
            };
            if marked {
                let delete = DeleteRangeRequest { key: name, range_end: Vec::new() };
                let success = vec![RequestOp { op: Some(Op::Delete(delete)) }];
                client.transact(TxnRequest { compare, success }).await?;
            }
            shared.seen(|board, _| board.delete_done(&key));
        }
        Ok(())
    }
}

fn put(key: Vec<u8>, entry: &Entry, lease: LeaseId) -> Result<RequestOp, Status> {
    let value = serde_json::to_vec(entry).map_err(|error| Status::internal(error.to_string()))?;
    Ok(RequestOp { op: Some(Op::Put(PutRequest { key, value, lease })) })
}
