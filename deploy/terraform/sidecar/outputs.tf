output "container_definitions" {
  description = "The containers with the sidecar: a list."
  value       = concat(local.containers, [local.sidecar])

  precondition {
    condition     = !contains(local.given[*].name, var.name)
    error_message = "The task has a container of the name ${var.name} already. Give this module the containers without it."
  }

  precondition {
    condition     = length(local.essential) > 0
    error_message = "No container of the task is essential: the sidecar would keep a finished task alive. Make the app essential."
  }

  precondition {
    condition     = length(local.apps) > 0 && alltrue([for app in local.apps : contains(local.given[*].name, app)])
    error_message = "app_containers must name containers of the task."
  }

  precondition {
    condition     = length(var.register) == 0 || var.token_secret_arn == null || var.register_token_secret_arn != null
    error_message = "register needs register_token_secret_arn: the control plane takes no registration from another host without a token."
  }
}

output "container_definitions_json" {
  description = "The same as JSON: for `container_definitions` of aws_ecs_task_definition."
  value       = jsonencode(concat(local.containers, [local.sidecar]))
}

output "volumes" {
  description = "Names of the volumes that the task definition must have: one `volume` block each, with a name and nothing else."
  value       = tolist(["${var.name}-state"])
}
