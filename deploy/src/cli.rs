//! What can be typed, and the help that teaches it.

use std::io::{self, Write};
use std::path::PathBuf;

use bowline_api::vip::VipRange;
use bowline_look::args::{Look, Output};
use bowline_look::ask::AdminAddr;
use clap::{Args, Parser, Subcommand};

use crate::DONE;
use crate::import::args::ImportArgs;
use crate::inject::args::InjectArgs;

/// Where a control plane on this host has its admin pages.
const CONTROL_ADMIN: &str = "127.0.0.1:18001";

/// Checks and compares Bowline meshes, and tells how a running one is and what goes on in it.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "The operator's command line of Bowline, a sidecar service mesh",
    after_help = "\
Examples:
  bowline check mesh.yaml            is this mesh file right, and what does it mean?
  bowline check mesh/                the same for a folder of files, one per team
  bowline schema > mesh.schema.json  a JSON Schema, for editors that complete and check
  bowline diff mesh.yaml             what would a running control plane change if it got this file?
  bowline inject task.json ...       add the sidecar to a task definition, a template or a compose file
  bowline import app-mesh mesh/ ...  a mesh file from App Mesh's or Service Connect's configuration
  bowline status                     how is the control plane, who is connected, who is behind?
  bowline top                        rate, success and latency of each service at a proxy, live
  bowline tap --failed               a proxy's requests as they end, those that failed
  bowline explain URL                where would a request go, and why not elsewhere?
  bowline endpoints                  each endpoint's state, load and latency at a proxy

The least mesh file:
  namespace: hello-world.com
  services:
    - discoveryName: server
      clientAliases: [{ port: 5000 }]
      endpoints: { static: [{ address: \"127.0.0.1:9001\" }] }

Exit codes: 0 done, 1 it failed, 2 wrong usage or a wrong mesh file."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(CheckArgs),
    /// Print the JSON Schema of mesh files.
    #[command(
        long_about = "Print the JSON Schema (draft 2020-12) of mesh files. Keys that this version does not do yet are \
                      marked with x-not-yet.",
        after_help = "\
Examples:
  bowline schema > mesh.schema.json
  # yaml-language-server: $schema=./mesh.schema.json    as the first line of a mesh file, for editors"
    )]
    Schema,
    Diff(DiffArgs),
    Inject(Box<InjectArgs>),
    Import(Box<ImportArgs>),
    Status(StatusArgs),
    #[command(flatten)]
    Look(Look),
}

/// Check a mesh file, every error at once, and say what it means.
#[derive(Debug, Args)]
#[command(
    long_about = "Check a mesh file and say what it means: what clients dial, where it goes, and which timeouts, retries \
                  and policies hold, defaults included.\n\nWhat is wrong goes to stderr, all of it, each with its file, \
                  line and column. A key that this version does not do yet is refused, never ignored.",
    after_help = "\
Examples:
  bowline check mesh.yaml
  bowline check mesh/ && deploy                   in a pipeline: exit code 2 stops it
  bowline check mesh.yaml --output json | jq .problems
  bowline check mesh.yaml --output json | jq .mesh  the mesh with every default written out

Exit codes: 0 the mesh is right, 1 the outcome can't be written, 2 the mesh is wrong or can't be read."
)]
pub(crate) struct CheckArgs {
    /// A mesh file (YAML or JSON), or a folder of them
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// How the outcome is written
    #[arg(long, value_enum, default_value_t = Output::Text, env = "BOWLINE_OUTPUT")]
    pub(crate) output: Output,

    /// The network that pinned VIPs must lie in, as the proxies are told it
    #[arg(long, value_name = "CIDR", default_value_t = VipRange::DEFAULT, env = "BOWLINE_VIP_RANGE")]
    pub(crate) vip_range: VipRange,
}

/// Compare a mesh file with what a running control plane pushes.
#[derive(Debug, Args)]
#[command(
    long_about = "Compare a mesh file with what a running control plane pushes: which services would come, go or change, \
                  key by key, and which would lose all their endpoints. Nothing is changed by asking.\n\nThe file is \
                  checked first, as `bowline check` does.",
    after_help = "\
Examples:
  bowline diff mesh.yaml
  bowline diff mesh/ --control-admin control.internal:18001
  bowline diff mesh.yaml --exit-code           in a pipeline: exit code 3 if something would change
  bowline diff mesh.yaml --output json | jq '.removed[].service'

Exit codes: 0 done, 1 it failed, 2 wrong usage or a wrong mesh; with --exit-code 3 if something would change."
)]
pub(crate) struct DiffArgs {
    /// A mesh file (YAML or JSON), or a folder of them
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// The admin pages of the control plane
    #[arg(long, value_name = "ADDR", default_value = CONTROL_ADMIN, env = "BOWLINE_CONTROL_ADMIN")]
    pub(crate) control_admin: AdminAddr,

    /// Exit with 3 if something would change, with 0 only if nothing would
    #[arg(long)]
    pub(crate) exit_code: bool,

    /// How the outcome is written
    #[arg(long, value_enum, default_value_t = Output::Text, env = "BOWLINE_OUTPUT")]
    pub(crate) output: Output,

    /// The network that pinned VIPs must lie in, as the control plane is told it
    #[arg(long, value_name = "CIDR", default_value_t = VipRange::DEFAULT, env = "BOWLINE_VIP_RANGE")]
    pub(crate) vip_range: VipRange,
}

/// Tell how the control plane and its clients are.
#[derive(Debug, Args)]
#[command(
    long_about = "Tell how a running control plane is: its services and where their endpoints come from, sources that \
                  can't look, services that are held, and clients with what they have acknowledged. Proxies are asked \
                  too: those that are named, else the one on this host if there is one. The last line is the verdict.",
    after_help = "\
Examples:
  bowline status
  bowline status --control-admin control.internal:18001 --proxy-admin 127.0.0.1:15000
  bowline status --output json | jq .verdict

Exit codes: 0 the control plane and all named proxies have answered, 1 one has not, 2 wrong usage."
)]
pub(crate) struct StatusArgs {
    /// The admin pages of the control plane
    #[arg(long, value_name = "ADDR", default_value = CONTROL_ADMIN, env = "BOWLINE_CONTROL_ADMIN")]
    pub(crate) control_admin: AdminAddr,

    /// The admin pages of a proxy; can be given several times, or with commas between them.
    /// Default: 127.0.0.1:15000, if it answers
    #[arg(long, value_name = "ADDR", value_delimiter = ',', env = "BOWLINE_PROXY_ADMIN")]
    pub(crate) proxy_admin: Vec<AdminAddr>,

    /// How the outcome is written
    #[arg(long, value_enum, default_value_t = Output::Text, env = "BOWLINE_OUTPUT")]
    pub(crate) output: Output,
}

/// `bowline schema`.
pub(crate) fn schema(out: &mut impl Write) -> io::Result<u8> {
    serde_json::to_writer_pretty(&mut *out, &bowline_api::json_schema())?;
    writeln!(out)?;
    Ok(DONE)
}
