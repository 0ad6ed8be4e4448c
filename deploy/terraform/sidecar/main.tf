# Adds the sidecar to the containers of a task definition. It makes nothing: containers in, containers out. So it works with
# every way of making the task definition, and needs no provider.

terraform {
  required_version = ">= 1.3"
}

locals {
  # Both a list and the JSON that `container_definitions` of aws_ecs_task_definition takes.
  given = jsondecode(try(tostring(var.container_definitions), jsonencode(var.container_definitions)))

  # In a task all containers are essential that don't say otherwise.
  essential = [for container in local.given : container.name if try(container.essential, true)]
  apps      = var.app_containers == null ? local.essential : var.app_containers

  app_stop_timeouts = [for container in local.given : try(container.stopTimeout, 30) if contains(local.apps, container.name)]

  # Longer than the app's: where all containers are stopped at once, the app is served to its end.
  stop_timeout = min(120, max(30, local.app_stop_timeouts...) + 30)

  secrets = { for name, arn in {
    BOWLINE_CONTROL_TOKEN  = var.token_secret_arn
    BOWLINE_REGISTER_TOKEN = var.register_token_secret_arn
  } : name => arn if arn != null }

  # The app's logs, with a prefix of its own, unless something else is asked for.
  app_logs = try([
    for container in local.given : container.logConfiguration
    if contains(local.apps, container.name) && try(container.logConfiguration.logDriver, "") == "awslogs"
  ][0], null)
  # By way of JSON, because both sides of a condition must have one type.
  logs = jsondecode(
    var.log_configuration != null ? jsonencode(var.log_configuration) :
    local.app_logs == null ? "null" :
    jsonencode({
      logDriver = "awslogs"
      options   = merge(local.app_logs.options, { "awslogs-stream-prefix" = var.name })
    })
  )

  register = join(" ", [
    for entry in var.register :
    "${entry.service}=${entry.port}${entry.health == null ? "" : ",health=${entry.health}"}"
  ])

  environment = { for name, value in merge(
    {
      BOWLINE_CONTROL       = join(",", var.control_urls)
      BOWLINE_NAMESPACE     = var.namespace
      BOWLINE_SERVICES      = join(",", var.services)
      BOWLINE_REGISTER      = local.register
      BOWLINE_STATE_DIR     = "/var/lib/bowline"
      BOWLINE_DRAIN_SECONDS = tostring(local.stop_timeout - 5)
    },
    var.environment,
  ) : name => value if value != "" }

  sidecar = { for key, value in {
    name                   = var.name
    image                  = var.image
    user                   = "20001"
    essential              = true
    cpu                    = var.cpu
    memory                 = var.memory
    memoryReservation      = var.memory_reservation
    readonlyRootFilesystem = true
    environment            = [for name, value in local.environment : { name = name, value = value }]
    secrets                = length(local.secrets) == 0 ? null : [for name, arn in local.secrets : { name = name, valueFrom = arn }]
    mountPoints            = [{ sourceVolume = "${var.name}-state", containerPath = "/var/lib/bowline", readOnly = false }]
    ulimits                = [{ name = "nofile", softLimit = 65535, hardLimit = 65535 }]
    healthCheck = {
      command     = ["CMD", "/bowline-proxy", "health"]
      interval    = 5
      timeout     = 3
      retries     = 3
      startPeriod = 30
    }
    systemControls   = var.low_ports ? [{ namespace = "net.ipv4.ip_unprivileged_port_start", value = "0" }] : null
    stopTimeout      = local.stop_timeout
    logConfiguration = local.logs
  } : key => value if value != null }

  # The app starts when the proxy is ready, and stops before it.
  containers = [
    for container in local.given : merge(container, {
      for key in ["dependsOn"] :
      key => concat(try(container[key], []), [{ containerName = var.name, condition = "HEALTHY" }])
      if contains(local.apps, container.name)
    })
  ]
}
