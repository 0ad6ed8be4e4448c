//! What can be typed, and the help that teaches it.

use std::io::{self, Write};
use std::path::PathBuf;

use bowline_api::vip::VipRange;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::DONE;

/// Checks and describes Bowline meshes.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "The operator's command line of Bowline, a sidecar service mesh",
    after_help = "\
Examples:
  bowline check mesh.yaml            is this mesh file right, and what does it mean?
  bowline check mesh/                the same for a folder of files, one per team
  bowline schema > mesh.schema.json  a JSON Schema, for editors that complete and check

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

/// How an outcome is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs: one JSON object on stdout, whether the mesh is right or wrong
    Json,
}

/// `bowline schema`.
pub(crate) fn schema(out: &mut impl Write) -> io::Result<u8> {
    serde_json::to_writer_pretty(&mut *out, &bowline_api::json_schema())?;
    writeln!(out)?;
    Ok(DONE)
}
