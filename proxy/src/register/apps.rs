//! How the app behind this proxy is, by its own checks: once for each `--register`.

use std::sync::{Mutex, PoisonError};

use bowline_api::Mesh;
use bowline_core::health::Health;

use crate::config::Registration;

/// Checks in a row that must fail before the app counts as unhealthy, where its service says nothing of it.
const UNHEALTHY_AFTER: u32 = 3;

/// All apps that are registered.
#[derive(Debug, Default)]
pub struct AppStates(Vec<AppState>);

/// One of them.
#[derive(Debug)]
pub struct AppState {
    /// What `--register` says of it.
    pub registration: Registration,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    health: Health,
    was_healthy: bool,
    /// Checks in a row that speak against `health`.
    against: u32,
    why: String,
}

/// Checks in a row that change an app's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones.
    pub healthy: u32,
    /// Bad ones.
    pub unhealthy: u32,
}

impl Thresholds {
    /// What the service's `healthCheck` says, where the mesh has one.
    pub fn of(mesh: &Mesh, service: &str) -> Self {
        let service = mesh.services.iter().find(|known| known.discovery_name == service);
        match service.and_then(|service| service.health_check.as_ref()) {
            Some(check) => {
                Thresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold }
            }
            None => Thresholds { healthy: 1, unhealthy: UNHEALTHY_AFTER },
        }
    }
}

impl AppStates {
    /// Of which nothing is known yet.
    pub fn new(registrations: &[Registration]) -> Self {
        let state = |registration: &Registration| AppState {
            registration: registration.clone(),
            now: Mutex::default(),
        };
        AppStates(registrations.iter().map(state).collect())
    }

    /// In the order of the flags.
    pub fn iter(&self) -> impl Iterator<Item = &AppState> {
        self.0.iter()
    }

    /// The nth.
    pub fn get(&self, n: usize) -> Option<&AppState> {
        self.0.get(n)
    }

    /// Why the task is not ready on account of its apps. Only those count that have a page for it (`health=`), and have
    /// been well before: an app may well wait for this proxy to be ready before it starts.
    pub fn not_ready(&self) -> Vec<String> {
        let bad = |state: &&AppState| {
            let now = state.now.lock().unwrap_or_else(PoisonError::into_inner);
            state.registration.health.is_some() && now.was_healthy && now.health == Health::Unhealthy
        };
        let why = |state: &AppState| {
            let (service, why) = (&state.registration.service, state.why().unwrap_or_default());
            format!("the app of service {service} fails its check: {why}")
        };
        self.0.iter().filter(bad).map(why).collect()
    }
}

impl AppState {
    /// What is known.
    pub fn health(&self) -> Health {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).health
    }

    /// Why the last check was bad.
    pub fn why(&self) -> Option<String> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        Some(now.why.clone()).filter(|why| !why.is_empty())
    }

    /// A check has ended; returns what is known now. The first one decides at once.
    pub fn checked(&self, answer: Result<(), String>, thresholds: Thresholds) -> Health {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (result, threshold) = match answer {
            Ok(()) => (Health::Healthy, thresholds.healthy),
            Err(_) => (Health::Unhealthy, thresholds.unhealthy),
        };
        now.why = answer.err().unwrap_or_default();
        if result == now.health {
            now.against = 0;
            return result;
        }
        now.against += 1;
        let first = now.health == Health::Unknown || (result == Health::Healthy && !now.was_healthy);
        if first || now.against >= threshold {
            now.health = result;
            now.against = 0;
            now.was_healthy |= result == Health::Healthy;
        }
        now.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(registration: &str) -> AppStates {
        AppStates::new(&[registration.parse().expect("a registration")])
    }

    #[test]
    fn an_app_counts_for_readiness_once_it_has_been_well() {
        let thresholds = Thresholds { healthy: 2, unhealthy: 2 };
        for (registration, counts) in [("server=80,health=/ready", true), ("server=80", false)] {
            let states = states(registration);
            let app = states.get(0).expect("the app");
            let after = |well: bool| {
                let answer = if well { Ok(()) } else { Err("503".to_owned()) };
                (app.checked(answer, thresholds), states.not_ready().len())
            };
            assert_eq!(after(false), (Health::Unhealthy, 0), "it may not have started yet");
            assert_eq!(after(true), (Health::Healthy, 0), "the first good answer decides");
            assert_eq!(after(false), (Health::Healthy, 0));
            assert_eq!(after(true), (Health::Healthy, 0));
            assert_eq!(after(false), (Health::Healthy, 0));
            assert_eq!(after(false), (Health::Unhealthy, usize::from(counts)));
            assert_eq!(after(true), (Health::Unhealthy, usize::from(counts)));
            assert_eq!(after(true), (Health::Healthy, 0));
        }
    }

    #[test]
    fn thresholds_are_those_of_the_service() {
        let text = "namespace: a\nservices:\n- discoveryName: server\n  endpoints: { static: [] }\n  \
                    healthCheck: { tcp: {}, unhealthyThreshold: 7 }\n";
        let mesh = bowline_api::parse("m.yaml", text).expect("a valid mesh");
        assert_eq!(Thresholds::of(&mesh, "server"), Thresholds { healthy: 2, unhealthy: 7 });
        assert_eq!(Thresholds::of(&mesh, "other"), Thresholds { healthy: 1, unhealthy: UNHEALTHY_AFTER });
    }
}
