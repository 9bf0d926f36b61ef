resource "aws_launch_template" "hosts" {
  name_prefix            = "${var.group}-"
  image_id               = var.image
  instance_type          = var.instance_type
  vpc_security_group_ids = [aws_security_group.hosts.id]
  update_default_version = true

  user_data = base64encode(templatefile("${path.module}/user-data.toml.tftpl", {
    group         = var.group
    ledger        = local.ledger
    cache         = local.cache
    cache_key     = var.cache_key
    first_release = var.first_release
  }))

  iam_instance_profile {
    arn = aws_iam_instance_profile.hosts.arn
  }

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = 20
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.group}-web", group = var.group }
  }
}

# No instance refresh: a release is rolled over the hosts that there are, and a new image is a system
# that they are swapped to. A new launch template counts for new hosts.
resource "aws_autoscaling_group" "hosts" {
  name                = "${var.group}-web"
  vpc_zone_identifier = aws_subnet.hosts[*].id
  target_group_arns   = [aws_lb_target_group.web.arn]
  min_size            = 2
  max_size            = 10
  desired_capacity    = var.hosts

  # EC2's: an app that is sick for a minute shall not cost its host.
  health_check_type = "EC2"

  launch_template {
    id      = aws_launch_template.hosts.id
    version = aws_launch_template.hosts.latest_version
  }

  # A host that is to go has time to leave the balancer and to finish its requests.
  initial_lifecycle_hook {
    name                 = "leave"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = 300
    default_result       = "CONTINUE"
  }

  # What a host may not do yet it would say on its console, and try again.
  depends_on = [aws_iam_role_policy.hosts]

  lifecycle {
    ignore_changes = [desired_capacity]
  }
}
