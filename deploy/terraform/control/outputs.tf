output "control_urls" {
  description = "Where proxies find the control plane: for the sidecar module."
  value       = ["http://${aws_service_discovery_service.control.name}.${aws_service_discovery_private_dns_namespace.internal.name}:${local.port}"]
}

output "namespace" {
  description = "The mesh's namespace: for the sidecar module."
  value       = var.namespace
}

output "zone_id" {
  description = "The zone in which names are published."
  value       = local.zone_id
}

output "security_group_id" {
  description = "The control plane's security group."
  value       = aws_security_group.control.id
}

output "secrets_policy_json" {
  description = "What the execution role of a task with a sidecar needs more than before: to read the tokens."
  value       = data.aws_iam_policy_document.secrets.json
}
