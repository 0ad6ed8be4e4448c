"""Which test belongs to which row."""

import alb
import app_mesh
import circuit_breaker
import envoy
import nginx

ALL = {}
for module in (nginx, envoy, app_mesh, alb, circuit_breaker):
    ALL.update(module.ROWS)
