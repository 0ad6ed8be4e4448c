# The control plane as an ECS service on Fargate, the private zone whose names stand for the mesh's, a name for the control
# plane itself, and no more rights than they need.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_region" "here" {}

locals {
  zone_id = var.zone_id == null ? aws_route53_zone.mesh[0].zone_id : var.zone_id
  port    = 18000
  secrets = { BOWLINE_TOKEN = var.token_secret_arn, BOWLINE_REGISTRATION_TOKEN_LIST = var.registration_secret_arn }
  logs = {
    logDriver = "awslogs"
    options = {
      "awslogs-group"         = aws_cloudwatch_log_group.control.name
      "awslogs-region"        = data.aws_region.here.name
      "awslogs-stream-prefix" = "bowline-control"
    }
  }
}

# The names that apps dial. Not a Cloud Map namespace's zone: that one is Cloud Map's own, and takes no other records.
resource "aws_route53_zone" "mesh" {
  count   = var.zone_id == null ? 1 : 0
  name    = var.namespace
  comment = "Bowline: names of the mesh, at loopback addresses"
  # The control plane's records are not Terraform's: they go with the zone.
  force_destroy = true

  vpc {
    vpc_id = var.vpc_id
  }

  lifecycle {
    # More VPCs are associated by others.
    ignore_changes = [vpc]
  }
}

# The control plane's own name, by which proxies find it: an address record that ECS keeps.
resource "aws_service_discovery_private_dns_namespace" "internal" {
  name        = var.internal_domain
  description = "Bowline: where the control plane is"
  vpc         = var.vpc_id

  lifecycle {
    precondition {
      condition     = var.internal_domain != var.namespace
      error_message = "internal_domain must differ from the namespace: Cloud Map owns a zone of that name, and no record of the mesh could be written to it."
    }
  }
}

resource "aws_service_discovery_service" "control" {
  name = "control"

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.internal.id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

resource "aws_security_group" "control" {
  name        = "${var.name}-control"
  description = "Bowline control plane: proxies connect, nobody else"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "proxies" {
  for_each                     = var.client_security_group_ids
  security_group_id            = aws_security_group.control.id
  description                  = "proxies of ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_vpc_security_group_egress_rule" "aws" {
  security_group_id = aws_security_group.control.id
  description       = "AWS's own interfaces: Route 53, images, logs, secrets"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_cloudwatch_log_group" "control" {
  name              = "/bowline/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_ecs_task_definition" "control" {
  family                   = "${var.name}-control"
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.control.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  volume {
    name = "bowline-state"
  }

  container_definitions = jsonencode([
    {
      name                   = "bowline-control"
      image                  = var.image
      user                   = "20001"
      essential              = true
      readonlyRootFilesystem = true
      command                = ["serve", "--publish-zone", local.zone_id]
      portMappings           = [{ name = "ads", containerPort = local.port, hostPort = local.port, protocol = "tcp" }]
      environment = [for name, value in merge({
        BOWLINE_LISTEN    = "0.0.0.0:${local.port}"
        BOWLINE_MESH      = "/etc/bowline/mesh.yaml"
        BOWLINE_STATE_DIR = "/var/lib/bowline"
        AWS_REGION        = data.aws_region.here.name
      }, var.environment) : { name = name, value = value }]
      secrets          = [for name, arn in local.secrets : { name = name, valueFrom = arn }]
      mountPoints      = [{ sourceVolume = "bowline-state", containerPath = "/var/lib/bowline", readOnly = false }]
      ulimits          = [{ name = "nofile", softLimit = 65535, hardLimit = 65535 }]
      healthCheck      = { command = ["CMD", "/bowline-control", "health"], interval = 5, timeout = 3, retries = 3, startPeriod = 30 }
      logConfiguration = local.logs
    },
  ])
}

resource "aws_ecs_service" "control" {
  name            = "${var.name}-control"
  cluster         = var.cluster_arn
  task_definition = aws_ecs_task_definition.control.arn
  desired_count   = 1
  launch_type     = "FARGATE"

  # One at a time: two would not know of each other's registrations. Proxies go on while none is there.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.control.id]
    assign_public_ip = var.assign_public_ip
  }

  service_registries {
    registry_arn = aws_service_discovery_service.control.arn
  }
}
