"""The control plane, its zone and its secrets."""

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from .sidecar import add_sidecar
from .state import USER, add_state

PORT = 18000


class BowlineMesh(Construct):
    """A namespace's control plane on Fargate, one task; the private zone of its names; the tokens of its proxies.

    zone: a private zone that is there already; by default one is made, of the namespace's name. registration: a secret of
    yours that says which token lets a task register which service, as JSON ({"server": "TOKEN"}); by default one token is
    made, which is good for all. internal_domain: the domain of the control plane's own name, another than the namespace.
    cloud_map: whether the mesh has endpoints from Cloud Map. environment: more variables, one for each flag of
    `bowline-control serve`.
    """

    def __init__(
        self,
        scope,
        id,
        *,
        cluster,
        namespace,
        images,
        zone=None,
        registration=None,
        internal_domain="bowline.internal",
        cloud_map=False,
        environment=None,
        cpu=256,
        memory_mib=512,
        runtime_platform=None,
        vpc_subnets=None,
        assign_public_ip=False,
    ):
        super().__init__(scope, id)
        if internal_domain == namespace:
            raise ValueError("internal_domain must differ from the namespace: Cloud Map owns the zone of that name")
        self.namespace = namespace
        self.images = images
        self.control_url = f"http://control.{internal_domain}:{PORT}"
        self.zone = zone or route53.PrivateHostedZone(self, "Zone", zone_name=namespace, vpc=cluster.vpc)
        self.token = self._token("Token", "what a proxy shows the control plane")
        self.shared_token = None
        if registration is None:
            self.shared_token = self._token("RegisterToken", "what a task shows to register its services")
            registration = secretsmanager.Secret(
                self,
                "Registration",
                description="Bowline: which token lets a task register which service",
                secret_object_value={"*": self.shared_token.secret_value},
            )
        self.registration = registration
        self.task_definition = self._task(environment or {}, cpu, memory_mib, runtime_platform)
        self._allow_zone(cloud_map)
        self.security_group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=cluster.vpc,
            description="Bowline control plane: proxies connect, nobody else",
            allow_all_outbound=False,
        )
        self.security_group.add_egress_rule(
            ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "AWS's own interfaces: Route 53, images, logs, secrets"
        )
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            task_definition=self.task_definition,
            desired_count=1,
            # One at a time: two would not know of each other's registrations. Proxies go on while none is there.
            min_healthy_percent=0,
            max_healthy_percent=100,
            security_groups=[self.security_group],
            vpc_subnets=vpc_subnets,
            assign_public_ip=assign_public_ip,
            cloud_map_options=ecs.CloudMapOptions(
                name="control",
                cloud_map_namespace=servicediscovery.PrivateDnsNamespace(
                    self, "Internal", name=internal_domain, vpc=cluster.vpc
                ),
                dns_record_type=servicediscovery.DnsRecordType.A,
                dns_ttl=Duration.seconds(10),
            ),
        )

    def add_sidecar(self, task_definition, **options):
        """Adds the sidecar to a task definition: see `bowline_cdk.add_sidecar` for the options."""
        options.setdefault("images", self.images)
        registers = list(options.get("registers", ()))
        if registers:
            options.setdefault("register_token", self._register_token(registers[0].service))
        return add_sidecar(
            task_definition,
            control_url=self.control_url,
            namespace=self.namespace,
            token=ecs.Secret.from_secrets_manager(self.token),
            **options,
        )

    def allow(self, connectable):
        """Lets the tasks of a service, or whatever else has security groups, reach the control plane."""
        self.service.connections.allow_from(connectable, ec2.Port.tcp(PORT), "Bowline proxies")

    def _register_token(self, service):
        if self.shared_token is not None:
            return ecs.Secret.from_secrets_manager(self.shared_token)
        return ecs.Secret.from_secrets_manager(self.registration, service)

    def _token(self, id, description):
        return secretsmanager.Secret(
            self,
            id,
            description=f"Bowline: {description}",
            generate_secret_string=secretsmanager.SecretStringGenerator(exclude_punctuation=True, password_length=40),
        )

    def _task(self, environment, cpu, memory_mib, runtime_platform):
        task = ecs.FargateTaskDefinition(
            self, "Task", cpu=cpu, memory_limit_mib=memory_mib, runtime_platform=runtime_platform
        )
        group = logs.LogGroup(
            self, "Logs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
        )
        logging = ecs.LogDrivers.aws_logs(stream_prefix="bowline-control", log_group=group)
        control = task.add_container(
            "bowline-control",
            container_name="bowline-control",
            image=self.images.control,
            command=["serve", "--publish-zone", self.zone.hosted_zone_id],
            user=USER,
            essential=True,
            readonly_root_filesystem=True,
            environment={
                "BOWLINE_LISTEN": f"0.0.0.0:{PORT}",
                "BOWLINE_MESH": "/etc/bowline/mesh.yaml",
                "BOWLINE_STATE_DIR": "/var/lib/bowline",
                "AWS_REGION": Stack.of(self).region,
                **environment,
            },
            secrets={
                "BOWLINE_TOKEN": ecs.Secret.from_secrets_manager(self.token),
                "BOWLINE_REGISTRATION_TOKEN_LIST": ecs.Secret.from_secrets_manager(self.registration),
            },
            port_mappings=[ecs.PortMapping(container_port=PORT)],
            health_check=ecs.HealthCheck(
                command=["CMD", "/bowline-control", "health"],
                interval=Duration.seconds(5),
                timeout=Duration.seconds(3),
                retries=3,
                start_period=Duration.seconds(30),
            ),
            logging=logging,
        )
        control.add_ulimits(ecs.Ulimit(name=ecs.UlimitName.NOFILE, soft_limit=65535, hard_limit=65535))
        add_state(task, control)
        return task

    def _allow_zone(self, cloud_map):
        zone = self.zone.hosted_zone_arn
        statements = [
            iam.PolicyStatement(actions=["route53:GetHostedZone", "route53:ListResourceRecordSets"], resources=[zone]),
            iam.PolicyStatement(
                actions=["route53:ChangeResourceRecordSets"],
                resources=[zone],
                conditions={
                    "ForAllValues:StringEquals": {"route53:ChangeResourceRecordSetsRecordTypes": ["A", "TXT"]}
                },
            ),
        ]
        if cloud_map:
            actions = ["servicediscovery:DiscoverInstances", "servicediscovery:DiscoverInstancesRevision"]
            statements.append(iam.PolicyStatement(actions=actions, resources=["*"]))
        for statement in statements:
            self.task_definition.add_to_task_role_policy(statement)
