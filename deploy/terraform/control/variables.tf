variable "name" {
  description = "Names of what is made begin with it."
  type        = string
  default     = "bowline"
}

variable "namespace" {
  description = "The mesh's namespace, which is the name of its zone: apps dial NAME.NAMESPACE."
  type        = string
}

variable "zone_id" {
  description = "A private zone that is there already. Default: one is made, of the namespace's name."
  type        = string
  default     = null
}

variable "internal_domain" {
  description = "The domain of the control plane's own name. It must differ from the namespace."
  type        = string
  default     = "bowline.internal"
}

variable "vpc_id" {
  description = "The VPC of the tasks. It needs enableDnsSupport and enableDnsHostnames."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets for the control plane: private ones with a way to AWS's interfaces, or public ones with assign_public_ip."
  type        = list(string)
}

variable "assign_public_ip" {
  description = "Whether the control plane gets a public address, which it needs in a subnet without NAT or endpoints."
  type        = bool
  default     = false
}

variable "client_security_group_ids" {
  description = "The security groups of the tasks with sidecars, each under a name of yours."
  type        = map(string)
}

variable "cluster_arn" {
  description = "The ECS cluster."
  type        = string
}

variable "image" {
  description = "The image of bowline-control with the mesh at /etc/bowline/mesh.yaml: see deploy/ecs/Dockerfile.mesh."
  type        = string
}

variable "repository_arns" {
  description = "The ECR repository that the image is taken from."
  type        = list(string)
}

variable "token_secret_arn" {
  description = "The secret with the token that every proxy must show: letters, digits, - and _, eight at least."
  type        = string
}

variable "registration_secret_arn" {
  description = "The secret that says which token lets a task register which service, as JSON: {\"server\": \"TOKEN\"}. The key * stands for all others."
  type        = string
}

variable "cloud_map" {
  description = "Whether the mesh has endpoints from Cloud Map, for which rights are needed."
  type        = bool
  default     = false
}

variable "environment" {
  description = "More variables for the control plane: every flag of `bowline-control serve` has one."
  type        = map(string)
  default     = {}
}

variable "cpu" {
  description = "CPU units of the control plane's task."
  type        = number
  default     = 256
}

variable "memory" {
  description = "MiB of the control plane's task. With 1,000 services and 1,000 proxies it takes 225."
  type        = number
  default     = 512
}

variable "architecture" {
  description = "X86_64 or ARM64, as the images are."
  type        = string
  default     = "X86_64"
}

variable "log_retention_days" {
  description = "For how long logs are kept."
  type        = number
  default     = 30
}
