//! What can be typed after `bowline import`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use crate::inject::args::Pair;

/// Make a mesh file from a Service Connect or App Mesh configuration.
#[derive(Debug, Args)]
#[command(
    long_about = "Make a mesh file from the configuration of ECS Service Connect or App Mesh, and print it. Comments in it \
                  say where each service came from and what differs; `bowline check` accepts it as it is.\n\nWhat has no \
                  equivalent, what this version does not do yet, and what can't be made out goes to stderr, one line \
                  each with file, line, resource and key. Nothing is dropped in silence. What this version does not do \
                  yet is also in the file, as a comment."
)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    pub(crate) origin: Origin,
}

/// Where the configuration comes from.
#[derive(Debug, Subcommand)]
pub(crate) enum Origin {
    ServiceConnect(ServiceConnectArgs),
    AppMesh(AppMeshArgs),
}

/// From ECS Service Connect.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aws ecs describe-services --cluster prod --services web server > services.json
  aws ecs describe-task-definition --task-definition server > server.json
  bowline import service-connect services.json server.json --namespace hello-world.com > mesh.yaml
  bowline check mesh.yaml

  bowline import service-connect template.yaml --parameter Stage=prod --output mesh.yaml

Files: what describe-services prints, the input of create-service, a Service Connect configuration alone, a task
definition (its port mappings give ports and protocols), a CloudFormation template (JSON or YAML); or folders of them.

Exit codes: 0 done, 1 it can't be written, 2 wrong usage, or a file can't be read or has nothing to import;
with --strict 3 if anything was listed.")]
pub(crate) struct ServiceConnectArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Where endpoints shall come from
    #[arg(long, value_enum, default_value_t = EndpointSource::Registered)]
    pub(crate) endpoints: EndpointSource,
}

/// From App Mesh.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  for node in $(aws appmesh list-virtual-nodes --mesh-name apps --query 'virtualNodes[].virtualNodeName' --output text)
  do aws appmesh describe-virtual-node --mesh-name apps --virtual-node-name $node > apps/node-$node.json; done
  ...                       the same for virtual services, routers and routes
  bowline import app-mesh apps/ > mesh.yaml

  bowline import app-mesh template.yaml --parameter Stage=prod --output mesh.yaml

Files: what the describe-... commands of `aws appmesh` print, the input of its create-... commands, lists of either, a
CloudFormation template (JSON or YAML); or folders of them.

Exit codes: 0 done, 1 it can't be written, 2 wrong usage, or a file can't be read or has nothing to import;
with --strict 3 if anything was listed.")]
pub(crate) struct AppMeshArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The mesh, where the files have several. In a template also its logical id
    #[arg(long, value_name = "NAME")]
    pub(crate) mesh: Option<String>,
}

/// What both have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Files, or folders of them (*.json, *.yaml, *.yml, *.template); `-` reads stdin
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// The mesh file's namespace. For Service Connect it is needed where the files name it only by ARN, or not at all;
    /// ID=NAME, which can be given several times, says what an ARN or its last part (ns-...) is called
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Vec<Namespace>,

    /// The value of a template's parameter, or of a pseudo parameter such as AWS::Region; can be given several times.
    /// Default: the parameter's own default
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) parameter: Vec<Pair>,

    /// Write to this file instead of to stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// How the mesh file is written; JSON has no comments
    #[arg(long, value_enum, default_value_t = OutputFormat::Yaml)]
    pub(crate) output_format: OutputFormat,

    /// Exit with 3 if anything was listed. The mesh file is written all the same
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Where endpoints shall come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EndpointSource {
    /// Each task's sidecar registers it
    Registered,
    /// The instances that ECS has registered in Cloud Map
    CloudMap,
}

/// How the mesh file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// With comments
    Yaml,
    /// Without
    Json,
}

/// `NAME`, or `ID=NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// An ARN, or its last part.
    pub(crate) id: Option<String>,
    /// What the mesh file calls it.
    pub(crate) name: String,
}

impl FromStr for Namespace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, name) = match text.rsplit_once('=') {
            Some((id, name)) if !id.is_empty() => (Some(id.to_owned()), name),
            Some(_) => return Err("expected NAME or ID=NAME".to_owned()),
            None => (None, text),
        };
        if !super::names::is_dns_name(name) {
            return Err(format!("{name:?} is no DNS name, such as hello-world.com"));
        }
        Ok(Self { id, name: name.to_owned() })
    }
}
