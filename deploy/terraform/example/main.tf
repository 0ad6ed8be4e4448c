# A stack that was there before Bowline, and what is added to it. Everything that says "bowline" is new; of the app, only its
# task definition and its execution role have changed.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "vpc_id" { type = string }
variable "subnet_ids" { type = list(string) }
variable "registry" {
  description = "Where the images are: ACCOUNT.dkr.ecr.REGION.amazonaws.com"
  type        = string
}
variable "repository_arns" { type = list(string) }
variable "token_secret_arn" { type = string }
variable "registration_secret_arn" { type = string } # as JSON: {"workflow-engine": "TOKEN", ...}

# As before --------------------------------------------------------------------------------------------------------------

locals {
  engine = [{
    name         = "workflow-engine"
    image        = "${var.registry}/workflow-engine:1"
    essential    = true
    portMappings = [{ name = "http", containerPort = 8002, hostPort = 8002, protocol = "tcp" }]
    environment  = [{ name = "WORKFLOW_AGENT_URL", value = "http://workflow-agent.workflow.mesh:8001" }]
  }]
}

resource "aws_ecs_cluster" "workflow" {
  name = "workflow"
}

resource "aws_security_group" "tasks" {
  name        = "workflow-tasks"
  description = "Tasks of the workflow"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "among_tasks" {
  security_group_id            = aws_security_group.tasks.id
  referenced_security_group_id = aws_security_group.tasks.id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_egress_rule" "out" {
  security_group_id = aws_security_group.tasks.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_iam_role" "execution" {
  name = "workflow-execution"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ecs-tasks.amazonaws.com" } }]
  })
}

resource "aws_ecs_service" "engine" {
  name            = "workflow-engine"
  cluster         = aws_ecs_cluster.workflow.arn
  task_definition = aws_ecs_task_definition.engine.arn
  desired_count   = 2
  launch_type     = "FARGATE"

  network_configuration {
    subnets         = var.subnet_ids
    security_groups = [aws_security_group.tasks.id]
  }
}

resource "aws_ecs_task_definition" "engine" {
  family                   = "workflow-engine"
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  cpu                      = 512
  memory                   = 1024
  execution_role_arn       = aws_iam_role.execution.arn
  container_definitions    = module.bowline_sidecar.container_definitions_json # was: jsonencode(local.engine)

  dynamic "volume" { # new
    for_each = module.bowline_sidecar.volumes
    content {
      name = volume.value
    }
  }
}

# New --------------------------------------------------------------------------------------------------------------------

module "bowline_control" {
  source                    = "../control"
  namespace                 = "workflow.mesh"
  vpc_id                    = var.vpc_id
  subnet_ids                = var.subnet_ids
  cluster_arn               = aws_ecs_cluster.workflow.arn
  client_security_group_ids = { workflow = aws_security_group.tasks.id }
  image                     = "${var.registry}/workflow-mesh:1"
  repository_arns           = var.repository_arns
  token_secret_arn          = var.token_secret_arn
  registration_secret_arn   = var.registration_secret_arn
}

module "bowline_sidecar" {
  source                    = "../sidecar"
  container_definitions     = local.engine
  image                     = "${var.registry}/bowline-proxy:1"
  control_urls              = module.bowline_control.control_urls
  namespace                 = module.bowline_control.namespace
  services                  = ["workflow-agent", "workflow-agent-grpc"]
  register                  = [{ service = "workflow-engine", port = 8002, health = "/health/ready" }]
  token_secret_arn          = var.token_secret_arn
  register_token_secret_arn = "${var.registration_secret_arn}:workflow-engine::"
}

resource "aws_iam_role_policy" "bowline_tokens" {
  name   = "bowline-tokens"
  role   = aws_iam_role.execution.id
  policy = module.bowline_control.secrets_policy_json
}
