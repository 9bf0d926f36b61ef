"""Target groups that take their time, as AWS's do and moto's do not.

A target is `initial` for a while, then `healthy`; one that was deregistered is `draining` until the
group's deregistration delay is over, and is on the list until then; a group without a load balancer
is not in use; one instance may have several ports. What a health check finds is the tag `sick` of
the instance: a reason in AWS's words, `Target.ResponseCodeMismatch`. An instance that is in standby
cannot enter it, and one that is not cannot leave it.
"""
import io
import threading
import time

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend
from moto.elbv2 import models as elbv2

INITIAL_S = 1.0
DELAY = "deregistration_delay.timeout_seconds"

Group = elbv2.FakeTargetGroup
changing = threading.RLock()


class Target:
    def __init__(self):
        self.since, self.left = time.monotonic(), None


def known(group):
    return group.__dict__.setdefault("known_targets", {})


def key(group, target):
    return target["Id"], int(target.get("Port") or group.port)


def register(group, targets):
    with changing:
        for target in targets:
            entry = known(group).get(key(group, target))
            if entry is None or entry.left is not None:
                known(group)[key(group, target)] = Target()


def deregister(group, targets):
    with changing:
        for target in targets:
            entry = known(group).get(key(group, target))
            if entry is not None and entry.left is None:
                entry.left = time.monotonic()


def deregister_terminated_instances(group, instance_ids):
    deregister(group, [{"Id": i, "Port": p} for i, p in list(known(group)) if i in instance_ids])


def health(group, target, backend):
    entry, now = known(group).get(key(group, target)), time.monotonic()
    if entry is None:
        return "unused", "Target.NotRegistered"
    if entry.left is not None:
        return "draining", "Target.DeregistrationInProgress"
    if not group.load_balancer_arns:
        return "unused", "Target.NotInUse"
    instance = backend.get_instance_by_id(target["Id"])
    if instance is not None and instance.state != "running":
        return "unused", "Target.InvalidState"
    if now - entry.since < INITIAL_S:
        return "initial", "Elb.RegistrationInProgress"
    tags = instance.get_tags() if instance is not None else []
    sick = next((tag["value"] for tag in tags if tag["key"] == "sick"), "")
    return ("unhealthy", sick) if sick else ("healthy", None)


def health_for(group, target, backend):
    (name, port), (state, reason) = key(group, target), health(group, target, backend)
    said = reason and f"{reason}, says the test"
    return elbv2.FakeHealthStatus(name, str(port), group.health_check_port, state, reason, said)


def describe_target_health(self, target_group_arn, targets):
    group = self.target_groups.get(target_group_arn)
    if group is None:
        raise elbv2.TargetGroupNotFoundError()
    with changing:
        delay, now = float(group.attributes.get(DELAY, 300)), time.monotonic()
        for at, entry in list(known(group).items()):
            if entry.left is not None and now - entry.left >= delay:
                del known(group)[at]
        targets = targets or [{"Id": name, "Port": port} for name, port in known(group)]
        return [health_for(group, target, self.ec2_backend) for target in targets]


Group.register, Group.deregister, Group.health_for = register, deregister, health_for
Group.deregister_terminated_instances = deregister_terminated_instances
elbv2.ELBv2Backend.describe_target_health = describe_target_health


def from_state(wanted, change):
    def checked(self, group_name, instance_ids, *rest):
        for one in self.autoscaling_groups[group_name].instance_states:
            if one.instance.id in instance_ids and one.lifecycle_state != wanted:
                raise ValidationError(f"The instance {one.instance.id} is not in {wanted}.")
        return change(self, group_name, instance_ids, *rest)

    return checked


Scaling = AutoScalingBackend
Scaling.enter_standby_instances = from_state("InService", Scaling.enter_standby_instances)
Scaling.exit_standby_instances = from_state("Standby", Scaling.exit_standby_instances)
