//! The process: everything is made and joined here.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bowline_xds::world::World;
use clap::Parser;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingServiceServer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::admin::{self, Admin};
use crate::bootstrap;
use crate::config::{Cli, Command, Serve, UnpublishZone};
use crate::health;
use crate::hub::Hub;
use crate::mind::{Mind, Settings, names};
use crate::picture::board::Board;
use crate::registry::Registry;
use crate::serve::access::Access;
use crate::serve::ads::Ads;
use crate::serve::load::LoadReports;
use crate::source::Source;
use crate::source::cloudmap::CloudMapSource;
use crate::source::dns::DnsSource;
use crate::source::mesh_file::MeshFileSource;
use crate::source::registration::RegistrationSource;
use crate::store::{Store, StoreConfig};
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;
use crate::tokens::Tokens;
use crate::zone::keeper::{self, Keeper, Kept};
use crate::zone::route53::Route53;
use crate::zone::unpublish::{Done, unpublish};

/// Wrong usage or an invalid mesh file.
const USAGE: u8 = 2;
/// How often a client that says nothing is asked whether it is there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// Streams on one connection; a client needs two.
const STREAMS: u32 = 64;

/// The program: `args` begin with its own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let config = match cli.command {
        Command::Serve(config) => config,
        Command::UnpublishZone(config) => return unpublish_zone(&config),
        Command::Health(config) => {
            return match health::ask(config.admin, Duration::from_secs(config.timeout_seconds)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(why) => {
                    eprintln!("bowline-control: {why}");
                    ExitCode::FAILURE
                }
            };
        }
        Command::Bootstrap(config) => {
            return match bootstrap::page(&config) {
                Ok(page) => {
                    print!("{page}");
                    ExitCode::SUCCESS
                }
                Err(why) => {
                    eprintln!("bowline-control: {why}");
                    ExitCode::from(USAGE)
                }
            };
        }
    };
    let Some(runtime) = runtime() else { return ExitCode::FAILURE };
    match runtime.block_on(serve(&config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::Usage(why)) => {
            eprintln!("{why}");
            eprintln!("bowline-control: nothing was started");
            ExitCode::from(USAGE)
        }
        Err(Ended::Failed(why)) => {
            eprintln!("bowline-control: {why}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Option<Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.inspect_err(|error| eprintln!("bowline-control: no runtime: {error}")).ok()
}

/// The command `unpublish-zone`.
fn unpublish_zone(config: &UnpublishZone) -> ExitCode {
    let Some(runtime) = runtime() else { return ExitCode::FAILURE };
    let done = runtime.block_on(async {
        let route53 = Route53::from_env(&config.zone).await;
        unpublish(&route53, &config.namespace).await
    });
    match done {
        Ok(Done { zone, names, kept }) => {
            println!("{names} names of {} taken out of the zone {} ({zone})", config.namespace, config.zone);
            for name in kept {
                println!("{name} has another record than ours: it stays, without our mark");
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("bowline-control: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Why the process does not run.
enum Ended {
    /// The flags or the mesh file are wrong.
    Usage(String),
    /// Something else is.
    Failed(String),
}

async fn serve(config: &Serve) -> Result<(), Ended> {
    log::init(config.log_format, config.log_level);
    let (mut terminate, mut interrupt) = signals().map_err(|error| Ended::Failed(error.to_string()))?;
    let access = Access::new(config).map_err(Ended::Usage)?;
    let tokens = match (&config.registration_tokens, &config.registration_token_list) {
        (Some(file), _) => Tokens::load(file).map_err(Ended::Usage)?,
        (None, Some(list)) => Tokens::of_list(list).map_err(Ended::Usage)?,
        (None, None) => Tokens::default(),
    };
    let tls = tls(config).map_err(Ended::Usage)?;
    let (mesh_source, mesh) = MeshFileSource::open(&config.mesh, config.vip_range).map_err(Ended::Usage)?;
    let store = StoreConfig { store: config.store.clone(), state_dir: config.state_dir.clone() };
    store.check().map_err(|why| Ended::Usage(format!("--store: {why}")))?;
    let zone = match &config.publish_zone {
        Some(id) => {
            let route53 = Route53::from_env(id).await;
            let found = keeper::look(&route53).await.map_err(Ended::Usage)?;
            Some((route53, found))
        }
        None => None,
    };
    let store = Arc::new(Store::open(&store).await.map_err(Ended::Failed)?);
    let vips = store.vips(config.vip_range, &names(&mesh)).await.map_err(Ended::Failed)?;

    let metrics = Arc::new(Metrics::default());
    let empty = World { namespace: mesh.namespace.clone(), ..World::default() };
    let hub = Hub::new(Arc::new(empty), metrics.clone(), config.max_clients as usize);
    // A mesh that is tried is judged by what is reported: by then it is too late to ask for more of it.
    let board = Board::new(hub.clone(), config.hold_back > 0);
    let registry = Registry::new(mesh.clone(), vips, config.allow_empty);
    let settings = Settings {
        vip_range: config.vip_range,
        hold_back: config.hold_back,
        tried_for: Duration::from_secs(config.hold_back_seconds.into()),
    };
    let (mind, followed) = Mind::new(registry, hub.clone(), store.clone(), settings, metrics.clone());

    let bind = async |addr: SocketAddr| {
        TcpListener::bind(addr).await.map_err(|error| Ended::Failed(format!("{addr}: {error}")))
    };
    let (listener, admin_listener) = (bind(config.listen).await?, bind(config.admin).await?);
    let local =
        |listener: &TcpListener| listener.local_addr().map_err(|error| Ended::Failed(error.to_string()));
    let (listen, admin_addr) = (local(&listener)?, local(&admin_listener)?);

    let (report, changes) = mpsc::channel(1024);
    let (registered, registration) =
        RegistrationSource::new(store, tokens, followed.clone(), config.vip_range);
    let guard = access.clone();
    let registration = InterceptedService::new(registration, move |request: tonic::Request<()>| {
        guard.check(request.metadata()).map(|()| request)
    });
    tokio::spawn(mesh_source.run(followed.clone(), report.clone()));
    tokio::spawn(DnsSource::new(config.resolver, config.vip_range).run(followed.clone(), report.clone()));
    tokio::spawn(CloudMapSource::new(config.vip_range).run(followed.clone(), report.clone()));
    if let Some((route53, found)) = zone {
        let grace = Duration::from_secs(config.zone_grace_seconds.into());
        let kept = Kept { route53, found, namespace: mesh.namespace.clone(), grace };
        tokio::spawn(Keeper::new(kept, mind.names(), report.clone(), metrics.clone()).run());
    }
    tokio::spawn(registered.run(followed, report));
    let (commands, asked) = mpsc::channel(64);
    tokio::spawn(mind.run(changes, asked));
    tokio::spawn(board.clone().keep());
    let admin = Admin {
        hub: hub.clone(),
        board: board.clone(),
        commands,
        metrics: metrics.clone(),
        vip_range: config.vip_range,
    };
    tokio::spawn(admin::serve(admin_listener, Arc::new(admin)));

    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .max_concurrent_streams(STREAMS)
        .tcp_nodelay(true);
    if let Some(tls) = tls {
        server = server
            .tls_config(tls)
            .map_err(|error| Ended::Usage(format!("the certificate can't be used: {error}")))?;
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = mesh.namespace,
        services = mesh.services.len(),
        listen = %listen,
        admin = %admin_addr,
        store = config.store,
        tls = config.tls_cert.is_some(),
        "bowline-control is up"
    );
    if !admin_addr.ip().is_loopback() {
        tracing::warn!(admin = %admin_addr, "the admin listener can be reached from outside of this host");
    }
    let serving = server
        .add_service(AggregatedDiscoveryServiceServer::new(Ads::new(hub.clone(), access.clone(), metrics)))
        .add_service(LoadReportingServiceServer::new(LoadReports::new(hub.clone(), board, access.clone())))
        .add_service(registration)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::select! {
        ended = serving => ended.map_err(|error| Ended::Failed(error.to_string())),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }?;
    // Proxies go on with what they know, and find another control process, or this one's successor.
    tracing::info!("bye");
    Ok(())
}

fn signals() -> io::Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

fn tls(config: &Serve) -> Result<Option<ServerTlsConfig>, String> {
    let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let read = |file: &Path| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
    let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(read(cert)?, read(key)?));
    if let Some(authority) = &config.tls_client_ca {
        tls = tls.client_ca_root(Certificate::from_pem(read(authority)?));
    }
    Ok(Some(tls))
}
