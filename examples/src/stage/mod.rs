//! All that the demo has on stage: the endpoints and the proxy, each a process, and the mesh file between them.

mod control;
mod log;
mod process;
mod proxy;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bowline_api::vip::VipRange;
use tokio::io::{AsyncBufReadExt, BufReader};

use self::control::Control;
use self::process::Process;
pub(crate) use self::proxy::Proxy;
use self::proxy::Source;
use crate::endpoint::Service;
use crate::mesh;
use crate::role::Role;

/// Ports that endpoints of the HTTP service take, and those of the gRPC service.
const HTTP_PORTS: (u16, u16) = (9001, 9099);
const GRPC_PORTS: (u16, u16) = (9101, 9199);
/// How long an endpoint may take to start.
const START_WITHIN: Duration = Duration::from_secs(10);

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// What it serves.
    pub(crate) service: Service,
    /// Where it listens, or did until it was killed.
    pub(crate) address: SocketAddr,
    /// Whether it is in the mesh file.
    pub(crate) listed: bool,
    /// What the demo has done to it; empty: nothing.
    pub(crate) fault: String,
    process: Option<Process>,
}

/// The stage. Dropping it kills every process and removes the folder.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The endpoints, in the order in which they were started.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The proxy, once it runs.
    pub(crate) proxy: Option<Proxy>,
    /// The control plane, where there is one.
    pub(crate) control: Option<Control>,
    folder: Folder,
    ejection_seconds: f64,
    seed: u64,
}

impl Stage {
    /// Empty.
    pub(crate) fn new(ejection_seconds: f64, seed: u64) -> io::Result<Self> {
        let folder = Folder::create()?;
        Ok(Stage { endpoints: Vec::new(), proxy: None, control: None, folder, ejection_seconds, seed })
    }

    /// The mesh file.
    pub(crate) fn mesh_file(&self) -> PathBuf {
        self.folder.0.join("mesh.yaml")
    }

    /// Starts one more endpoint. The mesh does not know it yet.
    pub(crate) async fn start_endpoint(&mut self, service: Service) -> io::Result<SocketAddr> {
        let ports = match service {
            Service::Http => HTTP_PORTS,
            Service::Grpc => GRPC_PORTS,
        };
        let (process, address) = launch(service, ports, self.seed).await?;
        let fault = String::new();
        self.endpoints.push(Endpoint { service, address, listed: true, fault, process: Some(process) });
        Ok(address)
    }

    /// Starts the control plane on the mesh file.
    pub(crate) async fn start_control(&mut self, vips: Option<VipRange>) -> io::Result<&Control> {
        self.write_mesh()?;
        Ok(self.control.insert(Control::start(&self.mesh_file(), vips).await?))
    }

    /// Starts the proxy on the control plane, or else on the mesh file. `otlp`: where its traces go.
    pub(crate) async fn start_proxy(
        &mut self,
        vips: Option<VipRange>,
        otlp: Option<&str>,
    ) -> io::Result<&Proxy> {
        self.write_mesh()?;
        let mesh = self.mesh_file();
        let source = match &self.control {
            Some(control) => Source::Control(control.listen),
            None => Source::File(&mesh),
        };
        Ok(self.proxy.insert(Proxy::start(source, vips, otlp).await?))
    }

    /// Writes the mesh file with the endpoints that are listed.
    pub(crate) fn write_mesh(&self) -> io::Result<()> {
        let of = |service| {
            let listed = self.endpoints.iter().filter(move |e| e.listed && e.service == service);
            listed.map(|endpoint| endpoint.address).collect::<Vec<_>>()
        };
        let text = mesh::text(&of(Service::Http), &of(Service::Grpc), self.ejection_seconds);
        mesh::write(&self.mesh_file(), &text)
    }

    /// Takes an endpoint out of the mesh file; its process goes on.
    pub(crate) fn unlist(&mut self, address: SocketAddr) -> io::Result<()> {
        let endpoint = self.endpoint(address)?;
        endpoint.listed = false;
        self.write_mesh()
    }

    /// Kills an endpoint.
    pub(crate) async fn kill(&mut self, address: SocketAddr) -> io::Result<()> {
        let endpoint = self.endpoint(address)?;
        "killed".clone_into(&mut endpoint.fault);
        match endpoint.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts a killed endpoint again, on its old port.
    pub(crate) async fn restart(&mut self, address: SocketAddr) -> io::Result<()> {
        let seed = self.seed;
        let endpoint = self.endpoint(address)?;
        let (process, _) = launch(endpoint.service, (address.port(), address.port()), seed).await?;
        endpoint.process = Some(process);
        endpoint.fault.clear();
        Ok(())
    }

    /// Gives an endpoint an order: `slow 200`, `fail 503`, `ok`. `fault` is how the table names it.
    pub(crate) async fn order(&mut self, address: SocketAddr, order: &str, fault: &str) -> io::Result<()> {
        let endpoint = self.endpoint(address)?;
        fault.clone_into(&mut endpoint.fault);
        match &mut endpoint.process {
            Some(process) => process.tell(order).await,
            None => Ok(()),
        }
    }

    /// The addresses of a service's endpoints.
    pub(crate) fn addresses(&self, service: Service) -> Vec<SocketAddr> {
        self.endpoints.iter().filter(|e| e.service == service).map(|e| e.address).collect()
    }

    fn endpoint(&mut self, address: SocketAddr) -> io::Result<&mut Endpoint> {
        let found = self.endpoints.iter_mut().find(|endpoint| endpoint.address == address);
        found.ok_or_else(|| io::Error::other(format!("no endpoint {address}")))
    }

    /// Ends every process and waits for it. True: the proxy ended in good order.
    pub(crate) async fn end(mut self) -> bool {
        let mut well = true;
        if let Some(proxy) = self.proxy.take() {
            // The app's connections are being closed: a proxy without any ends at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
            well = proxy.end().await;
        }
        if let Some(control) = self.control.take() {
            control.end().await;
        }
        let mut processes: Vec<Process> =
            self.endpoints.iter_mut().filter_map(|e| e.process.take()).collect();
        processes.iter_mut().for_each(Process::let_go);
        for process in &mut processes {
            process.end_within(Duration::from_millis(500)).await;
        }
        well
    }
}

/// Starts an endpoint on the first free of the ports and reads where it listens.
async fn launch(service: Service, (first, last): (u16, u16), seed: u64) -> io::Result<(Process, SocketAddr)> {
    let role = match service {
        Service::Http => Role::Http,
        Service::Grpc => Role::Grpc,
    };
    let (process, stdout, _) = Process::start(role, [format!("{first}-{last}"), seed.to_string()], &[])?;
    let stdout = stdout.ok_or_else(|| io::Error::other("the endpoint has no stdout"))?;
    let mut line = String::new();
    let read = async { BufReader::new(stdout).read_line(&mut line).await };
    tokio::time::timeout(START_WITHIN, read).await.map_err(|_elapsed| io::ErrorKind::TimedOut)??;
    let address = line.trim().parse().map_err(|_| {
        io::Error::other(format!(
            "an endpoint did not start: no free port from {first} to {last} on 127.0.0.1?"
        ))
    })?;
    Ok((process, address))
}

/// A folder that vanishes with this value.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> io::Result<Self> {
        // The number of a process that was killed may come again.
        let base = std::env::temp_dir();
        let unique = |n: u32| base.join(format!("bowline-demo-{}-{n}", std::process::id()));
        for path in (0..100).map(unique) {
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Folder(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
