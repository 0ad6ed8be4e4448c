//! Where Service Connect configurations and task definitions are in the files.

use super::super::input::Input;
use super::super::listing::{Listing, Place};
use super::super::value::{Resource, Value};
use super::tasks::{Task, Tasks};

/// One ECS service's configuration.
#[derive(Debug)]
pub(crate) struct Configuration<'a> {
    /// What it says.
    pub(crate) resource: Resource<'a>,
    /// The namespace: a name or an ARN; of the cluster where it has none of its own.
    pub(crate) namespace: Option<&'a str>,
    /// The task definition: ARN, `family:revision`, family, or logical id.
    pub(crate) task: Option<&'a str>,
}

impl<'a> Configuration<'a> {
    /// What it offers.
    pub(crate) fn services(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.resource.value.get("services").into_iter().flat_map(Value::elements)
    }
}

/// What is in the files.
#[derive(Debug, Default)]
pub(crate) struct Found<'a> {
    /// Of each ECS service that uses Service Connect.
    pub(crate) configurations: Vec<Configuration<'a>>,
    /// The task definitions.
    pub(crate) tasks: Tasks,
}

/// Looks through all files.
pub(crate) fn find<'a>(inputs: &'a [Input], listing: &mut Listing) -> Found<'a> {
    let mut found = Found::default();
    for input in inputs {
        if input.is_template {
            template(input, &mut found, listing);
        } else {
            found.look_at(input, &input.root, listing);
        }
    }
    found
}

fn template<'a>(input: &'a Input, found: &mut Found<'a>, listing: &mut Listing) {
    let mut clusters: Vec<(&str, Option<&str>)> = Vec::new();
    let resources = input.resources("AWS::ECS::", listing);
    for (id, kind, resource) in &resources {
        match *kind {
            "AWS::ECS::TaskDefinition" => {
                let family = resource.value.get("Family").and_then(Value::text);
                let ids = [Some(*id), family].into_iter().flatten().map(str::to_owned).collect();
                found.tasks.add(Task::read(ids, resource.value));
            }
            "AWS::ECS::Cluster" => {
                let default =
                    resource.value.at(&["ServiceConnectDefaults", "Namespace"]).and_then(Value::text);
                clusters.push((id, default));
            }
            _ => {}
        }
    }
    for (id, kind, resource) in resources {
        if kind != "AWS::ECS::Service" {
            continue;
        }
        let Some(value) = resource.value.get("ServiceConnectConfiguration") else { continue };
        let cluster = resource.value.get("Cluster").and_then(Value::text);
        let default = clusters.iter().find(|(id, _)| cluster == Some(id)).and_then(|(_, default)| *default);
        let task = resource.value.get("TaskDefinition").and_then(Value::text);
        found.add(input, id, "ServiceConnectConfiguration", value, default, task, listing);
    }
}

impl<'a> Found<'a> {
    /// A file that is no template, or an element of a list in it.
    fn look_at(&mut self, input: &'a Input, value: &'a Value, listing: &mut Listing) {
        if value.is_list() {
            value.elements().for_each(|element| self.look_at(input, element, listing));
            return;
        }
        let task = value.get("taskDefinition").filter(|task| task.is_map()).unwrap_or(value);
        if task.has("containerDefinitions") {
            let mut ids = Vec::new();
            let family = task.get("family").and_then(Value::text);
            ids.extend(task.get("taskDefinitionArn").and_then(Value::text).map(str::to_owned));
            if let Some(revision) = task.get("revision").and_then(Value::text) {
                ids.extend(family.map(|family| format!("{family}:{revision}")));
            }
            ids.extend(family.map(str::to_owned));
            self.tasks.add(Task::read(ids, task));
            return;
        }
        for failure in value.get("failures").into_iter().flat_map(Value::elements) {
            let of = failure.get("arn").and_then(Value::text).unwrap_or("a service");
            let why = failure.get("reason").and_then(Value::text).unwrap_or("no reason");
            let place = Place { line: failure.line, ..Place::file(&input.file) };
            listing.list(place, format!("AWS has not described {of} ({why}): it is not in the mesh file"));
        }
        let services: Vec<&Value> = value.get("services").into_iter().flat_map(Value::elements).collect();
        if value.has("serviceConnectConfiguration") || value.has("deployments") {
            self.ecs_service(input, value, listing);
        } else if services.iter().any(|service| service.has("portName")) || value.has("namespace") {
            self.add(input, "", "", value, None, None, listing);
        } else if let Some(service) = value.get("service").filter(|service| service.is_map()) {
            // What create-service and update-service print.
            self.ecs_service(input, service, listing);
        } else {
            for service in &services {
                self.ecs_service(input, service, listing);
            }
            if services.is_empty() {
                let message =
                    "this is neither a description of services, nor a task definition, nor a template";
                listing.list(Place::file(&input.file), message);
            }
        }
    }

    /// An ECS service, as it is described or as it is created.
    fn ecs_service(&mut self, input: &'a Input, service: &'a Value, listing: &mut Listing) {
        let name =
            ["serviceName", "serviceArn"].iter().find_map(|key| service.get(key)).and_then(Value::text);
        let name = format!("service {}", name.unwrap_or("without a name"));
        let task = service.get("taskDefinition").and_then(Value::text);
        if let Some(value) = service.get("serviceConnectConfiguration") {
            return self.add(input, &name, "serviceConnectConfiguration", value, None, task, listing);
        }
        let deployments: Vec<(usize, &Value)> =
            service.get("deployments").into_iter().flat_map(Value::elements).enumerate().collect();
        let is_primary = |deployment: &Value| {
            deployment.get("status").and_then(Value::text).is_some_and(|status| status == "PRIMARY")
        };
        let chosen = deployments.iter().find(|(_, one)| is_primary(one)).or(deployments.first());
        let configuration =
            chosen.and_then(|(index, one)| Some((index, one, one.get("serviceConnectConfiguration")?)));
        let Some((index, deployment, value)) = configuration else {
            let place = Place { line: service.line, resource: name.into(), ..Place::file(&input.file) };
            return listing.note(place, "does not use Service Connect");
        };
        if deployments.len() > 1 {
            let place =
                Place { line: deployment.line, resource: name.as_str().into(), ..Place::file(&input.file) };
            listing.note(place, "several deployments are under way; the primary one is taken");
        }
        let task = deployment.get("taskDefinition").and_then(Value::text).or(task);
        let key = format!("deployments[{index}].serviceConnectConfiguration");
        self.add(input, &name, &key, value, None, task, listing);
    }

    #[expect(clippy::too_many_arguments, reason = "each comes from another part of the file")]
    fn add(
        &mut self,
        input: &'a Input,
        name: &str,
        key: &str,
        value: &'a Value,
        default: Option<&'a str>,
        task: Option<&'a str>,
        listing: &mut Listing,
    ) {
        let resource = Resource { file: input.file.clone(), name: name.into(), key: key.to_owned(), value };
        if value.get("enabled").and_then(Value::truth) == Some(false) {
            value.dealt_with();
            return listing.note(resource.place(), "Service Connect is switched off here");
        }
        let logs = [
            (
                "logConfiguration",
                "the sidecar logs to stderr, and its container's log driver takes it from there",
            ),
            (
                "accessLogConfiguration",
                "access logs are no part of a mesh file: they are set where a proxy is started",
            ),
        ];
        for (key, message) in logs {
            if let Some(value) = value.get(key) {
                resource.list(value, listing, message);
            }
        }
        let namespace = value.get("namespace").and_then(Value::text).or(default);
        self.configurations.push(Configuration { resource, namespace, task });
    }
}
