# What a host may do. Services of the host cannot reach the metadata service, and so not the role,
# unless their definition says `imds = true`.

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "ledger" {
  statement {
    sid = "Ledger"

    actions = [
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:DeleteItem",
      "dynamodb:Query",
      "dynamodb:DescribeTable",
    ]

    resources = [aws_dynamodb_table.ledger.arn]
  }
}

data "aws_iam_policy_document" "hosts" {
  source_policy_documents = [data.aws_iam_policy_document.ledger.json]

  # These take no resource.
  statement {
    sid = "Look"

    actions = [
      "autoscaling:DescribeAutoScalingInstances",
      "autoscaling:DescribeLifecycleHooks",
      "ec2:DescribeInstances",
      "ec2:DescribeTags",
      "ec2:DescribeVolumes",
      "elasticloadbalancing:DescribeTargetGroupAttributes",
      "elasticloadbalancing:DescribeTargetGroups",
      "elasticloadbalancing:DescribeTargetHealth",
    ]

    resources = ["*"]
  }

  statement {
    sid       = "Balancer"
    actions   = ["elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"]
    resources = [aws_lb_target_group.web.arn]
  }

  statement {
    sid = "Leave"

    actions = [
      "autoscaling:CompleteLifecycleAction",
      "autoscaling:EnterStandby",
      "autoscaling:ExitStandby",
      "autoscaling:RecordLifecycleActionHeartbeat",
    ]

    # By its name: the group is made when its hosts may do what they have to.
    resources = ["arn:aws:autoscaling:${local.here}:autoScalingGroup:*:autoScalingGroupName/${var.group}-web"]
  }

  statement {
    sid       = "Secrets"
    actions   = ["ssm:GetParameters"]
    resources = ["arn:aws:ssm:${local.here}:parameter/${var.group}/*"]
  }
}

data "aws_caller_identity" "this" {}

locals {
  here = "${var.region}:${data.aws_caller_identity.this.account_id}"
}

resource "aws_iam_role" "hosts" {
  name_prefix        = "${var.group}-hosts-"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "hosts" {
  name   = "rollinit"
  role   = aws_iam_role.hosts.id
  policy = data.aws_iam_policy_document.hosts.json
}

resource "aws_iam_instance_profile" "hosts" {
  name_prefix = "${var.group}-hosts-"
  role        = aws_iam_role.hosts.name
}

# For people and CI jobs that roll: the ledger, and nothing else. Attach it to whom you trust with
# the choice among signed releases.
resource "aws_iam_policy" "roll" {
  name_prefix = "${var.group}-roll-"
  policy      = data.aws_iam_policy_document.ledger.json
}
