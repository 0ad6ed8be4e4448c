//! What of a proxy's metrics is looked at.

use std::collections::BTreeMap;

use super::latency::Latencies;
use super::page::{Sample, samples};

/// All of it at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scrape {
    /// The process.
    pub(super) process: Process,
    /// Services by name; an empty name: what is outside of the mesh.
    pub(super) services: BTreeMap<String, Service>,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// The mesh in force.
    pub(super) generation: f64,
    /// Open connections from the app.
    pub(super) connections: f64,
    /// CPU seconds since the start.
    pub(super) cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub(super) resident_bytes: f64,
    /// When it started, in seconds since the Unix epoch.
    pub(super) started: f64,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Service {
    /// Its requests.
    pub(super) calls: Calls,
    /// Attempts after the first.
    pub(super) retries: f64,
    /// What limits have turned away.
    pub(super) shed: f64,
    /// Its endpoints by address.
    pub(super) endpoints: BTreeMap<String, Endpoint>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Endpoint {
    /// The attempts at it.
    pub(super) calls: Calls,
    /// Outlier detection keeps it out.
    pub(super) ejected: bool,
}

/// Requests to a service, or attempts at an endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Calls {
    /// Those that went well.
    pub(super) good: f64,
    /// Those that did not: 5xx, a gRPC error, no answer.
    pub(super) failed: f64,
    /// Those that the caller called off.
    pub(super) cancelled: f64,
    /// Under way.
    pub(super) in_flight: f64,
    /// By latency.
    pub(super) latencies: Latencies,
}

impl Calls {
    fn count(&mut self, class: &str, count: f64) {
        match class {
            "5xx" | "grpc_error" | "local" | "failed" => self.failed += count,
            "cancelled" => self.cancelled += count,
            _ => self.good += count,
        }
    }
}

impl Scrape {
    /// Reads a page. What is not looked at is left out: a proxy of another version may have more.
    ///
    /// # Errors
    /// It is no page of metrics, or not one of a proxy: in words.
    pub(super) fn of(page: &str) -> Result<Self, String> {
        let mut scrape = Scrape::default();
        let mut is_proxy = false;
        for sample in samples(page) {
            let sample = sample?;
            is_proxy |= sample.name == "bowline_mesh_generation";
            if !scrape.take(&sample) {
                return Err(format!("the buckets of {} do not rise", sample.name));
            }
        }
        match is_proxy {
            true => Ok(scrape),
            false => Err("it has no bowline_mesh_generation".to_owned()),
        }
    }

    /// `false`: a bucket of a histogram is wrong.
    fn take(&mut self, sample: &Sample<'_>) -> bool {
        let value = sample.value;
        match sample.name {
            "bowline_requests_total" => self.service(sample).calls.count(sample.label("class"), value),
            "bowline_requests_in_flight" => self.service(sample).calls.in_flight = value,
            "bowline_request_duration_seconds_bucket" => {
                return self.service(sample).calls.latencies.push(sample.label("le"), value);
            }
            "bowline_retries_total" => self.service(sample).retries += value,
            "bowline_shed_total" => self.service(sample).shed += value,
            "bowline_endpoint_attempts_total" => {
                self.endpoint(sample).calls.count(sample.label("class"), value);
            }
            "bowline_endpoint_in_flight" => self.endpoint(sample).calls.in_flight = value,
            "bowline_endpoint_duration_seconds_bucket" => {
                return self.endpoint(sample).calls.latencies.push(sample.label("le"), value);
            }
            "bowline_endpoint_ejected" => self.endpoint(sample).ejected = value != 0.0,
            "bowline_mesh_generation" => self.process.generation = value,
            "bowline_downstream_connections" => self.process.connections = value,
            "process_cpu_seconds_total" => self.process.cpu_seconds = value,
            "process_resident_memory_bytes" => self.process.resident_bytes = value,
            "process_start_time_seconds" => self.process.started = value,
            _ => {}
        }
        true
    }

    fn service(&mut self, sample: &Sample<'_>) -> &mut Service {
        self.services.entry(sample.label("service").to_owned()).or_default()
    }

    fn endpoint(&mut self, sample: &Sample<'_>) -> &mut Endpoint {
        self.service(sample).endpoints.entry(sample.label("endpoint").to_owned()).or_default()
    }
}
