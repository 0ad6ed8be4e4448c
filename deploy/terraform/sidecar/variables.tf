variable "container_definitions" {
  description = "The containers of the task as they are: a list, or the JSON of one. Left as they are, but for `dependsOn` of the app."
  type        = any

  validation {
    condition     = can(jsondecode(try(tostring(var.container_definitions), jsonencode(var.container_definitions)))[0].name)
    error_message = "container_definitions must be a list of containers with names, or the JSON of one."
  }
}

variable "app_containers" {
  description = "Names of the containers that call the mesh, and so wait for the sidecar. Default: all that are essential."
  type        = list(string)
  default     = null
}

variable "name" {
  description = "What the sidecar's container is called; its volume begins with it."
  type        = string
  default     = "bowline"
}

variable "image" {
  description = "The image of bowline-proxy."
  type        = string
}

variable "control_urls" {
  description = "Where the control plane is: http://HOST:18000. Several are tried in turn."
  type        = list(string)

  validation {
    condition     = length(var.control_urls) > 0 && alltrue([for url in var.control_urls : can(regex("^https?://[^/]+:[0-9]+$", url))])
    error_message = "control_urls must be one or more of http://HOST:PORT or https://HOST:PORT."
  }
}

variable "namespace" {
  description = "The namespace whose mesh is asked for."
  type        = string
}

variable "services" {
  description = "The services that this task calls. Empty: all of the namespace, which only goes well if the task listens on no alias's port itself."
  type        = list(string)
  default     = []
}

variable "register" {
  description = "The services that this task is an endpoint of: service, port, and optionally the path of its health check."
  type = list(object({
    service = string
    port    = number
    health  = optional(string)
  }))
  default = []
}

variable "token_secret_arn" {
  description = "The secret with the token for the control plane. The task's execution role must be allowed to read it."
  type        = string
  default     = null
}

variable "register_token_secret_arn" {
  description = "The secret with the token that lets this task register its services. ARN:KEY:: takes one key of a secret that is JSON."
  type        = string
  default     = null
}

variable "environment" {
  description = "More variables for the sidecar: every flag of `bowline-proxy run` has one, and OTEL_..."
  type        = map(string)
  default     = {}
}

variable "cpu" {
  description = "CPU units. They are shares on EC2, and part of the task's on Fargate: a share when the task is busy, no bound when it is not."
  type        = number
  default     = 64
}

variable "memory" {
  description = "MiB at which the sidecar is ended. It takes 10 at rest and 50 with 1,000 busy connections."
  type        = number
  default     = 128
}

variable "memory_reservation" {
  description = "MiB that are set aside for it."
  type        = number
  default     = 32
}

variable "low_ports" {
  description = "Whether the sidecar listens on ports below 1024, because an alias has one. Needs the network mode awsvpc."
  type        = bool
  default     = false
}

variable "log_configuration" {
  description = "Where the sidecar's logs go, as in a container definition. Default: where the app's go, if that is awslogs."
  type        = any
  default     = null
}
