# `terraform test` in this folder: nothing is made, no provider is needed.

variables {
  image        = "bowline-proxy:1"
  control_urls = ["http://control.bowline.internal:18000"]
  namespace    = "hello-world.com"
  container_definitions = [
    {
      name             = "app"
      image            = "app:7"
      stopTimeout      = 45
      somethingNew     = { kept = true }
      dependsOn        = [{ containerName = "migrate", condition = "SUCCESS" }]
      logConfiguration = { logDriver = "awslogs", options = { "awslogs-group" = "g", "awslogs-region" = "r", "awslogs-stream-prefix" = "app" } }
    },
    { name = "migrate", image = "app:7", essential = false },
  ]
}

run "adds_the_sidecar_and_changes_nothing_else" {
  command = plan

  assert {
    condition     = output.container_definitions[*].name == ["app", "migrate", "bowline"]
    error_message = "one container is added, at the end"
  }
  assert {
    condition     = jsonencode(output.container_definitions[1]) == jsonencode({ name = "migrate", image = "app:7", essential = false })
    error_message = "a container that is not the app's stays as it is"
  }
  assert {
    condition = jsonencode({ for key, value in output.container_definitions[0] : key => value if key != "dependsOn" }) == jsonencode({
      for key, value in var.container_definitions[0] : key => value if key != "dependsOn"
    })
    error_message = "the app keeps every key, known or not"
  }
  assert {
    condition = jsonencode(output.container_definitions[0].dependsOn) == jsonencode([
      { containerName = "migrate", condition = "SUCCESS" }, { containerName = "bowline", condition = "HEALTHY" }
    ])
    error_message = "the app waits for what it waited for, and for the sidecar"
  }
  assert {
    condition     = output.container_definitions[2].stopTimeout == 75
    error_message = "the sidecar stays longer than the app"
  }
  assert {
    condition     = output.container_definitions[2].logConfiguration.options["awslogs-stream-prefix"] == "bowline" && output.container_definitions[2].logConfiguration.options["awslogs-group"] == "g"
    error_message = "logs go where the app's go, with a prefix of their own"
  }
  assert {
    condition     = !contains(keys(output.container_definitions[2]), "systemControls") && !contains(keys(output.container_definitions[2]), "dependsOn") && !contains(keys(output.container_definitions[2]), "secrets")
    error_message = "what is not asked for is not there"
  }
  assert {
    condition     = output.volumes == tolist(["bowline-state"])
    error_message = "without tokens one volume"
  }
  assert {
    condition     = output.container_definitions_json == jsonencode(output.container_definitions)
    error_message = "the JSON is the same"
  }
}

run "takes_json_too" {
  command = plan

  variables {
    container_definitions = "[{\"name\":\"app\",\"image\":\"app:7\"}]"
  }
  assert {
    condition     = output.container_definitions[*].name == ["app", "bowline"]
    error_message = "the JSON of a list is a list"
  }
  assert {
    condition     = !contains(keys(output.container_definitions[1]), "logConfiguration")
    error_message = "no logs to go with: none"
  }
}

run "says_what_to_call_and_what_to_register" {
  command = plan

  variables {
    services  = ["server", "other"]
    register  = [{ service = "app", port = 9001, health = "/health/ready" }, { service = "app-grpc", port = 50051 }]
    low_ports = true
    environment = {
      BOWLINE_LOG_FORMAT = "json"
    }
  }
  assert {
    condition = jsonencode({ for pair in output.container_definitions[2].environment : pair.name => pair.value }) == jsonencode({
      BOWLINE_CONTROL       = "http://control.bowline.internal:18000"
      BOWLINE_DRAIN_SECONDS = "70"
      BOWLINE_LOG_FORMAT    = "json"
      BOWLINE_NAMESPACE     = "hello-world.com"
      BOWLINE_REGISTER      = "app=9001,health=/health/ready app-grpc=50051"
      BOWLINE_SERVICES      = "server,other"
      BOWLINE_STATE_DIR     = "/var/lib/bowline"
    })
    error_message = "the sidecar's variables"
  }
  assert {
    condition     = output.container_definitions[2].systemControls[0].value == "0"
    error_message = "low ports are allowed"
  }
}

run "tokens_come_from_secrets" {
  command = plan

  variables {
    token_secret_arn          = "arn:aws:secretsmanager:r:1:secret:token-AbCdEf"
    register_token_secret_arn = "arn:aws:secretsmanager:r:1:secret:registration-GhIjKl:app::"
  }
  assert {
    condition     = output.container_definitions[*].name == ["app", "migrate", "bowline"]
    error_message = "no other container is needed for them"
  }
  assert {
    condition = { for secret in output.container_definitions[2].secrets : secret.name => secret.valueFrom } == {
      BOWLINE_CONTROL_TOKEN  = "arn:aws:secretsmanager:r:1:secret:token-AbCdEf"
      BOWLINE_REGISTER_TOKEN = "arn:aws:secretsmanager:r:1:secret:registration-GhIjKl:app::"
    }
    error_message = "the secrets: ${jsonencode(output.container_definitions[2].secrets)}"
  }
  assert {
    condition     = !anytrue([for pair in output.container_definitions[2].environment : endswith(pair.name, "TOKEN")])
    error_message = "no token is readable in the task definition"
  }
  assert {
    condition     = output.volumes == tolist(["bowline-state"])
    error_message = "one volume"
  }
}

run "a_task_that_only_calls_needs_one_token" {
  command = plan

  variables {
    token_secret_arn = "arn:aws:secretsmanager:r:1:secret:token-AbCdEf"
  }
  assert {
    condition     = output.container_definitions[2].secrets[*].name == ["BOWLINE_CONTROL_TOKEN"]
    error_message = "what is not asked for is not there"
  }
}

run "refuses_to_be_added_twice" {
  command = plan
  variables {
    container_definitions = [{ name = "app", image = "app:7" }, { name = "bowline", image = "bowline-proxy:1" }]
  }
  expect_failures = [output.container_definitions]
}

run "refuses_a_task_that_would_never_end" {
  command = plan
  variables {
    container_definitions = [{ name = "app", image = "app:7", essential = false }]
    app_containers        = ["app"]
  }
  expect_failures = [output.container_definitions]
}

run "refuses_an_app_that_is_not_there" {
  command = plan
  variables {
    app_containers = ["ap"]
  }
  expect_failures = [output.container_definitions]
}

run "refuses_a_registration_without_its_token" {
  command = plan
  variables {
    token_secret_arn = "arn:aws:secretsmanager:r:1:secret:token-AbCdEf"
    register         = [{ service = "app", port = 9001 }]
  }
  expect_failures = [output.container_definitions]
}

run "refuses_a_control_plane_without_a_port" {
  command = plan
  variables {
    control_urls = ["http://control.bowline.internal"]
  }
  expect_failures = [var.control_urls]
}

run "refuses_what_is_no_list_of_containers" {
  command = plan
  variables {
    container_definitions = { name = "app" }
  }
  expect_failures = [var.container_definitions]
}
